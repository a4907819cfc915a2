"""What the contract of saved explainers leaves open: functions, own classes, other precisions, foreign files."""

from typing import Any

import pytest
import torch
from explainers.models import images, linear_classifier, linear_scm, targets
from torch import Tensor, nn

from causalcf.classifiers import Perceptrons
from causalcf.core.checkpoint import write_file
from causalcf.core.errors import CheckpointError
from causalcf.explainers import C3LT, CFProto, Clarity, Explainer
from causalcf.explainers.saved import known_classes, packed, unpacked

SETTINGS: dict[str, Any] = {"max_steps": 20, "autoencoder_weight": 1.0, "prototype_weight": 0.1}

KNOWN = known_classes()


@pytest.fixture
def file(tmp_path):
    explainer = CFProto(linear_scm(), classifier=linear_classifier(), **SETTINGS)
    explainer.fit({"image": images(linear_scm(), 200)}).save(tmp_path / "it.safetensors")
    return tmp_path / "it.safetensors"


def test_networks_come_back_layer_by_layer():
    network = nn.ModuleDict({
        "pixels": nn.Sequential(nn.Conv2d(1, 2, 3, padding=1, bias=False), nn.BatchNorm2d(2), nn.LeakyReLU(0.3)),
        "codes": Perceptrons([4, 8, 3], size=2),
    }).double().eval()  # fmt: skip
    tensors: dict[str, Tensor] = {}
    again = unpacked(packed(network, tensors, "network", KNOWN), tensors, KNOWN)
    assert repr(again) == repr(network)
    assert again.state_dict().keys() == network.state_dict().keys()
    assert not any(parameter.requires_grad for parameter in again.parameters())
    x, z = torch.rand(2, 1, 5, 5, dtype=torch.float64), torch.rand(2, 4, dtype=torch.float64)
    assert torch.equal(again["pixels"](x), network["pixels"](x))
    assert torch.equal(again["codes"](z), network["codes"](z))
    assert torch.equal(again.train()["pixels"](x), network.train()["pixels"](x)), "statistics of the batch"


def test_values_come_back_as_they_were():
    value = {"a": (1, 2.5, None), 3: [True, "x", {"empty": {}}], "inf": float("inf"), "t": torch.arange(3)}
    tensors: dict[str, Tensor] = {}
    again = unpacked(packed(value, tensors, "value", KNOWN), tensors, KNOWN)
    assert torch.equal(again.pop("t"), value.pop("t"))
    assert again == value


def test_what_a_file_cannot_hold_is_named(tmp_path):
    class Own(nn.Module):
        pass

    explainer = CFProto(linear_scm(), classifier=linear_classifier(), **SETTINGS)
    explainer.fit({"image": images(linear_scm(), 200)})
    explainer.network = nn.Sequential(nn.ReLU(), Own())
    with pytest.raises(CheckpointError, match=r"network\._modules\.1 is a .*Own, which a file cannot hold"):
        explainer.save(tmp_path / "it")
    assert not (tmp_path / "it").exists()


@pytest.mark.parametrize(
    "name", ["os.system", "causalcf.explainers.networks.Gone", "causalcf.scm.SCM", "torch.nn.init.Tensor"]
)
def test_classes_that_are_none_of_ours_are_not_made(name):
    with pytest.raises(CheckpointError, match=f"holds a {name}, which this causalcf does not know"):
        unpacked({"class": name, "state": {"dict": []}}, {}, KNOWN)


def test_functions_are_given_again(tmp_path):
    def perception(x: Tensor) -> list[Tensor]:
        return [x]

    scm, f = linear_scm(), linear_classifier()
    C3LT(scm, classifier=f, epochs=1, perception=perception).fit({"image": images(scm, 100)}).save(tmp_path / "it")
    with pytest.raises(CheckpointError, match=r"needs the settings \['perception'\], which it cannot hold"):
        Explainer.load(tmp_path / "it", scm, classifier=f)
    assert Explainer.load(tmp_path / "it", scm, classifier=f, perception=perception).perception is perception


def test_a_function_is_known_by_its_name(tmp_path):
    f = linear_classifier()

    def ask(x: Tensor) -> Tensor:
        return f(x)

    explainer = CFProto(linear_scm(), classifier=ask, **SETTINGS).fit({"image": images(linear_scm(), 200)})
    explainer.save(tmp_path / "it")
    assert CFProto.load(tmp_path / "it", linear_scm(), classifier=ask).fitted
    with pytest.raises(CheckpointError, match="fitted on another classifier, ask; this is relu"):
        CFProto.load(tmp_path / "it", linear_scm(), classifier=torch.relu)


def test_members_that_know_the_classes_need_no_classifier(tmp_path):
    scm, f = linear_scm(), linear_classifier()
    x = images(scm, 100)
    explainer = Clarity(scm, label="y", members=2, epochs=5).fit({"image": x, "y": f(x).argmax(1)}, seed=0)
    explainer.save(tmp_path / "it")
    again = Clarity.load(tmp_path / "it", scm)
    assert torch.equal(again.predict(x), explainer.predict(x))
    with pytest.raises(CheckpointError, match="another classifier, none; this is Sequential#"):
        Clarity.load(tmp_path / "it", scm, classifier=f)


def test_a_model_in_another_precision_is_the_same_model(file):
    scm = linear_scm(dtype=torch.float32)
    explainer = CFProto.load(file, scm, classifier=linear_classifier())
    x = images(scm, 3)
    answer = explainer.explain(x, targets(linear_classifier().float(), x), seed=0)
    assert explainer.prototypes.dtype == answer.counterfactual.dtype == torch.float32


def test_a_classifier_that_was_trained_on_is_another(file):
    f = linear_classifier()
    with torch.no_grad():
        f[1].bias.add_(0.01)
    with pytest.raises(CheckpointError, match="fitted on another classifier"):
        Explainer.load(file, linear_scm(), classifier=f)


def test_other_files_are_refused(tmp_path):
    write_file(tmp_path / "it", {"kind": "scm"}, {})
    with pytest.raises(CheckpointError, match="holds a scm, not an explainer"):
        Explainer.load(tmp_path / "it", linear_scm(), classifier=linear_classifier())

"""Files written by the layout before (a model, an explainer, the checkpoint of a killed fit) load and give the same."""

import shutil
from pathlib import Path

import pytest
import torch
from explainers.models import images, linear_classifier, linear_scm
from safetensors.torch import load_file
from torch import Tensor

import causalcf as ccf
from causalcf.core.checkpoint import read_file

SAVED = Path(__file__).parent / "saved"


def _data(n: int = 200) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(0)
    t = torch.rand(n, generator=g, dtype=torch.float32) * 3 + 1
    c = (torch.rand(n, generator=g, dtype=torch.float32) < 0.5).long()
    y = 2 * t + c + 0.3 * torch.randn(n, generator=g, dtype=torch.float32)
    noise = torch.rand(n, 1, 8, 8, generator=g, dtype=torch.float32)
    return {"t": t, "c": c, "y": y, "image": (noise * 0.3 + t[:, None, None, None] / 8).clamp(0, 1)}


def _scm() -> ccf.SCM:
    variables = {"t": ccf.Positive(unit="px"), "c": ccf.Categorical(["a", "b"]), "y": ccf.Real()}
    mechanisms = {
        "image": ccf.mechanisms.VAE(latent=2, widths=(4, 4, 4)),
        "t": ccf.mechanisms.Flow(),
        "y": ccf.mechanisms.LinearGaussian(),
    }
    edges = [("t", "y"), ("c", "y"), ("t", "image"), ("c", "image")]
    return ccf.SCM(edges, variables={**variables, "image": ccf.Image(1, 8, 8)}, mechanisms=mechanisms)


def test_a_model_gives_the_answers_that_it_gave() -> None:
    expected = load_file(SAVED / "answer.safetensors")
    cf = ccf.SCM.load(SAVED / "model.safetensors").counterfactual(_data(5), do={"t": 2.0}, seed=0)
    assert cf.keys() == expected.keys()
    for node, value in expected.items():
        assert torch.allclose(cf[node], value, atol=1e-5), node


def test_an_explainer_gives_the_explanations_that_it_gave() -> None:
    f = linear_classifier()
    explainer = ccf.explainers.Explainer.load(SAVED / "explainer.safetensors", linear_scm(), classifier=f)
    x = images(linear_scm(), 12)
    found = explainer.explain(x[f(x).argmax(1) == 0][:2], target=1, seed=0)
    expected = load_file(SAVED / "explained.safetensors")["counterfactual"]
    assert torch.allclose(found.counterfactual, expected, atol=1e-5)


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """The checkpoint of a fit that was killed after six writes."""
    return Path(shutil.copy(SAVED / "fit.safetensors", tmp_path / "fit.safetensors"))


def test_a_killed_fit_goes_on(killed: Path) -> None:
    torch.set_default_dtype(torch.float32)
    settings = {"epochs": 3, "seed": 0, "progress": False}
    resumed = _scm().fit(_data(), checkpoint=killed, resume=True, **settings)
    whole = _scm().fit(_data(), **settings)
    # Nodes that were done keep the file's weights, to the last bit; the image, trained now, has those of a whole fit.
    header, held = read_file(SAVED / "fit.safetensors")
    assert header["done"] == ["t", "c", "y"]
    expected, kept = whole.state_dict(), 0
    for name, one in resumed.state_dict().items():
        _, index, own = name.split(".", 2)
        node = resumed.graph.nodes[int(index)]
        if (then := held.get(f"node.{node}.{own}")) is not None:
            assert torch.equal(one, then), name
            kept += 1
        elif node not in header["done"]:
            assert torch.allclose(one, expected[name], atol=1e-5), name
    assert kept == sum(name.startswith("node.") for name in held) > 0
    # Training today rounds otherwise, which moves weights that little pulls at: densities and answers stay.
    densities = [scm.mechanisms["t"].dist({}, {}).log_prob(_data()["t"]) for scm in (resumed, whole)]
    assert torch.allclose(*densities, atol=2e-3)
    answers = [scm.counterfactual(_data(20), do={"t": 2.0, "c": "b"}) for scm in (resumed, whole)]
    assert all(torch.allclose(answers[0][node], answers[1][node], atol=1e-4) for node in resumed.graph.nodes)

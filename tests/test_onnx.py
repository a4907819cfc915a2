"""ONNX files give what the model gives, for any number of rows, without torch."""

import pytest
import torch

import causalcf as ccf
from causalcf.costs.models import noise_images, unfitted
from causalcf.mechanisms import VAE
from causalcf.onnx import to_onnx
from causalcf.queries.examples import linear, switch

runtime = pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install 'causalcf[onnx]' onnxruntime")
pytest.importorskip("onnxscript", reason="needs onnxscript: pip install 'causalcf[onnx]'")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # the exporter's own


def _asked(files, x, acted):
    """What the two files answer about some rows."""
    abduct, predict = (runtime.InferenceSession(str(file)) for file in files)

    def run(session, known):
        values = session.run(None, {one.name: known[one.name].numpy() for one in session.get_inputs()})
        return {one.name: torch.from_numpy(v) for one, v in zip(session.get_outputs(), values, strict=True)}

    noise = run(abduct, x)
    return noise, run(predict, {**noise, **x, **{f"do.{node}": value for node, value in acted.items()}})


@pytest.mark.slow  # two networks are exported: some fifteen seconds
def test_images_are_those_of_the_model(tmp_path):
    scm = unfitted("morphomnist", {"image": VAE(widths=(8, 8, 8), latent=4)})
    files = to_onnx(scm, ["thickness"], tmp_path)
    for rows in (1, 5):
        x = noise_images(rows)
        acted = {"thickness": torch.linspace(2, 4, rows)}
        noise, found = _asked(files, x, acted)
        expected = scm.counterfactual(x, acted)
        assert set(found) == {"intensity", "image"}
        torch.testing.assert_close(noise["image.z"], expected.noise["image.z"], rtol=1e-4, atol=1e-4)
        for node, value in found.items():
            torch.testing.assert_close(value, expected[node], rtol=1e-4, atol=1e-4)
        assert (found["intensity"] - x["intensity"]).abs().max() > 0.01, "something was done"


@pytest.mark.slow  # some eight seconds
def test_flows_are_those_of_the_model(tmp_path):
    scm = unfitted(ccf.CausalGraph([("x", "p")], {"x": ccf.Real(), "p": ccf.Positive()}))
    x = {"x": torch.tensor([0.0, 1.0, 2.0]), "p": torch.tensor([0.5, 1.0, 3.0])}
    acted = {"x": torch.tensor([1.0, -1.0, 0.5])}
    _, found = _asked(to_onnx(scm, ["x"], tmp_path), x, acted)
    torch.testing.assert_close(found["p"], scm.counterfactual(x, acted)["p"], rtol=1e-5, atol=1e-5)


def test_several_nodes_are_acted_on(tmp_path):
    scm, x = linear(), {"x": torch.randn(3), "m": torch.randn(3), "y": torch.randn(3)}
    acted = {"x": torch.ones(3), "m": torch.tensor([0.0, 1.0, 2.0])}
    _, found = _asked(to_onnx(scm, ["x", "m"], tmp_path), x, acted)
    torch.testing.assert_close(found["y"], scm.counterfactual(x, acted)["y"])


def test_what_a_file_cannot_hold_is_refused(tmp_path):
    with pytest.raises(ccf.errors.InterventionError, match=r"Nothing follows from \['y'\]"):
        to_onnx(linear(), ["y"], tmp_path)
    with pytest.raises(ccf.errors.InterventionError, match=r"noise of \['y'\] is drawn at random"):
        to_onnx(switch(), ["x"], tmp_path)
    with pytest.raises(ccf.errors.UnknownNodeError, match="z"):
        to_onnx(linear(), ["z"], tmp_path)
    assert not list(tmp_path.iterdir())

"""LPIPS against torchmetrics' own network with the published channel weights, and against a few lines."""

from pathlib import Path

import pytest
import torch
import torchmetrics
from torch import nn
from torchmetrics.functional.image import lpips as oracle_module

from causalcf.core.errors import DataError
from causalcf.metrics import PerceptualNetwork, embedding_distance, lpips, vgg_features, vgg_perception
from causalcf.metrics.vgg import VGG16, as_colour
from causalcf.metrics.weights import WEIGHTS, WeightFile

LINEAR = Path(torchmetrics.__file__).parent / "functional/image/lpips_models/vgg.pth"


@pytest.fixture(scope="module")
def network():
    """VGG-16 with random weights that keep activations near 1."""
    torch.manual_seed(0)
    network = VGG16()
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.normal_(layer.bias, std=0.1)
    return network


@pytest.fixture
def folder(network, tmp_path, monkeypatch):
    """A folder with the files that `vgg_perception` looks for."""
    torch.save(network.state_dict() | {"classifier.0.weight": torch.zeros(1)}, tmp_path / "vgg16-397923af.pth")
    (tmp_path / "vgg.pth").write_bytes(LINEAR.read_bytes())
    monkeypatch.setitem(WEIGHTS, "vgg16", WeightFile("vgg16-397923af.pth", WEIGHTS["vgg16"].url, ""))
    monkeypatch.setenv("CAUSALCF_WEIGHTS", str(tmp_path))
    return tmp_path


def test_lpips_is_that_of_torchmetrics(network, folder, monkeypatch):
    monkeypatch.setattr(oracle_module, "_get_tv_model_features", lambda *_: network.features)
    oracle = oracle_module._LPIPS(net="vgg", pnet_rand=True)
    x, y = torch.rand(2, 3, 3, 32, 32)
    expected = oracle(x, y, normalize=True).flatten()
    found = lpips(x, y, vgg_perception(), batch_size=2)
    assert torch.allclose(found, expected, rtol=1e-5)
    grey = lpips(x[:, :1], y[:, :1], vgg_perception())
    assert torch.equal(grey, lpips(as_colour(x[:, :1]), as_colour(y[:, :1]), vgg_perception()))


def test_lpips_is_its_definition():
    x, y, weights = torch.rand(4, 3, 5, 5), torch.rand(4, 3, 5, 5), torch.rand(3)
    found = lpips(x, y, PerceptualNetwork("pixels", lambda images: [images, images * 2 + 1], [weights, weights]))
    for n in range(4):
        total = 0.0
        for a, b in ((x[n], y[n]), (x[n] * 2 + 1, y[n] * 2 + 1)):
            for i in range(5):
                for j in range(5):
                    unit = a[:, i, j] / a[:, i, j].norm() - b[:, i, j] / b[:, i, j].norm()
                    total += float((weights * unit**2).sum()) / 25
        assert float(found[n]) == pytest.approx(total, rel=1e-5)


def test_black_images_are_no_division_by_zero():
    black = torch.zeros(2, 1, 4, 4)
    assert torch.equal(lpips(black, black, PerceptualNetwork("pixels", lambda x: [x])), torch.zeros(2))


def test_features_of_vgg(network, folder):
    x = torch.rand(3, 1, 32, 32)
    extractor = vgg_features()
    assert extractor.name == "vgg16"
    assert extractor(x).shape == (3, 512)
    assert (embedding_distance(x, x.flip(0), extractor)[[0, 2]] > 0).all()


def test_bad_images_and_weights():
    with pytest.raises(DataError, match="at least 16 x 16, got 8 x 8"):
        VGG16()(torch.zeros(1, 3, 8, 8))
    with pytest.raises(DataError, match="1 or 3"):
        as_colour(torch.zeros(1, 2, 8, 8))
    network = PerceptualNetwork("pixels", lambda x: [x, x], [torch.ones(1)])
    with pytest.raises(DataError, match="'pixels' has 2 layers and weights for 1"):
        lpips(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4), network)

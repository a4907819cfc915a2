import pytest
import torch
from torch import nn

from causalcf.core.errors import DataError
from causalcf.metrics import Extractor, FeatureNetwork, PerceptualNetwork, evaluating, extract, lpips, metric_name


@pytest.fixture
def network():
    network = FeatureNetwork(10, size=16, features=12, width=4)
    network(torch.rand(64, 1, 16, 16))  # BatchNorm has seen something
    return network


def modes(network):
    return [module.training for module in network.modules()]


def test_the_features_are_the_penultimate_layer(network):
    network.eval()
    x = torch.rand(5, 1, 16, 16)
    extractor = network.extractor("digits-classifier-1")
    assert torch.equal(network.head(extractor(x)), network(x))
    assert metric_name("fid", extractor) == "fid[digits-classifier-1]"
    again = FeatureNetwork(**network.config)
    again.load_state_dict(network.state_dict())
    assert torch.equal(again.eval()(x), network(x))


def test_networks_are_evaluated_and_given_back_as_they_were(network):
    network.body.eval()  # partly frozen, as in fine-tuning
    before, buffers = modes(network), {k: v.clone() for k, v in network.state_dict().items()}
    extractor = network.extractor("mine")
    x = torch.rand(30, 1, 16, 16)
    found = extract(x, extractor, batch_size=7)
    assert modes(network) == before
    assert all(torch.equal(v, buffers[k]) for k, v in network.state_dict().items())
    assert torch.allclose(found, network.eval().features(x), atol=1e-6)
    assert not found.requires_grad


def test_modes_come_back_after_an_error(network):
    network.train()
    with pytest.raises(RuntimeError), evaluating(network):
        network(torch.rand(2, 3, 16, 16))
    assert all(modes(network))
    assert torch.is_grad_enabled()


def test_dropout_does_not_touch_lpips():
    layers = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Dropout())

    class Layers(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = layers

        def forward(self, x):
            return [self.layers(x)]

    network = PerceptualNetwork("mine", Layers()).train()
    x, y = torch.rand(2, 3, 1, 8, 8)
    assert torch.equal(lpips(x, y, network), lpips(x, y, network))
    assert network.training


def test_bad_extractors():
    with pytest.raises(DataError, match=r"gives \(N, d\), this one \(2, 1, 4, 4\) for 2 images"):
        extract(torch.zeros(2, 1, 4, 4), Extractor("same", nn.Identity()))
    with pytest.raises(DataError, match="no images"):
        extract(torch.zeros(0, 1, 4, 4), Extractor("flat", nn.Flatten()))
    with pytest.raises(DataError, match="multiple of 16, got 28"):
        FeatureNetwork(10, size=28)

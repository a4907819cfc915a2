"""Classifiers to explain: stacked members equal members in a loop, and learn what they are shown."""

import copy

import pytest
import torch
from torch import Tensor, nn

import causalcf as ccf
from causalcf import predictors
from causalcf.classifiers import Perceptrons, Stacked, accuracies, fit_classifier, without_class
from causalcf.core.errors import DataError
from causalcf.mechanisms import Recipe


def _rings(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Three rings, which no line tells apart."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 3
    angle = 6.3 * torch.rand(n, generator=generator)
    radius = 1 + y + 0.1 * torch.randn(n, generator=generator)
    return torch.stack([radius * angle.cos(), radius * angle.sin()], 1), y


def test_perceptrons_equal_a_loop_over_linear_layers() -> None:
    torch.manual_seed(0)
    f, x = Perceptrons([4, 8, 3], size=5).double(), torch.randn(7, 4).double()
    f.standardise.calibrate(2 * x + 1)
    scaled = (x - f.standardise.loc) / f.standardise.scale
    for member, logits in enumerate(f.members(x)):
        hidden = torch.relu(scaled @ f.weights[0][member] + f.biases[0][member])
        assert torch.allclose(logits, hidden @ f.weights[1][member] + f.biases[1][member])


def test_stacked_modules_equal_a_loop() -> None:
    torch.manual_seed(0)
    modules = [nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 4)) for _ in range(3)]
    x = torch.rand(5, 1, 8, 8)
    f = Stacked(modules)
    assert torch.allclose(f.members(x), torch.stack([module(x) for module in modules]), atol=1e-6)
    apart = torch.rand(3, 5, 1, 8, 8)
    expected = torch.stack([module(own) for module, own in zip(modules, apart, strict=True)])
    assert torch.allclose(f.members_apart(apart), expected, atol=1e-6)
    assert torch.allclose(copy.deepcopy(f)(x), f(x))


def test_an_ensemble_is_a_classifier_of_mean_probabilities() -> None:
    torch.manual_seed(0)
    f, x = Perceptrons([2, 4, 3], size=6), torch.randn(9, 2)
    assert torch.allclose(f(x).exp(), f.members(x).softmax(-1).mean(0), atol=1e-6)


def test_a_stack_needs_one_architecture() -> None:
    with pytest.raises(DataError, match="one architecture"):
        Stacked([nn.Linear(2, 3), nn.Linear(3, 3)])
    with pytest.raises(DataError, match="one architecture"):
        Stacked([])


@pytest.mark.parametrize("b", [nn.Tanh(), nn.LeakyReLU(0.5)], ids=["type", "setting"])
def test_equal_shapes_are_not_yet_one_architecture(b: nn.Module) -> None:
    """Where they were taken for one, the second would be asked with the first's code."""
    first, second = (nn.Sequential(nn.Linear(2, 4), act, nn.Linear(4, 3)) for act in (nn.LeakyReLU(0.1), b))
    with pytest.raises(DataError, match="one architecture"):
        Stacked([first, second])


def test_plain_attributes_belong_to_the_architecture() -> None:
    class Scaled(nn.Linear):
        def __init__(self, by: object) -> None:
            super().__init__(2, 3)
            self.by = by

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) * self.by

    Stacked([Scaled(2.0), Scaled(2.0)])
    for a, b in ((1.0, 2.0), (torch.ones(3), torch.ones(3))):
        with pytest.raises(DataError, match="one architecture"):
            Stacked([Scaled(a), Scaled(b)])


@pytest.mark.parametrize("adversarial", [0.0, 0.1])
def test_every_member_learns(adversarial: float) -> None:
    torch.manual_seed(0)
    f = Perceptrons([2, 16, 16, 3], size=4)
    fit_classifier(f, *_rings(900, 0), epochs=30, batch_size=50, lr=0.01, adversarial=adversarial)
    each = accuracies(f, *_rings(600, 1))
    assert each.shape == (4,)
    assert each.min() > 0.97
    assert len({float(weight) for weight in f.weights[0][:, 0, 0]}) == 4, "members differ"


def test_adversarial_training_forgoes_the_feature_that_an_attack_can_flip() -> None:
    """One feature is exact but tiny, the other large but noisy: only the second survives a step of .2."""
    torch.manual_seed(0)
    y = torch.arange(1000) % 2
    sign = 2 * y[:, None] - 1.0
    x = torch.cat([0.1 * sign, sign + 0.6 * torch.randn(1000, 1)], 1)
    attacked = x - 0.2 * sign
    right = {adversarial: float(accuracies(_trained(x, y, adversarial), attacked, y)) for adversarial in (0.0, 0.2)}
    assert right[0.2] > 0.85
    assert right[0.0] < right[0.2] - 0.2


def _trained(x: Tensor, y: Tensor, adversarial: float) -> nn.Module:
    torch.manual_seed(0)
    return fit_classifier(Perceptrons([2, 2]), x, y, epochs=20, batch_size=50, lr=0.02, adversarial=adversarial)


def test_stacked_modules_train_as_well() -> None:
    torch.manual_seed(0)
    f = Stacked([nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 3)) for _ in range(3)])
    fit_classifier(f, *_rings(900, 0), epochs=40, batch_size=50, lr=0.02)
    assert accuracies(f, *_rings(600, 1)).min() > 0.95


def test_balanced_weights_find_the_rare_class() -> None:
    generator = torch.Generator().manual_seed(0)
    y = (torch.rand(2000, generator=generator) < 0.05).long()
    x = torch.randn(2000, 1, generator=generator) + 1.5 * y[:, None]
    found = {}
    for balanced in (False, True):
        torch.manual_seed(0)
        f = fit_classifier(Perceptrons([1, 2]), x, y, epochs=20, lr=0.02, balanced=balanced)
        found[balanced] = float((f(x).argmax(1)[y == 1] == 1).float().mean())
    assert found[True] > 0.6 > found[False]


def test_bad_labels_are_refused() -> None:
    x = torch.randn(4, 2)
    with pytest.raises(DataError, match="one label a row"):
        fit_classifier(Perceptrons([2, 2]), x, torch.zeros(3))
    with pytest.raises(DataError, match="one class"):
        fit_classifier(Perceptrons([2, 2]), x, torch.zeros(4))


def test_a_rigged_classifier_never_says_the_class_it_never_saw() -> None:
    bars = ccf.datasets.Bars(600, seed=1)
    rows = without_class(bars, "side", 1)
    assert not (rows["side"] == 1).any()
    assert rows.rows == int((bars["side"] != 1).sum())
    if bars.variables["side"].num_features < 3:
        return
    predictor = predictors.Predictor("side", bars.variables["side"], bars.variables["image"], widths=(4, 8), hidden=8)
    predictors.fit(predictor, rows, recipe=Recipe(epochs=3, batch_size=64), progress=False)
    assert not (predictor.read(bars) == 1).any()


def test_the_mnist_classifier_comes_along() -> None:
    digit = predictors.pretrained("mnist")["digit"]
    assert digit.score is not None
    assert digit.score.value > 0.99
    assert digit(torch.rand(2, 1, 28, 28)).shape == (2, 10)

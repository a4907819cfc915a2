"""Metrics of explanations: known values, laws, and oracles written in loops."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import causalcf.metrics as M
from causalcf.core.errors import DataError


def _logits(x: Tensor) -> Tensor:
    """A classifier that counts dark and bright pixels, some more than others."""
    weight = torch.linspace(0.2, 2, x[0].numel(), dtype=x.dtype)
    return torch.stack([(1 - x.flatten(1)) @ weight, x.flatten(1) @ weight], 1) / 4


# ---------------------------------------------------------------------- COUT


def _cout_in_a_loop(x: Tensor, factual: Tensor, source: int, target: int, steps: int) -> float:
    pixels = list(range(x.shape[-1] * x.shape[-2]))
    change = (x - factual).abs().sum(0).flatten().tolist()
    pixels.sort(key=lambda i: -change[i])  # Python's sort is stable
    values = []
    for t in range(steps + 1):
        mixed = factual.clone().flatten(1)
        for i in pixels[: round(t * len(pixels) / steps)]:
            mixed[:, i] = x.flatten(1)[:, i]
        p = _logits(mixed.view_as(x)[None])[0].softmax(0)
        values.append(float(p[target] - p[source]))
    return sum((a + b) / 2 for a, b in pairwise(values)) / steps


def test_cout_equals_a_loop_over_pixels() -> None:
    torch.manual_seed(0)
    x, factual = torch.rand(3, 2, 4, 4).double().round(decimals=1), torch.rand(3, 2, 4, 4).double().round(decimals=1)
    source, target = torch.tensor([0, 1, 0]), torch.tensor([1, 0, 1])
    found = M.cout(x, factual, source, target, _logits, steps=8)
    expected = [
        _cout_in_a_loop(*row, steps=8) for row in zip(x, factual, source.tolist(), target.tolist(), strict=True)
    ]
    assert found.tolist() == pytest.approx(expected, abs=1e-9)


def test_weights_sum_to_one_and_cout_is_bounded() -> None:
    sure = torch.zeros(2, 12, 3)
    sure[..., 1] = 1
    assert torch.equal(M.aupc(sure, torch.tensor([1, 0])), torch.tensor([1.0, 0.0]))


def test_a_counterfactual_that_is_its_factual_has_the_difference_there() -> None:
    x = torch.rand(4, 1, 4, 4)
    p = _logits(x).softmax(1)
    same = M.cout(x, x, torch.zeros(4).long(), torch.ones(4).long(), _logits)
    assert torch.allclose(same, p[:, 1] - p[:, 0], atol=1e-6)


def test_the_stream_starts_at_the_factual_and_ends_at_the_counterfactual() -> None:
    x, factual = torch.rand(3, 1, 5, 5), torch.rand(3, 1, 5, 5)
    curves = M.transition_curves(x, factual, _logits, steps=7)
    assert torch.allclose(curves[:, 0], _logits(factual).softmax(1), atol=1e-6)
    assert torch.allclose(curves[:, -1], _logits(x).softmax(1), atol=1e-6)


def test_changing_fewer_pixels_for_the_same_effect_is_better() -> None:
    factual = torch.zeros(1, 1, 8, 8)
    few, many = factual.clone(), torch.ones(1, 1, 8, 8)
    few[0, 0, 0, 0] = 1

    def corner(x: Tensor) -> Tensor:
        return 20 * torch.stack([0.5 - x[:, 0, 0, 0], x[:, 0, 0, 0] - 0.5], 1)

    labels = torch.tensor([0]), torch.tensor([1])
    spread = many.clone()
    spread[0, 0, 0, 0] = 0.99  # the pixel that matters comes last
    assert M.cout(few, factual, *labels, corner) > 0.9
    assert M.cout(spread, factual, *labels, corner) < -0.9


# ---------------------------------------------------------------------- validity and change


def test_failures_count_against_validity() -> None:
    said = torch.tensor([7, 7])
    assert M.validity(said, said, failed=torch.tensor([True, False])).tolist() == [0, 1]


def test_sizes_of_change_are_those_by_hand() -> None:
    x, y = torch.zeros(1, 1, 2, 2), torch.tensor([[[[0.0, 0.5], [0.0, -0.05]]]])
    assert M.total_change(x, y).item() == pytest.approx(0.55)
    assert M.proximity(x, y).item() == pytest.approx(0.55 / 4)
    assert M.distance(x, y).item() == pytest.approx(math.hypot(0.5, 0.05))
    assert M.changed_features(x, y).item() == 0.25
    assert M.changed_features(x, y, threshold=0.01).item() == 0.5


# ---------------------------------------------------------------------- autoencoders


def test_im1_and_im2_by_hand() -> None:
    x = torch.full((1, 1, 1, 2), 2.0)
    by_class = torch.stack([x + 1, x + 3, x - 1], 1)  # of class 0, of class 1, of all
    zero, one = torch.tensor([0]), torch.tensor([1])
    assert M.im1(by_class, x, source=one, target=zero).item() == pytest.approx(2 / 18)
    assert M.im2(by_class, x, target=one).item() == pytest.approx((16 + 16) / 4)


def test_a_class_without_a_judge_is_refused() -> None:
    x = torch.rand(1, 1, 2, 2)
    with pytest.raises(DataError, match="a class is beyond them"):
        M.im2(torch.rand(1, 3, 1, 2, 2), x, torch.tensor([2]))


def test_judges_side_by_side_see_only_their_own_images() -> None:
    judges, x = M.ClassAutoencoders(3), torch.rand(2, 4, 1, 8, 8)
    whole = judges.apart(x)
    changed = x.clone()
    changed[:, 1] = 0
    again = judges.apart(changed)
    assert torch.equal(whole[:, [0, 2, 3]], again[:, [0, 2, 3]])
    assert not torch.equal(whole[:, 1], again[:, 1])
    assert torch.allclose(judges(x[:, 0])[:, 0], whole[:, 0], atol=1e-6)


def test_each_judge_knows_its_own_class_best() -> None:
    """Horizontal stripes, vertical stripes: the judge of the one rebuilds it better than the other."""
    torch.manual_seed(0)
    labels = torch.arange(400) % 2
    stripes = (torch.rand(400, 1, 8, 1) > 0.5).float().expand(400, 1, 8, 8)
    images = torch.where(labels[:, None, None, None] == 0, stripes, stripes.transpose(2, 3))
    judges = M.fit_autoencoders(images, labels, epochs=60, batch_size=32)
    with torch.no_grad():
        ratio = M.im1(judges(images), images, source=1 - labels, target=labels)
    assert ratio.median() < 0.6
    assert M.reconstruction_error(images, judges.of_all).mean() < images.var()


# ---------------------------------------------------------------------- streams


def _r2(y: list[float]) -> float:
    n = len(y)
    x_mean, y_mean = (n - 1) / 2, sum(y) / n
    slope = sum((i - x_mean) * (v - y_mean) for i, v in enumerate(y)) / sum((i - x_mean) ** 2 for i in range(n))
    left = sum((v - y_mean - slope * (i - x_mean)) ** 2 for i, v in enumerate(y))
    return 1 - left / sum((v - y_mean) ** 2 for v in y)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-20, 20), min_size=3, max_size=12), st.integers(0, 4))
def test_linearity_is_the_coefficient_of_determination_whatever_the_padding(y: list[int], padding: int) -> None:
    values = torch.tensor([[*map(float, y), *[99.0] * padding]])
    found = M.linearity(values, torch.tensor([len(y)])).item()
    if len(set(y)) == 1:
        assert math.isnan(found)
    else:
        assert found == pytest.approx(_r2([float(v) for v in y]), abs=1e-4)


def test_what_is_undefined_is_nan_and_says_why() -> None:
    values = torch.tensor([[0.0, 1.0, 0.0], [5.0, 5.0, 5.0], [0.0, 1.0, 2.0]])
    lengths = torch.tensor([2, 3, 3])
    assert M.linearity(values, lengths).isnan().tolist() == [True, True, False]
    assert M.undefined(values, lengths) == ["fewer than 3 frames", "nothing changes along the stream", ""]
    still = torch.full((1, 4, 1, 2, 2), 0.3)
    assert M.continuity(still).isnan().all()
    assert M.continuity(still, per="pixel").isnan().all()
    assert M.chord_share(torch.full((1, 4, 2), 0.3)).isnan().all()


def test_continuity_per_frame_and_per_pixel_by_hand() -> None:
    frames = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [4.0, 0.0]]]).view(1, 3, 1, 1, 2)
    # Frame changes .5 and 1.5: mean 1, deviation .5. Pixel changes 1, 0, 3, 0: mean 1, deviation sqrt(1.5).
    assert M.continuity(frames).item() == pytest.approx(0.5)
    assert M.continuity(frames, per="pixel").item() == pytest.approx(math.sqrt(1.5))


def test_a_straight_even_path_is_perfect_and_a_loop_is_not() -> None:
    t = torch.linspace(0, 1, 9)[None, :, None]
    line = t * torch.tensor([1.0, -2.0, 0.0])  # the last dimension rests
    assert M.path_linearity(line).item() == pytest.approx(1)
    assert M.chord_share(line).item() == pytest.approx(1)
    circle = torch.cat([(2 * math.pi * t).cos(), (2 * math.pi * t).sin()], 2)
    assert M.chord_share(circle).item() == pytest.approx(0, abs=1e-6)
    there_and_back = torch.cat([t, t.flip(1)], 1)
    assert M.path_linearity(there_and_back).item() == pytest.approx(0, abs=1e-6)


def test_lengths_must_fit() -> None:
    with pytest.raises(DataError, match=r"in 1\.\.3"):
        M.linearity(torch.zeros(1, 3), torch.tensor([4]))


# ---------------------------------------------------------------------- doubt


def test_doubt_by_hand() -> None:
    agreeing = torch.zeros(3, 1, 4)
    split = M.doubt(agreeing)
    assert split.total.item() == pytest.approx(math.log(4))
    assert split.epistemic.item() == pytest.approx(0, abs=1e-6)
    torch.manual_seed(0)
    split = M.doubt(torch.randn(5, 8, 3).double())
    assert torch.allclose(split.total, split.aleatoric + split.epistemic)


def test_one_member_cannot_disagree() -> None:
    with pytest.raises(DataError, match="at least 2"):
        M.doubt(torch.zeros(1, 2, 3))


# ---------------------------------------------------------------------- similarity


def test_distance_ratio_is_a_scale() -> None:
    torch.manual_seed(0)
    z = torch.randn(20, 5)
    assert M.distance_ratio(z + 7, z).item() == pytest.approx(1, abs=1e-5)
    assert M.distance_ratio(torch.zeros(20, 5), z).item() == 0
    with pytest.raises(DataError, match="one latent"):
        M.distance_ratio(z, torch.zeros(20, 5))


@settings(max_examples=30, deadline=None)
@given(st.integers(4, 40), st.integers(0, 5))
def test_strangers_share_both_classes_and_are_others(n: int, seed: int) -> None:
    torch.manual_seed(seed)
    source, target = torch.randint(2, (n,)), torch.randint(2, (n,))
    groups = list(zip(source.tolist(), target.tolist(), strict=True))
    crowded = [i for i, group in enumerate(groups) if groups.count(group) > 1]
    if not crowded:
        return
    rows, strangers = M.siamese_pairs(source, target, seed)
    assert rows.tolist() == crowded
    assert sorted(strangers.tolist()) == crowded, "every counterfactual is a stranger once"
    assert (rows != strangers).all()
    assert all(groups[a] == groups[b] for a, b in zip(rows.tolist(), strangers.tolist(), strict=True))


def test_the_siamese_network_tells_what_is_kept_from_what_is_not() -> None:
    """Bars whose place is kept, or drawn anew: the one is told nearly always, the other at chance."""
    torch.manual_seed(0)
    place = torch.randint(8, (400,))

    def bars(at: Tensor, row: int) -> Tensor:
        images = torch.zeros(len(at), 1, 16, 16)
        images[torch.arange(len(at)), 0, row, at] = 1
        images[torch.arange(len(at)), 0, row + 1, at + 1] = 1
        return images

    factual, classes = bars(place, 3), torch.zeros(400).long()
    kept, lost = bars(place, 9), bars(place[torch.randperm(400)], 9)
    score = M.siamese_similarity(kept, factual, classes, classes, folds=2, epochs=8)
    assert score.accuracy > 0.85
    assert score.recall > 0.9
    chance = M.siamese_similarity(lost, factual, classes, classes, folds=2, epochs=8)
    assert 0.4 < chance.accuracy < 0.6

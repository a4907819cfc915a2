"""Do the metrics tell good models from bad ones? A world whose truth is known, and models of known worth.

A cause t sets how far a bright column reaches down the image, a second cause the brightness of each
image, and every image has noise of its own. Models: the truth; one that goes half of the way; doing
nothing; one that ignores its parents and returns a blurred copy; noise.
"""

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

import causalcf.metrics as M

SIZE, N = 16, 400
NOISE = 0.03


def render(t: Tensor, brightness: Tensor, noise: Tensor) -> Tensor:
    rows = torch.arange(SIZE, dtype=t.dtype) + 0.5
    column = torch.sigmoid(2 * (t[:, None] - rows))
    return 0.1 + brightness[:, None, None, None] * column[:, None, :, None] + NOISE * noise


def read_t(images: Tensor, brightness: Tensor) -> Tensor:
    """An oracle predictor q(t | image, brightness): the mean over the image is linear in t."""
    return SIZE * (images.mean((1, 2, 3)) - 0.1) / brightness


def encode(images: Tensor) -> tuple[Tensor, Tensor]:
    """Stands in for the unconditional VAE: means of rows, and the noise they carry."""
    mean = images.mean((1, 3))
    return mean, torch.full_like(mean, math.log(NOISE**2 / SIZE))


@dataclass
class World:
    t: Tensor
    acted: Tensor
    brightness: Tensor
    x: Tensor
    truth: Tensor
    answers: dict[str, Tensor]


def make(n: int = N, dtype: torch.dtype = torch.float64) -> World:
    generator = torch.Generator().manual_seed(0)
    t, brightness = (torch.rand(n, generator=generator, dtype=dtype) for _ in range(2))
    t, brightness = 3 + 10 * t, 0.3 + 0.5 * brightness
    noise = torch.randn(n, 1, SIZE, SIZE, generator=generator, dtype=dtype)
    acted = M.draw_other_bin(t, t, bins=5, seed=1)
    x, truth = render(t, brightness, noise), render(acted, brightness, noise)
    blurred = nn.functional.avg_pool2d(nn.functional.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    answers = {
        "truth": truth,
        "half": render((t + acted) / 2, brightness, noise),
        "nothing": x,
        "ignorant": blurred,
        "noise": torch.rand(n, 1, SIZE, SIZE, generator=generator, dtype=dtype),
    }
    return World(t, acted, brightness, x, truth, answers)


@pytest.fixture(scope="module")
def world() -> World:
    return make()


def means(world: World, score) -> dict[str, float]:
    return {name: float(score(images).mean()) for name, images in world.answers.items()}


def test_the_truth_error_ranks_them(world):
    found = means(world, lambda images: M.grey_level_error(images, world.truth))
    assert found["truth"] == 0
    assert found["truth"] < found["half"] < found["nothing"] < found["noise"]
    assert found["half"] < found["ignorant"]
    # Doing nothing errs by brightness * |t* - t| / 16 of the image, up to the column's soft end.
    expected = 255 * float((world.brightness * (world.acted - world.t).abs()).mean()) / SIZE
    assert found["nothing"] == pytest.approx(expected, rel=0.01)


def test_effectiveness_ranks_them(world):
    found = means(world, lambda images: M.absolute_error(read_t(images, world.brightness), world.acted))
    assert found["truth"] < 0.1 < found["half"] < found["nothing"]
    assert found["half"] == pytest.approx(found["nothing"] / 2, rel=0.1)
    assert found["ignorant"] == pytest.approx(found["nothing"], rel=0.05)
    assert found["noise"] > found["half"]


def test_categories_rank_them(world):
    """The bin of t, as an attribute with five categories."""
    bins = M.equal_width_bins(world.acted, world.t, bins=5)
    read = {
        name: M.equal_width_bins(read_t(images, world.brightness), world.t, bins=5)
        for name, images in world.answers.items()
    }
    accuracy = {name: float(M.accuracy(codes, bins).mean()) for name, codes in read.items()}
    scores = {name: M.f1_interval(codes, bins, classes=5, average="macro") for name, codes in read.items()}
    assert accuracy["truth"] > 0.9 > 0.5 > accuracy["half"] > accuracy["nothing"]
    assert accuracy["nothing"] < 0.05
    assert scores["truth"].low > scores["half"].high > scores["nothing"].high
    assert scores["truth"].value == pytest.approx(accuracy["truth"], abs=0.05)


def test_composition_alone_is_blind_to_ignorance(world):
    """A model that does nothing composes perfectly; so does any with the full residual."""
    assert float(M.composition(world.x, world.answers["nothing"]).max()) == 0
    cycled, drift = world.x, []
    for _ in range(3):
        cycled = nn.functional.avg_pool2d(cycled, 3, stride=1, padding=1, count_include_pad=False)
        drift.append(float(M.composition(world.x, cycled).mean()))
    assert 0 < drift[0] < drift[1] < drift[2]


def test_reversibility_knows_what_comes_back(world):
    noise = (world.x - render(world.t, world.brightness, torch.zeros_like(world.x))) / NOISE
    assert float(M.reversibility(world.x, render(world.t, world.brightness, noise)).max()) < 1e-9
    lost = render(world.t, world.brightness, torch.zeros_like(world.x))  # forgot the noise
    expected = 255 * NOISE * math.sqrt(2 / math.pi)  # the mean of |noise|, to 0.3 %
    assert float(M.reversibility(world.x, lost).mean()) == pytest.approx(expected, rel=0.02)


def test_realism_ranks_noise_last(world):
    features = M.Extractor("rows", lambda images: torch.cat([images.mean((1, 3)), images.std((1, 3))], 1))
    real = M.extract(world.x, features)
    for distance in (
        lambda f: float(M.fid(real, f)),
        lambda f: M.kid(real, f, subsets=20, subset_size=200).value,
    ):
        found = {name: distance(M.extract(images, features)) for name, images in world.answers.items()}
        assert found["noise"] > 10 * found["truth"]
        assert found["ignorant"] > found["nothing"]
        # Realism says nothing about the action: real images, unchanged, are the most real.
        assert found["nothing"] < found["truth"]


def test_cld_tells_noise_but_prefers_half_an_action_to_the_truth(world):
    """Its two probabilities mean what they say; their sum is no ranking. So it is read beside the truth's."""
    labels, acted = (M.equal_width_bins(t, world.t) for t in (world.t, world.acted))
    factual = encode(world.x)
    found = {
        name: M.cld(encode(images), factual, factual, labels=labels, acted_labels=acted, reference_labels=labels)
        for name, images in world.answers.items()
    }
    value, closer, farther = (
        {name: float(getattr(scores, part).mean()) for name, scores in found.items()}
        for part in ("value", "p_counterfactual", "p_factual")
    )
    assert closer["nothing"] == 0 <= closer["ignorant"] < closer["half"] < closer["truth"] < closer["noise"]
    assert farther["nothing"] == 1 > farther["ignorant"] > farther["half"] > farther["truth"] > farther["noise"]
    assert max(value, key=value.__getitem__) == "noise"
    assert value["nothing"] == pytest.approx(0.2954, abs=1e-4)
    assert value["half"] < value["truth"]


def test_sharpness_and_diversity_tell_blur_and_noise(world):
    sharp = means(world, M.sharpness)
    assert sharp["ignorant"] < 0.5 * sharp["nothing"] < sharp["noise"]
    # The Laplacian of independent noise has (1 + 1 + 1 + 1 + 16) times its variance, here 1/12.
    assert sharp["noise"] == pytest.approx(255**2 * 20 / 12, rel=0.02)
    diverse = means(world, M.diversity)
    assert diverse["noise"] == pytest.approx(255 / 3, rel=0.02)  # E |u - v| of uniforms
    assert float(M.diversity(world.x[:1].expand(N, -1, -1, -1))) == pytest.approx(0, abs=1e-9)


def test_uncertainty_has_known_values(world):
    samples = torch.stack([world.truth + 0.1 * torch.randn(N, 1, SIZE, SIZE) for _ in range(8)])
    assert float(M.abduction_std(samples).mean()) == pytest.approx(25.5, rel=0.02)
    assert float(M.abduction_spread(samples).mean()) == pytest.approx(25.5 * 2 / math.pi**0.5, rel=0.02)


def test_what_the_action_must_not_touch(world):
    assert float(M.unchanged(world.brightness, world.brightness.clone()).mean()) == 1
    touched = world.brightness.clone()
    touched[:100] = torch.nextafter(touched[:100], torch.ones(()).double())
    assert float(M.unchanged(world.brightness, touched).mean()) == 0.75
    assert 0 < float(M.max_change(world.brightness, touched).max()) < 1e-15


def test_intervals_hold_the_score_of_ten_times_the_data():
    few, many = make(300), make(3000)
    few, many = (M.grey_level_error(world.answers["half"], world.truth) for world in (few, many))
    found = M.bootstrap_interval(few, level=0.99)
    assert found.low < float(many.mean()) < found.high

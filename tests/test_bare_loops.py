"""The loops written by hand end where the explainers' searches end, so that both do the same work."""

import pytest
import torch

from causalcf.costs.bare_loops import LOOPS, Setting, sides


@pytest.fixture(scope="module")
def setting() -> Setting:
    return Setting(rows=6, steps=4, widths=(8, 8, 8))


@pytest.mark.parametrize("name", [name for name in LOOPS if name not in ("Clarity", "path")])
def test_both_sides_end_at_the_same_place(name: str, setting: Setting):
    ours, by_hand = sides(name, setting)
    torch.testing.assert_close(ours(), by_hand(), atol=1e-4, rtol=0)


def test_clarity_keeps_the_best_of_what_the_loop_passes(setting: Setting):
    """A failed row holds its best attempt; the loop ends with the last."""
    ours, by_hand = sides("Clarity", setting)

    def p(code: torch.Tensor) -> torch.Tensor:
        return setting.clarity.ensemble.members(code).softmax(-1).mean(0).gather(1, setting.latent_target[:, None])

    assert bool((p(ours()) >= p(by_hand()) - 1e-6).all())


def test_the_path_ends_at_one_of_the_points_looked_at(setting: Setting):
    ours, by_hand = sides("path", setting)

    def p(code: torch.Tensor) -> torch.Tensor:
        return setting.f(setting.decode(code)).softmax(1).gather(1, setting.target[:, None])

    torch.testing.assert_close(p(ours()), p(by_hand()), atol=1e-5, rtol=1e-3)


def test_every_step_is_taken(setting: Setting):
    evaluated = 0

    def counting(module: object, inputs: object, output: torch.Tensor) -> None:
        nonlocal evaluated
        evaluated += len(output)

    handle = setting.vae.generator.register_forward_hook(counting)
    try:
        ours, by_hand = sides("REVISE", setting)
        counts = []
        for side in (ours, by_hand):
            evaluated = 0
            side()
            counts.append(evaluated)
    finally:
        handle.remove()
    assert counts == [6 * 5, 6 * 5]

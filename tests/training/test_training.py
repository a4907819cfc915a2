"""Fitting: one split, steps that act as promised, and runs that survive being killed."""

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

import causalcf as ccf
from causalcf import training
from causalcf.core.checkpoint import read_file
from causalcf.core.errors import (
    CausalCFWarning,
    CheckpointError,
    DataError,
    MechanismError,
    NotFittedError,
    TrainingError,
    UnknownNodeError,
)
from causalcf.mechanisms import Mechanism, Recipe, Stage, Turn
from causalcf.training import resume


@dataclass(eq=False, repr=False)
class Toy(Mechanism):
    """x := w + u, with a loss that a test may replace."""

    default_recipe: ClassVar[Recipe] = Recipe(epochs=4, batch_size=25, lr=0.1, warmup=0)
    kind: ClassVar[Any] = "invertible"
    objective: ClassVar[Callable[..., Tensor] | None] = None

    def build(self) -> None:
        self.w = nn.Parameter(torch.zeros(()))

    def loss(self, x: Tensor, pa: Mapping[str, Tensor]) -> Tensor:
        return (x - self.w).square().mean() if type(self).objective is None else type(self).objective(self, x)

    def abduct(self, x: Tensor, pa: Mapping[str, Tensor], *, sample: bool = False) -> dict[str, Tensor]:
        return {"u": x - self.w}

    def predict(self, u: Mapping[str, Tensor], pa: Mapping[str, Tensor]) -> Tensor:
        return u["u"] + self.w

    def sample_noise(self, n: int) -> dict[str, Tensor]:
        return {"u": torch.randn(n, device=self.device, dtype=self.dtype)}


def _toy(objective: Callable[[Toy, Tensor], Tensor] | None = None, **recipe: Any) -> Toy:
    kind = type("Toy", (Toy,), {"objective": objective} if objective else {})
    return kind(recipe=Recipe(**{"epochs": 4, "batch_size": 25, "lr": 0.1, "warmup": 0, **recipe}))


def _one(mechanism: Mechanism) -> ccf.SCM:
    graph = ccf.CausalGraph([("x", "y")]).mutilate(["y"])
    return ccf.SCM(graph, {"x": ccf.Real(), "y": ccf.Real()}, {"x": mechanism, "y": _toy()})


def _data(n: int = 100) -> dict[str, Tensor]:
    x = torch.arange(n) + 1.0
    return {"x": x, "y": x + 1000}


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, float]]:
    """What AdamW saw at every step: learning rate, gradient norm, first weight afterwards."""
    seen: list[dict[str, float]] = []
    original = torch.optim.AdamW.step

    def step(self: torch.optim.AdamW, *args: Any, **kwargs: Any) -> Any:
        (group,) = self.param_groups
        norm = torch.stack([p.grad.norm() for p in group["params"] if p.grad is not None]).norm()
        result = original(self, *args, **kwargs)
        seen.append({"lr": group["lr"], "norm": float(norm), "w": float(group["params"][0].detach().flatten()[0])})
        return result

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    return seen


# ---------------------------------------------------------------------- steps


def test_the_warm_up_begins_above_zero_and_the_cosine_ends_near_it(steps: list[dict[str, float]]) -> None:
    _one(_toy(epochs=50, warmup=10)).fit(_data(), epochs={"y": 0}, seed=0, progress=False)
    rates = [step["lr"] for step in steps]
    assert len(rates) == 50 * 4
    assert rates[0] == pytest.approx(0.01)
    assert rates[9] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(0.1)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 1e-4


def test_clipping_acts_on_the_gradient(steps: list[dict[str, float]]) -> None:
    _one(_toy(clip=1e9)).fit(_data(), epochs={"y": 0}, seed=0, progress=False)
    free = [step["norm"] for step in steps]
    steps.clear()
    _one(_toy(clip=0.5)).fit(_data(), epochs={"y": 0}, seed=0, progress=False)
    assert min(free) > 10
    assert all(step["norm"] == pytest.approx(0.5, rel=1e-4) for step in steps)


def test_small_data_get_more_passes(steps: list[dict[str, float]]) -> None:
    scm = _one(_toy(epochs=1, min_steps=30)).fit(_data(), epochs={"y": 0}, seed=0, progress=False)
    assert len(steps) == 32, "8 epochs of 4 steps"
    assert [record["epoch"] for record in scm.history] == list(range(1, 9))


def test_the_average_of_the_weights_is_what_is_kept(steps: list[dict[str, float]]) -> None:
    scm = _one(_toy(ema=0.8, epochs=2)).fit(_data(), epochs={"y": 0}, seed=0, progress=False)
    average, at_epoch = steps[0]["w"], []
    for count, step in enumerate(steps):
        if count:
            decay = min((1 + count) / (10 + count), 0.8)
            average = decay * average + (1 - decay) * step["w"]
        if count % 4 == 3:
            at_epoch.append(average)
    best = min(range(2), key=lambda epoch: scm.history[epoch]["validation"])
    assert float(scm.mechanisms["x"].w) == pytest.approx(at_epoch[best], rel=1e-5)
    assert float(scm.mechanisms["x"].w) != pytest.approx(steps[4 * best + 3]["w"], rel=1e-2)


def test_without_an_average_the_weights_themselves_are_kept(steps: list[dict[str, float]]) -> None:
    scm = _one(_toy(epochs=10)).fit(_data(), epochs={"y": 0}, seed=0, progress=False)
    best = min(range(10), key=lambda epoch: scm.history[epoch]["validation"])
    assert float(scm.mechanisms["x"].w) == pytest.approx(steps[4 * best + 3]["w"], rel=1e-5)


def test_training_stops_early_and_keeps_the_best() -> None:
    """Training pushes w up; validation likes it near 1, which is passed in the third epoch of four steps."""
    scm = _one(
        _toy(lambda toy, x: -toy.w + 0 * x.sum() if toy.training else (toy.w - 1).square(), epochs=100, patience=4)
    ).fit(_data(), epochs={"y": 0}, seed=0, progress=False)
    history = [record for record in scm.history if record["node"] == "x"]
    best = min(history, key=lambda record: record["validation"])
    assert len(history) == best["epoch"] + 4 < 100
    assert (scm.mechanisms["x"].w - 1).square() == pytest.approx(best["validation"], abs=1e-6)


# ---------------------------------------------------------------------- losses that are not finite


def _failing(when: set[int], what: float = torch.nan) -> Callable[[Toy, Tensor], Tensor]:
    calls = iter(range(10**6))

    def objective(toy: Toy, x: Tensor) -> Tensor:
        bad = toy.training and next(calls) in when
        return (x - toy.w).square().mean() * (what if bad else 1.0)

    return objective


@pytest.mark.parametrize("what", [torch.nan, torch.inf])
def test_a_few_losses_that_are_not_finite_are_skipped_and_counted(what: float) -> None:
    scm = _one(_toy(_failing({1, 5, 6}, what))).fit(_data(), seed=0, progress=False)
    assert [record["skipped"] for record in scm.history if record["node"] == "x"] == [1, 3, 3, 3]
    assert torch.isfinite(scm.mechanisms["x"].w)
    assert all(torch.isfinite(torch.tensor(record["train"])) for record in scm.history)


def test_many_losses_that_are_not_finite_stop_the_run() -> None:
    scm = _one(_toy(_failing({*range(2, 30)})))
    with pytest.raises(
        TrainingError,
        match=r"'x': the loss or its gradient was NaN .* steps \(epoch 2\)\. .* at the data\.$",
    ):
        scm.fit(_data(), seed=0, progress=False)
    with pytest.raises(NotFittedError, match=r"The mechanisms of \['x', 'y'\] are not fitted"):
        scm.sample(3)


def test_a_gradient_that_is_not_finite_counts_too() -> None:
    with pytest.raises(TrainingError, match="'x': the loss or its gradient was NaN"):
        _one(_toy(lambda toy, x: (toy.w * 0).sqrt() + x.mean())).fit(_data(), seed=0, progress=False)


def test_a_validation_loss_that_is_never_finite_stops_the_run() -> None:
    objective = _failing(set())
    scm = _one(_toy(lambda toy, x: objective(toy, x) + (0.0 if toy.training else torch.inf)))
    with pytest.raises(TrainingError, match="'x': the validation loss was NaN or infinite after each of 4 epochs"):
        scm.fit(_data(), seed=0, progress=False)


# ---------------------------------------------------------------------- stages and turns


@dataclass(eq=False, repr=False)
class Duel(Toy):
    """Two players: `w` goes to the data's mean, `follower` after it; then it goes on alone."""

    turns: ClassVar[tuple[Turn, ...]] = (Turn("lead", ("w",)), Turn("follow", ("follower.weight",), lr=0.05))
    alone: ClassVar[Stage] = Stage("alone", (Turn("follow", ("follower",)),), Recipe(epochs=2, batch_size=50, lr=0.01))
    noise: ClassVar[float] = 0.0

    def build(self) -> None:
        self.w = nn.Parameter(torch.zeros(()))
        self.follower = nn.Linear(1, 1)
        self.idle = nn.BatchNorm1d(1)
        self.register_buffer("calls", torch.zeros(()))
        self.seen: list[tuple[str, float, float, bool, bool]] = []
        self.means: list[float] = []

    @property
    def stages(self) -> tuple[Stage, ...]:
        return (Stage("both", self.turns, validation=None), self.alone)

    def note(self, turn: str) -> None:
        a, b = self.w, self.follower.weight
        self.seen.append((turn, a.item(), b.item(), a.requires_grad, b.requires_grad))

    def lead(self, x: Tensor, pa: Mapping[str, Tensor]) -> Tensor:
        self.note("lead")
        self.calls += 1
        self.means.append(float(x.mean() / 50))
        return (self.w - x.mean() / 50 + self.noise * torch.randn(())).square()

    def follow(self, x: Tensor, pa: Mapping[str, Tensor]) -> Tensor:
        self.note("follow")
        return (self.follower.weight - self.w + self.noise * torch.randn(())).square().sum() + x.mean() * 0

    def loss(self, x: Tensor, pa: Mapping[str, Tensor]) -> Tensor:
        return (self.follower.weight - self.w).square().sum()


def _duel(kind: type[Duel] = Duel, **options: Any) -> tuple[ccf.SCM, Duel]:
    scm = _one(kind(recipe=Recipe(epochs=3, batch_size=50, lr=0.1, warmup=0)))
    scm.fit(_data(), **{"epochs": {"y": 0}, "validation": _data(10), "seed": 0, "progress": False, **options})
    return scm, scm.mechanisms["x"]  # type: ignore[return-value]


def test_turns_move_their_own_weights_in_order_with_their_own_optimisers() -> None:
    """Against a loop by hand; the batches' means are taken from what the leader was shown."""
    _, duel = _duel()
    training_calls = duel.seen[:12]
    assert [call[0] for call in training_calls] == ["lead", "follow"] * 6
    assert all(call[3:] == (call[0] == "lead", call[0] == "follow") for call in training_calls)
    a, b = (torch.tensor(value, requires_grad=True) for value in training_calls[0][1:3])
    players = [(torch.optim.AdamW([a], weight_decay=0), 0.1), (torch.optim.AdamW([b], weight_decay=0), 0.05)]
    for step in range(6):
        for (turn, was_a, was_b, *_), (optimizer, lr) in zip(training_calls[2 * step :], players, strict=False):
            assert (was_a, was_b) == pytest.approx((a.item(), b.item()), rel=1e-5)
            optimizer.param_groups[0].update(lr=lr * 0.5 * (1 + math.cos(math.pi * step / 6)), betas=(0.9, 0.99))
            optimizer.zero_grad()
            ((a - duel.means[step]) if turn == "lead" else (b - a.detach())).square().backward()
            optimizer.step()


def test_a_turn_that_is_listed_twice_moves_twice() -> None:
    lead, follow = Duel.turns
    kind = type("Twice", (Duel,), {"turns": (lead, lead, follow)})
    scm, duel = _duel(kind)
    assert [call[0] for call in duel.seen[:6]] == ["lead", "lead", "follow"] * 2
    moved = [call[1] for call in duel.seen[:4]]
    assert len(set(moved)) == 3, "the leader has moved twice before the follower, and stays in its turn"
    assert {*scm.history[0]["losses"]} == {"lead", "follow"}
    assert scm.history[0]["train"] == pytest.approx(sum(scm.history[0]["losses"].values()))


def test_a_stage_begins_where_the_last_one_ended_and_leaves_the_rest_alone() -> None:
    scm, duel = _duel()
    first, second = duel.seen[:12], [call for call in duel.seen[12:] if call[4]]
    assert [call[0] for call in second] == ["follow"] * 4
    assert {call[1] for call in second} == {first[-1][1]} == {float(duel.w)}
    assert all(call[3:] == (False, True) for call in second)
    history = [(r["stage"], r["epoch"]) for r in scm.history if r["node"] == "x"]
    assert history == [("both", 1), ("both", 2), ("both", 3), ("alone", 1), ("alone", 2)]
    assert not any(parameter.requires_grad for parameter in scm.parameters())
    assert not duel.training


def test_a_stage_without_validation_keeps_the_last_weights() -> None:
    scm, _ = _duel()
    assert [r["validation"] is None for r in scm.history if r["node"] == "x"] == [True] * 3 + [False] * 2


def test_what_a_stage_does_not_move_is_in_evaluation_mode() -> None:
    modes: list[tuple[bool, bool, bool]] = []

    class Watched(Duel):
        def note(self, turn: str) -> None:
            modes.append((self.training, self.follower.training, self.idle.training))

    _duel(Watched)
    assert set(modes) == {(True, True, False)}


def test_epochs_of_stages_keep_their_proportion_and_recipes_go_by_name() -> None:
    duel = Duel(recipe=Recipe(epochs=4, min_steps=99))
    assert [stage.recipe.epochs for stage in training.plan(duel)] == [4, 2]  # type: ignore[union-attr]
    assert [stage.recipe.epochs for stage in training.plan(duel, epochs=6)] == [6, 3]  # type: ignore[union-attr]
    assert [stage.recipe.epochs for stage in training.plan(duel, epochs=1)] == [1, 1]  # type: ignore[union-attr]
    assert [stage.recipe.epochs for stage in training.plan(duel, epochs=0)] == [0, 0]  # type: ignore[union-attr]
    assert training.plan(duel, epochs=6)[0].recipe.min_steps == 0  # type: ignore[union-attr]
    other = Recipe(epochs=9, lr=0.5)
    assert [stage.recipe for stage in training.plan(duel, other)] == [other, Duel.alone.recipe]
    assert [stage.recipe for stage in training.plan(duel, {"alone": other})] == [duel.recipe, other]
    with pytest.raises(MechanismError, match=r"Duel has no stages \['end'\]. Its stages are \['both', 'alone'\]"):
        training.plan(duel, {"end": other})


@pytest.mark.parametrize("killed_at", [1, 3, 5, 6, 7, 8, 9])
def test_a_run_killed_in_any_stage_resumes_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    """Steps 0-5 are the three epochs of the first stage, 6-9 the two of the second."""
    monkeypatch.setattr(Duel, "noise", 0.1)
    monkeypatch.setattr(Duel, "default_recipe", Recipe(ema=0.9))
    whole, _ = _duel()
    path, calls, step = tmp_path / "run.safetensors", iter(range(100)), training.Trainer.step

    def dying(self: training.Trainer, *args: Any) -> list[Tensor]:
        if next(calls) == killed_at:
            raise KeyboardInterrupt
        return step(self, *args)

    monkeypatch.setattr(training.Trainer, "step", dying)
    with pytest.raises(KeyboardInterrupt):
        _duel(checkpoint=path)
    monkeypatch.setattr(training.Trainer, "step", step)
    torch.manual_seed(99)
    resumed, _ = _duel(checkpoint=path, resume=True)
    assert _same_bits(whole, resumed)
    assert _facts(whole) == _facts(resumed)


def test_a_loss_that_is_not_finite_in_any_turn_is_skipped_and_counted(tmp_path: Path) -> None:
    class Falling(Duel):
        def follow(self, x: Tensor, pa: Mapping[str, Tensor]) -> Tensor:
            late = self.training and self.calls > 3
            return super().follow(x, pa) * (torch.nan if late else 1.0)

    scm = _one(Falling(recipe=Recipe(epochs=4, batch_size=25, warmup=0)))
    path = tmp_path / "run.safetensors"
    with pytest.raises(TrainingError, match=r"'x both': the loss .*run\.safetensors holds the epochs before"):
        scm.fit(_data(), seed=0, checkpoint=path, progress=False)
    header, tensors = read_file(path)
    assert header["trainer"]["epoch"] == len(header["history"]) > 0, "the last checkpoint is kept"
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values())


def test_turns_that_cannot_be_taken_are_refused() -> None:
    for parts, message in (
        (("nobody",), r"The turn 'lead' of Odd moves \['nobody'\]: .*no attribute 'nobody'"),
        (("recipe",), r"'lead' of Odd moves \['recipe'\], but only modules and parameters can be moved"),
        (("follower.extra",), r"moves \['follower.extra'\], which hold no weights"),
    ):
        kind = type("Odd", (Duel,), {"turns": (Turn("lead", parts),)})

        def build(self: Duel) -> None:
            Duel.build(self)
            self.follower.extra = nn.Identity()

        kind.build = build  # type: ignore[method-assign]
        with pytest.raises(MechanismError, match=message):
            _duel(kind)


# ---------------------------------------------------------------------- parts of a batch


def _flow(**options: Any) -> tuple[ccf.SCM, dict[str, Tensor]]:
    x = torch.randn(110, generator=torch.Generator().manual_seed(0))
    data = {"x": x, "y": x + 0.5 * torch.sin(9 * x)}
    recipe = Recipe(epochs=3, batch_size=40, lr=0.01, **options)
    mechanisms = {"x": ccf.mechanisms.LinearGaussian(), "y": ccf.mechanisms.Flow(hidden=(8,), recipe=recipe)}
    return ccf.SCM([("x", "y")], {"x": ccf.Real(), "y": ccf.Real()}, mechanisms), data


@pytest.mark.parametrize("parts", [2, 3, 40, 99])
def test_a_batch_in_parts_gives_the_gradient_of_the_whole(parts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """99 rows a pass (11 are held out) in batches of 40, 40, 19, which three parts do not divide."""
    sizes: list[int] = []
    loss = ccf.mechanisms.Flow.loss

    def counted(self: ccf.mechanisms.Flow, x: Tensor, pa: Mapping[str, Tensor]) -> Tensor:
        if self.training:
            sizes.append(len(x))
        return loss(self, x, pa)

    whole, data = _flow()
    whole.fit(data, seed=0, progress=False)
    monkeypatch.setattr(ccf.mechanisms.Flow, "loss", counted)
    parted, _ = _flow(accumulate=parts)
    parted.fit(data, seed=0, progress=False)
    assert sum(sizes) == 3 * 99
    assert max(sizes) == math.ceil(40 / min(parts, 40))
    for name, weight in whole.state_dict().items():
        torch.testing.assert_close(parted.state_dict()[name], weight, atol=2e-5, rtol=1e-4)
    assert parted.history[1]["train"] == pytest.approx(whole.history[1]["train"], rel=1e-5)


# ---------------------------------------------------------------------- data


def test_one_split_serves_all_nodes_and_keeps_rows_whole() -> None:
    seen: dict[str, list[Tensor]] = {"fit": [], "held out": []}

    def objective(toy: Toy, x: Tensor) -> Tensor:
        seen["fit" if toy.training else "held out"].append(x % 1000)
        return (x - toy.w).square().mean()

    toys = {node: _toy(objective, epochs=1) for node in ("x", "y")}
    graph = ccf.CausalGraph([("x", "y")]).mutilate(["y"])
    ccf.SCM(graph, dict.fromkeys("xy", ccf.Real()), toys).fit(_data(), validation=0.2, seed=0, progress=False)
    train, held_out = torch.cat(seen["fit"]), torch.cat(seen["held out"])
    assert train.shape == (160,)
    assert held_out.shape == (40,)
    assert torch.equal(held_out[:20], held_out[20:])
    assert torch.equal(train[:80].sort().values, train[80:].sort().values)
    assert {*train.tolist()} | {*held_out.tolist()} == {float(i) for i in range(1, 101)}
    assert not {*train.tolist()} & {*held_out.tolist()}


def test_other_rows_may_validate() -> None:
    scm = _one(_toy()).fit(_data(), validation={"x": [5.0], "y": [5.0]}, seed=0, progress=False)
    assert scm.provenance["rows"] == 100
    final = min(record["validation"] for record in scm.history if record["node"] == "x")
    assert final == pytest.approx(float((scm.mechanisms["x"].w - 5).square()), rel=1e-4)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5, 2, 0.001])
def test_a_share_that_leaves_a_side_empty_is_refused(share: float) -> None:
    with pytest.raises(
        DataError, match=rf"validation={share} of 100 rows leaves a side empty. Give a share in \(0, 1\)"
    ):
        _one(_toy()).fit(_data(), validation=share, progress=False)


def test_settings_for_unknown_nodes_are_refused() -> None:
    with pytest.raises(UnknownNodeError, match="The graph has no node 'nose'"):
        _one(_toy()).fit(_data(), epochs={"nose": 1}, progress=False)
    with pytest.raises(UnknownNodeError, match="The graph has no node 'nose'"):
        _one(_toy()).fit(_data(), recipes={"nose": Recipe()}, progress=False)


def test_settings_of_a_node_and_of_a_call() -> None:
    scm = _one(_toy()).fit(_data(), epochs={"x": 2}, recipes={"y": Recipe(epochs=3)}, seed=0, progress=False)
    assert [(record["node"], record["epoch"]) for record in scm.history] == [
        *zip("xxyyy", (1, 2, 1, 2, 3), strict=True)
    ]
    assert {*scm.history[0]} == {"node", "stage", "epoch", "train", "losses", "validation", "lr", "skipped", "seconds"}


def test_some_nodes_alone_are_fitted_as_they_would_be_among_all() -> None:
    whole, data = _rich()
    whole.fit(data, seed=0, progress=False)
    scm, _ = _rich()
    scm.fit(data, nodes=["y", "x"], seed=0, progress=False)
    assert {record["node"] for record in scm.history} == {"x", "y"}
    with pytest.raises(NotFittedError, match=r"The mechanisms of \['image'\] are not fitted"):
        scm.sample(1)
    scm.fit(data, nodes=["image"], seed=0, progress=False)
    assert _same_bits(whole, scm)
    assert _facts(whole) == _facts(scm)
    before = {name: weight.clone() for name, weight in scm.mechanisms["y"].state_dict().items()}
    scm.fit(data, nodes=["image"], epochs=1, seed=1, progress=False)
    assert all(torch.equal(weight, before[name]) for name, weight in scm.mechanisms["y"].state_dict().items())
    assert len(scm.history) == 1 + 3 + 1
    with pytest.raises(UnknownNodeError, match="The graph has no node 'nose'"):
        scm.fit(data, nodes=["nose"], progress=False)


def test_progress_is_told_on_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    _one(_toy()).fit(_data(), seed=0)
    out, err = capfd.readouterr()
    assert out == ""
    assert "fit x" in err
    assert "validation" in err
    _one(_toy()).fit(_data(), seed=0, progress=False)
    assert capfd.readouterr() == ("", "")


# ---------------------------------------------------------------------- reproduction, kill and resume


def _rich() -> tuple[ccf.SCM, dict[str, Tensor]]:
    """A closed-form root, a flow with an average, and a VAE whose objective is random."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(120, generator=generator)
    y = x + torch.randn(120, generator=generator)
    image = torch.rand(120, 1, 8, 8, generator=generator)
    scm = ccf.SCM(
        [("x", "y"), ("y", "image")],
        {"x": ccf.Real(), "y": ccf.Real(), "image": ccf.Image(1, 8, 8)},
        {
            "x": ccf.mechanisms.LinearGaussian(),
            "y": ccf.mechanisms.Flow(hidden=(8,), recipe=Recipe(epochs=3, batch_size=40, ema=0.9)),
            "image": ccf.mechanisms.VAE(latent=2, widths=(8, 8, 8), recipe=Recipe(epochs=3, batch_size=40, ema=0.9)),
        },
    )
    return scm, {"x": x, "y": y, "image": image}


def _same_bits(a: ccf.SCM, b: ccf.SCM) -> bool:
    one, two = a.state_dict(), b.state_dict()
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def _facts(scm: ccf.SCM) -> list[dict[str, Any]]:
    return [{key: value for key, value in record.items() if key != "seconds"} for record in scm.history]


def test_the_same_seed_gives_the_same_bits() -> None:
    torch.manual_seed(1)
    scm, data = _rich()
    scm.fit(data, seed=0, progress=False)
    state = torch.get_rng_state()
    again, _ = _rich()
    torch.rand(5)
    again.fit(data, seed=0, progress=False)
    other, _ = _rich()
    other.fit(data, seed=1, progress=False)
    assert _same_bits(scm, again)
    assert _facts(scm) == _facts(again)
    assert not _same_bits(scm, other)
    again.fit(data, seed=0, progress=False)
    assert _same_bits(scm, again), "fitting again starts afresh"
    assert not torch.equal(torch.get_rng_state(), state)
    state = torch.get_rng_state()
    again.fit(data, seed=0, progress=False)
    assert torch.equal(torch.get_rng_state(), state), "fitting under a seed leaves torch's own state alone"


@pytest.mark.parametrize("killed_at", [0, 1, 4, 8, 9, 13, 17])
def test_a_killed_run_resumes_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int) -> None:
    """Steps 0-8 are the flow's three epochs, 9-17 the VAE's; some kills fall inside an epoch."""
    whole, data = _rich()
    whole.fit(data, seed=0, progress=False)
    path, calls, step = tmp_path / "run.safetensors", iter(range(100)), training.Trainer.step

    def dying(self: training.Trainer, *args: Any) -> Tensor:
        if next(calls) == killed_at:
            raise KeyboardInterrupt
        return step(self, *args)

    killed, _ = _rich()
    monkeypatch.setattr(training.Trainer, "step", dying)
    with pytest.raises(KeyboardInterrupt):
        killed.fit(data, seed=0, checkpoint=path, progress=False)
    monkeypatch.undo()
    assert path.exists()
    resumed, _ = _rich()
    torch.manual_seed(99)
    resumed.fit(data, seed=0, checkpoint=path, resume=True, progress=False)
    assert _same_bits(whole, resumed)
    assert _facts(whole) == _facts(resumed)


def test_a_run_killed_while_writing_resumes_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, data = _rich()
    whole.fit(data, seed=0, progress=False)
    write = resume.write_file
    for killed_at in range(8):  # one write for x, four for each of the others
        path, calls = tmp_path / f"{killed_at}.safetensors", iter(range(100))

        def dying(*args: Any, calls: Any = calls, killed_at: int = killed_at) -> None:
            if next(calls) == killed_at:
                raise KeyboardInterrupt
            write(*args)

        monkeypatch.setattr(resume, "write_file", dying)
        scm, _ = _rich()
        with pytest.raises(KeyboardInterrupt):
            scm.fit(data, seed=0, checkpoint=path, progress=False)
        monkeypatch.undo()
        scm.fit(data, seed=0, checkpoint=path, resume=True, progress=False)
        assert _same_bits(whole, scm), killed_at
        assert _facts(whole) == _facts(scm)


def test_a_finished_run_resumes_without_a_step(tmp_path: Path, steps: list[dict[str, float]]) -> None:
    scm, data = _rich()
    scm.fit(data, seed=0, checkpoint=tmp_path / "run", progress=False)
    steps.clear()
    again, _ = _rich()
    again.fit(data, seed=0, checkpoint=tmp_path / "run", resume=True, progress=False)
    assert not steps
    assert _same_bits(scm, again)
    assert _facts(scm) == _facts(again)


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    scm, data = _rich()
    scm.fit(data, seed=0, checkpoint=path, progress=False)
    with pytest.raises(CheckpointError, match=r"run\.safetensors exists already. Pass resume=True to go on from it"):
        scm.fit(data, seed=0, checkpoint=path, progress=False)
    fitted = copy.deepcopy(scm.state_dict())
    with pytest.raises(CheckpointError, match="its seed, data differ"):
        scm.fit(data, seed=1, checkpoint=path, resume=True, progress=False)
    assert all(torch.equal(tensor, fitted[name]) for name, tensor in scm.state_dict().items()), "nothing is lost"
    assert scm.sample(2, seed=0).rows == 2

    def refused(what: str, other: ccf.SCM, rows: dict[str, Tensor] = data, **options: Any) -> None:
        with pytest.raises(CheckpointError, match=rf"belongs to another run: its {what} differ"):
            other.fit(rows, **{"seed": 0, "checkpoint": path, "resume": True, "progress": False, **options})

    refused("seed, data", _rich()[0], seed=1)
    refused("data", _rich()[0], {**data, "x": data["x"] + 1})
    refused("data", _rich()[0], validation=0.3)
    refused("recipes", _rich()[0], epochs=2)
    refused("recipes", _rich()[0], recipes={"y": Recipe(epochs=3, batch_size=40, ema=0.9, lr=0.5)})
    given = dict(_rich()[0]._given)
    recipe = given["image"].recipe
    vae = ccf.mechanisms.VAE(latent=2, widths=(8, 8, 8), beta=9.0, recipe=recipe)
    variables = _rich()[0].variables
    refused("mechanisms", ccf.SCM([("x", "y"), ("y", "image")], variables, {**given, "image": vae}))
    graph = [("x", "y"), ("x", "image"), ("y", "image")]
    refused("graph", ccf.SCM(graph, variables, given))


def test_a_damaged_or_foreign_checkpoint_is_refused(tmp_path: Path, mixed: ccf.SCM) -> None:
    scm, data = _rich()
    path = tmp_path / "run.safetensors"
    mixed.save(path)
    with pytest.raises(CheckpointError, match=r"is not the checkpoint of a training run. Load models with SCM\.load"):
        scm.fit(data, seed=0, checkpoint=path, resume=True, progress=False)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(CheckpointError, match="is damaged or not a safetensors file"):
        scm.fit(data, seed=0, checkpoint=path, resume=True, progress=False)


# ---------------------------------------------------------------------- precision


def test_half_precision_is_for_those_who_bear_it() -> None:
    seen: dict[str, set[torch.dtype]] = {"x": set(), "y": set()}

    def objective(toy: Toy, x: Tensor) -> Tensor:
        seen[toy.node].add((x[:, None] @ torch.ones(1, 1)).dtype)
        return (x - toy.w).square().mean()

    scm = _one(_toy(objective))
    bearing = type("Bearing", (Toy,), {"objective": objective, "mixed_precision": True})
    ccf.SCM(scm.graph, scm.variables, {"x": bearing(), "y": _toy(objective)}).fit(
        _data(), epochs=1, seed=0, precision="bf16-mixed", progress=False
    )
    assert seen == {"x": {torch.bfloat16}, "y": {torch.float32}}


def test_a_precision_that_there_is_not_is_refused() -> None:
    scm = _one(_toy(epochs=1)).fit(_data(), seed=0, progress=False)
    before = float(scm.mechanisms["x"].w)
    with pytest.raises(TrainingError, match=r"There is no precision '16-mixed'. Choose one of \['32-true', "):
        scm.fit(_data(), precision="16-mixed", progress=False)
    assert float(scm.mechanisms["x"].w) == before != 0, "a model that was fitted stays so"
    with pytest.warns(CausalCFWarning, match="1 of 1 draws of 'y' lie far outside its data"):
        scm.sample(1, seed=0)


def test_objectives_are_compiled_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """That compiled objectives train to the same weights was tried by hand: compiling takes twenty seconds."""
    compiled: list[str] = []

    def compile(objective: Callable[..., Tensor], backend: str) -> Callable[..., Tensor]:
        compiled.append(objective.__name__)
        torch.distributions.Distribution.set_default_validate_args(False)  # as torch's own does
        return objective

    monkeypatch.setattr(torch, "compile", compile)
    _one(_toy()).fit(_data(), epochs=1, seed=0, progress=False)
    assert not compiled
    _duel(compile=True)
    assert compiled == ["lead", "follow", "follow", "loss"], "two turns, one turn, and the other node's"
    with pytest.raises(ValueError, match="constraint GreaterThan"):
        torch.distributions.Normal(0.0, -1.0)


def test_a_float64_model_is_exact_to_1e_9() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(300, generator=generator, dtype=torch.float64)
    data = {"x": x, "y": (x + torch.randn(300, generator=generator, dtype=torch.float64)).exp()}
    scm = ccf.SCM([("x", "y")], {"x": ccf.Real(), "y": ccf.Positive()})
    scm.fit(data, epochs=5, seed=0, precision="64-true", progress=False)
    assert scm.dtype == torch.float64
    assert {parameter.dtype for parameter in scm.parameters()} == {torch.float64}
    cf = scm.counterfactual(data, {}, recompute="all")
    for node, value in data.items():
        assert cf[node].dtype == torch.float64
        assert (cf[node] - value).abs().max() < 1e-9 * (value.amax() - value.amin())
    assert torch.get_default_dtype() == torch.float32

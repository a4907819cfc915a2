"""The speed of everything on a device, each cost as a ratio of one run, with the floor beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor

from causalcf.costs.bare_loops import LOOPS, Setting, sides
from causalcf.costs.counterfactuals import Program
from causalcf.costs.device import Job, captured, clock, floor, kernels, moved, rates, tried
from causalcf.costs.models import IMAGES, first_trainer, noise_images, unfitted
from causalcf.data import Batch
from causalcf.datasets.synthetic import Heteroscedastic
from causalcf.mechanisms import Mechanism
from causalcf.metrics.cld import cld, gaussian_kl_matrix
from causalcf.training import Trainer
from causalcf.training.replay import ROWS
from causalcf.training.trainer import compiled_objective

__all__ = ["answers", "compiled", "latents", "searches", "steps", "tables"]

Timed = dict[str, Any]


# ---------------------------------------------------------------------- training


def steps(job: Job) -> Timed:
    """One training step of every image mechanism: a bare loop, ours, and ours captured."""
    rate = job.found["rates"] = rates(job)
    for batch in job.pick((64, 512), (4,)):
        for name, kinds in IMAGES.items():
            if job.left > 0:
                job.found[f"{name}, {batch}"] = tried(lambda k=kinds, b=batch: _step(job, k[job.small], b, rate))  # type: ignore[misc]
    return job.found


def compiled(job: Job) -> Timed:
    """One training step by `torch.compile`, launched one by one and captured, beside ours without it."""
    found = job.found
    for name in job.pick(("HVAE", "VAE"), ("VAE",)):
        mechanism, batch = IMAGES[name][job.small], job.pick(64, 4)
        for capture in job.pick((False, True), (False,)):
            if job.left < 0:
                return found
            eager, by_inductor = (_trainer_of(mechanism, batch, job.device, capture=capture) for _ in range(2))
            for optimizer in by_inductor.optimizers.values():
                optimizer.objective = compiled_objective(optimizer.objective, job.pick("inductor", "eager"))
            rows = torch.arange(batch, device=job.device)
            times = [tried(lambda t=t, r=rows: clock(lambda: t.step(1, {ROWS: r}), job)) for t in (eager, by_inductor)]  # type: ignore[misc]
            ratio = times[1] / times[0] if all(isinstance(t, float) for t in times) else None
            found[f"{name}, {'captured' if capture else 'one by one'}"] = {"s": times, "ratio": ratio}
    return found


def _trainer_of(mechanism: Mechanism, batch: int, device: str, *, capture: bool) -> Trainer:
    trainer, _, x = first_trainer(mechanism, 2 * batch, batch, device)
    trainer = Trainer(replace(trainer.job, compile=capture and device == "cuda"), "image", 0, x, x)
    trainer._training_mode()
    return trainer


def _step(job: Job, mechanism: Mechanism, batch: int, rate: dict[str, float]) -> Timed:
    device = job.device
    trainer, bare, x = first_trainer(mechanism, 2 * batch, batch, device)
    rows = torch.arange(batch, device=device)
    of_bare, pa = x["image"][rows], {parent: x[parent][rows] for parent in bare.parents}
    turns = trainer.stage.turns
    moves = {
        turn: [
            bare.get_parameter(n) for n, p in trainer.mechanism.named_parameters() if p in trainer.optimizers[turn].own
        ]
        for turn in turns
    }
    optimizers = {turn: torch.optim.AdamW(moves[turn], lr=1e-3, fused=True) for turn in turns}

    def by_hand() -> None:
        for turn in turns:
            optimizers[turn].zero_grad()
            with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
                loss = getattr(bare, turn.loss)(of_bare, pa)
            loss.backward(inputs=moves[turn])
            optimizers[turn].step()

    plain, replayed = (_trainer_of(mechanism, batch, device, capture=capture) for capture in (False, True))
    found: Timed = {"bare_s": clock(by_hand, job), "eager_s": clock(lambda: plain.step(1, {ROWS: rows}), job)}
    found["captured_s"] = tried(lambda: clock(lambda: replayed.step(1, {ROWS: rows}), job))
    found |= floor(lambda: plain.step(1, {ROWS: rows}), rate)
    found["kernels"] = tried(lambda: kernels(lambda: plain.step(1, {ROWS: rows}), device))
    found["launches_captured"] = tried(lambda: kernels(lambda: replayed.step(1, {ROWS: rows}), device))
    best = found["captured_s"] if isinstance(found["captured_s"], float) else found["eager_s"]
    return found | {
        "eager_over_bare": found["eager_s"] / found["bare_s"],
        "best_over_bare": best / found["bare_s"],
        "best_over_floor": best / max(found["arithmetic_s"], found["traffic_s"]),
        "images_a_second": batch / best,
    }


# ---------------------------------------------------------------------- answers


def answers(job: Job) -> Timed:
    """Image counterfactuals: ours, its image mechanism called by hand, and that captured."""
    rate, found = rates(job), job.found
    for name, kinds in IMAGES.items():
        for rows in job.pick((256, 4096), (4,)):
            if job.left > 0:
                found[f"{name}, {rows}"] = tried(lambda k=kinds, n=rows: _answers(job, k[job.small], n, rate))  # type: ignore[misc]
    return found


@torch.no_grad()
def _answers(job: Job, mechanism: Mechanism, rows: int, rate: dict[str, float]) -> Timed:
    device = job.device
    scm = unfitted("morphomnist", {"image": mechanism}).to(device)
    x, image = Batch(moved(dict(noise_images(rows)), device)), scm.mechanisms["image"]
    pa = {parent: x[parent] for parent in image.parents}
    acted = pa | {"thickness": torch.full((rows,), 4.0, device=device)}

    def by_hand() -> Tensor:
        return image.predict(image.abduct(x["image"], pa), acted)

    ours = clock(lambda: scm.counterfactual(x, do={"thickness": 4.0}), job)
    hand = clock(by_hand, job)
    replayed = tried(lambda: clock(captured(by_hand, device), job))
    beside = floor(by_hand, rate, "tfloat32")
    return {"ours_s": ours, "by_hand_s": hand, "captured_s": replayed, "ours_over_by_hand": ours / hand} | beside


def tables(job: Job) -> Timed:
    """Counterfactuals of a three-node table, ours beside a zuko program by hand, each as it is and captured."""
    found = job.found
    for rows in job.pick((1, 10_000, 1_000_000), (1, 50)):
        scm = unfitted(Heteroscedastic().graph).to(job.device)
        x = moved({name: value.float() for name, value in Heteroscedastic().sample(rows).items()}, job.device)
        program = Program()
        for transform in (program.y, program.z):
            transform.to(job.device)
        ours, zuko = _networks(scm.mechanisms, x), lambda p=program, x=x: p.counterfactual(x, 1.0)["Z"]  # type: ignore[misc]
        row = {
            "ours_s": clock(lambda: scm.counterfactual(x, do={"X": 1.0})["Z"], job),  # noqa: B023
            "by_hand_s": clock(zuko, job),
            "ours_networks_captured_s": tried(lambda: clock(captured(ours, job.device), job)),  # noqa: B023
            "by_hand_captured_s": tried(lambda: clock(captured(zuko, job.device), job)),  # noqa: B023
        }
        found[str(rows)] = row | {"ours_over_by_hand": row["ours_s"] / row["by_hand_s"]}
    return found


def _networks(mechanisms: Mapping[str, Mechanism], x: dict[str, Tensor]) -> Callable[[], Tensor]:
    """Our mechanisms called by hand: the cost of a counterfactual without reading the question."""
    y, z = mechanisms["Y"], mechanisms["Z"]

    @torch.no_grad()
    def call() -> Tensor:
        acted = torch.ones_like(x["X"])
        new = y.predict(y.abduct(x["Y"], {"X": x["X"]}), {"X": acted})
        u = z.abduct(x["Z"], {"X": x["X"], "Y": x["Y"]})
        return z.predict(u, {"X": acted, "Y": new})

    return call


# ---------------------------------------------------------------------- metrics and explainers


def latents(job: Job) -> Timed:
    """CLD of rows against as many: ours, beside the one matrix of divergences that it needs at least."""
    rows, generator = job.pick(10_000, 50), torch.Generator().manual_seed(0)
    sets = [
        tuple(torch.randn(rows, 16, generator=generator, dtype=torch.float64).to(job.device) for _ in range(2))
        for _ in range(3)
    ]
    labels = (torch.arange(rows) % 10).to(job.device)
    call = lambda: cld(  # noqa: E731
        *cast(Any, sets), labels=labels, acted_labels=labels.roll(1), reference_labels=labels
    )
    ours, matrix = clock(call, job), clock(lambda: gaussian_kl_matrix(*cast(Any, sets[1:])), job)
    return {"rows": rows, "ours_s": ours, "matrix_s": matrix, "ours_over_matrix": ours / matrix}


def searches(job: Job) -> Timed:
    """The explainers' searches beside loops by hand."""
    setting = Setting(rows=4, steps=2, widths=(8, 8, 8)) if job.small else Setting(rows=256)
    setting = replace(setting, device=job.device)
    for name in LOOPS:
        if job.left > 0:
            job.found[name] = tried(lambda n=name: _pair(job, *sides(n, setting)))  # type: ignore[misc]
    return job.found


def _pair(job: Job, ours: Callable[[], Tensor], by_hand: Callable[[], Tensor]) -> Timed:
    mine, other = clock(ours, job), clock(by_hand, job)
    return {"ours_s": mine, "by_hand_s": other, "ratio": mine / other}

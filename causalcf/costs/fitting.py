"""Costs of training, beside bare loops over the same losses."""

from __future__ import annotations

from typing import Any

import torch

from causalcf.costs.measure import Cost, compare
from causalcf.costs.models import first_trainer, unfitted
from causalcf.datasets.synthetic import Heteroscedastic
from causalcf.mechanisms import Flow, LinearGaussian, Mechanism, Recipe
from causalcf.scm.model import StructuralCausalModel
from causalcf.training.progress import Report

__all__ = ["step", "training"]


def training(*, steps: int = 100, repeats: int = 5) -> Cost:
    """`fit` against a bare loop over the same mechanism's loss."""
    data = {name: value.float() for name, value in Heteroscedastic().sample(1280).items() if name != "Z"}
    recipe = Recipe(epochs=max(1, steps // 2), batch_size=512, patience=steps)  # 1024 rows: two steps an epoch
    scm = StructuralCausalModel([("X", "Y")], mechanisms={"X": LinearGaussian(), "Y": Flow(recipe=recipe)})

    def ours() -> Any:
        return scm.fit(data, validation=0.2, seed=0, progress=False)

    ours()
    bare = unfitted(Heteroscedastic().graph).mechanisms["Y"].requires_grad_(True)

    def by_hand() -> None:
        optimizer = torch.optim.AdamW(bare.parameters(), lr=recipe.lr)
        for _ in range(recipe.epochs):
            for i in torch.randperm(1024).split(512):
                optimizer.zero_grad()
                bare.loss(data["Y"][i], {"X": data["X"][i]}).backward()
                optimizer.step()

    return compare(f"training, {2 * recipe.epochs} steps of 512 rows", ours, by_hand, repeats)


def step(name: str, mechanism: Mechanism, *, steps: int = 4, batch_size: int = 64, repeats: int = 9) -> Cost:
    """Steps of `fit` on an image mechanism's first stage, against a bare loop over the same losses.

    Clipping, averaging, counting non-finite values, and seeds are on our side only.
    """
    trainer, bare, x = first_trainer(mechanism, steps * batch_size, batch_size)
    turns = trainer.stage.turns
    moved = {
        turn: [
            bare.get_parameter(n) for n, p in trainer.mechanism.named_parameters() if p in trainer.optimizers[turn].own
        ]
        for turn in turns
    }
    optimizers = {turn: torch.optim.AdamW(moved[turn], lr=1e-3, fused=True) for turn in turns}
    parents = {parent: x[parent] for parent in bare.parents}

    def by_hand() -> None:
        for i in torch.randperm(x.rows).split(batch_size):
            rows = x["image"][i], {parent: value[i] for parent, value in parents.items()}
            for turn in turns:
                optimizers[turn].zero_grad()
                getattr(bare, turn.loss)(*rows).backward(inputs=moved[turn])
                optimizers[turn].step()

    what = f"{name} training, {steps} steps of {batch_size} images"
    return compare(what, lambda: trainer.train_epoch(Report()), by_hand, repeats, 1.1, "at most 1.1 times")

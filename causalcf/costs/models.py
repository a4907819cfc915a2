"""Models and rows that costs are measured on: of noise and with initial weights, as neither changes what they cost."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any, cast

import torch

from causalcf.core import seeding
from causalcf.data import Batch
from causalcf.graph import load_graph
from causalcf.mechanisms import GAN, HVAE, VAE, Diffusion, Mechanism, Recipe
from causalcf.scm.model import StructuralCausalModel
from causalcf.training import Fit, Trainer, plan

__all__ = ["IMAGES", "first_trainer", "noise_images", "unfitted"]

IMAGES: dict[str, tuple[Mechanism, Mechanism]] = {
    "VAE": (VAE(), VAE(widths=(8, 8, 8))),
    "HVAE": (HVAE(), HVAE(widths=(8, 8, 8, 8))),
    "GAN": (GAN(), GAN(widths=(8, 8, 8))),
    "Diffusion, 5 steps": (Diffusion(steps=5), Diffusion(widths=(8, 8, 8), steps=2)),
}
"""Image mechanisms by name: as they come (a flow in fewer steps, to answer in seconds), and a small one for tests."""


def noise_images(rows: int) -> Batch:
    """Rows of the MorphoMNIST graph, made of noise."""
    with seeding.seeded(0):
        return Batch(
            {
                "thickness": 2 + torch.rand(rows),
                "intensity": 100 + 50 * torch.rand(rows),
                "digit": torch.randint(10, (rows,)),
                "image": torch.rand(rows, 1, 32, 32),
            }
        )


def unfitted(graph: Any, mechanisms: Any = None) -> StructuralCausalModel:
    """A model that answers with its initial weights."""
    scm = StructuralCausalModel(load_graph(graph) if isinstance(graph, str) else graph, mechanisms=mechanisms)
    for mechanism in scm.mechanisms.values():
        mechanism.fitted = True
    return scm


def first_trainer(
    mechanism: Mechanism, rows: int, batch_size: int, device: str = "cpu"
) -> tuple[Trainer, Mechanism, Batch]:
    """A trainer of an image mechanism's first stage, an untouched copy of the mechanism, and the rows to train on."""
    scm = unfitted("morphomnist", {"image": mechanism}).to(device)
    x = Batch({name: value.to(device) for name, value in noise_images(rows).items()})
    image = scm.mechanisms["image"]
    image.calibrate(x["image"], {parent: x[parent] for parent in image.parents})
    first, *_ = plan(image)
    stage = replace(first, recipe=replace(cast(Recipe, first.recipe), batch_size=batch_size))
    precision = "bf16-mixed" if device == "cuda" else "32-true"
    job = Fit(
        mechanisms={"image": image},
        parents={"image": scm.graph.parents("image")},
        stages={"image": (stage,)},
        graph=scm.graph.to_json(),
        seed=0,
        precision=precision,
        progress=False,
    )
    bare = copy.deepcopy(image).requires_grad_(True).train()
    return Trainer(job, "image", 0, x, x), bare, x

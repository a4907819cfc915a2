"""Costs of an evaluation: its judges beside the model's own passes, and the share of each step."""

from __future__ import annotations

from causalcf import predictors
from causalcf.costs.measure import Cost, one_thread
from causalcf.costs.models import noise_images
from causalcf.evaluation import evaluate
from causalcf.reference import latent_space, pretrained

__all__ = ["evaluation"]


def evaluation(*, rows: int = 1000) -> list[Cost]:
    """An evaluation of three actions: its judges beside the model's own passes, and each step's share of the whole."""
    wanted = ("effectiveness", "composition", "reversibility", "fid", "sample fid", "cld", "unchanged", "log density")
    with one_thread():
        x = noise_images(rows)
        found = evaluate(
            pretrained("morphomnist-vae"),
            x,
            wanted,
            predictors=predictors.pretrained("morphomnist"),
            reference=x,
            latents=latent_space("morphomnist"),
            n=None,
            optional=True,  # a quick run has too few rows for FID
        )
    seconds, whole = found.seconds, sum(found.seconds.values())
    judges, passes = seconds["effectiveness"], seconds["counterfactuals"]
    name = f"effectiveness, {rows} rows, 3 actions, against the model's passes"
    shares = [
        Cost(f"share of an evaluation: {step}", took, whole, "s", took / whole, "", None)
        for step, took in seconds.items()
    ]
    return [Cost(name, judges, passes, "s", judges / passes, "", None), *shares]

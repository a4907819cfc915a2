"""Costs of counterfactuals, beside the same networks called by hand and a program written by hand."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from causalcf.core import seeding
from causalcf.core._zuko import zuko
from causalcf.costs.measure import Cost, compare, require_same
from causalcf.costs.models import noise_images, unfitted
from causalcf.datasets.synthetic import Heteroscedastic
from causalcf.mechanisms import VAE, Flow

__all__ = ["Program", "images", "tabular"]


def images(*, rows: int = 256, repeats: int = 9, widths: tuple[int, int, int] = (32, 64, 96)) -> Cost:
    """Image counterfactuals of the MorphoMNIST graph against its mechanisms' networks called by hand."""
    scm, x = unfitted("morphomnist", {"image": VAE(widths=widths)}), noise_images(rows)
    flow, vae = cast(Flow, scm.mechanisms["intensity"]), cast(VAE, scm.mechanisms["image"])

    def by_hand() -> Tensor:
        thickness = torch.full((rows,), 4.0)
        u = flow.abduct(x["intensity"], {"thickness": x["thickness"]})
        intensity = flow.predict(u, {"thickness": thickness})
        before = {name: x[name] for name in ("thickness", "digit", "intensity")}
        after = {"thickness": thickness, "digit": x["digit"], "intensity": intensity}
        z, _ = vae.encode(x["image"], before)
        mean, std = vae.decode(z, before)
        new_mean, new_std = vae.decode(z, after)
        return (new_mean + new_std * (x["image"] - mean) / std).clamp(0, 1)

    def ours() -> Tensor:
        return scm.counterfactual(x, do={"thickness": 4.0})["image"]

    require_same(ours(), by_hand())
    return compare(f"image counterfactuals, {rows} rows", ours, by_hand, repeats, 1.05, "at most 1.05 times")


def tabular(rows: int = 10_000, *, repeats: int = 21) -> Cost:
    """Counterfactuals of a three-node model against a hand-written zuko program."""
    scm = unfitted(Heteroscedastic().graph)
    x = {name: value.float() for name, value in Heteroscedastic().sample(rows).items()}
    program = Program()
    promise, words = (0.5, "at most half the time") if rows == 1 else (1 / 1.3, "at least 1.3 times as fast")
    return compare(
        f"tabular counterfactuals, {rows} row{'s' * (rows > 1)}",
        lambda: scm.counterfactual(x, do={"X": 1.0})["Z"],
        lambda: program.counterfactual(x, 1.0)["Z"],
        repeats,
        promise,
        words,
    )


class Program:
    """The hand-written zuko program: three autoregressive neural spline layers for each of Y and Z."""

    def __init__(self) -> None:
        with seeding.seeded(0):
            # Their transforms alone: building zuko's distribution around them would cost the program more.
            self.y, self.z = (zuko.flows.NSF(1, parents, transforms=3).transform for parents in (1, 2))

    @torch.no_grad()
    def counterfactual(self, data: dict[str, Tensor], x: float) -> dict[str, Tensor]:
        """Y and Z had X been x, each (N,)."""
        X, Y, Z = (data[name][:, None] for name in "XYZ")
        u_y, u_z = self.y(X)(Y), self.z(torch.cat([X, Y], 1))(Z)
        acted = torch.full_like(X, x)
        new_y = self.y(acted).inv(u_y)
        new_z = self.z(torch.cat([acted, new_y], 1)).inv(u_z)
        return {"X": acted[:, 0], "Y": new_y[:, 0], "Z": new_z[:, 0]}

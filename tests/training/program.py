"""What `test_processes.py` runs, alone and under torchrun: three trainings, whose results go to the folder given."""

import os
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

import causalcf as ccf
from causalcf.core.columns import Column, Store
from causalcf.mechanisms import VAE, Flow, LinearGaussian, Recipe, Stage, Turn

RANK = os.environ.get("RANK", "alone")
RECIPE = Recipe(epochs=3, batch_size=40, lr=0.01, ema=0.9)


@dataclass(eq=False, repr=False)
class Duel(Flow):
    """A flow whose turns alternate with a critic's, and which then goes on alone. `idle` is never used."""

    @property
    def stages(self) -> tuple[Stage, ...]:
        critic = Turn("criticise", ("critic", "idle"))
        flow = Turn("loss", tuple(name for name, _ in self.named_children() if name not in critic.parts))
        alone = Recipe(epochs=2, batch_size=40, lr=0.01, ema=0.9, accumulate=2)
        return Stage("both", (critic, flow), validation=None), Stage("alone", (flow,), alone)

    def build(self) -> None:
        super().build()
        self.critic, self.idle = nn.Linear(1, 1), nn.Linear(3, 3)

    def criticise(self, x: Tensor, pa: Mapping[str, Tensor]) -> Tensor:
        return (self.critic(x[:, None]) - pa["x"][:, None]).square().mean()


class Broken(Flow):
    """Its loss is NaN, but only where one process of two computes it."""

    def loss(self, x: Tensor, pa: Mapping[str, Tensor]) -> Tensor:
        bad = self.training and RANK in ("1", "alone")
        return super().loss(x, pa) * (torch.nan if bad else 1.0)


class Pixels(Store):
    """Bytes that follow from the row, and a record of which a thread has read ahead: the rows that are trained on."""

    def __init__(self, rows: int) -> None:
        super().__init__((rows, 1, 8, 8))
        self.ahead: list[int] = []

    def take(self, rows: Tensor) -> Tensor:
        if threading.current_thread() is not threading.main_thread():
            self.ahead += rows.tolist()
        return ((rows[:, None] * 7 + torch.arange(64)) % 251).to(torch.uint8).view(-1, 1, 8, 8)


def streamed(x: Tensor, out: Path) -> None:
    """A model of pictures that are not in memory."""
    vae = VAE(latent=2, widths=(4, 4, 4), recipe=Recipe(epochs=1, batch_size=40))
    scm = ccf.SCM(
        [("x", "image")], {"x": ccf.Real(), "image": ccf.Image(1, 8, 8)}, {"x": LinearGaussian(), "image": vae}
    )
    store = Pixels(len(x))
    scm.fit({"x": x, "image": Column(store)}, epochs=1, progress=False, seed=0)
    torch.save({"weights": scm.state_dict(), "ahead": store.ahead}, out / f"Streamed.{RANK}.pt")


def main(out: Path) -> None:
    torch.set_num_threads(1)
    # 101 rows to train on, in batches of 40, 40 and 21: one is odd.
    x = torch.randn(112, generator=torch.Generator().manual_seed(0))
    data = {"x": x, "y": x + 0.5 * torch.sin(9 * x)}
    variables = {"x": ccf.Real(), "y": ccf.Real()}
    for kind in (Flow, Duel, Broken):
        scm = ccf.SCM([("x", "y")], variables, {"x": LinearGaussian(), "y": kind(hidden=(8,), recipe=RECIPE)})
        path = out / f"{kind.__name__}.checkpoint"
        torch.manual_seed(int(RANK) if RANK.isdigit() else 0)  # without a seed, processes must agree on one
        if RANK == "1":
            time.sleep(0.2)  # the other must not write the checkpoint before this one has looked for it
        try:
            scm.fit(data, checkpoint=path, progress=False)
            result = {"weights": scm.state_dict(), "history": scm.history}
        except ccf.errors.TrainingError as error:
            result = {"error": str(error)}
        torch.save(result, out / f"{kind.__name__}.{RANK}.pt")
    streamed(x, out)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

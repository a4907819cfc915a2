"""The three steps composed - abduction, action, prediction - and the record of what they gave.

Judea Pearl, "Causality", 2nd edition 2009, theorem 7.1.7.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from causalcf.core import seeding
from causalcf.core.errors import InterventionError
from causalcf.data import Batch, to_frame
from causalcf.do import Do, is_stochastic
from causalcf.graph import CausalGraph
from causalcf.mechanisms import Mechanism
from causalcf.scm.abduction import Noise, abduct, is_random
from causalcf.scm.action import OutOfSupport, read_actions
from causalcf.scm.prediction import Recompute, World, predict
from causalcf.scm.residual import Residual

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from causalcf.scm.check import Origin
    from causalcf.scm.scorecard import Check

__all__ = ["Abduction", "Counterfactual", "counterfactual", "predict_worlds"]

Abduction = Literal["mean", "sample"]
Dos = Do | Sequence[Do] | None


@dataclass(frozen=True, eq=False)
class Counterfactual(Mapping[str, Tensor]):
    """What would have been: a frozen mapping node -> tensor, with how it came about.

    Tensors have the axes (W, S, N, *event_shape): W only if `do` is a list of worlds, S only if
    `num_samples` was given. `world(i)` and `sample(j)` are views without that axis.

    Args:
        graph: The graph of the model that answered.
        worlds: One per set of actions, rows being samples times units.
        flat_noise: The noise all worlds share, in the same rows.
        do: The actions as they were asked for.
        seed: What the random part was drawn with; None if nothing was random.
        residual: Scale of the residual noise; anything but 1 is not abduction. `Fading` where it fades.
        recompute: Which mechanisms ran: "descendants" or "all".
        listed: Whether there is a W axis.
        num_samples: Length of the S axis, None if there is none.
        origin: The model that answered and what it has seen, for `check`.
    """

    graph: CausalGraph = field(repr=False)
    worlds: tuple[World, ...] = field(repr=False)
    flat_noise: Noise = field(repr=False)
    do: Dos
    seed: int | None
    residual: Residual
    recompute: Recompute = "descendants"
    listed: bool = False
    num_samples: int | None = None
    origin: Origin | None = field(default=None, repr=False)

    # ------------------------------------------------------------------ the mapping

    def __getitem__(self, node: str) -> Tensor:
        self.graph.require(node)
        return self._stack([world.values[node] for world in self.worlds])

    def __iter__(self) -> Iterator[str]:
        return iter(self.graph.nodes)

    def __len__(self) -> int:
        return len(self.graph.nodes)

    def _unflatten(self, x: Tensor) -> Tensor:
        return x if self.num_samples is None else x.unflatten(0, (self.num_samples, -1))

    def _stack(self, per_world: list[Tensor]) -> Tensor:
        values = [self._unflatten(value) for value in per_world]
        if not self.listed:
            return values[0]
        if all(value is per_world[0] for value in per_world):  # untouched by every world: one copy will do
            return values[0].expand(len(values), *values[0].shape)
        return torch.stack(values)

    # ------------------------------------------------------------------ what it came from

    @property
    def rows(self) -> int:
        """How many units, N."""
        return self.flat_noise.rows // (self.num_samples or 1)

    @property
    def factual(self) -> Batch | None:
        """The observed rows; None where the noise was drawn from its prior."""
        factual = self.flat_noise.factual
        return factual if factual is None or self.num_samples is None else factual[: self.rows]

    @property
    def index(self) -> Any:
        """Row labels, of the observed rows if there are any."""
        return torch.arange(self.rows) if self.factual is None else self.factual.index

    @property
    def abduction(self) -> str:
        """How amortised latents were abducted: "mean", "sample", or "prior"."""
        return self.flat_noise.abduction

    @property
    def temperatures(self) -> Mapping[str, float]:
        """Node -> temperature that its latents were drawn at; empty where the posterior's mean was taken."""
        return self.flat_noise.temperatures

    @property
    def noise(self) -> Mapping[str, Tensor]:
        """The exogenous noise all worlds share, with the draws of stochastic actions as `"node.do"`.

        For one world without samples this is a `Noise` that `scm.predict` takes.
        """
        if not self.listed and self.num_samples is None:
            return self.flat_noise.replace(self.worlds[0].draws)
        draws = dict.fromkeys(name for world in self.worlds for name in world.draws)
        shared = {name: self._unflatten(value) for name, value in self.flat_noise.items()}
        if not self.listed:
            return MappingProxyType(shared | {n: self._unflatten(self.worlds[0].draws[n]) for n in draws})
        everywhere = [name for name in draws if all(name in world.draws for world in self.worlds)]
        return MappingProxyType(shared | {n: self._stack([w.draws[n] for w in self.worlds]) for n in everywhere})

    @property
    def logits(self) -> Mapping[str, Tensor]:
        """Logits of the classifier nodes that were recomputed in every world."""
        names = [name for name in self.worlds[0].logits if all(name in world.logits for world in self.worlds)]
        return MappingProxyType({name: self._stack([w.logits[name] for w in self.worlds]) for name in names})

    @property
    def clipped(self) -> Mapping[str, int]:
        """Acted node -> rows clipped to the support, over all worlds; empty unless clipping was asked for."""
        total: dict[str, int] = {}
        for world in self.worlds:
            for node, rows in world.clipped.items():
                total[node] = total.get(node, 0) + rows
        return MappingProxyType(total)

    # ------------------------------------------------------------------ views

    def world(self, i: int) -> Counterfactual:
        """One of the worlds asked for, without the W axis."""
        if not self.listed:
            raise InterventionError("There is one world only: do was not a list.")
        return replace(self, worlds=(self.worlds[i],), do=listed_worlds(self.do)[i], listed=False)

    def sample(self, j: int) -> Counterfactual:
        """One draw of the counterfactual, without the S axis."""
        if self.num_samples is None:
            raise InterventionError("There is one sample only: num_samples was not given.")
        if not -self.num_samples <= j < self.num_samples:
            raise IndexError(f"Sample {j} of {self.num_samples}.")
        start = (j % self.num_samples) * self.rows
        rows = slice(start, start + self.rows)
        return replace(
            self,
            worlds=tuple(_rows_of(world, rows) for world in self.worlds),
            flat_noise=self.flat_noise.of_rows(rows),
            num_samples=None,
        )

    def to_frame(self) -> pd.DataFrame:
        """Scalar nodes as a data frame, category names and row labels restored.

        Worlds and samples become levels of the row index.
        """
        if self.listed:
            return _concatenate({i: self.world(i).to_frame() for i in range(len(self.worlds))}, "world")
        if self.num_samples is not None:
            return _concatenate({j: self.sample(j).to_frame() for j in range(self.num_samples)}, "sample")
        return to_frame(self, self.graph.variables, self.index)

    def plot(self, rows: int = 6, **options: Any) -> Figure:
        """Factual, counterfactual and signed difference, one row per unit, a column per world.

        Args:
            rows: How many units to show.
            options: Passed to `causalcf.plots.plot_counterfactual`.
        """
        from causalcf.plots import plot_counterfactual

        return plot_counterfactual(self, rows=rows, **options)

    def check(self) -> Check:
        """Does the question extrapolate? A scorecard that prints as a table; `.extrapolates` is per row.

        Looks at the values that the actions set or moved against the range of the training data, at
        acted values against what their own mechanisms could give under the acted parents, at the
        abducted noise against its prior, and at residuals against those of held-out rows.

        Raises:
            InterventionError: There are several worlds or samples: check one of them.
        """
        from causalcf.scm.check import check

        return check(self)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{node}: {tuple(self[node].shape)}" for node in self)
        return f"Counterfactual(do={self.do}, {shapes})"


def counterfactual(
    graph: CausalGraph,
    mechanisms: Mapping[str, Mechanism],
    x: Batch,
    do: Dos,
    *,
    num_samples: int | None = None,
    abduction: Abduction = "mean",
    residual: Residual = 1.0,
    recompute: Recompute = "descendants",
    out_of_support: OutOfSupport = "raise",
    seed: seeding.Seed = None,
) -> Counterfactual:
    """Abduct the noise of x, act, predict. See `StructuralCausalModel.counterfactual`."""
    sample = abduction == "sample"
    random = is_random(mechanisms, sample=sample) or any(is_stochastic(world) for world in listed_worlds(do))
    if num_samples is not None:
        _check_samples(num_samples, random=random)
        x = x[torch.arange(x.rows).repeat(num_samples)]
    seed = seeding.resolve(seed) if random else None
    return predict_worlds(
        graph,
        mechanisms,
        abduct(graph, mechanisms, x, sample=sample, seed=seed),
        do,
        residual=residual,
        recompute=recompute,
        out_of_support=out_of_support,
        num_samples=num_samples,
        seed=seed,
    )


def predict_worlds(
    graph: CausalGraph,
    mechanisms: Mapping[str, Mechanism],
    noise: Noise,
    do: Dos,
    *,
    residual: Residual = 1.0,
    recompute: Recompute = "descendants",
    out_of_support: OutOfSupport = "raise",
    project: bool = True,
    num_samples: int | None = None,
    seed: int | None = None,
) -> Counterfactual:
    """Carry out one or several sets of actions on the same noise.

    Worlds run one after the other, so memory grows with what they give back and no faster.
    """
    worlds = tuple(
        predict(
            graph,
            mechanisms,
            noise,
            read_actions(graph, mechanisms, world, noise.rows, samples=num_samples or 1, seed=seed),
            recompute=recompute,
            residual=residual,
            out_of_support=out_of_support,
            project=project,
        )
        for world in listed_worlds(do)
    )
    return Counterfactual(
        graph,
        worlds,
        noise,
        do=do,
        seed=noise.seed if seed is None else seed,
        residual=residual,
        recompute=recompute,
        listed=_is_listed(do),
        num_samples=num_samples,
    )


def listed_worlds(do: Dos) -> Sequence[Do]:
    """`do` as a list of worlds.

    Raises:
        InterventionError: An empty list, or a world that is not a mapping.
    """
    if _is_listed(do) and not do:
        raise InterventionError("do is an empty list: ask for at least one world, do=[{...}].")
    worlds: Sequence[Any] = do if _is_listed(do) else [do]  # type: ignore[assignment]
    for world in worlds:
        if not isinstance(world, Mapping | None):
            raise InterventionError(f"do must map nodes to actions, as in do={{'x': 1.0}}; got {world!r}.")
    return [world or {} for world in worlds]


def _is_listed(do: Dos) -> bool:
    return isinstance(do, list | tuple)


def _check_samples(num_samples: int, *, random: bool) -> None:
    if num_samples < 1:
        raise InterventionError(f"num_samples must be at least 1, got {num_samples}.")
    if not random:
        raise InterventionError(
            "num_samples was given, but nothing in this query is random: every sample would be the same."
            ' Leave it out, abduct with abduction="sample", or act with a distribution.'
        )


def _rows_of(world: World, rows: slice) -> World:
    cut = {
        name: MappingProxyType({key: value[rows] for key, value in getattr(world, name).items()})
        for name in ("values", "logits", "draws")
    }
    return replace(world, **cut)


def _concatenate(frames: dict[int, pd.DataFrame], name: str) -> pd.DataFrame:
    import pandas as pd

    return pd.concat(frames, names=[name])

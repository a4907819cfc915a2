"""The three steps composed - abduction, action, prediction - and the record of their results.

Judea Pearl, "Causality", 2nd edition 2009, theorem 7.1.7.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch
from torch import Tensor

from causalcf.core import seeding
from causalcf.core.errors import DataError, InterventionError
from causalcf.core.frozen import Frozen
from causalcf.core.settings import COUNT
from causalcf.core.signatures import checked
from causalcf.data import Batch, to_frame
from causalcf.graph import CausalGraph
from causalcf.mechanisms import Mechanism
from causalcf.scm.abduction import Noise, Owned, abduct, is_random
from causalcf.scm.action import Dos, Worlds, read_actions, read_worlds
from causalcf.scm.prediction import World, predict
from causalcf.scm.residual import Residual
from causalcf.scm.rules import Abduction, Recompute, Rules, is_sampled
from causalcf.scm.scorecard import Check

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from causalcf.scm.scorecard import Check

__all__ = ["Checker", "Counterfactual", "Mode", "counterfactual", "predict_worlds"]


Mode = Literal["intervention", "backtracking"]
"""How a counterfactual comes about: by an action that leaves causes alone, or by other noise under the same laws."""


class Checker(Protocol):
    """The origin of an answer, which knows how to check it."""

    def check(self, cf: Counterfactual) -> Check:
        """The scorecard of one world of an answer."""
        ...


@dataclass(frozen=True, eq=False)
class Counterfactual(Mapping[str, Tensor]):
    """The answer to a counterfactual query: a frozen mapping node -> tensor, and how it was computed.

    Tensors have the axes (W, S, N, *event_shape): W only if `do` is a list of worlds, S only if
    `num_samples` was given. `world(i)` and `sample(j)` are views without that axis.

    Args:
        graph: The graph of the model that answered.
        worlds: One per set of actions, rows being samples times units.
        flat_noise: The noise all worlds share, in the same rows.
        do: The actions as they were asked for.
        seed: Seed of the random part; None if nothing was random.
        residual: Scale of the residual noise; anything but 1 is not abduction. `Fading` where it fades.
        recompute: Which mechanisms ran: "descendants" or "all".
        listed: Whether there is a W axis.
        num_samples: Length of the S axis, None if there is none.
        mode: Whether the rows were acted on, or their noise was moved until `do` came out: "backtracking".
        origin: The model that answered and facts about its data, for `check`.
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
    mode: Mode = "intervention"
    origin: Checker | None = field(default=None, repr=False)
    _copies: dict[int, Tensor] = field(default_factory=dict, init=False, repr=False)

    # ------------------------------------------------------------------ the mapping

    def __getitem__(self, node: str) -> Tensor:
        self.graph.require(node)
        return self._stack([self._owned(world.values[node]) for world in self.worlds])

    def __getstate__(self) -> dict[str, Any]:
        """For pickle: functions that cannot be sent stay behind, their names in their place."""
        origin = self.origin if self.origin is None or _can_be_sent(self.origin) else None
        return self.__dict__ | {"do": _without_functions(self.do), "origin": origin, "_copies": {}}

    def __deepcopy__(self, memo: dict[int, Any]) -> Counterfactual:
        copied = object.__new__(type(self))
        state = self.__dict__ | {"_copies": {}}
        copied.__dict__.update({name: copy.deepcopy(value, memo) for name, value in state.items()})
        return copied

    def _owned(self, value: Tensor) -> Tensor:
        """Copy a value, once, if it shares memory with the observed rows: changing it must not change these."""
        observed = self.flat_noise.observed
        if observed is None or not _shares(value, observed.values()):
            return value
        if id(value) not in self._copies:
            self._copies[id(value)] = value.clone()
        return self._copies[id(value)]

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
        observed = self.flat_noise.observed
        if observed is None or self.num_samples is None:
            return self.flat_noise.factual
        return Owned(observed[: self.rows])

    @property
    def index(self) -> Any:
        """Row labels, of the observed rows if there are any."""
        observed = self.flat_noise.observed
        return torch.arange(self.rows) if observed is None else observed.index[: self.rows]

    @property
    def labels(self) -> Any:
        """The same as the data frame had them, with names and levels; None for rows that came without labels."""
        observed = self.flat_noise.observed
        return None if observed is None or observed.labels is None else observed.labels[: self.rows]

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
            return Frozen(shared | {n: self._unflatten(self.worlds[0].draws[n]) for n in draws})
        everywhere = [name for name in draws if all(name in world.draws for world in self.worlds)]
        return Frozen(shared | {n: self._stack([w.draws[n] for w in self.worlds]) for n in everywhere})

    @property
    def logits(self) -> Mapping[str, Tensor]:
        """Logits of the classifier nodes that were recomputed in every world."""
        names = [name for name in self.worlds[0].logits if all(name in world.logits for world in self.worlds)]
        return Frozen({name: self._stack([w.logits[name] for w in self.worlds]) for name in names})

    @property
    def clipped(self) -> Mapping[str, int]:
        """Acted node -> rows clipped to the support, over all worlds; empty unless clipping was asked for."""
        total: dict[str, int] = {}
        for world in self.worlds:
            for node, rows in world.clipped.items():
                total[node] = total.get(node, 0) + rows
        return Frozen(total)

    # ------------------------------------------------------------------ views

    @checked
    def world(self, i: int) -> Counterfactual:
        """One of the worlds asked for, without the W axis."""
        if not self.listed:
            raise InterventionError("There is one world only: do was not a list.")
        return replace(self, worlds=(self.worlds[i],), do=read_worlds(self.do).each[i], listed=False)

    @checked
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

    @checked
    def to_frame(self) -> pd.DataFrame:
        """Scalar nodes as a data frame, category names and row labels restored.

        Worlds and samples become levels of the row index.
        """
        if self.listed:
            return _concatenate({i: self.world(i).to_frame() for i in range(len(self.worlds))}, "world")
        if self.num_samples is not None:
            return _concatenate({j: self.sample(j).to_frame() for j in range(self.num_samples)}, "sample")
        return to_frame(self, self.graph.variables, self.index, self.labels)

    @checked
    def plot(self, rows: int | None = None, *, kind: str = "units", **options: Any) -> Figure:
        """A picture of the answer: by default a row per unit, with factual, counterfactual and signed difference.

        Args:
            rows: How many units to show; by default a few where each has a row of its own, else all.
            kind: "units", a row each; "changes", what moved, by how much and for whom, over all units; "pair", two
                numbers against each other; "worlds", along the worlds asked for; "samples", how draws of an image
                differ.
            options: Such as `nodes`; passed to the function of that kind in `causalcf.plots`.

        Raises:
            DataError: There is no such kind, or nothing to draw.
        """
        from causalcf.plots import plot_answer

        return plot_answer(self, kind, **options | ({} if rows is None else {"rows": rows}))

    @property
    def sentence(self) -> str:
        """What the answer licenses one to say."""
        from causalcf.plots import describe_actions

        asked = " or ".join(describe_actions(do, self.graph) for do in read_worlds(self.do).each)
        if self.mode == "intervention":
            return f"Under {asked}, an action that leaves the causes as they were, this would have followed."
        found = asked.removeprefix("do(").removesuffix(")")
        return f"Had {found} come about by the least change of noise, causes included, this is how all would have been."

    @checked
    def check(self) -> Check:
        """Does the question extrapolate? A scorecard that prints as a table; `.extrapolates` is per row.

        Looks at the values that the actions set or moved against the range of the training data, at
        acted values against the outputs of their own mechanisms under the acted parents, at the
        abducted noise against its prior, and at residuals against those of held-out rows.

        Raises:
            InterventionError: There are several worlds or samples: check one of them.
        """
        if self.origin is None:
            raise DataError("This answer does not know its model. Ask it of the model: scm.counterfactual(x, do=...).")
        return self.origin.check(self)

    def _repr_html_(self) -> str:
        from causalcf.plots.cards import answer_html

        return answer_html(self)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{node}: {tuple(self[node].shape)}" for node in self)
        return f"Counterfactual(do={self.do}, {shapes})"


def counterfactual(
    graph: CausalGraph,
    mechanisms: Mapping[str, Mechanism],
    x: Batch,
    do: Dos,
    *,
    rules: Rules,
    num_samples: int | None = None,
    abduction: Abduction = "mean",
    seed: seeding.Seed = None,
) -> Counterfactual:
    """Abduct the noise of x, act, predict. See `StructuralCausalModel.counterfactual`."""
    worlds, sample = read_worlds(do), is_sampled(abduction)
    random = is_random(mechanisms, sample=sample) or worlds.random
    if num_samples is not None:
        _check_samples(num_samples, random=random)
        num_samples = int(num_samples)
        x = x[torch.arange(x.rows).repeat(num_samples)]
    seed = seeding.resolve(seed) if random else None
    noise = abduct(graph, mechanisms, x, sample=sample, seed=seed)
    return predict_worlds(graph, mechanisms, noise, worlds, rules=rules, num_samples=num_samples, seed=seed)


def predict_worlds(
    graph: CausalGraph,
    mechanisms: Mapping[str, Mechanism],
    noise: Noise,
    worlds: Worlds,
    *,
    rules: Rules,
    num_samples: int | None = None,
    seed: int | None = None,
) -> Counterfactual:
    """Carry out one or several sets of actions on the same noise.

    Worlds run one after the other, so memory grows only with their results.
    """
    rules.check(graph, mechanisms)
    answers, samples = [], num_samples or 1
    index, labels = (None, None) if noise.observed is None else (noise.observed.index, noise.observed.labels)
    units = None if labels is None else labels[: noise.rows // samples]
    for do in worlds.each:
        actions = read_actions(graph, mechanisms, do, noise.rows, samples=samples, seed=seed, index=index, labels=units)
        answers.append(predict(graph, mechanisms, noise, actions, rules))
    return Counterfactual(
        graph,
        tuple(answers),
        noise,
        do=worlds.asked,
        seed=noise.seed if seed is None else seed,
        residual=rules.residual,
        recompute=rules.recompute,
        listed=worlds.listed,
        num_samples=num_samples,
    )


def _check_samples(num_samples: int, *, random: bool) -> None:
    if num_samples not in COUNT:
        raise InterventionError(
            f"num_samples must be at least 1, got {num_samples!r}: it is how many draws, a whole number."
        )
    if not random:
        raise InterventionError(
            "num_samples was given, but nothing in this query is random: every sample would be the same."
            ' Leave it out, abduct with abduction="sample", or act with a distribution.'
        )


def _can_be_sent(thing: object) -> bool:
    try:
        pickle.dumps(thing)
    except (pickle.PicklingError, AttributeError, TypeError):
        return False
    return True


def _without_functions(do: Dos) -> Dos:
    """The actions, those that cannot be pickled as text."""
    if isinstance(do, Mapping):
        return {target: action if _can_be_sent(action) else repr(action) for target, action in do.items()}
    return do and [{} if world is None else _without_functions(world) for world in do]  # type: ignore[return-value]


def _shares(x: Tensor, others: Iterable[Tensor]) -> bool:
    """Whether a tensor lies in the memory of another."""
    place = x.untyped_storage().data_ptr()
    return any(place == other.untyped_storage().data_ptr() for other in others)


def _rows_of(world: World, rows: slice) -> World:
    cut = {
        name: Frozen({key: value[rows] for key, value in getattr(world, name).items()})
        for name in ("values", "logits", "draws")
    }
    return replace(world, **cut)


def _concatenate(frames: dict[int, pd.DataFrame], name: str) -> pd.DataFrame:
    import pandas as pd

    return pd.concat(frames, names=[name])

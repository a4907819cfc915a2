"""Step 1 of a counterfactual: infer the exogenous noise of the observed rows, p(u | x)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import overload

import numpy as np
import torch
from torch import Tensor

from causalcf.core import draws, seeding
from causalcf.core.frozen import Frozen
from causalcf.data import Batch
from causalcf.data.batch import Index
from causalcf.graph import CausalGraph, site
from causalcf.mechanisms import Mechanism

__all__ = ["Noise", "Owned", "abduct", "is_random", "sample_noise", "site"]


class Noise(Mapping[str, Tensor]):
    """The values of the exogenous sites, one row a unit, drawn once and shared by every world.

    Args:
        values: Site -> tensor (N, ...), for example `"intensity.u"`, `"image.z"`, `"image.eps"`.
        factual: The observation they were abducted from, which is not copied; None for noise drawn from its prior.
        seed: Seed of the random part.
        abduction: How amortised latents were abducted: "mean", "sample", or "prior" for none.
        temperatures: node -> temperature that its latents were drawn at; empty where none were drawn.

    Example:
        >>> import torch
        >>> Noise({"x.u": torch.zeros(2)}).rows
        2
    """

    def __init__(
        self,
        values: Mapping[str, Tensor],
        factual: Batch | None = None,
        *,
        seed: int | None = None,
        abduction: str = "prior",
        temperatures: Mapping[str, float] = Frozen(),
    ) -> None:
        self._values = dict(values)
        self.observed = factual
        self.replaced: frozenset[str] = frozenset()
        self._factual: Batch | None = None
        self.seed = seed
        self.abduction = abduction
        self.temperatures: Mapping[str, float] = Frozen(temperatures)
        self.rows: int = factual.rows if factual is not None else next(iter(values.values())).shape[0]

    @property
    def factual(self) -> Batch | None:
        """The observation, copied when it is asked for: writing into it does not change the caller's tensors."""
        if self._factual is None and self.observed is not None:
            self._factual = Owned(self.observed)
        return self._factual

    def __getitem__(self, name: str) -> Tensor:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def of(self, node: str, mechanism: Mechanism) -> dict[str, Tensor]:
        """The sites of one node: suffix -> tensor."""
        return {suffix: self._values[site(node, suffix)] for suffix in mechanism.sites}

    def replace(self, values: Mapping[str, Tensor]) -> Noise:
        """The same noise with some sites set or added."""
        changed = self.like({**self._values, **values}, self.observed)
        changed.replaced = self.replaced | values.keys()
        return changed

    def of_rows(self, rows: slice) -> Noise:
        """The noise of some rows."""
        factual = None if self.observed is None else self.observed[rows]
        some = self.like({name: value[rows] for name, value in self.items()}, factual)
        some.replaced = self.replaced
        return some

    def like(self, values: Mapping[str, Tensor], factual: Batch | None) -> Noise:
        """Other values and rows, drawn as these were."""
        return Noise(values, factual, seed=self.seed, abduction=self.abduction, temperatures=self.temperatures)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name}: {tuple(value.shape)}" for name, value in self.items())
        return f"Noise({shapes})"


class Owned(Batch):
    """Rows whose tensors are copied when they are first asked for: reading large data must not cost a copy of all.

    Args:
        lent: Rows that belong to someone else.
    """

    def __init__(self, lent: Batch) -> None:
        super().__init__(lent, lent.index, lent.labels)
        self._copied: set[str] = set()

    @overload
    def __getitem__(self, key: str) -> Tensor: ...
    @overload
    def __getitem__(self, key: slice | Tensor | np.ndarray | list[int]) -> Batch: ...
    def __getitem__(self, key: str | slice | Tensor | np.ndarray | list[int]) -> Tensor | Batch:
        if isinstance(key, str) and key in self._values and key not in self._copied:
            self._values[key] = super().__getitem__(key).clone()
            self._copied.add(key)
        return super().__getitem__(key)


def abduct(
    graph: CausalGraph,
    mechanisms: Mapping[str, Mechanism],
    x: Batch,
    *,
    sample: bool = False,
    seed: int | None = None,
) -> Noise:
    """The noise of every node given the observed rows; draws follow from seed, row label and node.

    Args:
        graph: The causal graph.
        mechanisms: node -> fitted mechanism.
        x: Observed values of every node, in data units.
        sample: Draw amortised latents from their posterior instead of taking its mean.
        seed: Seed of random noise; None draws from torch's own state.
    """
    noise: dict[str, Tensor] = {}
    drawing = _Drawing(mechanisms, x.index, seed)
    for node in graph.nodes:
        mechanism = mechanisms[node]
        pa = {parent: x[parent] for parent in graph.parents(node)}
        if any(graph.variables[name].has_gaps(x[name]) for name in (node, *pa)):
            continue  # no answer depends on this noise, or its gaps would have been refused
        with drawing.of(node, random=mechanism.is_random(sample=sample)):
            found = mechanism.abduct(x[node], pa, sample=sample)
        noise |= {site(node, suffix): u for suffix, u in found.items()}
    factual = x.like({node: x[node] for node in graph.nodes})
    drawn = [node for node in graph.nodes if sample and mechanisms[node].is_random(sample=True)]
    return Noise(
        noise,
        factual,
        seed=seed,
        abduction="sample" if sample else "mean",
        temperatures=_temperatures(mechanisms, drawn),
    )


def sample_noise(graph: CausalGraph, mechanisms: Mapping[str, Mechanism], n: int, *, seed: int | None = None) -> Noise:
    """n draws of all exogenous noise from its prior: the i-th is the same whatever n is."""
    values: dict[str, Tensor] = {}
    drawing = _Drawing(mechanisms, torch.arange(n), seed)
    for node in graph.nodes:
        with drawing.of(node, random=True):
            values |= {site(node, suffix): u for suffix, u in mechanisms[node].sample_noise(n).items()}
    return Noise(values, seed=seed, temperatures=_temperatures(mechanisms, graph.nodes))


def _temperatures(mechanisms: Mapping[str, Mechanism], drawn: Iterable[str]) -> dict[str, float]:
    """The nodes with latents, among those whose noise was drawn."""
    return {node: mechanisms[node].temperature for node in drawn if mechanisms[node].latents}


class _Drawing:
    """The random numbers of noise, apart from those that actions draw under the same seed."""

    def __init__(self, mechanisms: Mapping[str, Mechanism], index: Index, seed: int | None) -> None:
        self.mechanisms, self.index, self.seed = mechanisms, index, seed
        self._keys: Tensor | None = None

    def of(self, node: str, *, random: bool) -> AbstractContextManager[None]:
        """The block in which a node's noise is abducted or drawn."""
        if self.seed is None or not random:
            return nullcontext()
        mechanism = self.mechanisms[node]
        if not mechanism.draws_by_row:
            return seeding.seeded(seeding.derive(self.seed, "noise", node), mechanism.device)
        if self._keys is None:
            self._keys = draws.row_keys(self.index, self.seed, "noise", device=mechanism.device)
        return draws.by_row(self._keys, node)


def is_random(mechanisms: Mapping[str, Mechanism], *, sample: bool) -> bool:
    """Whether abducting the same rows twice can give different noise."""
    return any(mechanism.is_random(sample=sample) for mechanism in mechanisms.values())

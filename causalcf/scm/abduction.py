"""Step 1 of a counterfactual: infer the exogenous noise of what was observed, p(u | x)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from types import MappingProxyType

from torch import Tensor

from causalcf.core import seeding
from causalcf.data import Batch
from causalcf.graph import CausalGraph, site
from causalcf.mechanisms import Mechanism

__all__ = ["Noise", "abduct", "is_random", "sample_noise", "site"]


class Noise(Mapping[str, Tensor]):
    """The values of the exogenous sites, one row a unit, drawn once and shared by every world.

    Args:
        values: Site -> tensor (N, ...), for example `"intensity.u"`, `"image.z"`, `"image.eps"`.
        factual: The observation they were abducted from; None for noise drawn from its prior.
        seed: What the random part was drawn with.
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
        temperatures: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        self._values = dict(values)
        self.factual = factual
        self.seed = seed
        self.abduction = abduction
        self.temperatures = MappingProxyType(dict(temperatures))
        self.rows: int = factual.rows if factual is not None else next(iter(values.values())).shape[0]

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
        return self.like({**self._values, **values}, self.factual)

    def of_rows(self, rows: slice) -> Noise:
        """The noise of some rows."""
        factual = None if self.factual is None else self.factual[rows]
        return self.like({name: value[rows] for name, value in self.items()}, factual)

    def like(self, values: Mapping[str, Tensor], factual: Batch | None) -> Noise:
        """Other values and rows, drawn as these were."""
        return Noise(values, factual, seed=self.seed, abduction=self.abduction, temperatures=self.temperatures)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name}: {tuple(value.shape)}" for name, value in self.items())
        return f"Noise({shapes})"


def abduct(
    graph: CausalGraph, mechanisms: Mapping[str, Mechanism], x: Batch, *, sample: bool = False, seed: int | None = None
) -> Noise:
    """The noise of every node given the observed rows.

    Args:
        graph: The causal graph.
        mechanisms: node -> fitted mechanism.
        x: Observed values of every node, in data units.
        sample: Draw amortised latents from their posterior instead of taking its mean.
        seed: What random noise is drawn with; None draws from torch's own state.
    """
    noise: dict[str, Tensor] = {}
    with _drawing(mechanisms, seed):
        for node in graph.nodes:
            mechanism = mechanisms[node]
            pa = {parent: x[parent] for parent in graph.parents(node)}
            for suffix, u in mechanism.abduct(x[node], pa, sample=sample).items():
                noise[site(node, suffix)] = u
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
    """n draws of all exogenous noise from its prior."""
    values: dict[str, Tensor] = {}
    with _drawing(mechanisms, seed):
        for node in graph.nodes:
            values |= {site(node, suffix): u for suffix, u in mechanisms[node].sample_noise(n).items()}
    return Noise(values, seed=seed, temperatures=_temperatures(mechanisms, graph.nodes))


def _temperatures(mechanisms: Mapping[str, Mechanism], drawn: Iterable[str]) -> dict[str, float]:
    """Of the nodes whose noise was drawn, those that have latents."""
    return {node: mechanisms[node].temperature for node in drawn if mechanisms[node].latents}


def _drawing(mechanisms: Mapping[str, Mechanism], seed: int | None) -> AbstractContextManager[None]:
    """Random numbers of the noise, apart from those that actions draw under the same seed."""
    device = next(iter(mechanisms.values())).device
    return seeding.seeded(None if seed is None else seeding.derive(seed, "noise"), device)


def is_random(mechanisms: Mapping[str, Mechanism], *, sample: bool) -> bool:
    """Whether abducting the same rows twice can give different noise."""
    return any(mechanism.is_random(sample=sample) for mechanism in mechanisms.values())

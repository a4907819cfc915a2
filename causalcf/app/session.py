"""A model, a data set and a question, without any user interface: the source of everything that the page shows."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self, cast

import torch
from torch import Tensor

from causalcf.app.state import State, Value, read_state
from causalcf.core.errors import CausalCFError, DataError, UnknownNodeError
from causalcf.data import Batch
from causalcf.scm.abduction import Noise
from causalcf.scm.counterfactual import Counterfactual
from causalcf.scm.model import StructuralCausalModel
from causalcf.scm.scorecard import Check
from causalcf.variables.codes import Categorical

__all__ = ["Answer", "Drawn", "Session", "Source"]

NEIGHBOURS = 12
"""How many units or draws the first two rungs show."""


@dataclass(frozen=True)
class Source:
    """Where model and data come from, in words and as Python.

    Args:
        model: Name of the model.
        data: Name of the data set.
        model_code: Expression that gives the model.
        data_code: Expression that gives the data set; may use `scm`.
    """

    model: str
    data: str
    model_code: str
    data_code: str


@dataclass(frozen=True, eq=False)
class Answer:
    """The answer to a question.

    Args:
        factual: The observed unit, one row.
        cf: A result of `Session.counterfactual`: with a W axis if there are several worlds, S if there are samples.
        truth: The true counterfactual of each world, None where it is not known.
        no_truth: Why, per world; empty where it is known.
        ms: Milliseconds that "answer" and "truth" took.
    """

    factual: Batch
    cf: Counterfactual
    truth: tuple[Batch | None, ...]
    no_truth: tuple[str, ...]
    ms: Mapping[str, float]

    def world(self, i: int) -> Counterfactual:
        """The counterfactual of one world, without a W axis."""
        return self.cf.world(i) if self.cf.listed else self.cf


@dataclass(frozen=True, eq=False)
class Drawn:
    """Units or draws of the first two rungs, with the Python that gives them."""

    rows: Batch
    call: str
    ms: float


@dataclass(frozen=True, eq=False)
class Session:
    """One question to a model about a unit of a data set.

    A session never changes; `at` gives one with another state, which shares model and data.

    Args:
        scm: The fitted model.
        data: A data set or columns, with every node of the model; with `truth(x, do)` if it knows it.
        source: Where both come from.
        state: The question.

    Raises:
        DataError: The data lack a node of the model, or have none of the rows asked for.

    Example:
        >>> import causalcf as ccf
        >>> source = Source("vae", "digits", "ccf.pretrained('morphomnist-vae')", "ccf.datasets.Digits('test')")
        >>> session = Session(ccf.pretrained("morphomnist-vae"), ccf.datasets.Digits("test"), source)
        >>> thick = session.at(State(unit=3).act(0, "thickness", 4.0)).answer()
        >>> thick.cf["thickness"].tolist()
        [4.0]
    """

    scm: StructuralCausalModel = field(repr=False)
    data: Any = field(repr=False)
    source: Source
    state: State = field(default_factory=State)
    table: Batch | None = field(default=None, repr=False)
    """The data as the model reads them; read once."""

    def __post_init__(self) -> None:
        if self.table is None:
            object.__setattr__(self, "table", self.scm.read(self.data))

    def at(self, state: State | str) -> Self:
        """The same model and data, asked something else: a state, or the query of a URL.

        Raises:
            CausalCFError: The query cannot be read; see `read_state`.
        """
        return replace(self, state=read_state(state, self.scm.variables) if isinstance(state, str) else state)

    # ------------------------------------------------------------------ the third rung

    @property
    def rows(self) -> int:
        """How many units there are."""
        return self._table.rows

    def rows_of(self, node: str) -> Tensor:
        """A node's values of all units."""
        return self._table[node]

    @property
    def _table(self) -> Batch:
        return cast("Batch", self.table)  # read when the session was made

    @cached_property
    def factual(self) -> Batch:
        """The observed unit, as one row."""
        return self._table[self._at]

    @property
    def _at(self) -> slice:
        unit = self.state.unit
        if not 0 <= unit < self.rows:
            raise DataError(f"There is no unit {unit}: {self.source.data} has the units 0 to {self.rows - 1}.")
        return slice(unit, unit + 1)

    def answer(self) -> Answer:
        """Factual, counterfactual and truth of every world.

        Raises:
            CausalCFError: The question cannot be answered; says why and what to do.
        """
        started = time.perf_counter()
        cf = self.counterfactual()
        answered = time.perf_counter()
        known = [self._truth(world) for world in self.state.worlds]
        ms = {"answer": 1e3 * (answered - started), "truth": 1e3 * (time.perf_counter() - answered)}
        return Answer(self.factual, cf, tuple(rows for rows, _ in known), tuple(why for _, why in known), ms)

    def counterfactual(self) -> Counterfactual:
        """Return the result of `scm.counterfactual` for this state, unchanged; edited noise goes to `scm.predict`."""
        state, worlds = self.state, self._asked
        if state.noise:
            return self.scm.predict(self.noise(), worlds, recompute="all", residual=state.residual, seed=state.seed)
        options: dict[str, Any] = {"num_samples": state.samples, "abduction": "sample"} if state.samples else {}
        return self.scm.counterfactual(self.factual, worlds, residual=state.residual, seed=state.seed, **options)

    @property
    def _asked(self) -> Any:
        """One world as a mapping, several as a list of them: as `scm.counterfactual` takes them."""
        worlds = [dict(world) for world in self.state.worlds]
        return worlds if len(worlds) > 1 else worlds[0]

    def _truth(self, world: Mapping[str, Value]) -> tuple[Batch | None, str]:
        if not hasattr(self.data, "truth"):
            return None, f"{self.source.data} does not know its true counterfactuals."
        if self.state.noise:
            return None, "No truth is known for edited noise: this would be another unit."
        try:
            return self.data.truth(self.data[self._at], dict(world)), ""
        except CausalCFError as error:
            return None, str(error)

    def check(self, world: int) -> str:
        """Does a world extrapolate? One sentence per thing that is unusual, or one that says there is none.

        Raises:
            CausalCFError: There is no such world, or no answer.
        """
        at, cf = self._world(world), self.counterfactual()
        cf = cf.world(at) if cf.listed else cf
        return in_words((cf.sample(0) if cf.num_samples else cf).check())

    def _world(self, world: int) -> int:
        if not 0 <= world < len(self.state.worlds):
            raise DataError(f"There is no world {world}: the question has {len(self.state.worlds)}.")
        return world

    # ------------------------------------------------------------------ noise

    @cached_property
    def abducted(self) -> Noise:
        """The noise of the unit, as it was abducted."""
        return self.scm.abduct(self.factual, seed=self.state.seed)

    def noise(self) -> Noise:
        """The noise of the unit, with the edits.

        Raises:
            UnknownNodeError: An edit names something that is not a noise site.
            DataError: An edit of a component that the site lacks, or of one of several draws.
        """
        if self.state.noise and self.state.samples:
            raise DataError("Edited noise is one abduction, not several draws. Set draws to 0, or undo the edits.")
        edited: dict[str, Tensor] = {}
        for (site, component), value in self.state.noise.items():
            if site not in self.abducted:
                raise UnknownNodeError(f"There is no noise '{site}'. There are {list(self.abducted)}.")
            values = edited.get(site, self.abducted[site].clone())
            if component >= values.numel():
                raise DataError(f"'{site}' has the components 0 to {values.numel() - 1}, got {component}.")
            values.view(-1)[component] = value
            edited[site] = values
        return self.abducted.replace(edited)

    # ------------------------------------------------------------------ the first two rungs

    def see(self, world: int, n: int = NEIGHBOURS) -> Drawn:
        """Association: the observed units whose values are nearest to those of a world.

        Numbers are compared in standard deviations of the data; categories must be the same.

        Raises:
            DataError: No unit has these categories.
        """
        started = time.perf_counter()
        distance = torch.zeros(self.rows, dtype=torch.float64)
        asked = self.state.worlds[self._world(world)]
        for node, value in asked.items():
            column, variable = self._table[node], self.scm.variables[node]
            if variable.discrete:
                code = variable.code(node, str(value)) if isinstance(variable, Categorical) else bool(value)
                distance[(column != code).cpu()] = torch.inf
            else:
                numbers = column.double().cpu()
                distance += ((numbers - float(value)) / numbers.std().clamp_min(1e-12)).square()
        nearest = distance.argsort(stable=True)[:n]
        nearest = nearest[distance[nearest].isfinite()]
        if not len(nearest):
            raise DataError(f"No unit of {self.source.data} has {worded(asked)}. Choose another value.")
        call = f"{self._data_lines}\nx = data[{nearest.tolist()}]  # the units nearest to {worded(asked) or 'nothing'}"
        return Drawn(self._table[nearest], call, 1e3 * (time.perf_counter() - started))

    def do(self, world: int, n: int = NEIGHBOURS) -> Drawn:
        """Intervention: draws of anybody from the acted model, images without their pixel noise."""
        started = time.perf_counter()
        actions = dict(self.state.worlds[self._world(world)])
        rows = self.scm.sample(n, actions, residual=0.0, seed=self.state.seed)
        call = f"{self._model_line}\nx = scm.sample({n}, do={literal(actions)}, residual=0.0, seed={self.state.seed})"
        return Drawn(rows, call, 1e3 * (time.perf_counter() - started))

    # ------------------------------------------------------------------ as a program

    @property
    def _model_line(self) -> str:
        return f"import causalcf as ccf\nscm = {self.source.model_code}"

    @property
    def _data_lines(self) -> str:
        return f"{self._model_line}\ndata = {self.source.data_code}"

    def call(self) -> str:
        """Python code that makes the result of `answer`, as `cf`."""
        state = self.state
        worlds = literal(self._asked)
        lines = [self._data_lines, f"x = data[{state.unit}:{state.unit + 1}]"]
        scale = f", residual={state.residual!r}" if state.residual != 1 else ""
        if state.noise:
            lines += [f"noise = scm.abduct(x, seed={state.seed})"]
            for site in dict.fromkeys(site for site, _ in state.noise):
                lines += [f'noise = noise.replace({{"{site}": noise["{site}"].clone()}})']
            for (site, component), value in state.noise.items():
                lines += [f'noise["{site}"].view(-1)[{component}] = {value!r}']
            lines += [f'cf = scm.predict(noise, do={worlds}, recompute="all"{scale}, seed={state.seed})']
        else:
            drawn = f', num_samples={state.samples}, abduction="sample"' if state.samples else ""
            lines += [f"cf = scm.counterfactual(x, do={worlds}{drawn}{scale}, seed={state.seed})"]
        return "\n".join(lines)


def worded(actions: Mapping[str, Value]) -> str:
    """Values of nodes in words.

    Example:
        >>> worded({"thickness": 4.0, "digit": "7"})
        'thickness = 4 and digit = 7'
    """
    return " and ".join(f"{n} = {v:g}" if isinstance(v, float) else f"{n} = {v}" for n, v in actions.items())


def literal(value: Any) -> str:
    """Actions as Python, in the quotes that this project writes.

    Example:
        >>> print(literal([{"digit": "7", "thickness": 4.0}]))
        [{"digit": "7", "thickness": 4.0}]
    """
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{json.dumps(name)}: {literal(of)}' for name, of in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(literal(one) for one in value)}]"
    return json.dumps(value) if isinstance(value, str) else repr(value)


def in_words(check: Check) -> str:
    """Describe the check of one row in sentences."""
    unusual = [finding for finding in check.findings if bool(finding.unusual[0])]
    if not unusual:
        return "Nothing about this question lies outside of what the model has seen."
    parts = [f"{f.name}: {f.what} is {float(f.found[0]):.3g}, usual is {f.typical}" for f in unusual]
    return f"This question extrapolates. {'; '.join(parts)}."

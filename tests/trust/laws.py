"""The laws that every answer of every model must keep, and a tally of where they were broken."""

import random
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from trust.models import Model, random_model, rows_of
from trust.oracle import Oracle

import causalcf as ccf
from causalcf.core.errors import CausalCFError
from causalcf.variables import Variable

__all__ = ["ALLOWED", "LAWS", "Tally", "examine"]

WHERE = ("ordinary", "edges", "far")

DIGITS = 64.0
"""Roundings that a value may lose on its way to its noise and back, or from one batch to another."""

LAWS = {
    "null action": "do() gives the row, bit for bit",
    "observed value": "do(a = its own value) gives the row, bit for bit",
    "effectiveness": "do(a = v) gives a = v, bit for bit",
    "ancestors": "what do(a) cannot reach stays, bit for bit",
    "three steps": "counterfactual is predict after abduct, bit for bit",
    "composition": "doing also what the action brings about adds nothing",
    "round trip": "value -> noise -> value",
    "noise round trip": "noise -> value -> noise",
    "whole model": "all mechanisms run again give the row",
    "whole model, 32 bits": "the same, to a hundredth of a range, whatever the networks are",
    "reversibility": "there and back again is the row",
    "support": "answers are finite and in the support, or refused by name",
    "draws": "draws are finite and in the support",
    "batch": "a row's answer is the same in any batch and order",
    "closed form": "answers are those of the closed form",
    "answered": "ordinary rows are answered, not refused",
    "crash": "nothing but a CausalCFError is raised",
}


ALLOWED = {"whole model, 32 bits": 0.02, "round trip": 1e-3, "answered": 1e-3}
"""Share of the trials in which a law may be broken, all of it rounding: that of a cause passes through networks of any
steepness; at a spline's corner slopes change a thousandfold; 32 bits of noise cannot tell all counts apart, and it is
said."""


@dataclass
class Tally:
    """How often each law was tried, and where it was broken."""

    tried: Counter = field(default_factory=Counter)
    broken: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    refused: Counter = field(default_factory=Counter)
    kinds: Counter = field(default_factory=Counter)
    levels: list[Tensor] = field(default_factory=list)
    models: int = 0

    def note(self, law: str, model: Model, fine: bool, detail: str = "") -> None:
        """One trial."""
        self.tried[law] += 1
        if not fine:
            self.broken.setdefault(law, []).append((model.seed, detail))

    def table(self) -> str:
        """A line per law."""
        lines = [f"{'law':<22}{'tried':>9}{'broken':>8}  models (CAUSALCF_TRUST_SEED=n tries one alone)"]
        for law in LAWS:
            found = self.broken.get(law, [])
            which = ", ".join(map(str, dict.fromkeys(seed for seed, _ in found[:12])))
            lines.append(f"{law:<22}{self.tried[law]:>9}{len(found):>8}  {which}")
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(self.kinds.items()))
        refused = ", ".join(f"{where} {count}" for where, count in self.refused.items()) or "none"
        return "\n".join([*lines, f"{self.models} models; nodes: {kinds}", f"questions refused by name: {refused}"])


def examine(seed: int, tally: Tally) -> None:
    """Try every law on the model of a number."""
    model = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is said about edges and far draws has tests of its own
        try:
            model = random_model(seed)
            tally.models += 1
            tally.kinds.update(model.kinds.values())
            _draws(model, tally)
            for where in WHERE:
                _Trial(model, where, tally).run()
            tally.note("crash", model, True)
        except Exception:
            stand_in = model or Model(seed, ccf.SCM([("a", "b")]), False, False)
            tally.note("crash", stand_in, False, traceback.format_exc(limit=-3))


def _wrong(values: Mapping[str, Tensor], model: Model) -> list[str]:
    """Nodes whose values are not finite, or outside the support."""
    bad = []
    for node, variable in model.scm.variables.items():
        x = values[node]
        finite = not x.is_floating_point() or bool(torch.isfinite(x).all())
        if not finite or bool(variable.outside(x).any()):
            bad.append(node)
    return bad


def _draws(model: Model, tally: Tally) -> None:
    """Draws of the model, and of the acted model, are finite and within the support."""
    scm, draw = model.scm, random.Random(model.seed)
    node = draw.choice(scm.graph.nodes)
    x: Any = None
    for acted in (False, True):
        try:
            drawn = scm.sample(32, do={node: x[node][0]} if acted else {}, seed=model.seed)
        except CausalCFError as error:
            tally.note("draws", model, False, str(error))
            return
        x = x or drawn
        wrong = _wrong(drawn, model)
        tally.note("draws", model, not wrong, f"{wrong}")
    for name, mechanism in scm.mechanisms.items():
        pa = {parent: x[parent] for parent in scm.graph.parents(name)}
        if mechanism.sites:
            _there_and_back(model, name, x[name], pa, tally, law="noise round trip")


class _Trial:
    """One model, some rows of it, and an action."""

    def __init__(self, model: Model, where: str, tally: Tally) -> None:
        self.model, self.where, self.tally, self.scm = model, where, tally, model.scm
        draw = random.Random(f"{model.seed} {where} act")
        self.node = draw.choice(self.scm.graph.nodes)
        self.second = draw.choice(self.scm.graph.nodes)
        self.seed = model.seed % 997
        steps = [
            node
            for node, mechanism in self.scm.mechanisms.items()
            if not mechanism.sites and _stepped(mechanism.variable)
        ]
        # A function of the caller's may jump where rounding decides.
        self.jumping = {*steps, *self.scm.graph.descendants(steps)}
        self.impossible: set[str] = set()

    def run(self) -> None:
        """Try every law; where a question is refused, what follows from its answer is not tried."""
        given = self.ask(lambda: rows_of(self.model, self.where))
        self.x = given and self.ask(lambda: self.scm.read(given))
        if self.x is None:
            return
        self.other = {node: value.roll(1, 0) for node, value in self.x.items()}
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            self.noise = self.ask(lambda: self.scm.abduct(self.x, seed=self.seed))
        # What is told of is no fault: nodes some of whose values their mechanism holds to be impossible.
        self.impossible = {str(w.message).split("'")[1] for w in told if "impossible" in str(w.message)}
        if self.noise is None:
            return
        if self.where == "ordinary":
            self.note("answered", not self.impossible, f"{self.impossible} are told to be impossible")
        self.acts()
        self.composes()
        self.returns()
        self.batches()
        if self.model.closed and self.model.double:
            self.closed_form()
        if self.where == "ordinary":
            self.tally.levels += list(_levels(self.scm, self.noise))

    def ask(self, question: Callable[[], Any]) -> Any:
        """The answer; None where the question is refused by name."""
        try:
            found = question()
        except CausalCFError as error:
            self.tally.refused[self.where] += 1
            if self.where == "ordinary":
                self.note("answered", False, str(error))
            return None
        if self.where == "ordinary":
            self.note("answered", True)
        return found

    def note(self, law: str, fine: bool, detail: object = "") -> None:
        self.tally.note(law, self.model, fine, f"{self.where}, do({self.node}, {self.second}): {detail}")

    def same(self, law: str, a: Mapping[str, Tensor], b: Mapping[str, Tensor], nodes: Any = None) -> None:
        differ = [n for n in (self.scm.graph.nodes if nodes is None else nodes) if not torch.equal(a[n], b[n])]
        self.note(law, not differ, differ)

    def close(self, law: str, a: Mapping[str, Tensor], b: Mapping[str, Tensor], share: float, rows: Any = None) -> None:
        """Numbers within a share of their range, or of themselves; codes equal."""
        wrong = {}
        for node, variable in self.scm.variables.items():
            if node in self.jumping | {*self.impossible, *self.scm.graph.descendants(self.impossible)}:
                continue
            one, two = (a[node], b[node]) if rows is None else (a[node], b[node][rows])
            if _stepped(variable):
                off = float((one != two).double().sum())
            else:
                scale = self.model.ranges.get(node, 1.0) + two.abs().double()
                off = float(((one.double() - two.double()).abs() / scale - share).amax().clamp_min(0))
            if off > 0:
                wrong[node] = off
        self.note(law, not wrong, wrong)

    # ------------------------------------------------------------------ laws

    def acts(self) -> None:
        x, a = self.x, self.node
        worlds = self.ask(lambda: self.scm.predict(self.noise, [{}, {a: x[a]}, {a: self.other[a]}]))
        self.acted = None
        if worlds is None:
            return
        self.same("null action", worlds.world(0), x)
        self.same("observed value", worlds.world(1), x)
        self.acted = worlds.world(2)
        self.note("effectiveness", torch.equal(self.acted[a], self.other[a]))
        still = {*self.scm.graph.nodes} - {a} - {*self.scm.graph.descendants([a])}
        self.same("ancestors", self.acted, x, still)
        wrong = _wrong(self.acted, self.model)
        self.note("support", not wrong, wrong)
        if self.where != "ordinary":
            return
        at_once = self.ask(lambda: self.scm.counterfactual(x, {a: self.other[a]}, seed=self.seed))
        if at_once is not None:
            self.same("three steps", at_once, self.acted)

    def composes(self) -> None:
        if self.acted is None or self.second == self.node:
            return
        do = {self.node: self.other[self.node], self.second: self.acted[self.second]}
        again = self.ask(lambda: self.scm.predict(self.noise, do))
        if again is not None:
            self.same("composition", again, self.acted)

    def returns(self) -> None:
        for node, mechanism in self.scm.mechanisms.items():
            if mechanism.sites:
                pa = {parent: self.x[parent] for parent in self.scm.graph.parents(node)}
                u = {"u": self.noise[f"{node}.u"]}
                if node in self.impossible:
                    continue
                _there_and_back(self.model, node, self.x[node], pa, self.tally, u, where=self.where)
        if self.where == "ordinary":
            whole = self.ask(lambda: self.scm.predict(self.noise, {}, recompute="all"))
            if whole is not None:
                law = "whole model" if self.model.double else "whole model, 32 bits"
                self.close(law, whole, self.x, 1e-5 if self.model.double else 1e-2)
        if self.acted is None or self.where == "far" or not self.model.double:
            return
        reached = [self.node, *self.scm.graph.descendants([self.node])]
        if any(self.at_edge(n) for n in reached):
            return
        drawn = [n for n in reached[1:] if self.scm.mechanisms[n].is_random(sample=False)]
        if drawn or self.where != "ordinary":  # what is drawn anew differs; at an edge values are moved
            return
        back = self.ask(lambda: self.scm.counterfactual(dict(self.acted), {self.node: self.x[self.node]}, seed=1))
        if back is not None:
            self.close("reversibility", back, self.x, 1e-5)

    def at_edge(self, node: str) -> bool:
        """Whether values are, or are driven to, an edge of their support, where what was beyond is lost."""
        v = self.scm.variables[node]
        for x in (self.x[node], self.acted[node]):
            if v.kind == "Positive" and bool((x < 2 * torch.finfo(x.dtype).tiny).any()):
                return True
            if v.kind == "Interval" and bool((torch.minimum(x - v.low, v.high - x) < 1e-5 * (v.high - v.low)).any()):
                return True
        return False

    def batches(self) -> None:
        if self.acted is None or self.where == "far":
            return
        draw = random.Random(self.model.seed)
        order = torch.tensor(draw.sample(range(self.x.rows), draw.randint(1, self.x.rows)))
        part = self.ask(
            lambda: self.scm.counterfactual(self.x[order], {self.node: self.other[self.node][order]}, seed=self.seed)
        )
        if part is not None:
            self.close("batch", part, self.acted, 1e-7 if self.model.double else 1e-2, order)

    def closed_form(self) -> None:
        oracle, x = Oracle(self.scm), {node: value.numpy() for node, value in self.x.items()}
        drawn = {name: u.numpy() for name, u in self.noise.items()}
        u = oracle.noise(x, drawn)
        reached = {self.node, *self.scm.graph.descendants([self.node])}
        kept = {node: value for node, value in x.items() if node not in reached}
        nothing = oracle.answer(u, {}, {})
        acted = oracle.answer(u, {self.node: self.other[self.node].numpy()}, kept)
        if self.where == "ordinary":
            self.close("closed form", {n: torch.from_numpy(np.asarray(v)) for n, v in nothing.items()}, self.x, 1e-5)
        if self.acted is not None:
            self.close("closed form", self.acted, {n: torch.from_numpy(np.asarray(v)) for n, v in acted.items()}, 1e-5)


def _there_and_back(
    model: Model,
    node: str,
    x: Tensor,
    pa: Mapping[str, Tensor],
    tally: Tally,
    u: Mapping[str, Tensor] | None = None,
    law: str = "round trip",
    where: str = "draws",
) -> None:
    """A mechanism's noise of a value gives the value: to the last digits that the noise can hold."""
    mechanism = model.scm.mechanisms[node]
    if u is None:
        from causalcf.core import draws

        with draws.by_row(draws.row_keys(torch.arange(len(x)), model.seed), node):
            u = mechanism.abduct(x, pa)
    if not bool(torch.isfinite(u["u"]).all()):  # refused by name wherever an answer needs it
        tally.refused[f"{where}, a noise"] += 1
        return
    if _stepped(mechanism.variable):
        wrong = int((mechanism.predict(u, pa) != x).sum())
        tally.note(law, model, not wrong, f"{where}, '{node}': {wrong} rows")
        return
    again, slope = _slope(mechanism, u["u"], pa)
    eps = torch.finfo(x.dtype).eps
    noise = u["u"].double().abs() + 1
    blur = (slope.abs() * noise.reshape(len(x), 1, -1)).sum(-1) if x.ndim > 1 else slope.abs()[:, 0, 0] * noise
    allowed = DIGITS * eps * (x.double().abs() + model.ranges[node] + blur)
    if mechanism.variable.kind == "Interval":
        v = mechanism.variable
        allowed = allowed + 2e-6 * (v.high - v.low) + DIGITS * eps * max(abs(v.low), abs(v.high))
    off = (again - x.double()).abs() - allowed
    fine = bool((off <= 0).all())
    tally.note(law, model, fine, f"{where}, '{node}' {mechanism.variable}: {float(off.amax()):.3g} too much")


def _slope(mechanism: Any, u: Tensor, pa: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The value at a noise, and its derivatives (N, d, d), both in 64 bits."""
    with torch.enable_grad():
        u = u.detach().clone().requires_grad_()
        x = mechanism.predict({"u": u}, pa)
        columns = x.reshape(len(x), -1)
        rows = [torch.autograd.grad(column.sum(), u, retain_graph=True)[0] for column in columns.unbind(1)]
    slope = torch.stack([row.reshape(len(x), -1) for row in rows], 1)
    return x.detach().double(), slope.double()


def _stepped(variable: Variable) -> bool:
    """Whether values are codes or whole numbers."""
    return variable.discrete or variable.kind == "Count"


def _levels(scm: ccf.SCM, noise: Mapping[str, Tensor]) -> Iterator[Tensor]:
    """Abducted noise of drawn rows by its own law's distribution function: uniform, if abduction is exact."""
    for node, mechanism in scm.mechanisms.items():
        if not mechanism.sites:
            continue
        u = noise[f"{node}.u"]
        kind = type(mechanism).__name__
        if not u.is_floating_point() or (kind == "Count" and not mechanism.parents):
            continue
        u = u.double()
        if kind in ("Boolean", "Ordinal", "Count"):
            yield torch.sigmoid(u)
        elif kind == "Categorical":
            yield torch.exp(-torch.exp(-u)).reshape(-1)
        else:
            yield (0.5 * (1 + torch.erf(u / 2**0.5))).reshape(-1)

"""What a report of trust looks at: one function a question, each with a sentence and a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from causalcf.core.errors import CausalCFError
from causalcf.data import Batch
from causalcf.mechanisms import Mechanism
from causalcf.mechanisms.categorical import DiscreteMechanism
from causalcf.mechanisms.flow import InvertibleMechanism
from causalcf.queries import effect, sensitivity
from causalcf.queries.worlds import Outcome
from causalcf.scm import StructuralCausalModel
from causalcf.scm.hidden import answers
from causalcf.trust.independence import Columns, beside_permuted, dependence, implied, scores, standardised
from causalcf.variables.codes import Boolean, Categorical

__all__ = ["MARKS", "Grade", "Part", "extrapolation", "fits", "hidden_causes", "identified", "independences", "truth"]

Grade = Literal["good", "doubt", "bad", "unknown"]
"""Whether something speaks for the model, is to be looked at, speaks against it, or cannot be told."""

MARKS: dict[Grade, str] = {"good": "ok", "doubt": "look", "bad": "no", "unknown": "?"}
"""Grades as they are shown."""

LEVEL = 0.01
"""p-values below this count, times the number of tests (Holm)."""

STRONG = 0.1
"""Correlation from which a dependence that should not be there is more than a matter of many rows."""

MUCH = 0.2
"""Correlation of a noise with a cause from which a mechanism counts as bad."""

OFF = 0.1
"""Distance of a noise's distribution from its law, or of a probability from a frequency, that counts as bad."""

PERMUTED = 20
EFFECTS = 12
MOST_EFFECTS = 40
STRENGTHS = (-0.8, -0.4, 0.0, 0.4, 0.8)
UNITS = 500
BRITTLE = 0.2
"""Strength of a hidden cause below which a conclusion that turns is brittle."""


@dataclass(frozen=True)
class Part:
    """One question of the report.

    Args:
        title: The question.
        grade: The answer in a word.
        sentence: The answer in words.
        header: Names of the table's columns.
        rows: The table.
        note: How it was looked at.
    """

    title: str
    grade: Grade
    sentence: str
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    note: str = ""


def _scalars(scm: StructuralCausalModel) -> list[str]:
    return [node for node, variable in scm.variables.items() if not variable.event_shape]


def _columns(scm: StructuralCausalModel, rows: Batch, seed: int) -> Columns:
    return Columns({node: scores(scm.variables[node], rows[node]) for node in _scalars(scm)}, seed)


def independences(scm: StructuralCausalModel, rows: Batch, seed: int) -> Part:
    """Whether data reject independences that the graph implies, and whether permuted graphs fare better."""
    title = "Does the data contradict the graph?"
    note = (
        "Generalised covariance measure of Shah and Peters (2020) on ridge regressions with random cosines; p-values"
        f" by Holm. Baseline: {PERMUTED} graphs with permuted names (Eulig et al. 2023)."
    )
    columns, nodes = _columns(scm, rows, seed), _scalars(scm)
    found = [columns.test(*claim) for claim in implied(scm.graph.mixed, nodes)]
    if not found:
        text = "The graph implies no independence of numbers and categories, so these data cannot contradict it."
        return Part(title, "unknown", text)
    found.sort(key=lambda one: one.p)
    rejected = []
    for i, one in enumerate(found):
        if one.p * (len(found) - i) > LEVEL:
            break
        rejected.append(one)
    strong = [one for one in rejected if one.size > STRONG]
    own, others = beside_permuted(scm.graph, columns, LEVEL, PERMUTED)
    better = sum(other <= own for other in others)
    compared = f"Of {len(others)} other graphs, the same with permuted names, {better} fit the data as well or better."
    compared = compared if others else "There is no other graph of this shape to compare it with."
    if not rejected:
        grade: Grade = "good" if 4 * better <= len(others) else "doubt"
        text = f"No: all {len(found)} independences that the graph implies and that can be tested hold. {compared}"
        if grade == "doubt":
            text += " So this says little for the graph."
    else:
        worst = (strong or rejected)[0]
        grade = "bad" if strong else "doubt"
        text = (
            f"{'Yes' if strong else 'A little'}: {len(rejected)} of {len(found)} independences that it implies are"
            f" rejected, first of all that {worst.words.replace(' independent', ' are independent')} (what is left of"
            f" them correlates by {worst.size:.2f}). An arrow, or a hidden cause, is missing between them. {compared}"
        )
    lines = tuple((one.words, f"{one.size:.2f}", _p(one.p), "rejected" if one in rejected else "") for one in found)
    return Part(title, grade, text, ("claim of the graph", "correlation left", "p", ""), lines, note)


def _p(p: float) -> str:
    return "< 0.0001" if p < 1e-4 else f"{p:.4f}"


def fits(scm: StructuralCausalModel, rows: Batch, seed: int) -> Part:
    """Whether the noise of each mechanism has its law, and goes together with no cause, on rows it has not seen."""
    from scipy.stats import kstest

    title = "Does each mechanism fit?"
    lines: list[tuple[str, ...]] = []
    grades: list[Grade] = []
    wrong: list[str] = []
    noise = scm.abduct(rows, seed=seed)
    columns = _columns(scm, rows, seed).columns
    for node, mechanism in scm.mechanisms.items():
        causes = [parent for parent in scm.graph.parents(node) if parent in columns]
        pa = {parent: rows[parent] for parent in scm.graph.parents(node)}
        if isinstance(mechanism, InvertibleMechanism) and not mechanism.variable.event_shape:
            u = noise[f"{node}.u"].double()
            off, left = float(kstest(u.cpu().numpy(), "norm").statistic), standardised(torch.stack([u, u**2], 1))
        elif isinstance(mechanism, DiscreteMechanism) and mechanism.variable.discrete:
            off, left = _calibration(mechanism, rows[node], pa)
        else:
            lines.append((node, type(mechanism).__name__, "", "", "not looked at here: see causalcf evaluate"))
            continue
        p, size = dependence(left, torch.cat([columns[c] for c in causes], 1)) if causes else (1.0, 0.0)
        dependent = p < LEVEL / len(scm.mechanisms)
        beyond = off - rows.rows**-0.5  # chance alone gives as much
        bad = beyond > OFF or (dependent and size > MUCH)
        fair = bad or beyond > OFF / 2 or dependent
        grades.append("bad" if bad else "doubt" if fair else "good")
        if bad:
            wrong.append(node)
        lines.append((node, type(mechanism).__name__, f"{off:.3f}", f"{size:.2f}" if causes else "", MARKS[grades[-1]]))
    if not grades:
        return Part(title, "unknown", "No mechanism here has noise that can be looked at.", rows=tuple(lines))
    grade: Grade = "bad" if "bad" in grades else "doubt" if "doubt" in grades else "good"
    text = {
        "good": f"Yes: the noise of {len(grades)} mechanisms, all that can be judged, has its law; no cause is in it.",
        "doubt": "Nearly: some noise is a little off its law, or a cause is left in it; see the table.",
        "bad": f"No: {', '.join(wrong)}. Noise is off its law, or a cause is left in it: counterfactuals carry that"
        " over. Fit for longer, or with another mechanism.",
    }[grade]
    note = (
        "Numbers: the largest distance between the distribution of the abducted noise and the standard normal"
        " (Kolmogorov). Categories: mean distance of predicted probabilities and frequencies. Correlation: the largest"
        " of the noise, and of its square, with the causes. For rows that the model was not fitted on."
    )
    return Part(title, grade, text, ("node", "mechanism", "off its law by", "correlation left", ""), tuple(lines), note)


def _calibration(mechanism: Mechanism, x: Tensor, pa: Mapping[str, Tensor]) -> tuple[float, Tensor]:
    """How far predicted probabilities are from frequencies, by tenths of the rows; what is left of each category."""
    law = mechanism.dist(pa)
    p = law.probs.double()  # type: ignore[attr-defined]
    p = torch.stack([1 - p, p], -1) if isinstance(mechanism.variable, Boolean) else p
    p = p.expand(len(x), -1)
    off = 0.0
    left = torch.nn.functional.one_hot(x.long(), p.shape[1]).double() - p
    for k in range(p.shape[1]):
        tenths = [part.abs() * n / len(x) for part, n in _tenths(p[:, k], left[:, k])]
        off += float(torch.stack(tenths).sum()) / p.shape[1]
    return off, standardised(left[:, 1:] / (p * (1 - p)).sqrt().clamp_min(1e-3)[:, 1:])


def _tenths(p: Tensor, left: Tensor) -> Iterator[tuple[Tensor, int]]:
    for part in p.argsort().chunk(10):
        yield left[part].mean(), len(part)


def extrapolation(scm: StructuralCausalModel, rows: Batch, seed: int) -> Part:
    """Whether these rows lie where the model has data, and within which values actions do."""
    title = "What extrapolates?"
    found = scm.counterfactual(rows, {node: rows[node] for node in _scalars(scm)}, seed=seed).check()
    share = {(one.name, one.what): float(one.unusual.double().mean()) for one in found.findings}
    outside = float(found.extrapolates.double().mean())
    lines = [
        (
            node,
            f"{scm.seen[node]['quantiles'][0][2]:.4g} .. {scm.seen[node]['quantiles'][0][8]:.4g}",
            "98 % of the data",
        )
        for node in _scalars(scm)
        if "quantiles" in scm.seen.get(node, {})
    ]
    lines += [(name, what, f"{100 * part:.1f} % of the rows") for (name, what), part in share.items() if part > 0]
    grade: Grade = "good" if outside < 0.02 else "doubt" if outside < 0.1 else "bad"
    text = (
        f"{100 * outside:.1f} % of these rows lie where the model has seen no data, or are less likely than one in a"
        " thousand by some mechanism."
        f"{'' if grade == 'good' else ' Their counterfactuals are guesses.'} Actions within the ranges below are"
        " supported by data, one by one; ask cf.check() of each question."
    )
    return Part(title, grade, text, ("node", "range, or what is unusual", ""), tuple(lines))


def identified(scm: StructuralCausalModel) -> Part:
    """Which effects do not follow from what is observed, and which do, but not by this model."""
    title = "What is not identified?"
    graph = scm.graph
    if not graph.confounded:
        return Part(
            title,
            "good",
            "If the graph is right, every effect is: it claims that no two nodes share a hidden cause, which data alone"
            " can never confirm. See below how strong one would have to be.",
        )
    lines, missing = [], 0
    pairs = [(x, y) for y in graph.nodes for x in graph.ancestors([y])]
    for x, y in pairs[:MOST_EFFECTS]:
        found = graph.identify(y, do=[x])
        fine = answers(graph, [x], [y])
        missing += not fine
        how = "by this model" if fine else "by another formula" if found else "no"
        lines.append((f"{x} on {y}", how, "" if fine else found.why))
    grade: Grade = "good" if not missing else "bad" if missing == len(lines) else "doubt"
    shared = "; ".join(f"{a} and {b}" for a, b in graph.confounded)
    text = (
        f"Hidden causes are shared by {shared}. {missing} of {len(lines)} effects are not what this model computes."
        if missing
        else f"Hidden causes are shared by {shared}, and none of the {len(lines)} effects is touched."
    )
    return Part(title, grade, text, ("effect of", "identified", "why, or how"), tuple(lines))


def hidden_causes(scm: StructuralCausalModel, seed: int) -> Part:
    """How strong a hidden cause of each arrow's ends must be to turn the sign of the effect."""
    title = "How far would hidden causes have to go?"
    lines, weakest = [], (1.0, "")
    for x, y in scm.graph.edges:
        arms, outcome = _arms(scm, x), _outcome(scm, y)
        if arms is None or outcome is None or len(lines) == EFFECTS:
            continue

        def ask(model: StructuralCausalModel, x: str = x, arms: Any = arms, outcome: Any = outcome) -> Any:
            return effect(model, x, outcome, **arms, draws=UNITS, seed=seed)

        try:
            curve = sensitivity(scm, ask, confounded=(x, y), strength=STRENGTHS)
        except CausalCFError:  # of other kinds of nodes, no strength can be told
            continue
        plain = curve.at(0.0)
        turns = "" if curve.turns is None else f"{curve.turns:.2f}"
        if curve.turns is not None and abs(curve.turns) < weakest[0]:
            weakest = (abs(curve.turns), f"{x} on {y if isinstance(outcome, str) else plain.name.split(' on ', 1)[1]}")
        words = f"from {arms['control']:.4g} to {arms['treated']:.4g}"
        lines.append((f"{x} ({words}) on {y}", f"{plain.value:.4g}", turns or f"beyond {STRENGTHS[-1]}"))
    if not lines:
        return Part(title, "unknown", "No arrow here joins two numbers or categories.")
    if not weakest[1]:
        text = f"Beyond a correlation of {STRENGTHS[-1]} of the noises: no arrow's effect changes its sign before."
    else:
        text = (
            f"The most fragile is the effect of {weakest[1]}: a hidden cause that makes the noises correlate by"
            f" {weakest[0]:.2f} turns its sign. Whether there is one, data cannot tell."
        )
    grade: Grade = "doubt" if weakest[0] < BRITTLE else "good"
    note = "A Gaussian copula over the noises of cause and effect; the effect between the cause's quartiles."
    return Part(title, grade, text, ("effect of", "without", "turns at strength"), tuple(lines), note)


def _arms(scm: StructuralCausalModel, x: str) -> dict[str, float] | None:
    """Two usual values of a cause: its quartiles, or its two most common categories."""
    seen = scm.seen.get(x, {})
    if "counts" in seen:
        common = sorted(torch.tensor(seen["counts"]).argsort(descending=True)[:2].tolist())
        return {"control": common[0], "treated": common[1]} if len(common) == 2 else None
    if "quantiles" in seen and len(seen["quantiles"]) == 1:
        return {"control": seen["quantiles"][0][4], "treated": seen["quantiles"][0][6]}
    return None


def _outcome(scm: StructuralCausalModel, y: str) -> Outcome | None:
    variable = scm.variables[y]
    if variable.event_shape:
        return None
    if isinstance(variable, Categorical):
        counts = scm.seen.get(y, {}).get("counts")
        return None if counts is None else (y, variable.categories[counts.index(max(counts))])
    return y


def truth(scm: StructuralCausalModel, data: Any, n: int) -> Part | None:
    """How far the model's counterfactuals are from the true ones, where the data know them."""
    if not hasattr(data, "truth") or not hasattr(data, "rows"):
        return None
    rows = data[:n]
    lines, worst = [], 0.0
    for node in _scalars(scm):
        below = [other for other in scm.graph.descendants([node]) if not scm.variables[other].discrete]
        if not below or scm.variables[node].discrete:
            continue
        do = {node: float(rows[node].double().median())}
        try:
            true = data.truth(rows, do)
        except CausalCFError:  # this action has no known truth
            continue
        cf = scm.counterfactual(rows, do=do, seed=0)
        for other in below:
            off, idle = (_gap(found[other], true[other]) for found in (cf, rows))
            worst = max(worst, off / idle if idle > 0 else 0.0)
            lines.append((f"do({node} = {do[node]:.4g})", other, f"{off:.4g}", f"{idle:.4g}"))
    if not lines:
        return None
    grade: Grade = "good" if worst < 0.5 else "doubt" if worst < 1 else "bad"
    text = (
        f"The model's counterfactuals of {rows.rows} rows miss the true ones by at most {100 * worst:.0f} % of what"
        " doing nothing does."
    )
    return Part(
        "What is the truth, where it is known?",
        grade,
        text,
        ("action", "node", "mean error", "of doing nothing"),
        tuple(lines),
    )


def _gap(ours: Tensor, true: Tensor) -> float:
    return float((ours.double() - true.double()).abs().mean())

"""Backtracking counterfactuals: mechanisms kept, the noise moved as little as possible until a condition holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor

from causalcf.core.draws import by_row, normal, row_keys
from causalcf.core.errors import InterventionError
from causalcf.core.settings import COUNT
from causalcf.data import Batch
from causalcf.do import Do
from causalcf.graph import CausalGraph, site
from causalcf.mechanisms import Classifier, Mechanism
from causalcf.mechanisms.categorical import DiscreteMechanism
from causalcf.mechanisms.flow import InvertibleMechanism
from causalcf.mechanisms.ordinal import thresholds_around
from causalcf.scm.abduction import Noise, abduct
from causalcf.scm.action import Dos, SetTo, read_actions, read_worlds
from causalcf.scm.counterfactual import Counterfactual, predict_worlds
from causalcf.scm.rules import Rules
from causalcf.variables.codes import Boolean

__all__ = ["backtrack"]

STEPS = 60
"""Most steps of Gauss and Newton; linear models take one."""

CLOSE = 1e-4
"""How far a condition may be missed, in units of noise or of log odds."""

LEAD = 1e-2
"""Log odds by which a category that is asked for leads."""

WIDE = 1e3
"""A lead that nothing takes away."""

SWEEPS = 200
"""Most rounds through the conditions of one step."""

RIDGE = 1e-9
"""Added to J J', so that conditions that say the same can be solved."""


def backtrack(
    graph: CausalGraph,
    mechanisms: Mapping[str, Mechanism],
    x: Batch,
    condition: Dos,
    *,
    rules: Rules,
    num_samples: int | None,
    spread: float,
    sample: bool,
    seed: int,
) -> Counterfactual:
    r"""The rows as they would have been, had they come out so, by the least change of what came before.

    .. math::
        u^* = \arg\min_{u'} \sum_i \lVert s(u'_i) - s(u_i) \rVert^2 \quad \text{where} \quad f_X(u') = x^*

    s being Gaussian scores, so that all noise counts alike. Conditions are made linear around the last step and
    solved exactly (Gauss and Newton), which is the closed form in a linear Gaussian model: :math:`u^* = u +
    J^\top (J J^\top)^{-1} (x^* - J u)`. With `num_samples`, u is first moved at random by a normal of scale
    `spread`: in a linear Gaussian model the draws are those of :math:`N(u, spread^2)` given the condition, elsewhere
    close to it.

    The noise of numbers and the latents of images move; residuals of images stay, and so does the noise of categories,
    unless they are conditioned on.

    References:
        von Kuegelgen, Mohamed, Beckers, "Backtracking Counterfactuals", 2023. Kladny, von Kuegelgen, Schoelkopf,
        Muehlebach, "Deep Backtracking Counterfactuals for Causally Compliant Explanations", 2024.

    Args:
        graph: The causal graph.
        mechanisms: node -> fitted mechanism.
        x: Observed rows of every node.
        condition: node -> the value that it has come out with.
        rules: Residual and support.
        num_samples: Draws a row; None for the least change itself.
        spread: Scale of the random moves, in standard deviations of noise.
        sample: Draw amortised latents from their posterior.
        seed: Seed of drawn noise.

    Raises:
        InterventionError: A condition that is no value of a number or category; several worlds; no noise is found
            under which the conditions hold.
    """
    wanted = _read_condition(graph, mechanisms, condition)
    if num_samples is not None:
        if num_samples not in COUNT or not spread > 0:
            raise InterventionError(
                f"num_samples={num_samples!r}, spread={spread!r}: draws are at least 1, and their noise moves by spread"
                " above 0."
            )
        x = x[torch.arange(x.rows).repeat(int(num_samples))]
    noise = abduct(graph, mechanisms, x, sample=sample, seed=seed)
    labels = None if x.labels is None else x.labels[: x.rows // (num_samples or 1)]
    actions = read_actions(graph, mechanisms, wanted, x.rows, samples=num_samples or 1, seed=seed, labels=labels)
    targets = {node: action.value for node, action in actions.items() if isinstance(action, SetTo) and not action.drawn}
    if len(targets) < len(actions):
        raise InterventionError(
            f"{[node for node in actions if node not in targets]}: backtracking conditions on a value that has come"
            " out, not on a shift, a function or a distribution."
        )
    with torch.inference_mode(False):  # the search differentiates
        known, targets = ({name: _plain(value) for name, value in some.items()} for some in (noise, targets))
        search = _Search(graph, mechanisms, noise.like(known, noise.observed), targets)
        start = search.start()
        if num_samples is not None:
            with by_row(row_keys(x.index, seed, "backtracking", device=start.device)):
                start = start + spread * normal(tuple(start.shape), start)
        moved = search.noise_at(search.nearest(start), everywhere=num_samples is not None)
    answer = predict_worlds(graph, mechanisms, noise, read_worlds(moved), rules=rules, num_samples=num_samples)
    changed = noise.replace({name: value for name, value in moved.items() if name in noise})
    return replace(answer, do=wanted, flat_noise=changed, mode="backtracking", seed=seed)


def _plain(value: Tensor) -> Tensor:
    """A tensor that can be differentiated through, though it was made in inference mode."""
    return value.clone() if value.is_inference() else value


def _read_condition(graph: CausalGraph, mechanisms: Mapping[str, Mechanism], condition: Dos) -> Do:
    """The condition, once it is seen that it can be one."""
    worlds = read_worlds(condition)
    if worlds.listed or not worlds.each[0]:
        raise InterventionError('mode="backtracking" takes one condition, such as {"x": 1.0}, and one world.')
    for node in worlds.each[0]:
        mechanism = mechanisms[graph.require(node)]
        number = isinstance(mechanism, InvertibleMechanism) and not mechanism.variable.event_shape
        category = isinstance(mechanism, DiscreteMechanism) and mechanism.variable.discrete
        if not number and not category and not isinstance(mechanism, Classifier):
            raise InterventionError(
                f"'{node}' is {mechanism.variable.article}, modelled by {type(mechanism).__name__}: one can backtrack"
                " from numbers and categories, and from a classifier's label (scm.attach)."
            )
    return worlds.each[0]


@dataclass
class _Search:
    """The noise of some rows, as one vector of Gaussian scores a row, and the conditions on it.

    Args:
        graph: The causal graph.
        mechanisms: node -> mechanism.
        noise: Abducted.
        targets: node -> values (N,) that must come out.
    """

    graph: CausalGraph
    mechanisms: Mapping[str, Mechanism]
    noise: Noise
    targets: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        above = {*self.targets, *self.graph.ancestors(self.targets)}
        self.computed = [node for node in self.graph.nodes if node in above]
        self.sites: dict[str, tuple[int, ...]] = {}
        for node, mechanism in self.mechanisms.items():
            discrete = isinstance(mechanism, DiscreteMechanism)
            if discrete and (node not in self.targets or not mechanism.parents):
                continue
            for suffix in mechanism.sites:
                if suffix not in mechanism.residual_sites:
                    name = site(node, suffix)
                    self.sites[name] = tuple(self.noise[name].shape[1:])
        # The noise of a category without causes is its value: there is one way to get it.
        self.fixed = {
            node: value
            for node, value in self.targets.items()
            if isinstance(self.mechanisms[node], DiscreteMechanism) and not self.mechanisms[node].parents
        }

    def start(self) -> Tensor:
        """Gaussian scores of the noise that may move, (N, d), in 64 bits."""
        parts = [
            _score(self.mechanisms[name.split(".")[0]], self.noise[name]).double().reshape(self.noise.rows, -1)
            for name in self.sites
        ]
        anchor = next(iter(self.noise.values()))
        return torch.cat(parts, 1) if parts else anchor.new_zeros(self.noise.rows, 0, dtype=torch.float64)

    def taken_apart(self, scores: Tensor) -> dict[str, Tensor]:
        """Site -> noise in its own law."""
        found, begin = {}, 0
        for name, shape in self.sites.items():
            mechanism = self.mechanisms[name.split(".")[0]]
            part = scores[:, begin : begin + prod(shape)].reshape(-1, *shape)
            found[name] = _unscore(mechanism, part).to(mechanism.dtype)
            begin += prod(shape)
        return found

    def leads(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """By how much the conditions are met, (N, k), and which of them ask for at least 0, (k,), the others for 0.

        Numbers count in units of their noise, categories in log odds.
        """
        moved, values = self.taken_apart(scores), {}
        columns, least = [], []
        for node in self.computed:
            mechanism = self.mechanisms[node]
            pa = {parent: values[parent] for parent in self.graph.parents(node)}
            u = {suffix: moved.get(site(node, suffix)) for suffix in mechanism.sites}
            u = {suffix: self.noise[site(node, suffix)] if v is None else v for suffix, v in u.items()}
            if node in self.fixed:
                values[node] = self.fixed[node]
                continue
            if node in self.targets:
                lead = _lead(mechanism, u, pa, self.targets[node])
                columns.append(lead.double())
                least += [not isinstance(mechanism, InvertibleMechanism)] * lead.shape[1]
            if node in self.targets and mechanism.variable.discrete:
                values[node] = self.targets[node]
            else:
                raw = mechanism.predict(u, pa)
                straight = (mechanism.variable.project(raw) - raw).detach() if raw.is_floating_point() else 0
                values[node] = raw + straight if raw.is_floating_point() else raw
        found = torch.cat(columns, 1) if columns else scores.new_zeros(len(scores), 0)
        return found, torch.tensor(least, dtype=torch.bool, device=scores.device)

    def linear(self, scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The leads (N, k), their derivatives (N, k, d), and which are at least 0 where the condition holds, (k,)."""
        with torch.enable_grad():
            leaf = scores.detach().requires_grad_()
            leads, least = self.leads(leaf)
            rows = [
                torch.autograd.grad(leads[:, k].sum(), leaf, retain_graph=True, allow_unused=True)[0]
                if leads.requires_grad
                else None
                for k in range(leads.shape[1])
            ]
        slopes = [torch.zeros_like(scores) if row is None else row for row in rows]
        empty = scores.new_zeros(*leads.shape, scores.shape[1])
        return leads.detach(), torch.stack(slopes, 1) if slopes else empty, least

    def nearest(self, start: Tensor) -> Tensor:
        """The scores nearest to some at which the conditions hold, (N, d).

        Raises:
            InterventionError: None is found in some rows.
        """
        at, length = start, torch.ones(len(start), 1, dtype=start.dtype, device=start.device)
        leads, slopes, least = self.linear(at)
        if not leads.shape[1]:
            return at
        worst = _violation(leads, least)
        for _ in range(STEPS):
            # What the conditions, taken as linear here, lack at the start: made up for by the least change.
            lacking = -leads + (slopes * (at - start)[:, None]).sum(-1)
            goal = start + (slopes.mT @ _multipliers(slopes @ slopes.mT, lacking, least)[..., None])[..., 0]
            tried = at + length * (goal - at)
            new_leads, new_slopes, _ = self.linear(tried)
            new_worst = _violation(new_leads, least)
            better = torch.isfinite(new_worst) & ((new_worst < worst) | (new_worst < CLOSE))
            step = torch.where(better, (tried - at).abs(), 0.0).amax()
            at, worst = torch.where(better, tried, at), torch.where(better, new_worst, worst)
            leads, slopes = torch.where(better, new_leads, leads), torch.where(better[..., None], new_slopes, slopes)
            length = torch.where(better, (2 * length).clamp(max=1.0), length / 2)
            if float(worst.max()) < CLOSE and float(step) < CLOSE:
                break
        bad = int((worst >= CLOSE).sum())
        if bad:
            raise InterventionError(
                f"In {bad} of {len(start)} rows no noise was found under which {_words(self.targets)} comes out. Ask"
                ' for a value nearer to the data, or act: mode="intervention".'
            )
        return at

    def noise_at(self, scores: Tensor, *, everywhere: bool) -> dict[str, Tensor]:
        """The actions on noise that give these scores: of sites that moved, or of all."""
        start, begin, moved = self.start(), 0, {}
        values = self.taken_apart(scores)
        for name, shape in self.sites.items():
            width = prod(shape)
            apart = (scores - start)[:, begin : begin + width].abs().sum()
            if everywhere or float(apart) > 0:
                moved[name] = values[name]
            begin += width
        return moved | self.fixed


def _score(mechanism: Mechanism, u: Tensor) -> Tensor:
    """Noise as a Gaussian score: of the logistic and Gumbel noise of categories; other noise is normal already."""
    if not isinstance(mechanism, DiscreteMechanism):
        return u
    below = torch.sigmoid(u.double()) if u.ndim == 1 else torch.exp(-torch.exp(-u.double()))
    return torch.special.ndtri(below.clamp(1e-15, 1 - 1e-15))


def _unscore(mechanism: Mechanism, s: Tensor) -> Tensor:
    """The inverse of `_score`."""
    if not isinstance(mechanism, DiscreteMechanism):
        return s
    below = torch.special.ndtr(s).clamp(1e-15, 1 - 1e-15)
    return torch.logit(below) if s.ndim == 1 else -torch.log(-torch.log(below))


def _violation(leads: Tensor, least: Tensor) -> Tensor:
    """How far the condition that is missed most is from holding, (N, 1)."""
    return torch.where(least, -leads, leads.abs()).clamp_min(0).amax(1, keepdim=True)


def _multipliers(gram: Tensor, lacking: Tensor, least: Tensor) -> Tensor:
    """Lagrange multipliers of the least change that makes up for what is lacking, (N, k).

    Those of conditions that ask for at least 0 are not negative: they are found by Hildreth's method (Hildreth, "A
    Quadratic Programming Procedure", 1957), one after another, from the solution in which all conditions bind.
    """
    k = gram.shape[1]
    ridge = RIDGE * (1 + gram.diagonal(dim1=1, dim2=2).amax(1))
    gram = gram + ridge[:, None, None] * torch.eye(k, dtype=gram.dtype, device=gram.device)
    if not bool(least.any()):
        return torch.linalg.solve(gram, lacking[..., None])[..., 0]
    found = torch.zeros_like(lacking)
    for _ in range(SWEEPS):
        before = found.clone()
        for j in range(k):
            value = found[:, j] + (lacking[:, j] - (gram[:, j] * found).sum(1)) / gram[:, j, j]
            found[:, j] = torch.where(least[j], value.clamp_min(0), value)
        if float((found - before).abs().max()) < CLOSE / 10:
            break
    return found


def _lead(mechanism: Mechanism, u: Mapping[str, Tensor], pa: Mapping[str, Tensor], target: Tensor) -> Tensor:
    """By how much a node is at a value, (N, k): 0 for a number that is; of a category's rivals, at least 0 for all."""
    if isinstance(mechanism, InvertibleMechanism):
        return (u["u"] - mechanism.abduct_known(target, pa)["u"])[:, None]
    at = target.long()[:, None]
    if isinstance(mechanism, Classifier):
        logits = mechanism.logits(pa)
    elif isinstance(mechanism.variable, Boolean) or u["u"].ndim > 1:
        logits = mechanism.logits(pa) + u["u"]  # type: ignore[attr-defined]
    else:
        ends = thresholds_around(mechanism.logits(pa))  # type: ignore[attr-defined]
        low, high = (end.expand(len(target), -1).gather(1, at) for end in ends)
        room = ((high - low) / 4).clamp_max(LEAD)
        return torch.cat([u["u"][:, None] - low, high - u["u"][:, None]], 1).clamp_max(WIDE) - room
    logits = torch.stack([torch.zeros_like(logits), logits], -1) if logits.ndim == 1 else logits
    leads = logits.gather(1, at) - logits - LEAD
    return leads.scatter(1, at, WIDE)


def _words(targets: Mapping[str, Tensor]) -> str:
    return ", ".join(f"{node} = {value[0].item():.4g}" for node, value in targets.items())

"""The questions one may ask of a model: the three rungs of Pearl's ladder, densities, the Pyro program."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar, get_args

import torch
from torch import Tensor, nn

from causalcf.core import seeding
from causalcf.core.draws import label_keys
from causalcf.core.errors import DataError, InterventionError, NotFittedError
from causalcf.core.frozen import Frozen
from causalcf.core.settings import COUNT
from causalcf.core.surroundings import kept_out, reach_in
from causalcf.data import Batch
from causalcf.do import Do, is_stochastic
from causalcf.graph import CausalGraph
from causalcf.mechanisms import Mechanism
from causalcf.scm import program
from causalcf.scm.abduction import Noise, abduct, is_random, sample_noise
from causalcf.scm.action import Dos, Worlds, check_view, read_one, read_worlds
from causalcf.scm.backtracking import backtrack
from causalcf.scm.check import Origin
from causalcf.scm.counterfactual import Counterfactual, Mode, counterfactual, predict_worlds
from causalcf.scm.density import LogDensity, log_density
from causalcf.scm.doubts import warn_of_far_draws
from causalcf.scm.gaps import Reader, read_gaps, read_off
from causalcf.scm.hidden import warn_of_answer
from causalcf.scm.inference import Posterior, infer
from causalcf.scm.residual import Residual
from causalcf.scm.rows import fill_noiseless, read_rows, unneeded
from causalcf.scm.rules import Abduction, OutOfSupport, Recompute, Rules, is_sampled
from causalcf.variables import Variable

__all__ = ["ActedSCM", "Questions"]


P = ParamSpec("P")
R = TypeVar("R")


def _exactly(question: Callable[Concatenate[Questions, P], R]) -> Callable[Concatenate[Questions, P], R]:
    """A question that is answered in the model's own type, whatever autocast and default device the caller has."""

    @wraps(question)
    def asked(self: Questions, /, *args: P.args, **kwargs: P.kwargs) -> R:
        if not reach_in():
            return question(self, *args, **kwargs)
        with kept_out():
            return question(self, *args, **kwargs)

    return asked


Missing = Literal["refuse", "infer"]
"""How to treat rows with missing values."""


class Questions(nn.Module):
    """A graph whose nodes have mechanisms, and the questions it answers. A question never changes it.

    Args:
        graph: The causal graph.
    """

    graph: CausalGraph
    seen: dict[str, dict[str, Any]]
    _order: tuple[str, ...]
    _modules_in_order: nn.ModuleList

    # ------------------------------------------------------------------ what it is made of

    @property
    def mechanisms(self) -> Mapping[str, Mechanism]:
        """node -> bound mechanism, in topological order."""
        return Frozen(dict(zip(self._order, self._modules_in_order, strict=True)))  # type: ignore[arg-type]

    @property
    def variables(self) -> Mapping[str, Variable]:
        """node -> variable, in topological order."""
        return self.graph.variables

    @property
    def device(self) -> torch.device:
        """Where the model lives; results come out there."""
        return self._modules_in_order[0].device if self._order else torch.device("cpu")  # type: ignore[return-value]

    @property
    def dtype(self) -> torch.dtype:
        """The floating type the model computes in."""
        return self._modules_in_order[0].dtype if self._order else torch.get_default_dtype()  # type: ignore[return-value]

    def require_fitted(self) -> Mapping[str, Mechanism]:
        """The mechanisms, all of them fitted.

        Raises:
            NotFittedError: One is not.
        """
        mechanisms = self.mechanisms
        waiting = [node for node, mechanism in mechanisms.items() if not mechanism.fitted] if mechanisms else ["all"]
        if waiting:
            raise NotFittedError(
                f"The mechanisms of {waiting} are not fitted. Call scm.fit(data), or SCM.load a fitted model. (A state"
                " dict says that its weights are fitted by its metadata, which torch.save keeps.)"
            )
        return mechanisms

    @_exactly
    def read(self, x: Any, *, gaps: Collection[str] = ()) -> Batch:
        """Rows of every node, checked, as the model holds them; nodes that follow from others are filled in.

        Args:
            x: Mapping of arrays or tensors, data set or data frame, in data units.
            gaps: Nodes that may have no value in some rows; these are NaN, and codes are then held as numbers.

        Raises:
            DataError: A node is missing, a value is not of its kind, or there are no rows.
        """
        mechanisms = self.require_fitted()
        rows = read_rows(self.graph, mechanisms, x, self.dtype, self.device, gaps)
        return fill_noiseless(self.graph, mechanisms, rows)

    # ------------------------------------------------------------------ association and intervention

    @_exactly
    def sample(
        self,
        n: int,
        do: Do | None = None,
        *,
        residual: Residual = 1.0,
        out_of_support: OutOfSupport = "raise",
        seed: seeding.Seed = None,
    ) -> Batch:
        """n draws from the model, or from the acted model.

        Args:
            n: How many rows.
            do: Actions; none for the observational distribution.
            residual: Scale of the residual noise of amortised mechanisms; 0 gives an image's mean.
            out_of_support: How to treat generated actions that leave the support.
            seed: Seed of the noise.
        """
        mechanisms = self.require_fitted()
        rules = Rules(residual=residual, out_of_support=out_of_support)
        if n not in COUNT:
            raise DataError(f"n must be at least 1, got {n!r}: it is how many rows, a whole number.")
        seed = seeding.resolve(seed)
        noise = sample_noise(self.graph, mechanisms, int(n), seed=seed)
        drawn = predict_worlds(self.graph, mechanisms, noise, read_worlds(read_one(do)), rules=rules, seed=seed)
        rows = Batch(dict(drawn))
        acted = [target.split(".")[0] for target in do or ()]
        reached = {*acted, *self.graph.descendants(acted)}
        warn_of_far_draws(rows, self.seen, [node for node in self.graph.nodes if node not in reached])
        return rows

    def do(self, actions: Do) -> ActedSCM:
        """A view of the model after acting on it; the model itself stays as it is."""
        check_view(self.graph, self.require_fitted(), read_one(actions))
        return ActedSCM(self, actions)

    # ------------------------------------------------------------------ counterfactuals

    @_exactly
    def abduct(self, x: Any, *, abduction: Abduction = "mean", seed: seeding.Seed = None) -> Noise:
        """Step 1: the exogenous noise of observed rows.

        Args:
            x: Observed rows of every node, in data units; noiseless nodes may be missing.
            abduction: "mean" or "sample" of amortised posteriors; discrete noise is always drawn from
                its exact posterior.
            seed: Seed of random noise.

        Returns:
            Site -> tensor, with the observation as `.factual`.
        """
        mechanisms = self.require_fitted()
        batch = self.read(x).loaded()
        sample = is_sampled(abduction)
        drawn_with = seeding.resolve(seed) if is_random(mechanisms, sample=sample) else None
        return abduct(self.graph, mechanisms, batch, sample=sample, seed=drawn_with)

    @_exactly
    def predict(
        self,
        noise: Noise,
        do: Dos = None,
        *,
        recompute: Recompute = "descendants",
        residual: Residual = 1.0,
        out_of_support: OutOfSupport = "raise",
        project: bool = True,
        seed: seeding.Seed = None,
    ) -> Counterfactual:
        """Steps 2 and 3: act, and push the noise through the acted mechanisms.

        Args:
            noise: From `abduct` or `sample_noise`.
            do: Actions, or a list of them for several worlds that share the noise.
            recompute: "descendants" of the acted nodes, the rest from the factual bit for bit; or
                "all" mechanisms.
            residual: Scale of the residual noise of amortised mechanisms: a number, or `Fading`.
            out_of_support: How to treat generated actions that leave the support.
            project: Project outputs of mechanisms onto the support; turn off to differentiate.
            seed: Seed of actions that are distributions.
        """
        worlds = read_worlds(do)
        answer = predict_worlds(
            self.graph,
            self.require_fitted(),
            noise,
            worlds,
            rules=Rules(recompute, residual, out_of_support, project),
            seed=seeding.resolve(seed) if worlds.random else None,
        )
        return replace(answer, origin=Origin(self.mechanisms, self.seen))

    @_exactly
    def counterfactual(
        self,
        x: Any,
        do: Dos,
        *,
        num_samples: int | None = None,
        abduction: Abduction = "mean",
        residual: Residual = 1.0,
        recompute: Recompute = "descendants",
        out_of_support: OutOfSupport = "raise",
        missing: Missing = "refuse",
        predictors: Mapping[str, Reader] | None = None,
        mode: Mode = "intervention",
        spread: float = 0.5,
        seed: seeding.Seed = None,
    ) -> Counterfactual:
        """Return the observed rows as they would have been under the actions.

        Abduction, action, prediction: `predict(abduct(x), do)` in one call.

        Args:
            x: Observed rows of every node, in data units; noiseless nodes may be missing, and so may values that no
                answer depends on, which stay NaN; categories with gaps are then codes held as numbers.
            do: node (or latent site) -> number, per-row values, category name, `ccf.shift`,
                `ccf.scale`, distribution, function of the acted parents, or `ccf.given_factual`.
                A list of such mappings asks for several worlds from one abduction.
            num_samples: Number of draws of a random counterfactual; adds an axis.
            abduction: "mean" or "sample" of amortised posteriors.
            residual: Scale of an image's residual noise in x* = mu* + residual sigma* (x - mu)/sigma;
                1 is abduction, another number is not, and the result says so. `Fading(thickness=1.0)` lets go
                of it as the parents move.
            recompute: "descendants" of the acted nodes, or "all" mechanisms.
            out_of_support: "raise" or "clip" generated actions that leave the support.
            missing: "refuse" rows with gaps, or "infer" the missing values: `num_samples` draws of them, by `infer`,
                each with a counterfactual of its own. Nodes may be absent from x altogether.
            predictors: As for `infer`.
            mode: "intervention", or "backtracking": mechanisms stay, and the noise moves as little as it must for the
                values in `do` to come out; see `causalcf.scm.backtracking`.
            spread: By how many standard deviations the noise of backtracked draws (`num_samples`) moves at random.
            seed: Seed of the random part; recorded in the result.

        Returns:
            node -> tensor of shape (W, S, N, *event_shape), the axes W and S only when asked for.

        Raises:
            DataError, SupportError: Bad rows or action values.
            UnknownNodeError: `do` names something that is neither a node nor a latent site.
            InterventionError: An action cannot be carried out.
            NotFittedError: The model is not fitted.
        """
        mechanisms, worlds = self.require_fitted(), read_worlds(do)
        if missing not in get_args(Missing):
            raise InterventionError(f"missing={missing!r}: choose one of {list(get_args(Missing))}.")
        rules = Rules(recompute, residual, out_of_support)
        if mode not in get_args(Mode):
            raise InterventionError(f"mode={mode!r}: choose one of {list(get_args(Mode))}.")
        if mode == "backtracking":
            draws = {"num_samples": num_samples, "spread": spread, "sample": is_sampled(abduction)}
            answer = backtrack(
                self.graph, mechanisms, self.read(x), do, rules=rules, seed=seeding.resolve(seed), **draws
            )
            return replace(answer, origin=Origin(self.mechanisms, self.seen))
        warn_of_answer(self.graph, mechanisms, worlds.each)
        if missing == "infer":
            answer = self._inferred(x, worlds, num_samples, abduction, rules, predictors, seed)
            return replace(answer, origin=Origin(self.mechanisms, self.seen))
        answer = counterfactual(
            self.graph,
            mechanisms,
            self.read(x, gaps=unneeded(self.graph, worlds.each) if recompute == "descendants" else ()).loaded(),
            do,
            rules=rules,
            num_samples=num_samples,
            abduction=abduction,
            seed=seed,
        )
        return replace(answer, origin=Origin(self.mechanisms, self.seen))

    def _inferred(
        self,
        x: Any,
        worlds: Worlds,
        num_samples: int | None,
        abduction: Abduction,
        rules: Rules,
        predictors: Mapping[str, Reader] | None,
        seed: seeding.Seed,
    ) -> Counterfactual:
        """Counterfactuals of rows completed by draws from their posterior."""
        if num_samples is None:
            raise InterventionError('missing="infer" draws what is missing: say how often, num_samples=100.')
        seed = seeding.resolve(seed)
        posterior = self.infer(x, num_samples=num_samples, predictors=predictors, seed=seed)
        whole = {node: value.flatten(0, 1) for node, value in posterior.resampled(num_samples).items()}
        index = torch.as_tensor(label_keys(posterior.index)).repeat(num_samples)
        rows = fill_noiseless(self.graph, self.mechanisms, Batch(whole, index))
        noise = abduct(self.graph, self.mechanisms, rows, sample=is_sampled(abduction), seed=seed)
        return predict_worlds(
            self.graph, self.mechanisms, noise, worlds, rules=rules, num_samples=num_samples, seed=seed
        )

    # ------------------------------------------------------------------ evidence that is not whole

    @_exactly
    def infer(
        self,
        x: Any,
        *,
        num_samples: int = 1000,
        predictors: Mapping[str, Reader] | None = None,
        seed: seeding.Seed = None,
    ) -> Posterior:
        """The law of the missing values, given the observed ones: weighted draws of whole rows.

        Exact where it can be: categories are summed out, a linear Gaussian model is conditioned in closed form. Else
        each missing value is drawn from its own mechanism and weighted by the values observed below it;
        a warning says where too few draws count. Values are taken to be missing at random.

        Args:
            x: Observed rows, in data units; nodes may be absent, and rows may have gaps (NaN, None, pd.NA).
            num_samples: Draws of every row.
            predictors: node -> anti-causal predictor (`ccf.predictors.pretrained(...)`) that reads it off an observed
                image. Its reading then stands for the posterior: an approximation.
            seed: Seed of the draws.

        Raises:
            DataError: Nothing was observed; the evidence has probability zero; a node below a missing value has no
                density.

        Example:
            >>> from causalcf.queries.examples import linear
            >>> posterior = linear().infer({"x": [1.0], "y": [3.0]}, seed=0)  # m is missing
            >>> posterior.exact, round(float(posterior.mean("m")), 1)
            (True, 1.1)
        """
        mechanisms, seed = self.require_fitted(), seeding.resolve(seed)
        example = sample_noise(self.graph, mechanisms, 1, seed=0)
        example = predict_worlds(self.graph, mechanisms, example, read_worlds({}), rules=Rules(recompute="all"))
        rows, missing = read_gaps(self.graph, mechanisms, x, example, self.dtype, self.device)
        rows = fill_noiseless(self.graph, mechanisms, rows)
        if predictors is not None and missing:
            return read_off(mechanisms, rows, missing, predictors, num_samples, seed)
        return infer(self.graph, mechanisms, rows, missing, num_samples=num_samples, seed=seed)

    # ------------------------------------------------------------------ density

    def log_prob(self, x: Any, *, particles: int = 16, seed: seeding.Seed = None) -> LogDensity:
        """Log density of observed rows in data units, by node.

        Exact for explicit mechanisms; for amortised ones an importance-weighted bound (Burda, Grosse,
        Salakhutdinov, "Importance Weighted Autoencoders", 2016), flagged in `lower_bounds`.

        Args:
            x: Observed rows of every node, in data units.
            particles: Latent draws per row of the bound.
            seed: Seed of the draws.

        Raises:
            DensityError: A node has no density.
        """
        return self._log_prob(x, {}, particles, seed)

    @_exactly
    def _log_prob(self, x: Any, do: Do, particles: int, seed: seeding.Seed) -> LogDensity:
        mechanisms, batch = self.require_fitted(), self.read(x).loaded()
        random = is_stochastic(do) or any(mechanism.latents for mechanism in mechanisms.values())
        return log_density(self.graph, mechanisms, batch, do, particles, seeding.resolve(seed) if random else 0)

    # ------------------------------------------------------------------ the Pyro program

    @_exactly
    def model(self, n: int = 1) -> dict[str, Tensor]:
        """The model as a Pyro program of n rows in one plate.

        Sites are the nodes, and the latents of amortised mechanisms ("image.z"). The noise of a flow
        appears through `TransformReparam`. Nodes that are deterministic given their noise cannot be
        conditioned on, and say so. To learn under SVI, call `scm.requires_grad_(True)` and register
        the parameters: `pyro.module("scm", scm)`.

        Args:
            n: How many rows.

        Example:
            >>> import pyro
            >>> model = pyro.condition(scm.model, data={"x": torch.ones(3)})  # doctest: +SKIP
            >>> pyro.poutine.trace(model).get_trace(3).log_prob_sum()  # doctest: +SKIP
        """
        return program.model(self.graph, self.mechanisms, n)

    @_exactly
    def guide(self, x: Mapping[str, Tensor]) -> None:
        """The guide of `model` given observed rows: the amortised posteriors of the latents.

        Args:
            x: Observed rows of every node, as tensors in data units.
        """
        program.guide(self.graph, self.mechanisms, x)


@dataclass(frozen=True)
class ActedSCM:
    """A model after actions: a cheap view that shares its mechanisms."""

    scm: Questions
    actions: Do

    def sample(self, n: int, **options: Any) -> Batch:
        """Draws from the interventional distribution; see `SCM.sample`."""
        return self.scm.sample(n, self.actions, **options)

    def predict(self, noise: Noise, **options: Any) -> Counterfactual:
        """Push noise through the acted model; see `SCM.predict`."""
        return self.scm.predict(noise, self.actions, **options)

    def log_prob(self, x: Any, *, particles: int = 16, seed: seeding.Seed = None) -> LogDensity:
        """Log density under the actions (truncated factorisation, Pearl 2009, eq. 1.37).

        A node set to a value contributes 0 where the row has that value, and minus infinity where
        it has not; a node drawn from a distribution contributes that distribution's density.
        """
        return self.scm._log_prob(x, self.actions, particles, seed)

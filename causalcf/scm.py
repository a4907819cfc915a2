"""The structural causal model: a graph, a mechanism for each node, and the questions one may ask."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import networkx as nx
import torch
from torch import Tensor, nn

from causalcf import finetuning, program, seeding, training
from causalcf.abduction import Noise, abduct, is_random, sample_noise
from causalcf.action import Do, OutOfSupport, check_targets, is_stochastic
from causalcf.check import Origin, summarise
from causalcf.checkpoint import load_tensors, read_file, write_file
from causalcf.counterfactual import Abduction, Counterfactual, Dos, counterfactual, listed_worlds, predict_worlds
from causalcf.data import Batch, infer_variables, read
from causalcf.density import LogDensity, log_density
from causalcf.errors import (
    CheckpointError,
    DataError,
    InterventionError,
    MechanismError,
    NotFittedError,
    UnknownNodeError,
)
from causalcf.graph import CausalGraph, load_graph
from causalcf.mechanisms import MECHANISMS, Classifier, Mechanism, Recipe, Stage, default_mechanism
from causalcf.prediction import Recompute
from causalcf.predictors import Predictor, Predictors
from causalcf.provenance import provenance
from causalcf.residual import Residual
from causalcf.variables import Boolean, Categorical, Variable

__all__ = ["SCM", "ActedSCM", "StructuralCausalModel"]


class StructuralCausalModel(nn.Module):
    """A causal graph whose nodes are structural assignments x := f(pa, u).

    The three rungs of Pearl's ladder are `sample`/`log_prob` (association), `sample(do=)`
    (intervention) and `counterfactual`. A query never changes the model.

    Args:
        graph: A networkx DiGraph, a `CausalGraph`, or the name or path of a graph file.
        variables: node -> Variable; adds to what the graph declares. Numbers, booleans and text that
            are not declared here are told from the data by `fit`.
        mechanisms: node -> unbound mechanism, of which a copy is bound; the rest follow from their
            variables.

    Raises:
        GraphError: The graph is not a DAG of well-named nodes.
        UnknownNodeError: Variables or mechanisms for nodes the graph lacks.
        MechanismError: A mechanism does not fit its variable, or a node needs one to be named.

    Example:
        >>> import torch
        >>> import causalcf as ccf
        >>> x = torch.randn(500, generator=torch.Generator().manual_seed(0))
        >>> data = {"x": x, "y": 2 * x + 0.1 * torch.sin(99 * x)}
        >>> linear = {"x": ccf.mechanisms.LinearGaussian(), "y": ccf.mechanisms.LinearGaussian()}
        >>> scm = SCM([("x", "y")], mechanisms=linear).fit(data, seed=0, progress=False)
        >>> cf = scm.counterfactual({"x": [0.0], "y": [0.5]}, do={"x": 1.0})
        >>> round(cf["y"].item(), 1)
        2.5
    """

    def __init__(
        self,
        graph: CausalGraph | nx.DiGraph | Sequence[tuple[str, str]] | str | Path,
        variables: Mapping[str, Variable] | None = None,
        mechanisms: Mapping[str, Mechanism] | None = None,
    ) -> None:
        super().__init__()
        if isinstance(graph, str | Path):
            graph = load_graph(graph)
        if not isinstance(graph, CausalGraph):
            graph = CausalGraph(graph)
        self.graph: CausalGraph = graph.with_variables(variables or {})
        given = dict(mechanisms or {})
        unknown = [node for node in given if node not in self.graph]
        if unknown:
            raise UnknownNodeError(f"Mechanisms are given for {unknown}, which the graph lacks: {list(graph.nodes)}.")
        self._given = given
        self._order: tuple[str, ...] = ()
        self._modules_in_order = nn.ModuleList()
        self.history: list[dict[str, Any]] = []
        self.provenance: dict[str, Any] = {}
        self.seen: dict[str, dict[str, Any]] = {}
        if len(self.graph.variables) == len(self.graph.nodes):
            self._bind()

    def _bind(self) -> None:
        """Give every node a mechanism of its own; every variable is known by now."""
        with seeding.seeded(0):  # initial weights are drawn again, from its own seed, by fit
            bound = [self._bound(node) for node in self.graph.nodes]
        self._order = self.graph.nodes
        self._modules_in_order = nn.ModuleList(bound)
        self.requires_grad_(False).eval()

    def _bound(self, node: str) -> Mechanism:
        variable = self.graph.variables[node]
        mechanism = self._given.get(node)
        if mechanism is None:
            mechanism = default_mechanism(node, variable)
        if not isinstance(mechanism, Mechanism):
            raise MechanismError(f"The mechanism of '{node}' must be a Mechanism, got {type(mechanism).__name__}.")
        parents = {parent: self.graph.variables[parent] for parent in self.graph.parents(node)}
        return copy.deepcopy(mechanism).bind(node, variable, parents)

    # ------------------------------------------------------------------ what it is made of

    @property
    def mechanisms(self) -> Mapping[str, Mechanism]:
        """node -> bound mechanism, in topological order."""
        return MappingProxyType(dict(zip(self._order, self._modules_in_order, strict=True)))  # type: ignore[arg-type]

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

    def _fitted(self) -> Mapping[str, Mechanism]:
        mechanisms = self.mechanisms
        waiting = [node for node, mechanism in mechanisms.items() if not mechanism.fitted] if mechanisms else ["all"]
        if waiting:
            raise NotFittedError(
                f"The mechanisms of {waiting} are not fitted. Call scm.fit(data), or SCM.load a fitted model."
            )
        return mechanisms

    def read(self, x: Any) -> Batch:
        """Rows of every node, checked, as the model holds them; nodes that follow from others are filled in.

        Args:
            x: Mapping of arrays or tensors, data set or data frame, in data units.

        Raises:
            DataError: A node is missing, a value is not of its kind, or there are no rows.
        """
        self._fitted()
        return self._with_noiseless(self._read(x))

    def _read(self, x: Any, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> Batch:
        """Observed rows, checked, by default as the model holds them; noiseless nodes may be missing."""
        noiseless = frozenset(node for node, mechanism in self.mechanisms.items() if not mechanism.sites)
        dtype, device = dtype or self.dtype, device or self.device
        rows = read(x, self.variables, optional=noiseless, dtype=dtype, device=device)
        if not rows.rows:
            raise DataError("The data have no rows. Give at least one.")
        return rows

    # ------------------------------------------------------------------ learning

    def fit(
        self,
        data: Any,
        *,
        nodes: Collection[str] | None = None,
        validation: float | Any = 0.1,
        epochs: int | Mapping[str, int] | None = None,
        recipes: Mapping[str, training.Recipes] | None = None,
        seed: seeding.Seed = None,
        device: torch.device | str = "cpu",
        precision: str = "32-true",
        checkpoint: str | Path | None = None,
        resume: bool = False,
        compile: bool = False,
        progress: bool = True,
    ) -> Self:
        """Fit each mechanism by its own objectives: likelihood, an evidence lower bound, an adversary's.

        Under `torchrun --nproc-per-node 2` the processes train one model together, each on its share of every
        batch; the first one writes the checkpoint, and all end with the same weights.

        Args:
            data: Mapping of arrays or tensors, data set or data frame, in data units.
            nodes: Whose mechanisms to fit; the others stay as they are. All of them by default.
            validation: Share of the rows to validate on, the same rows for every node, or other data.
            epochs: Passes over the data, for all nodes or by node, instead of those of the mechanism's recipe. Of a
                mechanism trained in stages it is the first one's; the others change in proportion.
            recipes: node -> training settings, instead of the mechanism's, or stage -> settings; taken as they are.
            seed: What weights, split, row order and objective noise follow from.
            device: Where to train; the model stays there.
            precision: "32-true", "bf16-mixed" or "64-true". Mixed precision is for mechanisms with large
                networks; flows train in full precision all the same.
            checkpoint: File written after every epoch, from which a killed run can resume.
            resume: Go on from `checkpoint` if it exists; the result is that of an uninterrupted run.
            compile: Make steps cheaper. On a GPU each step is captured once as a CUDA graph and then launched as a
                whole, which pays wherever kernels are short; elsewhere, and in several processes, `torch.compile`
                works on the objectives, which is slow to start and faster on large networks.
            progress: Show progress bars.

        Returns:
            The model itself, fitted; `history` has a record per node, stage and epoch.

        Raises:
            DataError, SupportError: Bad data.
            UnknownNodeError: Settings for a node that the graph lacks.
            TrainingError: Losses are not finite, or there is no such precision.
            MechanismError: A mechanism has no such stage.
            CheckpointError: The checkpoint belongs to another run.
        """
        self._infer_variables(data)
        if not self._order:
            self._bind()
        device = training.join(device)
        seed = training.agree(seeding.resolve(seed), device)
        # All that can be refused is refused before the first weight is touched.
        dtype = training.dtype_of(precision)
        chosen = self._chosen(nodes)
        stages = self._stages(epochs, recipes or {})
        train, held_out = self._read_split(data, validation, seed, dtype, device)
        self.to(device=device, dtype=dtype)
        train, held_out = self._with_noiseless(train), self._with_noiseless(held_out)
        job = training.Fit(
            self.graph,
            chosen,
            stages,
            seed,
            precision=precision,
            checkpoint=None if checkpoint is None else Path(checkpoint),
            compile=compile,
            progress=progress,
        )
        training.check(job, train, held_out, resume=resume)
        self._initialise(chosen, seed, device, dtype)
        started = time.perf_counter()
        training.fit(job, train, held_out, resume=resume)
        self.history = [record for record in self.history if record["node"] not in chosen] + job.history
        self.seen = summarise(self.graph, self.mechanisms, train, held_out)
        # Of what stays as it is, how it was made, and tuned, still counts.
        before = {"pretrained": self.provenance} if self.provenance and len(chosen) < len(self._order) else {}
        self.provenance = provenance(
            seed=seed,
            device=self.device,
            precision=precision,
            rows=train.rows,
            seconds=round(time.perf_counter() - started, 1),
            **before,
        )
        return self

    def finetune(
        self,
        data: Any,
        predictors: Mapping[str, Predictor] | Sequence[Predictor],
        *,
        node: str | None = None,
        slack: float = 0.03,
        actions: Mapping[str, float] | None = None,
        start: float = 0.3,
        ascent: float = 1e-2,
        residual: Residual | None = None,
        recipe: Recipe | None = None,
        epochs: int | None = None,
        validation: float | Any = 0.1,
        seed: seeding.Seed = None,
        device: torch.device | str = "cpu",
        precision: str = "32-true",
        checkpoint: str | Path | None = None,
        resume: bool = False,
        compile: bool = False,
        progress: bool = True,
    ) -> Self:
        """Teach an image's fitted mechanism to obey actions that it ignores; see `causalcf.finetuning`.

        Predictors read causes back from counterfactual images, and their loss is minimised while the mechanism's own
        objective is held near its pretrained level by a Lagrange multiplier (De Sousa Ribeiro et al., "High Fidelity
        Image Counterfactuals with Probabilistic Causal Models", 2023). The other mechanisms stay as they are. If it
        fails or is interrupted, the model is what it was. Runs under `torchrun` as `fit` does.

        Args:
            data: Mapping of arrays or tensors, data set or data frame, in data units.
            predictors: Fitted on the part "tune" of the data, which no judge has seen. They cannot judge the
                result: `ccf.evaluate` refuses them.
            node: The image to fine-tune; by default the only one.
            slack: How far the mechanism's own objective may end above its pretrained level, in its own unit: nats
                per pixel of VAEs. Too small a slack is used up by the first steps: the weights lie where annealing left
                them, any step raises the objective a little, and the multiplier then drowns the predictors.
            actions: Ancestor of the image -> how often it is acted on in training, in proportion; by default those
                that are predicted, equally often.
            start: First value of the multiplier, for an excess counted in slacks: a small one lets the mechanism
                unlearn first.
            ascent: Peak learning rate of the multiplier's logarithm.
            residual: What of the residual the counterfactuals carry over: tune with what will be asked for, such as
                `Fading(thickness=1.0)`. By default half of the rows carry all of it, and half nothing.
            recipe: Training settings instead of `finetuning.Tuning.default_recipe`.
            epochs: Passes over the data instead of the recipe's.
            validation: Share of the rows to validate on, or other data.
            seed: What the split, row order, actions and noise follow from.
            device: Where to train; the model stays there.
            precision: "32-true", "bf16-mixed" or "64-true".
            checkpoint: File written after every epoch, from which a killed run can resume.
            resume: Go on from `checkpoint` if it exists.
            compile: As for `fit`.
            progress: Show a progress bar.

        Returns:
            The model itself; `history` has a record per epoch of the stage "counterfactual", with the multiplier, the
            predictors' loss and the objective that is held.

        Raises:
            NotFittedError: The model, or a predictor, is not fitted.
            GraphError: Predictors for another graph, or it is not clear which image.
            MechanismError: The node has neither encoder nor generator, or no objective that could be held.
            DataError: Bad data, or predictors that saw what judges see.
            TrainingError: Losses are not finite, or there is no such precision.
            CheckpointError: The checkpoint belongs to another run.
        """
        self._fitted()
        node = finetuning.tuned_node(self.variables, node)
        members = predictors.values() if isinstance(predictors, Mapping) else predictors
        device = training.join(device)
        seed = training.agree(seeding.resolve(seed), device)
        dtype = training.dtype_of(precision)
        # A copy is tuned and takes the place of this model's mechanisms in the end: all of it happens, or nothing.
        twin = copy.deepcopy(self).to(device=device, dtype=dtype)
        train, held_out = twin._read_split(data, validation, seed, dtype, device)
        train, held_out = twin._with_noiseless(train), twin._with_noiseless(held_out)
        started = time.perf_counter()
        tuned = finetuning.finetune(
            self.graph,
            twin.mechanisms,
            Predictors(list(members)),
            train,
            held_out,
            node=node,
            seed=seed,
            slack=slack,
            actions=actions,
            start=start,
            ascent=ascent,
            residual=residual,
            recipe=recipe,
            epochs=epochs,
            precision=precision,
            checkpoint=None if checkpoint is None else Path(checkpoint),
            resume=resume,
            compile=compile,
            progress=progress,
        )
        seen = summarise(self.graph, twin.mechanisms, train, held_out)
        made = provenance(
            seed=seed,
            device=twin.device,
            precision=precision,
            rows=train.rows,
            seconds=round(time.perf_counter() - started, 1),
            tuned=tuned.facts,
            pretrained=self.provenance,
        )
        self._modules_in_order, self.provenance = twin._modules_in_order, made
        # The others keep what they have seen; of the tuned one, the noise has changed.
        self.seen = self.seen | {name: of_data for name, of_data in seen.items() if name == node}
        self.history = self.history + tuned.history
        return self

    def _infer_variables(self, data: Any) -> None:
        undeclared = [node for node in self.graph.nodes if node not in self.variables]
        if not undeclared:
            return
        self.graph = self.graph.with_variables(infer_variables(data, undeclared))
        missing = [node for node in undeclared if node not in self.variables]
        if missing:
            raise DataError(f"The data lack {missing}. The graph's nodes are {list(self.graph.nodes)}.")

    def _read_split(
        self, data: Any, validation: float | Any, seed: int, dtype: torch.dtype, device: torch.device
    ) -> tuple[Batch, Batch]:
        """Training and validation rows: a share of the data, or other data."""
        train = self._read(data, dtype, device)
        if isinstance(validation, float | int):
            return training.split(train, validation, seed)
        return train, self._read(validation, dtype, device)

    def _chosen(self, nodes: Collection[str] | None) -> dict[str, Mechanism]:
        """Mechanisms to fit, in topological order."""
        for node in nodes or ():
            self.graph.require(node)
        return {node: mechanism for node, mechanism in self.mechanisms.items() if nodes is None or node in nodes}

    def _initialise(self, chosen: Mapping[str, Mechanism], seed: int, device: torch.device, dtype: torch.dtype) -> None:
        """Draw the initial weights from the seed, on the CPU, so that they do not depend on the device."""
        for node, mechanism in chosen.items():
            with seeding.seeded(seeding.derive(seed, node, "weights")):
                mechanism.to("cpu").build()
            mechanism.fitted = not mechanism.sites
        self.to(device=device, dtype=dtype).requires_grad_(False).eval()

    def _with_noiseless(self, rows: Batch) -> Batch:
        """Rows with the deterministic nodes that the data lack filled in."""
        values = dict(rows)
        for node, mechanism in self.mechanisms.items():
            if node not in values:
                values[node] = mechanism.predict({}, {parent: values[parent] for parent in self.graph.parents(node)})
        return Batch({node: values[node] for node in self.graph.nodes}, rows.index)

    def _stages(
        self, epochs: int | Mapping[str, int] | None, recipes: Mapping[str, training.Recipes]
    ) -> dict[str, tuple[Stage, ...]]:
        by_node = epochs if isinstance(epochs, Mapping) else dict.fromkeys(self._order, epochs)
        for node in (*by_node, *recipes):
            self.graph.require(node)
        return {
            node: training.plan(mechanism, recipes.get(node), by_node.get(node))
            for node, mechanism in self.mechanisms.items()
        }

    # ------------------------------------------------------------------ association and intervention

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
            out_of_support: What to do with generated actions that leave the support.
            seed: What the noise is drawn with.
        """
        mechanisms = self._fitted()
        if n < 1:
            raise DataError(f"n must be at least 1, got {n}.")
        seed = seeding.resolve(seed)
        noise = sample_noise(self.graph, mechanisms, n, seed=seed)
        drawn = predict_worlds(
            self.graph, mechanisms, noise, _one(do), residual=residual, out_of_support=out_of_support, seed=seed
        )
        return Batch(dict(drawn))

    def do(self, actions: Do) -> ActedSCM:
        """A view of the model after acting on it; the model itself stays as it is."""
        check_targets(self.graph, self._fitted(), _one(actions) or {})
        return ActedSCM(self, actions)

    # ------------------------------------------------------------------ counterfactuals

    def abduct(self, x: Any, *, abduction: Abduction = "mean", seed: seeding.Seed = None) -> Noise:
        """Step 1: the exogenous noise of observed rows.

        Args:
            x: Observed rows of every node, in data units; noiseless nodes may be missing.
            abduction: "mean" or "sample" of amortised posteriors; discrete noise is always drawn from
                its exact posterior.
            seed: What random noise is drawn with.

        Returns:
            Site -> tensor, with the observation as `.factual`.
        """
        mechanisms = self._fitted()
        batch = self._read(x)
        sample = _is_sample(abduction)
        drawn_with = seeding.resolve(seed) if is_random(mechanisms, sample=sample) else None
        return abduct(self.graph, mechanisms, batch, sample=sample, seed=drawn_with)

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
            recompute: "descendants" of what is acted on, the rest from the factual bit for bit; or
                "all" mechanisms.
            residual: Scale of the residual noise of amortised mechanisms: a number, or `Fading`.
            out_of_support: What to do with generated actions that leave the support.
            project: Project what mechanisms give onto the support; turn off to differentiate.
            seed: What actions that are distributions are drawn with.
        """
        answer = predict_worlds(
            self.graph,
            self._fitted(),
            noise,
            do,
            recompute=recompute,
            residual=residual,
            out_of_support=out_of_support,
            project=project,
            seed=seeding.resolve(seed) if any(is_stochastic(world) for world in listed_worlds(do)) else None,
        )
        return replace(answer, origin=Origin(self.mechanisms, self.seen))

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
        seed: seeding.Seed = None,
    ) -> Counterfactual:
        """What the observed rows would have been, had the actions been taken.

        Abduction, action, prediction: `predict(abduct(x), do)` in one call.

        Args:
            x: Observed rows of every node, in data units; noiseless nodes may be missing.
            do: node (or latent site) -> number, per-row values, category name, `ccf.shift`,
                `ccf.scale`, distribution, function of the acted parents, or `ccf.given_factual`.
                A list of such mappings asks for several worlds from one abduction.
            num_samples: Number of draws of a random counterfactual; adds an axis.
            abduction: "mean" or "sample" of amortised posteriors.
            residual: Scale of an image's residual noise in x* = mu* + residual sigma* (x - mu)/sigma;
                1 is abduction, another number is not, and the result says so. `Fading(thickness=1.0)` lets go
                of it as the parents move.
            recompute: "descendants" of what is acted on, or "all" mechanisms.
            out_of_support: "raise" or "clip" generated actions that leave the support.
            seed: What the random part is drawn with; recorded in the result.

        Returns:
            node -> tensor of shape (W, S, N, *event_shape), the axes W and S only when asked for.

        Raises:
            DataError, SupportError: Bad rows or action values.
            UnknownNodeError: `do` names what is neither a node nor a latent site.
            InterventionError: An action cannot be carried out.
            NotFittedError: The model is not fitted.
        """
        answer = counterfactual(
            self.graph,
            self._fitted(),
            self._read(x),
            do,
            num_samples=num_samples,
            abduction="sample" if _is_sample(abduction) else "mean",
            residual=residual,
            recompute=recompute,
            out_of_support=out_of_support,
            seed=seed,
        )
        return replace(answer, origin=Origin(self.mechanisms, self.seen))

    # ------------------------------------------------------------------ density

    def log_prob(self, x: Any, *, particles: int = 16, seed: seeding.Seed = None) -> LogDensity:
        """Log density of observed rows in data units, by node.

        Exact for explicit mechanisms; for amortised ones an importance-weighted bound (Burda, Grosse,
        Salakhutdinov, "Importance Weighted Autoencoders", 2016), flagged in `lower_bounds`.

        Args:
            x: Observed rows of every node, in data units.
            particles: Latent draws per row of the bound.
            seed: What they are drawn with.

        Raises:
            DensityError: A node has no density.
        """
        return self._log_prob(x, {}, particles, seed)

    def _log_prob(self, x: Any, do: Do, particles: int, seed: seeding.Seed) -> LogDensity:
        mechanisms, batch = self._fitted(), self._read(x)
        with seeding.seeded(seeding.resolve(seed), self.device):
            return log_density(self.graph, mechanisms, batch, do, particles)

    # ------------------------------------------------------------------ the Pyro program

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

    def guide(self, x: Mapping[str, Tensor]) -> None:
        """The guide of `model` given observed rows: the amortised posteriors of the latents.

        Args:
            x: Observed rows of every node, as tensors in data units.
        """
        program.guide(self.graph, self.mechanisms, x)

    # ------------------------------------------------------------------ larger models

    def attach(self, node: str, f: Any, parents: Sequence[str], variable: Variable | None = None) -> Self:
        """A new model in which a classifier or regressor is a deterministic child.

        Observed rows need not contain the new node; `cf.logits[node]` gives its logits.

        Args:
            node: Name of the new node.
            f: Module or function of the parents' tensors, in the order given; a copy is attached.
            parents: The nodes it looks at.
            variable: What it gives; by default a Categorical with as many categories as f has
                logits, a Boolean for one logit.

        Raises:
            MechanismError: f's output does not fit.
            UnknownNodeError: A parent that the graph lacks.

        Example:
            >>> scm.attach("label", classifier, parents=["image"])  # doctest: +SKIP
        """
        mechanisms = self._fitted()
        mechanism = copy.deepcopy(Classifier(f, inputs=tuple(parents)))
        mechanism.requires_grad_(False).eval().to(device=self.device, dtype=self.dtype)
        if variable is None:
            variable = _classes(mechanism.fn, self.sample(2, seed=0), parents)
        wider = type(self).__new__(type(self))
        nn.Module.__init__(wider)
        wider.graph = self.graph.with_node(node, variable, parents)
        wider._given = {**self._given, node: mechanism}
        wider._order = wider.graph.nodes
        bound = mechanism.bind(node, variable, {parent: self.variables[parent] for parent in wider.graph.parents(node)})
        wider._modules_in_order = nn.ModuleList([mechanisms.get(name, bound) for name in wider._order])
        wider.history, wider.provenance, wider.seen = self.history, self.provenance, self.seen
        return wider.eval()

    # ------------------------------------------------------------------ files

    def save(self, path: str | Path, *, half: Collection[str] = ()) -> None:
        """Write the model to one safetensors file with a JSON header, atomically.

        Args:
            path: Where.
            half: Nodes whose weights are stored in half precision.
        """
        mechanisms = self._fitted()
        for node in half:
            self.graph.require(node)
        header = {
            "kind": "scm",
            "dtype": str(self.dtype).removeprefix("torch."),
            "graph": self.graph.to_json(),
            "mechanisms": {
                node: {"type": type(mechanism).__name__, "config": mechanism.config}
                for node, mechanism in mechanisms.items()
            },
            "history": self.history,
            "provenance": self.provenance,
            "seen": self.seen,
        }
        # Buffers hold data scales, which half precision may not be able to.
        weights = {node: {name for name, _ in mechanism.named_parameters()} for node, mechanism in mechanisms.items()}
        tensors = {
            f"{node}.{name}": tensor.half() if node in half and name in weights[node] else tensor
            for node, mechanism in mechanisms.items()
            for name, tensor in mechanism.saved_state().items()
        }
        write_file(path, header, tensors)

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        mechanisms: Mapping[str, Mechanism] | None = None,
        device: torch.device | str = "cpu",
    ) -> Self:
        """Read a model written by `save`.

        Args:
            path: The file.
            mechanisms: Mechanisms that a file cannot hold: functions, classifiers, classes of your own.
            device: Where the model goes.

        Raises:
            CheckpointError: The file is damaged, of another program or version, needs mechanisms that are not given, or
                they are given with other settings than the file's.
        """
        header, tensors = read_file(path)
        if header.get("kind") != "scm":
            raise CheckpointError(f"{path} holds a {header.get('kind')} state, not a model. Resume it with fit.")
        given = dict(mechanisms or {})
        for node, record in header["mechanisms"].items():
            if node not in given:
                given[node] = _from_record(path, node, record)
            else:
                _require_settings(path, node, record, given[node])
        scm = cls(CausalGraph.from_json(header["graph"]), mechanisms=given).to(getattr(torch, header["dtype"]))
        for node, mechanism in scm.mechanisms.items():
            for name in mechanism.training_only:
                delattr(mechanism, name)
            own = {n.removeprefix(f"{node}."): t for n, t in tensors.items() if n.split(".")[0] == node}
            load_tensors(mechanism, own, path, f"the {type(mechanism).__name__} of '{node}'")
            mechanism.fitted = True
        scm.history, scm.provenance = header["history"], header["provenance"]
        scm.seen = header.get("seen", {})
        return scm.to(device)

    def __repr__(self) -> str:
        kinds = {node: type(mechanism).__name__ for node, mechanism in (self.mechanisms or self._given).items()}
        lines = [
            f"  {node}: {kinds.get(node, '?')}({', '.join(self.graph.parents(node))})" for node in self.graph.nodes
        ]
        return "\n".join([f"{type(self).__name__}(", *lines, ")"])


SCM = StructuralCausalModel


@dataclass(frozen=True)
class ActedSCM:
    """A model after actions: a cheap view that shares its mechanisms."""

    scm: StructuralCausalModel
    actions: Do

    def sample(self, n: int, **options: Any) -> Batch:
        """Draws from the interventional distribution; see `StructuralCausalModel.sample`."""
        return self.scm.sample(n, self.actions, **options)

    def predict(self, noise: Noise, **options: Any) -> Counterfactual:
        """Push noise through the acted model; see `StructuralCausalModel.predict`."""
        return self.scm.predict(noise, self.actions, **options)

    def log_prob(self, x: Any, *, particles: int = 16, seed: seeding.Seed = None) -> LogDensity:
        """Log density under the actions (truncated factorisation, Pearl 2009, eq. 1.37).

        A node set to a value contributes 0 where the row has that value, and minus infinity where
        it has not; a node drawn from a distribution contributes that distribution's density.
        """
        return self.scm._log_prob(x, self.actions, particles, seed)


def _one(do: Dos) -> Do | None:
    if isinstance(do, list | tuple):
        raise InterventionError("This takes one set of actions, not a list of worlds. Use counterfactual or predict.")
    return do  # type: ignore[return-value]


def _is_sample(abduction: str) -> bool:
    if abduction not in ("mean", "sample"):
        raise InterventionError(f'abduction must be "mean" or "sample", got {abduction!r}.')
    return abduction == "sample"


def _classes(f: Any, sample: Batch, parents: Sequence[str]) -> Variable:
    """The variable that a classifier's output shape suggests."""
    with torch.no_grad():
        logits = f(*(sample[parent] for parent in parents))
    if logits.ndim == 2 and logits.shape[1] > 1:
        return Categorical(logits.shape[1])
    if logits.ndim == 1 or (logits.ndim == 2 and logits.shape[1] == 1):
        return Boolean()
    raise MechanismError(f"A classifier must give logits (N, k) or (N,), got {tuple(logits.shape)} for 2 rows.")


def _require_settings(path: str | Path, node: str, record: Mapping[str, Any], given: Mechanism) -> None:
    """Refuse a mechanism whose settings are not those of the file: it would answer otherwise, and say nothing."""
    recorded = json.loads(json.dumps(record["config"]))
    own = json.loads(json.dumps({name: given.config.get(name) for name in recorded}))
    if record["type"] == type(given).__name__ and own != recorded:
        wrong = {name: value for name, value in recorded.items() if own[name] != value}
        raise CheckpointError(f"{path}: the {record['type']} of '{node}' was made with {wrong}. Give it with the same.")


def _from_record(path: str | Path, node: str, record: Mapping[str, Any]) -> Mechanism:
    kind = record["type"]
    if kind not in MECHANISMS or MECHANISMS[kind].holds_code:
        raise CheckpointError(
            f"{path}: the {kind} of '{node}' holds code, which a file cannot."
            f" Give it: SCM.load(path, mechanisms={{'{node}': ...}})."
        )
    config = {name: tuple(value) if isinstance(value, list) else value for name, value in record["config"].items()}
    return MECHANISMS[kind](**config)  # type: ignore[arg-type]

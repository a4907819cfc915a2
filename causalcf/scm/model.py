"""The structural causal model: a graph, a mechanism for each node, and the questions one may ask."""

from __future__ import annotations

import copy
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Self, cast

import networkx as nx
import torch
from torch import nn

from causalcf import training
from causalcf.core import seeding
from causalcf.core.atomic import write_atomically
from causalcf.core.devices import as_device
from causalcf.core.errors import MechanismError, UnknownNodeError
from causalcf.core.files import write_json
from causalcf.core.surroundings import kept_out
from causalcf.data import Batch
from causalcf.graph import CausalGraph, load_graph
from causalcf.mechanisms import Classifier, Mechanism, default_mechanism
from causalcf.mechanisms.asked import as_rows, check_answers
from causalcf.mechanisms.estimators import Estimator, as_function, frozen
from causalcf.scm.doubts import warn_of_outliers
from causalcf.scm.files import read_model, write_model
from causalcf.scm.hidden import warn_of_fit
from causalcf.scm.incomplete import check_missing, fit_incomplete, without_gaps
from causalcf.scm.learning import choose, declare, initialise, note, plan_stages, read_split, whole_or_not
from causalcf.scm.obedience import ignored, obedience
from causalcf.scm.questions import ActedSCM, Questions
from causalcf.scm.responses import evenly, in_words, responses
from causalcf.scm.rows import fill_noiseless
from causalcf.variables import Variable
from causalcf.variables.codes import Categorical

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["SCM", "ActedSCM", "StructuralCausalModel"]

ASKED = 16
"""Rows drawn from the model to ask a classifier about, before it is attached."""

SHOWN = 500
"""Rows in the pictures of mechanisms."""


class StructuralCausalModel(Questions):
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

    @torch.inference_mode(False)
    @kept_out()
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

    # ------------------------------------------------------------------ learning

    @whole_or_not
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
        missing: str = "refuse",
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
            seed: Seed of weights, split, row order and objective noise.
            device: Where to train; the model stays there.
            precision: "32-true", "bf16-mixed" or "64-true". Mixed precision is for mechanisms with large
                networks; flows train in full precision all the same.
            checkpoint: File written after every epoch, from which a killed run can resume.
            resume: Go on from `checkpoint` if it exists; the result is that of an uninterrupted run.
            compile: Make steps cheaper. On a GPU each step is captured once as a CUDA graph and then launched as a
                whole, which pays wherever kernels are short; elsewhere, and in several processes, `torch.compile`
                works on the objectives, which is slow to start and faster on large networks.
            missing: "refuse" rows with gaps, or learn from them by the "model": gaps are drawn given what was
                observed, and the mechanisms fitted again, some times (`causalcf.scm.incomplete`). That is right where
                it depends on observed values alone which values are missing.
            progress: Show progress bars.

        Returns:
            The model itself, fitted; `history` has a record per node, stage and epoch.

        Raises:
            DataError, SupportError: Bad data.
            UnknownNodeError: Settings for a node that the graph lacks.
            TrainingError: Losses are not finite, or there is no such precision.
            MechanismError: A mechanism has no such stage.
            CheckpointError: The checkpoint belongs to another run.

            The model is then unchanged.
        """
        by_model = check_missing(missing, validation, nodes=nodes, checkpoint=checkpoint, resume=resume or None)
        self.graph = declare(self.graph, without_gaps(self.graph, data) if by_model else data)
        if not self._order:
            self._bind()
        device = training.join(device)
        seed = training.agree(seeding.resolve(seed), device)
        if by_model:
            asked: dict[str, Any] = {"epochs": epochs, "recipes": recipes, "device": device, "precision": precision}
            fit_incomplete(self, data, validation, seed, **asked, compile=compile, progress=progress)
            return self
        # All that can be refused is refused before the first weight is touched.
        dtype = training.dtype_of(precision)
        chosen = choose(self.graph, self.mechanisms, nodes)
        stages = plan_stages(self.graph, self.mechanisms, epochs, recipes or {})
        parts = read_split(self.graph, self.mechanisms, data, validation, seed, dtype, device, progress=progress)
        self.to(device=device, dtype=dtype)
        train, held_out = (fill_noiseless(self.graph, self.mechanisms, part) for part in parts)
        warn_of_outliers(self.graph, train)
        warn_of_fit(self.graph, chosen)
        job = training.Fit(
            chosen,
            {node: self.graph.parents(node) for node in chosen},
            stages,
            self.graph.to_json(),
            seed,
            precision=precision,
            checkpoint=None if checkpoint is None else Path(checkpoint),
            compile=compile,
            progress=progress,
        )
        training.check(job, train, held_out, resume=resume)
        initialise(chosen, seed)
        self.to(device=device, dtype=dtype).requires_grad_(False).eval()
        started = time.perf_counter()
        training.fit(job, train, held_out, resume=resume)
        note(self, job, train, held_out, time.perf_counter() - started)
        if progress:
            training.tell(ignored(obedience(self.graph, self.mechanisms, train)))
        return self

    def finetune(self, data: Any, predictors: Any, **settings: Any) -> Self:
        """Teach an image's fitted mechanism to obey actions that it ignores: `causalcf.finetune(self, ...)`."""
        import causalcf

        return cast("Self", causalcf.finetune(self, data, predictors, **settings))

    @torch.inference_mode(False)
    def obedience(self, data: Any, *, seed: int = 0) -> dict[str, dict[str, float]]:
        """Image -> parent -> the share of the parent's average effect in the data that acting on it shows.

        1 is all of it; an image that ignores a parent has 0. A parent whose average effect cannot be told from chance
        has no entry. Where progress is shown, `fit` says at its end which parents are ignored.

        Args:
            data: Rows, in data units: a thousand or more, 4,000 are used. Of few no average effect is certain.
            seed: What the values that are acted with follow from.

        Example:
            >>> import causalcf as ccf
            >>> scm = ccf.pretrained("morphomnist-vae")
            >>> shares = scm.obedience(ccf.datasets.Digits("train"))["image"]
            >>> round(shares["digit"], 1)  # it answers do(digit) hardly at all
            0.1
        """
        mechanisms = self.require_fitted()
        return obedience(self.graph, mechanisms, self.read(data), seed=seed)

    def take(
        self, twin: Self, node: str, seen: Mapping[str, Any], made: dict[str, Any], history: list[dict[str, Any]]
    ) -> None:
        """Take the mechanisms of a copy in which one node was trained further.

        Args:
            twin: The copy.
            node: Whose mechanism changed.
            seen: The copy's summary of its training data; for other nodes, this model's own summary stays.
            made: The new provenance.
            history: Records to add.
        """
        self._modules_in_order, self.provenance = twin._modules_in_order, made
        self.seen = self.seen | {name: of_data for name, of_data in seen.items() if name == node}
        self.history = self.history + history

    # ------------------------------------------------------------------ larger models

    @torch.inference_mode(False)
    @kept_out()
    def attach(self, node: str, f: Any, parents: Sequence[str], variable: Variable | None = None) -> Self:
        """A new model in which a classifier or regressor is a deterministic child.

        Observed rows need not contain the new node; `cf.logits[node]` gives its logits.

        Args:
            node: Name of the new node.
            f: Module or function of the parents' tensors, in the order given, of which a copy is attached; or a fitted
                estimator of scikit-learn.
            parents: The nodes it looks at.
            variable: Of its output; by default a Categorical with as many categories as f has
                logits, a Boolean for one logit.

        Raises:
            MechanismError: f's output does not fit: it is not a tensor, or holds NaN, or probabilities or labels, not
                logits.
            UnknownNodeError: A parent that the graph lacks.

        Example:
            >>> scm.attach("label", classifier, parents=["image"])  # doctest: +SKIP
        """
        mechanisms = self.require_fitted()
        for parent in parents:
            self.graph.require(parent)
        f = frozen(f, self.device, self.dtype) if isinstance(f, nn.Module) else as_function(f, parents)
        variable = _given_by(f, variable, self.sample(ASKED, seed=0), parents)
        mechanism = copy.deepcopy(Classifier(f, inputs=tuple(parents))).to(device=self.device, dtype=self.dtype)
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
        facts = {"history": self.history, "provenance": self.provenance, "seen": self.seen}
        write_model(path, self.graph, self.require_fitted(), self.dtype, facts, half)

    def push_to_hub(
        self,
        repo: str,
        *,
        scores: Iterable[Any] = (),
        about: str = "",
        license: str = "",
        private: bool = False,
        half: Collection[str] = (),
    ) -> str:
        """Share the model on the Hugging Face Hub; `causalcf.pretrained(repo)` loads it.

        Uploads `model.safetensors`, `graph.json`, the scores as `scores.json` and a card, which says what the model is,
        how it was made and how it scored.

        Args:
            repo: user/name; made if it does not exist.
            scores: Records of `causalcf.evaluate`.
            about: What the model is for and what it does not do: a paragraph of the card.
            license: Its identifier, such as "apache-2.0".
            private: Make a new repository private.
            half: Nodes whose weights are stored in half precision.

        Returns:
            The address of the repository.

        Raises:
            FileError: The Hub cannot be reached, or refuses.
            MissingFileError: huggingface_hub is not installed.

        Example:
            >>> scm.push_to_hub("ada/digits", scores=ccf.evaluate(scm, data))  # doctest: +SKIP
        """
        from causalcf.scm import hub

        records = list(scores)
        with TemporaryDirectory() as name:
            folder = Path(name)
            self.save(folder / hub.MODEL, half=half)
            self.graph.save(folder / "graph.json")
            write_json(folder / "scores.json", {"records": [asdict(record) for record in records]})
            text = hub.card(repo, self.graph, self.mechanisms, self.provenance, records, about, license)
            write_atomically(folder / "README.md", text.encode())
            return hub.push(folder, repo, private=private)

    @classmethod
    @torch.inference_mode(False)
    @kept_out()
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
        device = as_device(device)
        saved = read_model(path, mechanisms or {})
        with saved.held_to():
            scm = cls(saved.graph, mechanisms=saved.mechanisms).to(saved.dtype)
        saved.load_into(scm.mechanisms)
        scm.history, scm.provenance, scm.seen = saved.history, saved.provenance, saved.seen
        return scm.to(device)

    def plot(self, data: Any = None, *, seed: int = 0, **options: Any) -> Figure:
        """Each mechanism: how a child answers to each of its causes, the others and its noise held, with the data.

        Args:
            data: Observed rows to draw, in data units; draws of the model by default.
            seed: What rows and noise are drawn with.
            options: Passed to `causalcf.plots.plot_responses`.

        Raises:
            NotFittedError: The model is not fitted.
            DataError: No node has a cause that is a number or a category.
        """
        from causalcf.plots import plot_responses

        mechanisms = self.require_fitted()
        rows = self.sample(SHOWN, seed=seed) if data is None else evenly(self.read(evenly(data, SHOWN)), SHOWN)
        return plot_responses(
            responses(self.graph, mechanisms, rows, seed), self.graph, drawn=data is None, seed=seed, **options
        )

    def _repr_html_(self) -> str:
        from causalcf.plots.cards import model_html

        return model_html(self.graph, in_words(self.graph, self.mechanisms or self._given), self.provenance)

    def __repr__(self) -> str:
        kinds = {node: type(mechanism).__name__ for node, mechanism in (self.mechanisms or self._given).items()}
        lines = [
            f"  {node}: {kinds.get(node, '?')}({', '.join(self.graph.parents(node))})" for node in self.graph.nodes
        ]
        return "\n".join([f"{type(self).__name__}(", *lines, ")"])


SCM = StructuralCausalModel


@torch.no_grad()
def _given_by(f: Any, variable: Variable | None, sample: Batch, parents: Sequence[str]) -> Variable:
    """Return the variable of a classifier's answers; raise if its answers to some rows are not logits."""
    if isinstance(f, Estimator) and variable is None and f.variable is None:
        raise MechanismError(
            f"A {type(f.model).__name__} gives numbers: say of which kind, variable=causalcf.Real(), Positive(), ..."
        )
    named = getattr(f, "variable", None)
    variable = variable or (named if isinstance(named, Categorical) or isinstance(f, Estimator) else None)
    inputs = [sample[parent] for parent in parents]
    return check_answers(lambda *x: as_rows(f(*x), x)[None], inputs, variable, MechanismError, of=", ".join(parents))[1]

"""Model x data x metrics -> records.

Every record carries the facts that a reader needs to believe it: the number of rows, the seed, the residual, and
the same score of the truth, of doing nothing and of noise.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from causalcf.core.checkpoint import read_file, write_file
from causalcf.core.digests import digest, named
from causalcf.core.errors import DataError, DensityError, GraphError, InterventionError
from causalcf.core.provenance import lineage
from causalcf.core.signatures import checked
from causalcf.data import Batch
from causalcf.evaluation.inquiry import NEEDS, Inquiry, Measurement, classifier_of, residuals_of
from causalcf.evaluation.records import Record, Records
from causalcf.evaluation.scores import SCORES, Entry
from causalcf.metrics import Estimate, bootstrap_interval
from causalcf.metrics.features import evaluating
from causalcf.predictors import Predictor, Predictors
from causalcf.scm.counterfactual import Abduction
from causalcf.scm.model import StructuralCausalModel
from causalcf.scm.residual import Residual, recorded
from causalcf.variables.image import Image

__all__ = ["evaluate", "select_rows"]


def select_rows(data: Batch, n: int, seed: int) -> Batch:
    """n different rows, drawn by seed.

    Raises:
        DataError: The data have fewer.
    """
    if not 0 < n <= data.rows:
        raise DataError(f"Cannot select {n} of {data.rows} rows.")
    order = torch.randperm(data.rows, generator=torch.Generator().manual_seed(seed))
    return data[order[:n]]


@checked
def evaluate(
    scm: StructuralCausalModel,
    data: Any,
    metrics: Sequence[str] | None = None,
    *,
    predictors: Predictors | Mapping[str, Predictor] | Sequence[Predictor] | None = None,
    reference: Mapping[str, Tensor] | None = None,
    latents: StructuralCausalModel | None = None,
    features: Any = None,
    perception: Any = None,
    do: Sequence[str] | None = None,
    n: int | None = 1000,
    seed: int = 0,
    residuals: Sequence[Residual] = (1.0, 0.0),
    abduction: Abduction = "mean",
    optional: bool = False,
    cache: str | Path | None = None,
    workers: int = 1,
    progress: Callable[[str], None] | None = None,
) -> Records:
    """Score a model, and in the same way the truth, doing nothing, and noise.

    One node is acted on at a time; each row's value is drawn from the node's marginal in the data,
    in another of 10 bins, or another category. Every net runs in evaluation mode, whatever state it
    was left in, and is given back in that state.

    Args:
        scm: A fitted model.
        data: Rows in data units; true counterfactuals are used where the data have a `truth` method.
        metrics: Names of scores, see `causalcf.evaluation.scores.SCORES`; by default all that can be computed
            from these inputs. The others are listed in the result's `missing`.
        predictors: Judges of effectiveness. The thickness judge of MorphoMNIST is told the intensity
            the action asks for.
        reference: Real images for FID, KID and CLD: the training split.
        latents: An SCM with the image as its one node and a VAE: the latent space of CLD.
        features: Extractor for FID and KID; else the last hidden layer of a classifier among the judges.
        perception: A perceptual network for LPIPS, such as `metrics.vgg_perception(path)`.
        do: Nodes to act on; by default the scalar ancestors of the image, or all scalar nodes that
            have descendants.
        n: Rows, drawn by `seed`; None for all, in order.
        seed: Selects rows, values, noise and resamples.
        residuals: Scales of the residual noise to score; 1 is abduction. Or how it fades: `Fading(thickness=1.0)`.
        abduction: "mean" or "sample" of amortised posteriors.
        optional: Leave out scores of `metrics` that cannot be computed, with the reason in the result's `missing`.
        cache: Folder to keep true counterfactuals in, which take long to draw.
        workers: Processes to draw them with.
        progress: Called with a line of text as each score begins.

    Returns:
        A sequence of frozen records.

    Raises:
        DataError: A judge has fine-tuned the model, a requested score needs an input that is not given, there are
            too few rows, or an attribute is constant.
        GraphError: Predictors or latents are for another graph.
        UnknownNodeError: `do` names something that is not a node.

    Example:
        >>> import causalcf as ccf
        >>> bars = ccf.datasets.Bars(200)
        >>> edges = [("width", "brightness"), ("side", "brightness")]
        >>> rows = {node: bars[node] for node in ("width", "brightness", "side")}
        >>> scm = ccf.SCM(edges, {node: bars.variables[node] for node in rows})
        >>> found = evaluate(scm.fit(rows, epochs=1, seed=0, progress=False), rows, ["unchanged"], n=50)
        >>> found[0].metric, found[0].value
        ('unchanged', 1.0)
    """
    inquiry = _inquiry(scm, data, predictors, do, n, seed, residuals, abduction)
    inquiry.features, inquiry.latents, inquiry.perception = features, latents, perception
    _check_latents(inquiry)
    inquiry.reference = reference if reference is None or isinstance(reference, Batch) else Batch(dict(reference))
    if hasattr(data, "truth"):
        inquiry.true_answer = _truth_of(data, inquiry.x, cache, workers)
    optional = optional or metrics is None
    wanted = [name for name, entry in SCORES.items() if entry.default] if metrics is None else metrics
    chosen, missing = _chosen(inquiry, wanted, optional=optional, knows_truth=hasattr(data, "truth"))
    found = _scored(inquiry, chosen, missing, progress, optional=optional)
    if not optional and "truth error" in wanted and not any(record.metric == "truth error" for record in found):
        raise DataError(f"The true counterfactual of do({', '.join(inquiry.nodes)}) is not known in these data.")
    return found


def _scored(
    inquiry: Inquiry,
    chosen: Mapping[str, Entry],
    missing: dict[str, str],
    progress: Callable[[str], None] | None,
    *,
    optional: bool,
) -> Records:
    """Compute the chosen scores, all networks in evaluation mode; the reason why one cannot be goes into `missing`."""
    records: list[Record] = []
    seconds: dict[str, float] = {}
    networks = (inquiry.scm, inquiry.latents, inquiry.features, inquiry.perception)
    steps = (("counterfactuals", "answers"), ("truth", "truths")) if any(e.acts for e in chosen.values()) else ()
    with ExitStack() as stack:
        for network in (*networks, *(inquiry.predictors or {}).values()):
            stack.enter_context(evaluating(network))
        for step, prepare in steps:
            with _timed(step, seconds, progress):
                getattr(inquiry, prepare)
        for name, entry in chosen.items():
            with _timed(name, seconds, progress):
                try:
                    records += _records(inquiry, list(entry.function(inquiry)))
                except DataError as error:
                    if not optional:
                        raise
                    missing[name] = str(error)
    return Records(tuple(records), {name: round(s, 3) for name, s in seconds.items()}, missing)


@contextmanager
def _timed(step: str, seconds: dict[str, float], progress: Callable[[str], None] | None) -> Iterator[None]:
    """Report the step that begins, and record its duration."""
    if progress is not None:
        progress(step)
    started = time.perf_counter()
    yield
    seconds[step] = time.perf_counter() - started


def _inquiry(
    scm: StructuralCausalModel,
    data: Any,
    predictors: Any,
    do: Sequence[str] | None,
    n: int | None,
    seed: int,
    residuals: Sequence[Residual],
    abduction: Abduction,
) -> Inquiry:
    rows = scm.read(data)
    table = Batch({node: value.cpu() for node, value in rows.held.items()}, rows.index)
    x = table[:] if n is None else select_rows(table, n, seed)  # type: ignore[arg-type]
    nodes = _default_nodes(scm) if do is None else list(do)
    for node in nodes:
        scm.graph.require(node)
        if scm.variables[node].event_shape:
            raise DataError(f"do({node}): values are drawn for numbers and categories, not for {node}'s kind.")
    judges = None
    if predictors is not None:
        members = predictors.values() if isinstance(predictors, Mapping) else predictors
        strange = [member for member in members if not hasattr(member, "target")]
        if strange:
            raise DataError(f"predictors must be anti-causal predictors, got {strange[0]!r:.40} among them.")
        judges = predictors if isinstance(predictors, Predictors) else Predictors(list(members))
        judges.check(scm.variables)
        _check_judges(scm, judges)
    return Inquiry(scm, x, table, nodes, seed, residuals_of(scm, residuals), abduction, judges)


def _check_judges(scm: StructuralCausalModel, judges: Predictors) -> None:
    """Raise `DataError` if a judge has fine-tuned the model: its own scores would be too good."""
    tuned_by = {name for record in lineage(scm.provenance) for name in record.get("tuned", {}).get("predictors", [])}
    biased = [name for name in judges.signatures if name in tuned_by]
    if biased:
        raise DataError(
            f"{biased} fine-tuned this model and cannot judge it. Judge with others, trained on other rows:"
            " causalcf.predictors.pretrained, or causalcf predictors --part judge."
        )


def _check_latents(inquiry: Inquiry) -> None:
    """Raise `GraphError` unless the latent space is one of these images."""
    if inquiry.latents is None or not any(isinstance(v, Image) for v in inquiry.variables.values()):
        return
    image = inquiry.image
    found, wanted = inquiry.latents.variables, inquiry.variables[image]
    if list(found) != [image] or found[image].event_shape != wanted.event_shape:
        raise GraphError(
            f"latents= is for another graph: expected one node, '{image}' {wanted.event_shape}, got"
            f" { ({node: variable.event_shape for node, variable in found.items()}) }."
        )


def _default_nodes(scm: StructuralCausalModel) -> list[str]:
    """Scalar nodes whose change shows: in the image if there is one, else in any node."""
    graph, images = scm.graph, [node for node, v in scm.variables.items() if isinstance(v, Image)]
    visible = [node for node in graph.nodes if set(graph.descendants([node])) & set(images or graph.nodes)]
    return [node for node in visible if not scm.variables[node].event_shape]


def _chosen(
    inquiry: Inquiry, wanted: Sequence[str], *, optional: bool, knows_truth: bool
) -> tuple[dict[str, Entry], dict[str, str]]:
    """The scores to compute, and the reasons why others cannot be; raise for one that is not optional."""
    unknown = [name for name in wanted if name not in SCORES]
    if unknown:
        raise DataError(f"There are no scores {unknown}. Known: {list(SCORES)}.")
    has = {
        "predictors": bool(inquiry.predictors),
        "truth": knows_truth,
        "reference": inquiry.reference is not None,
        "latents": inquiry.latents is not None,
        "image": any(isinstance(variable, Image) for variable in inquiry.variables.values()),
        "features": inquiry.features is not None or classifier_of(inquiry.predictors) is not None,
        "density": "log density" in wanted and _has_density(inquiry.scm, inquiry.x),
    }
    chosen, missing = {}, {}
    for name in wanted:
        lacks = [need for need in SCORES[name].needs if not has[need]]
        if not lacks:
            chosen[name] = SCORES[name]
            continue
        reason = f"needs {' and '.join(NEEDS[need] for need in lacks)}"
        if not optional:
            raise DataError(f"'{name}' {reason}.")
        missing[name] = reason
    return chosen, missing


def _has_density(scm: StructuralCausalModel, x: Batch) -> bool:
    try:
        scm.log_prob(x[:1], particles=1, seed=0)
    except DensityError:
        return False
    return True


def _truth_of(
    data: Any, x: Batch, cache: str | Path | None, workers: int
) -> Callable[[str, Tensor], Mapping[str, Tensor] | None]:
    """The data's true counterfactuals of some rows, kept in a folder if one is given."""

    def asked(values: Tensor) -> str:
        labels = x.index if isinstance(x.index, Tensor) else str(x.index.tolist())
        return digest(labels, values, *named(x), digits=16)

    def truth(node: str, values: Tensor) -> Mapping[str, Tensor] | None:
        path = None if cache is None else Path(cache) / f"truth-{node}-{asked(values)}.safetensors"
        if path is not None and path.is_file():
            return read_file(path)[1]
        try:
            options = {"workers": workers} if workers > 1 else {}
            answer = {name: value.contiguous() for name, value in data.truth(x, {node: values}, **options).items()}
        except InterventionError:
            return None  # the data do not know this one
        if path is not None:
            write_file(path, {"kind": "truth", "node": node}, answer)
        return answer

    return truth


def _records(inquiry: Inquiry, measured: Sequence[Measurement]) -> list[Record]:
    """The model's scores, each beside those of the truth, the identity and noise on the same question."""
    beside = {(one.metric, one.do, one.node, one.kind): _value(one) for one in measured if one.kind != "model"}
    records = []
    for one in measured:
        if one.kind != "model":
            continue
        key = (one.metric, one.do, one.node)
        low, high = _interval(one, inquiry.seed)
        records.append(
            Record(
                metric=one.metric,
                do=one.do,
                node=one.node,
                value=_value(one),
                low=low,
                high=high,
                unit=one.measure.unit_for(inquiry.variables[one.node].unit),
                better=one.measure.better,
                truth=beside.get((*key, "truth")),
                identity=beside.get((*key, "identity")),
                noise=beside.get((*key, "noise")),
                n=len(one.value) if isinstance(one.value, Tensor) else inquiry.x.rows,
                seed=inquiry.seed,
                device=str(inquiry.scm.device),
                residual=recorded(one.residual),
                abduction=inquiry.abduction,
                judge=one.judge,
            )
        )
    return records


def _value(one: Measurement) -> float:
    if isinstance(one.value, Tensor):
        return float(one.value.double().mean())
    return one.value.value if isinstance(one.value, Estimate) else one.value


def _interval(one: Measurement, seed: int) -> tuple[float | None, float | None]:
    if isinstance(one.value, Estimate):
        return one.value.low, one.value.high
    if not isinstance(one.value, Tensor) or len(one.value) < 2:
        return None, None
    found = bootstrap_interval(one.value, seed=seed)
    return found.low, found.high

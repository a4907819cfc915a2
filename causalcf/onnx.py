"""Abduction and prediction under a fixed query as ONNX files, so that a page or a phone can ask without torch.

A query fixes which nodes are acted on; the values, like the observed rows, are inputs.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from causalcf.core.errors import InterventionError, MissingFileError
from causalcf.core.signatures import checked
from causalcf.graph import site
from causalcf.scm.model import StructuralCausalModel

__all__ = ["to_onnx"]

OPSET = 18
"""Version of ONNX's operators, of early 2023."""


@checked
def to_onnx(scm: StructuralCausalModel, do: Sequence[str], out: str | Path) -> tuple[Path, Path]:
    """Write `abduct.onnx` and `predict.onnx`: the counterfactual of any rows under any values of some nodes.

    `abduct` takes observed nodes by their names and gives noise (`intensity.u`, `image.z`, ...). `predict` takes this
    noise, the observed causes that nobody acts on, and the acted values as `do.NODE`; it gives every node that follows
    from them. All are rows of any number, as `scm.counterfactual` takes and gives them, categories as codes; amortised
    posteriors give their mean, the residual is carried over. Nothing is checked any more: a value outside its support
    has no answer.

    Args:
        scm: A fitted model.
        do: The nodes that are acted on.
        out: Folder; made if it does not exist.

    Returns:
        The two files.

    Raises:
        UnknownNodeError: There is no such node.
        InterventionError: Nothing follows from these nodes, or the noise of something that does is drawn at random.
        MissingFileError: onnx or onnxscript is not installed.

    Example:
        >>> to_onnx(scm, ["thickness"], "answers")  # doctest: +SKIP
        (PosixPath('answers/abduct.onnx'), PosixPath('answers/predict.onnx'))
    """
    mechanisms, graph = scm.require_fitted(), scm.graph
    acted = {graph.require(node) for node in do}
    nodes = [node for node in graph.nodes if node in graph.descendants(acted) and node not in acted]
    if not nodes:
        raise InterventionError(f"Nothing follows from {list(do)}: there is nothing to predict. Name a cause.")
    random = [node for node in nodes if mechanisms[node].is_random(sample=False)]
    if random:
        raise InterventionError(
            f"The noise of {random} is drawn at random, by row and seed, which an ONNX file cannot. Act on nodes from"
            " which only numbers and images follow."
        )
    causes = {parent for node in nodes for parent in graph.parents(node)}
    seen = [node for node in graph.nodes if node in {*nodes, *causes}]
    kept = [node for node in seen if node in causes - {*nodes} - acted]
    sites = [site(node, suffix) for node in nodes for suffix in mechanisms[node].sites]
    rows = scm.sample(2, seed=0)
    observed = {node: rows[node] for node in seen}
    values = {f"do.{node}": rows[node] for node in seen if node in acted}
    with torch.no_grad():
        abduct = _Abduct(scm, nodes, seen)
        noise = dict(zip(sites, abduct(*observed.values()), strict=True))
        predict = _Predict(scm, nodes, [*sites, *kept, *values])
        out = Path(out)
        out.mkdir(parents=True, exist_ok=True)
        return (
            _export(abduct, observed, sites, out / "abduct.onnx"),
            _export(predict, {**noise, **{node: rows[node] for node in kept}, **values}, nodes, out / "predict.onnx"),
        )


class _Step(nn.Module):
    """Named inputs, in an order -> what some nodes' mechanisms make of them."""

    def __init__(self, scm: StructuralCausalModel, nodes: Sequence[str], inputs: Sequence[str]) -> None:
        super().__init__()
        self.mechanisms = nn.ModuleList(scm.mechanisms[node] for node in nodes)
        self.parents = {node: scm.graph.parents(node) for node in nodes}
        self.inputs = list(inputs)


class _Abduct(_Step):
    """Observed nodes, in an order -> the noise of some of them."""

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        x = dict(zip(self.inputs, given, strict=True))
        found: list[Tensor] = []
        for (node, parents), mechanism in zip(self.parents.items(), self.mechanisms, strict=True):
            u = mechanism.abduct_known(x[node], {parent: x[parent] for parent in parents})  # type: ignore[operator]
            found += [u[suffix] for suffix in mechanism.sites]  # type: ignore[union-attr]
        return tuple(found)


class _Predict(_Step):
    """Noise, observed causes and acted values, in an order -> the nodes that follow."""

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        x = {name.removeprefix("do."): value for name, value in zip(self.inputs, given, strict=True)}
        for (node, parents), mechanism in zip(self.parents.items(), self.mechanisms, strict=True):
            u = {suffix: x[site(node, suffix)] for suffix in mechanism.sites}  # type: ignore[union-attr]
            value = mechanism.predict(u, {parent: x[parent] for parent in parents})  # type: ignore[operator]
            x[node] = mechanism.variable.project(value)  # type: ignore[union-attr]
        return tuple(x[node] for node in self.parents)


def _export(module: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str], path: Path) -> Path:
    rows = torch.export.Dim("rows", min=1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's own
            torch.onnx.export(
                module.eval(),
                tuple(inputs.values()),
                str(path),
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_shapes=(tuple({0: rows} for _ in inputs),),
                opset_version=OPSET,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    except ModuleNotFoundError as error:
        raise MissingFileError("ONNX files need onnx and onnxscript: pip install 'causalcf[onnx]'.") from error
    return path

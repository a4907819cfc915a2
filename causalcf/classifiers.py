"""Classifiers to explain: perceptrons of latents and tables, and ensembles that are trained and asked as one.

Image classifiers are `predictors.Predictor`, whose `forward` gives logits; any torch module that does so can be
explained. An ensemble is a classifier as well: its `forward` gives the logarithm of the mean probability.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from copy import deepcopy
from itertools import pairwise
from math import log
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional as F

from causalcf.core.descent import Objective, descend
from causalcf.core.errors import DataError, UnknownNodeError
from causalcf.core.nn import Standardiser
from causalcf.core.signatures import checked
from causalcf.data import Batch

__all__ = ["ClassifierEnsemble", "Perceptrons", "Stacked", "accuracies", "fit_classifier", "without_class"]


class ClassifierEnsemble(nn.Module, ABC):
    """Several classifiers asked at once. As one classifier it gives log mean probabilities, (N, K).

    References:
        Lakshminarayanan, Pritzel, Blundell, "Simple and Scalable Predictive Uncertainty Estimation using Deep
        Ensembles", 2017.
    """

    size: int

    @abstractmethod
    def members(self, x: Tensor) -> Tensor:
        """Logits of every member, (M, N, K), of inputs (N, ...) that they share."""

    @abstractmethod
    def members_apart(self, x: Tensor) -> Tensor:
        """Logits of every member, (M, N, K), of inputs (M, N, ...), each member its own."""

    def forward(self, x: Tensor) -> Tensor:
        return self.members(x).log_softmax(-1).logsumexp(0) - log(self.size)


@checked
class Perceptrons(ClassifierEnsemble):
    """M multilayer perceptrons of one shape, in one matrix product a layer; M = 1 is a plain one.

    Inputs are standardised by the mean and spread of the training rows.

    References:
        Theobald et al., "Clarity: an improved gradient method for producing quality visual counterfactual
        explanations", 2022: 50 latent classifiers 16-16-16-10.

    Args:
        sizes: Widths from the inputs to the classes.
        size: Number of members.

    Example:
        >>> f = Perceptrons([16, 16, 16, 10], size=50)
        >>> f(torch.zeros(3, 16)).shape, f.members(torch.zeros(3, 16)).shape
        (torch.Size([3, 10]), torch.Size([50, 3, 10]))
    """

    def __init__(self, sizes: Sequence[int], *, size: int = 1) -> None:
        super().__init__()
        self.size = size
        self.standardise = Standardiser(sizes[0])
        # As nn.Linear draws them.
        bounds = [a**-0.5 for a, _ in pairwise(sizes)]
        self.weights = nn.ParameterList(
            nn.Parameter((2 * torch.rand(size, a, b) - 1) * bound)
            for (a, b), bound in zip(pairwise(sizes), bounds, strict=True)
        )
        self.biases = nn.ParameterList(
            nn.Parameter((2 * torch.rand(size, 1, b) - 1) * bound) for b, bound in zip(sizes[1:], bounds, strict=True)
        )

    def members(self, x: Tensor) -> Tensor:
        return self.members_apart(x.expand(self.size, *x.shape))

    def members_apart(self, x: Tensor) -> Tensor:
        h = self.standardise(x)
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            h = torch.baddbmm(bias, F.relu(h) if i else h, weight)
        return h


@checked
class Stacked(ClassifierEnsemble):
    """Any modules of one architecture as an ensemble: one vectorised call instead of a loop.

    Args:
        modules: Classifiers of one architecture, equal but for their weights, which are copied. Layers whose training
            depends on the batch (batch normalisation) are not for `fit_classifier`.

    Raises:
        DataError: There are none, or they differ in architecture.

    Example:
        >>> f = Stacked([nn.Linear(4, 3) for _ in range(5)])
        >>> f.members(torch.zeros(2, 4)).shape
        torch.Size([5, 2, 3])
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        super().__init__()
        makes = [_make(module) for module in modules]
        if not makes or any(not _same(make, makes[0]) for make in makes[1:]):
            raise DataError(
                f"A stack needs classifiers of one architecture: one after another, their {len(makes)} trees of layers"
                " must have equal types, settings and shapes."
            )
        self.size = len(modules)
        parameters, buffers = stack_module_state(list(modules))
        # A dot would mean a submodule.
        self.stacked = nn.ParameterDict({name.replace(".", "/"): t.detach() for name, t in parameters.items()})
        for name, buffer in buffers.items():
            self.register_buffer(name.replace(".", "/"), buffer)
        self._buffer_names = list(buffers)
        self._skeleton = (deepcopy(modules[0]).to("meta").eval(),)  # in a tuple, as only its code is used

    def _call(self, x: Tensor, axis: int | None) -> Tensor:
        state = {name.replace("/", "."): t for name, t in self.stacked.items()}
        state |= {name: getattr(self, name.replace(".", "/")) for name in self._buffer_names}

        def one(weights: dict[str, Tensor], x: Tensor) -> Tensor:
            return functional_call(self._skeleton[0], weights, (x,))

        return vmap(one, in_dims=(0, axis))(state, x)

    def members(self, x: Tensor) -> Tensor:
        return self._call(x, None)

    def members_apart(self, x: Tensor) -> Tensor:
        return self._call(x, 0)


def _make(module: nn.Module) -> list[Any]:
    """All that a module is beside the values of its weights: the types and settings of its layers, and shapes."""
    common = vars(nn.Module())
    layers = [
        (name, type(layer), {key: value for key, value in vars(layer).items() if key not in common})
        for name, layer in module.named_modules()
    ]
    tensors = [*module.named_parameters(), *module.named_buffers()]
    return [layers, [(name, t.shape, t.dtype) for name, t in tensors]]


def _same(a: Any, b: Any) -> bool:
    """Whether two makes are equal; values that cannot be compared, such as tensors, count as different."""
    try:
        return bool(a == b)
    except (RuntimeError, ValueError):
        return False


@checked
@torch.inference_mode(False)
def fit_classifier(
    classifier: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    epochs: int = 10,
    batch_size: int = 128,
    lr: float = 2e-3,
    adversarial: float = 0.0,
    balanced: bool = False,
    seed: int = 0,
) -> nn.Module:
    """Train a classifier, or all members of an ensemble at once, by cross-entropy; in place.

    Every member draws its own rows. With `adversarial`, half of the loss is that of the same rows moved by
    one step of that size along the sign of the gradient (Goodfellow, Shlens, Szegedy 2015, eq. 5), as in Clarity.

    Args:
        classifier: A module that gives logits (N, K), or a `ClassifierEnsemble`.
        x: Inputs (N, ...): images, latents, rows of a table.
        y: Class codes (N,), or booleans.
        epochs: Passes over the rows.
        batch_size: Rows a step.
        lr: Adam's learning rate at the start; it falls to 0 by a cosine.
        adversarial: Size of the step, in the inputs' unit; 0 for none.
        balanced: Weight classes by the inverse of their frequency.
        seed: Seed of the order of rows.

    Returns:
        The classifier, frozen, in evaluation mode.

    Raises:
        DataError: Rows of x and y differ, or a single class.
        TrainingError: The loss is not finite.

    Example:
        >>> x = torch.randn(400, 2, generator=torch.Generator().manual_seed(0))
        >>> y = (x[:, 0] > 0).long()
        >>> f = fit_classifier(Perceptrons([2, 8, 2], size=3), x, y, epochs=30, batch_size=20, lr=0.02)
        >>> bool((accuracies(f, x, y) > 0.95).all())
        True
    """
    y = y.long()
    if len(x) != len(y):
        raise DataError(f"{len(x)} inputs and {len(y)} labels: there must be one label a row.")
    counts = torch.bincount(y)
    if int((counts > 0).sum()) < 2:
        raise DataError("All rows have one class: there is nothing to tell apart.")
    weight = (len(y) / (counts.clamp_min(1) * len(counts))).to(x) if balanced else None
    if isinstance(classifier, Perceptrons):
        classifier.standardise.calibrate(x)

    def cross_entropy(inputs: Tensor, labels: Tensor) -> Tensor:
        logits = classifier.members_apart(inputs) if isinstance(classifier, ClassifierEnsemble) else classifier(inputs)
        losses = F.cross_entropy(logits.flatten(0, -2), labels.flatten(), weight=_padded(weight, logits))
        return losses * classifier.size if isinstance(classifier, ClassifierEnsemble) else losses

    def loss(rows: Tensor) -> Tensor:
        if isinstance(classifier, ClassifierEnsemble):
            rows = torch.randint(len(x), (classifier.size, len(rows)), device=x.device)
        inputs, labels = x[rows], y[rows]
        if not adversarial:
            return cross_entropy(inputs, labels)
        inputs.requires_grad_(True)
        plain = cross_entropy(inputs, labels)
        (gradient,) = torch.autograd.grad(plain, inputs, retain_graph=True)
        moved = inputs.detach() + adversarial * gradient.sign()
        return 0.5 * (plain + cross_entropy(moved, labels))

    descend(
        {"classifier": Objective([classifier], loss)},
        len(x),
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        decay=True,
        seed=seed,
        device=x.device,
    )
    return classifier


def _padded(weight: Tensor | None, logits: Tensor) -> Tensor | None:
    """Class weights for all the logits: classes that no row has count 1."""
    return None if weight is None else F.pad(weight, (0, logits.shape[-1] - len(weight)), value=1.0)


@checked
@torch.no_grad()
def accuracies(classifier: nn.Module, x: Tensor, y: Tensor, *, batch_size: int = 500) -> Tensor:
    """Share of rows that a classifier, or each member of an ensemble, gets right: () or (M,).

    Example:
        >>> accuracies(nn.Identity(), torch.eye(3), torch.arange(3))
        tensor(1.)
    """
    if len(x) != len(y) or not len(x):
        raise DataError(f"x has {len(x)} rows and y {len(y)}: expected as many, and at least one.")
    ask = classifier.members if isinstance(classifier, ClassifierEnsemble) else classifier
    predicted = torch.cat([ask(part).argmax(-1) for part in x.split(batch_size)], -1)
    return (predicted == y).float().mean(-1)


@checked
def without_class(data: Mapping[str, Tensor], node: str, code: int) -> Batch:
    """The rows of all other classes, to train a *rigged* classifier on that never saw one.

    An explanation towards the missing class should fail, or look like nothing: Khorram and Fuxin,
    "Cycle-Consistent Counterfactuals by Latent Transformations", 2022, supplement D.

    Args:
        data: Columns, among them `node`.
        node: The label.
        code: The class to leave out.

    Raises:
        DataError: No row has the class.

    Example:
        >>> without_class({"digit": torch.tensor([1, 9, 2])}, "digit", 9)["digit"]
        tensor([1, 2])
    """
    if node not in data:
        raise UnknownNodeError(f"There is no '{node}' among {list(data)}.")
    keep = data[node] != code
    if bool(keep.all()):
        raise DataError(f"No row has '{node}' = {code}: there is nothing to leave out.")
    return Batch({name: column[keep] for name, column in data.items()})

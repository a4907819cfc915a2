"""A predictor of one node: the network, its training objective, its own error, its file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from causalcf.core import seeding
from causalcf.core.checkpoint import load_tensors, read_file, write_file
from causalcf.core.columns import by_blocks
from causalcf.core.devices import as_device
from causalcf.core.digests import weights_digest
from causalcf.core.errors import CheckpointError, DataError, MechanismError, NotFittedError
from causalcf.core.nn import Standardiser
from causalcf.core.untrusted import Budget, doubting, require_sizes
from causalcf.data import Batch, numbers
from causalcf.mechanisms import Recipe, Trainable
from causalcf.mechanisms.parents import ParentEncoder
from causalcf.metrics.features import evaluating
from causalcf.predictors.jitter import Jitter
from causalcf.predictors.score import ClassScore, Score, class_scores
from causalcf.variables import Variable, variable_from_json
from causalcf.variables.codes import Categorical
from causalcf.variables.image import Image

__all__ = ["Predictor"]

BATCH = 250
"""Images per call when a whole data set is read."""


def _peak(image: Tensor) -> Tensor:
    """Mean of the brightest sixty-fourth of each image's values, (N,): no single pixel decides it."""
    values = image.flatten(1).float()
    return values.topk(max(1, values.shape[1] // 64)).values.mean(1).clamp_min(1e-3)


class Predictor(Trainable):
    """Reads one node off an image, given other nodes if it is told to: q(target | image, given).

    A convolution of 7 x 7 and a pyramid of 3 x 3 convolutions, averages and peaks over the image, and
    two linear layers. Numbers are regressed, categories and booleans classified.

    References:
        Melistas et al., "Benchmarking Counterfactual Image Generation", 2024, table 17, whose
        convolutions these are. De Sousa Ribeiro et al., "High Fidelity Image Counterfactuals with
        Probabilistic Causal Models", 2023, for the use of q(thickness | image, intensity).

    Args:
        target: The node to predict.
        variable: Its variable.
        image: The image's variable.
        node: The image's name.
        given: Nodes the predictor is told besides the image; say so wherever its scores appear.
        widths: Channels of the convolutions; the second, fourth, ... halve the resolution.
        hidden: Width of the last hidden layer, which `features` returns.
        pool: Average and peak of the "last" convolution's maps, or of "all" of them: brightness is
            best read where the image is still fine.
        proportional: Whether the target is proportional to the brightness of the pixels, as intensity
            is. The image is then read relative to its brightest sixty-fourth, and what is read is
            multiplied by that: a darker copy of an image is darker by exactly that factor.
        jitter: Changes of the images in training.

    Raises:
        MechanismError: A variable of a kind that cannot be predicted or conditioned on.

    Example:
        >>> from causalcf.variables import Positive
        >>> predictor = Predictor("t", Positive(), Image(1, 16, 16), widths=(4, 8), hidden=8)
        >>> predictor.predict(torch.zeros(3, 1, 16, 16)).shape
        torch.Size([3])
    """

    default_recipe: ClassVar[Recipe] = Recipe(
        epochs=14, batch_size=128, lr=2e-3, warmup=200, weight_decay=0.01, clip=5.0, ema=0.998, patience=99
    )
    mixed_precision: ClassVar[bool] = True
    takes_columns: ClassVar[bool] = True

    def __init__(
        self,
        target: str,
        variable: Variable,
        image: Image,
        *,
        node: str = "image",
        given: Mapping[str, Variable] | None = None,
        widths: Sequence[int] = (16, 32, 32, 64, 64, 128),
        hidden: int = 128,
        pool: Literal["last", "all"] = "last",
        proportional: bool = False,
        jitter: Jitter | None = None,
    ) -> None:
        super().__init__()
        self.target, self.variable, self.image, self.node = target, variable, image, node
        self.given = dict(given or {})
        self.widths, self.hidden, self.pool, self.jitter = tuple(widths), hidden, pool, jitter or Jitter()
        self.proportional = proportional
        self.score: Score | None = None
        self.provenance: dict[str, Any] = {}
        self.history: list[dict[str, Any]] = []
        self.trained_on: dict[str, Any] = {}
        if isinstance(variable, type):
            raise MechanismError(
                f"The variable of '{target}' is the class {variable.__name__}: give {variable.__name__}()."
            )
        if isinstance(variable, Image) or variable.event_shape:
            raise MechanismError(f"A predictor of '{target}', {variable.article}, is not possible: it takes a scalar.")
        unfit = ParentEncoder.unfit(self.given)
        if unfit:
            raise MechanismError(f"The predictor of '{target}' cannot be given the images {unfit}.")
        self.classes = int(variable.num_features) if variable.discrete else 0
        if variable.discrete and self.classes == 1:
            self.classes = 2
        if proportional and self.classes:
            raise MechanismError(f"'{target}' is a category: it cannot be proportional to brightness.")
        self.jitter.require_true(target, variable)
        self.balanced = False
        self._build()

    def _build(self) -> None:
        channels, layers = self.image.channels, []
        for i, width in enumerate(self.widths):
            kernel, stride = (7, 1) if i == 0 else (3, 2 if i % 2 else 1)
            convolution = nn.Conv2d(channels, width, kernel, stride, kernel // 2)
            nn.init.kaiming_normal_(convolution.weight, a=0.1)
            nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
            layers += [convolution, nn.LeakyReLU(0.1, inplace=True)]
            channels = width
        self.convolutions = nn.Sequential(*layers).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.condition = ParentEncoder(self.given)
        pooled = sum(self.widths) if self.pool == "all" else channels
        self.last = nn.Linear(2 * pooled + self.condition.width, self.hidden)
        self.head = nn.Linear(self.hidden, self.classes or 1)
        self.standardise = Standardiser(0 if self.classes else 1)
        self.weights: Tensor
        self.register_buffer("weights", torch.ones(self.classes))

    @property
    def device(self) -> torch.device:
        """Where the predictor lives."""
        return self.head.weight.device

    @property
    def config(self) -> dict[str, Any]:
        """All that is needed to make the same network again, JSON-able."""
        return {
            "target": self.target,
            "variable": self.variable.to_json(),
            "node": self.node,
            "image": self.image.to_json(),
            "given": {name: variable.to_json() for name, variable in self.given.items()},
            "widths": list(self.widths),
            "hidden": self.hidden,
            "pool": self.pool,
            "proportional": self.proportional,
            "jitter": {**vars(self.jitter), "scales": list(self.jitter.scales)},
        }

    @property
    def parents(self) -> tuple[str, ...]:
        """The nodes that it reads: the image, and those that it is given."""
        return (self.node, *self.given)

    @property
    def name(self) -> str:
        """Its law in words: q(thickness | image, intensity)."""
        return f"q({self.target} | {', '.join(self.parents)})"

    @property
    def signature(self) -> str:
        """Its law and a digest of its weights, which a score has to name."""
        return f"{self.name}#{weights_digest(self.state_dict())}"

    # ------------------------------------------------------------------ reading images

    def pooled(self, image: Tensor) -> Tensor:
        """All it needs of the images, (N, d): averages and peaks of its maps, and how bright they are.

        The given parents come in later, so that images are read once for any number of readings:
        `features`, `predict`, `probabilities` and `read` take it in the images' place.

        Args:
            image: Images in [0, 1], shape (N, C, H, W).

        Example:
            >>> from causalcf.variables import Image, Real
            >>> predictor = Predictor("t", Real(), Image(1, 8, 8), given={"i": Real()}, widths=(4,), hidden=4)
            >>> x, i = torch.rand(2, 1, 8, 8), {"i": torch.zeros(2)}
            >>> bool((predictor.predict(predictor.pooled(x), i) == predictor.predict(x, i)).all())
            True
        """
        if image.shape[1:] != self.image.event_shape:
            raise DataError(f"{self.name} takes images {self.image.event_shape}, got {tuple(image.shape[1:])}.")
        image = image.to(self.last.weight.dtype)  # a model in double precision may be judged in single
        peak = _peak(image)
        maps, parts = (image / peak[:, None, None, None] if self.proportional else image), []
        for i, layer in enumerate(self.convolutions):
            maps = layer(maps)
            if i == len(self.convolutions) - 1 or (self.pool == "all" and i % 2):
                parts += [maps.mean((2, 3)), maps.amax((2, 3))]
        return torch.cat([*parts, peak[:, None]], 1)

    def features(self, image: Tensor, given: Mapping[str, Tensor] | None = None) -> Tensor:
        """The last hidden layer, (N, hidden), for feature distances."""
        parts = [self._as_pooled(image)[:, :-1].to(self.last.weight.dtype)]
        if self.given:
            lacks = [name for name in self.given if name not in (given or {})]
            if lacks:
                raise DataError(f"{self.name} must be given {lacks} besides the image.")
            parts.append(self.condition({name: given[name] for name in self.given}).to(parts[0].dtype))  # type: ignore[index,union-attr]
        return F.leaky_relu(self.last(torch.cat(parts, 1)), 0.1)

    @property
    def num_pooled(self) -> int:
        """How many numbers `pooled` gives for an image."""
        return self.last.in_features - self.condition.width + 1

    def _as_pooled(self, image: Tensor) -> Tensor:
        """`pooled(image)` of images (N, C, H, W); pooled ones, (N, d), stay."""
        return image if image.ndim == 2 else self.pooled(image)

    def forward(self, image: Tensor, given: Mapping[str, Tensor] | None = None) -> Tensor:
        """Logits (N, k), or the standardised prediction (N,); with gradients."""
        out = self.head(self.features(image, given))
        return out if self.classes else out[:, 0]

    def predict(self, image: Tensor, given: Mapping[str, Tensor] | None = None) -> Tensor:
        """The target as read off the images, in its unit, or its code; shape (N,)."""
        pooled = self._as_pooled(image)
        out = self(pooled, given)
        if self.classes:
            code = out.argmax(1)
            return code.bool() if self.variable.kind == "Boolean" else code
        value = self.standardise.inverse(out.float()[:, None])[:, 0]
        return value * pooled[:, -1] if self.proportional else value

    def probabilities(self, image: Tensor, given: Mapping[str, Tensor] | None = None) -> Tensor:
        """Probability of each class, (N, k).

        Raises:
            MechanismError: The target is a number.
        """
        if not self.classes:
            raise MechanismError(f"{self.name} is a regression: it has no classes.")
        return self(image, given).softmax(1)

    @torch.no_grad()
    def read(self, data: Mapping[str, Any]) -> Tensor:
        """`predict` for a whole data set, in batches, in evaluation mode; the mode is put back."""
        return self._walk(data, self.predict)

    def _walk(self, data: Mapping[str, Any], ask: Callable[[Tensor, Mapping[str, Tensor]], Tensor]) -> Tensor:
        """Answers of `ask` for a data set, in batches, in evaluation mode; they lie where the data are."""
        rows = Batch(numbers(data, self.parents))

        def answer(part: Batch) -> Tensor:
            given = {name: part[name].to(self.device) for name in self.given}
            return ask(part[self.node].to(self.device), given)

        with evaluating(self):
            return rows.walk(BATCH, answer).to(rows.held[self.node].device)

    @torch.no_grad()
    def measure(self, data: Mapping[str, Any], name: str = "") -> Score:
        """Its own error on real rows.

        Args:
            data: Rows with the image, the target and the given nodes.
            name: Of the rows, for the record.
        """
        data = Batch(numbers(data, (self.target, *self.parents)))
        read, true = self.read(data), data[self.target]
        if not self.classes:
            error = (read - true).double()
            worst, base = float(error.abs().quantile(0.95)), float((true - true.median()).abs().double().mean())
            mean, bias = float(error.abs().mean()), float(error.mean())
            return Score("mae", mean, bias, worst, self.variable.unit, len(read), name, base)
        right = (read == true).double()
        sure = self._walk(data, lambda image, given: self.probabilities(image, given).amax(1))
        bias = float(sure.double().mean() - right.mean())
        classes = class_scores(read, true, _class_names(self.variable, self.classes))
        worst, base = min(c.recall for c in classes), max(c.share for c in classes)
        return Score("accuracy", float(right.mean()), bias, worst, "", len(read), name, base, classes)

    def trained_share(self, index: Tensor) -> float:
        """Share of row numbers (of the training split) that the predictor was trained on."""
        mask = self.trained_on.get("mask")
        if mask is None:
            return 0.0
        inside = index < len(mask)
        return float((mask[index.clamp_max(len(mask) - 1)] & inside).double().mean())

    @property
    def balances(self) -> Mapping[str, Variable]:
        return {name: v for name, v in {self.target: self.variable, **self.given}.items() if v.discrete}

    # ------------------------------------------------------------------ learning, as `training` asks for it

    def build(self) -> None:
        """Draw the weights anew."""
        self._build()

    def calibrate(self, x: Tensor, pa: Mapping[str, Tensor]) -> None:
        """Take scales and class weights from the training rows."""
        if self.given:
            self.condition.calibrate(pa)
        if not self.classes:
            if bool((x == x[0]).all()):
                raise DataError(f"'{self.target}' is {float(x[0]):g} in every row: there is nothing to predict.")
            ratio = x / by_blocks(pa[self.node], lambda part, _: _peak(part)) if self.proportional else x
            self.standardise.calibrate(ratio[:, None])
            return
        counts = torch.bincount(x.long(), minlength=self.classes)
        if int((counts > 0).sum()) < 2:
            raise DataError(f"'{self.target}' has one class in every row: there is nothing to predict.")
        if self.balanced:  # by the rows that are drawn
            self.weights.fill_(1.0)
            return
        balanced = len(x) / (counts.clamp_min(1) * (counts > 0).sum())
        self.weights.copy_(torch.where(counts > 0, balanced, 0.0).clamp_max(20.0))

    def loss(self, x: Tensor, pa: Mapping[str, Tensor]) -> Tensor:
        """Weighted cross-entropy, or a smooth absolute error in standard deviations."""
        columns, image = {self.target: x, **{name: pa[name] for name in self.given}}, pa[self.node]
        if self.training:
            image, columns = self.jitter(image, columns)
        x = columns[self.target]
        if self.classes:
            return F.cross_entropy(self(image, columns).to(self.weights), x.long(), weight=self.weights)
        unit = self.standardise.scale * (_peak(image).mean() if self.proportional else 1.0)
        return F.smooth_l1_loss(self.predict(image, columns) / unit, x / unit, beta=0.05)

    # ------------------------------------------------------------------ files

    def save(self, path: str | Path, *, half: bool = True) -> None:
        """Write the predictor, the rows it saw and its score to one safetensors file, atomically."""
        if not self.fitted:
            raise NotFittedError(f"{self.name} is not fitted. Call causalcf.predictors.fit.")
        mask = self.trained_on.get("mask", torch.zeros(0, dtype=torch.bool))
        header = {
            "kind": "predictor",
            "config": self.config,
            "score": None if self.score is None else asdict(self.score),
            "trained_on": {k: v for k, v in self.trained_on.items() if k != "mask"} | {"rows": len(mask)},
            "history": self.history,
            "provenance": self.provenance,
        }
        weights = {
            f"weights.{name}": tensor.half() if half and tensor.is_floating_point() else tensor
            for name, tensor in self.state_dict().items()
        }
        packed = torch.from_numpy(np.packbits(mask.numpy()))
        write_file(path, header, weights | {"rows": packed})

    @classmethod
    @torch.inference_mode(False)
    def load(cls, path: str | Path, *, device: torch.device | str = "cpu") -> Self:
        """Read a predictor written by `save`.

        Raises:
            CheckpointError: The file is damaged or holds something else.
        """
        header, tensors = read_file(path)
        if header.get("kind") != "predictor":
            raise CheckpointError(f"{path} holds a {str(header.get('kind'))[:40]}, not a predictor.")
        with doubting(path), seeding.seeded(0), Budget(tensors, path):
            config = header["config"]
            target, jitter = config["target"], config["jitter"]
            require_sizes({name: config[name] for name in ("widths", "hidden")}, tensors, f"{path}: the predictor")
            predictor = cls(
                target,
                variable_from_json(target, config["variable"]),
                variable_from_json(config["node"], config["image"]),  # type: ignore[arg-type]
                node=config["node"],
                given={name: variable_from_json(name, fields) for name, fields in config["given"].items()},
                widths=config["widths"],
                hidden=config["hidden"],
                pool=config["pool"],
                proportional=config["proportional"],
                jitter=_jitter(jitter),
            )
            own = {name.removeprefix("weights."): t for name, t in tensors.items() if name.startswith("weights.")}
            load_tensors(predictor, own, path, predictor.name)
            facts = dict(header["trained_on"])
            rows, bits = facts.pop("rows"), np.unpackbits(tensors["rows"].numpy())
            if not 0 <= len(bits) - rows < 8:
                raise CheckpointError(f"{path} says that it saw {rows} rows, and marks {len(bits)}. Take another copy.")
            predictor.trained_on = {**facts, "mask": torch.from_numpy(bits[:rows].astype(bool))}
            predictor.score = _score(header["score"])
            predictor.history, predictor.provenance = list(header["history"]), dict(header["provenance"])
            predictor.fitted = True
        return predictor.requires_grad_(False).eval().to(as_device(device))


def _jitter(record: Mapping[str, Any]) -> Jitter:
    """A jitter from a file."""
    fields: dict[str, Any] = {**record, "scales": tuple(record["scales"])}
    return Jitter(**fields)


def _score(record: Mapping[str, Any] | None) -> Score | None:
    """A score from a file."""
    if record is None:
        return None
    fields: dict[str, Any] = {**record, "classes": tuple(ClassScore(**c) for c in record.get("classes", ()))}
    return Score(**fields)


def _class_names(variable: Variable, classes: int) -> list[str]:
    if isinstance(variable, Categorical):
        return [str(name) for name in variable.categories]
    return ["no", "yes"] if variable.kind == "Boolean" else [str(code) for code in range(classes)]

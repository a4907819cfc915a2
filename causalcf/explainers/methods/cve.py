"""CVE: swap cells of an image for cells of an image of the target class, the one that tells most first."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from causalcf.core import seeding
from causalcf.core.errors import ExplanationError
from causalcf.data import columns
from causalcf.explainers.base import Explainer
from causalcf.explainers.classifier import Explained
from causalcf.explainers.found import REASONS, Found
from causalcf.explainers.query import Query

__all__ = ["CVE"]


@dataclass(eq=False, kw_only=True)
class CVE(Explainer):
    r"""Counterfactual visual explanations: greedy swaps of feature cells with an image of the target class.

    f is split at a convolution: its maps of the image are cells, h x w of them. In each step every cell of the
    query is tried with every cell of a *distractor*, a training image that f puts into the target, and the swap after
    which the rest of f gives the target the highest probability is kept; each cell of the query is swapped once at
    most. It ends when f's decision on the edited *features* flips. The image that is given back has the corresponding
    patches pasted in, and acts by do(image = x'): whether f accepts that as the target is another question, mostly
    answered no (23 % in Khorram and Fuxin 2022), and `reached` records the answer.

    References:
        Goyal, Wu, Ernst, Batra, Parikh, Lee, "Counterfactual Visual Explanations", 2019, algorithm 1.

    Args:
        classifier: A torch module.
        layer: Name of the submodule whose output (N, C, h, w) is edited; by default the last convolution and the
            activation after it.
        distractors: Training images of each class to choose from; of them the one is taken whose maps are nearest to
            the query's.
        max_swaps: After which a row ends; None for all cells.

    Raises:
        ExplanationError: The classifier is not a module with a convolution, or has no such layer.

    Example:
        >>> explainer = CVE(scm, node="image", classifier=f).fit(train)  # doctest: +SKIP
        >>> explainer.explain(x, target=9).steps  # swaps  # doctest: +SKIP
        tensor([4, 7])
    """

    layer: str | None = None
    distractors: int = 20
    max_swaps: int | None = None

    acts_on: ClassVar[Literal["latents", "node"]] = "node"
    trains: ClassVar[bool] = True

    def wrap_classifier(self) -> Explained:
        explained = super().wrap_classifier()
        if not isinstance(self.classifier, nn.Module):
            raise ExplanationError("CVE edits what goes on inside a classifier: give a torch module, not a function.")
        return explained

    def train(self, data: Any, seed: int) -> None:
        """Choose the distractors: rows of each class that f recognises."""
        values, _ = columns(data)
        scm = self.scm
        images = scm.variables[self.node].read(self.node, values[self.node], scm.dtype, scm.device)
        explained = self.explained
        explained.check(self.node, images[: self.batch_size])
        self.restore()
        self.split.require_whole(images[:4])
        with torch.no_grad():
            parts = images.split(self.batch_size)
            predicted = torch.cat([explained.predicted(explained.members(part)) for part in parts])
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seeding.derive(seed, "cve")))
        order = order.to(predicted.device)
        self.images = {
            code: images[order[predicted[order] == code][: self.distractors]] for code in range(explained.classes)
        }

    def restore(self) -> None:
        self._split = Split(self.classifier, self.layer)

    @property
    def split(self) -> Split:
        """The classifier in two parts; known once it is fitted."""
        return self._split

    def find(self, query: Query, *, stream: bool) -> Found:
        lacking = [code for code in query.target.unique().tolist() if not len(self.images[code])]
        if lacking:
            raise ExplanationError(
                f"CVE has no image of the classes {lacking} to take cells from: f puts no training row into them."
            )
        features = self.split.features(query.x)
        other, distractor = self._nearest(query, features)
        edit = _Edit(features, other, query.x, distractor)
        swaps = min(self.max_swaps or edit.cells, edit.cells)
        rows = torch.arange(query.rows, device=features.device)
        steps = torch.zeros_like(rows)
        trajectory = [(rows, edit.image.clone())]
        for _ in range(swaps):
            going = rows[self.split.decide(edit.features[rows]).argmax(1) != query.target[rows]]
            if not len(going):
                break
            rows = going
            edit.swap(rows, *self._best(edit, rows, query.target[rows]))
            steps[rows] += 1
            trajectory.append((rows, edit.image[rows].clone()))
        members = query.explained.members(edit.image)
        reached = query.explained.predicted(members) == query.target
        reason = torch.where(reached, REASONS.index("reached"), REASONS.index("missed"))
        return Found(code=edit.image, steps=steps, reason=reason, trajectory=trajectory if stream else [])

    def _nearest(self, query: Query, features: Tensor) -> tuple[Tensor, Tensor]:
        """Maps and image of each row's distractor."""
        chosen, image = torch.empty_like(features), torch.empty_like(query.x)
        for code in query.target.unique().tolist():  # by class, not by row
            rows = torch.nonzero(query.target == code)[:, 0]
            maps = self.split.features(self.images[code])
            best = torch.cdist(features[rows].flatten(1), maps.flatten(1)).argmin(1)
            chosen[rows], image[rows] = maps[best], self.images[code][best]
        return chosen, image

    def _best(self, edit: _Edit, rows: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Cells of query and distractor whose swap raises the target's probability most, each (N,)."""
        at, of = [], []
        per_call = max(1, 4 * self.batch_size // edit.cells**2)
        for part, wanted in zip(rows.split(per_call), target.split(per_call), strict=True):
            tried = edit.all_swaps(part)
            logits = self.split.decide(tried.flatten(0, 1)).unflatten(0, tried.shape[:2])
            score = logits.log_softmax(-1).gather(2, wanted[:, None, None].expand(-1, tried.shape[1], 1))[..., 0]
            score = score.unflatten(1, (edit.cells, edit.cells)).masked_fill(edit.swapped[part][..., None], -torch.inf)
            best = score.flatten(1).argmax(1)
            at.append(best // edit.cells)
            of.append(best % edit.cells)
        return torch.cat(at), torch.cat(of)


class _Edit:
    """Images under edit: their maps, their pixels, and which cells have been swapped."""

    def __init__(self, features: Tensor, other: Tensor, image: Tensor, distractor: Tensor) -> None:
        self.features, self.other = features.clone(), other
        self.image, self.distractor = image.clone(), distractor
        self.shape = features.shape[2:]
        self.cells = self.shape[0] * self.shape[1]
        self.swapped = torch.zeros(len(image), self.cells, dtype=torch.bool, device=image.device)
        # Which cell each pixel belongs to.
        grid = torch.arange(self.cells, device=image.device, dtype=torch.float64).view(1, 1, *self.shape)
        self.owner = F.interpolate(grid, image.shape[2:], mode="nearest")[0, 0].long()

    def all_swaps(self, rows: Tensor) -> Tensor:
        """(N, cells * cells, C, h, w): every cell of the query replaced by every one of the distractor's."""
        query, other = self.features[rows].flatten(2), self.other[rows].flatten(2)
        eye = torch.eye(self.cells, dtype=torch.bool, device=query.device)
        tried = torch.where(eye[None, :, None, None], other.transpose(1, 2)[:, None, :, :, None], query[:, None, None])
        return tried.flatten(1, 2).unflatten(3, self.shape)

    def swap(self, rows: Tensor, at: Tensor, of: Tensor) -> None:
        """Put the distractor's cell `of` at the query's cell `at`, in maps and pixels."""
        flat = self.features.flatten(2)
        flat[rows, :, at] = self.other.flatten(2)[rows, :, of]
        self.features = flat.unflatten(2, self.shape)
        self.swapped[rows, at] = True
        # Pixels are shifted by the distance of the two cells.
        height, width = self.image.shape[2:]
        down = ((of // self.shape[1] - at // self.shape[1]) * height) // self.shape[0]
        right = ((of % self.shape[1] - at % self.shape[1]) * width) // self.shape[1]
        y = (torch.arange(height, device=at.device) + down[:, None]).clamp(0, height - 1)
        x = (torch.arange(width, device=at.device) + right[:, None]).clamp(0, width - 1)
        moved = self.distractor[rows[:, None, None], :, y[:, :, None], x[:, None, :]].movedim(-1, 1)
        inside = (self.owner == at[:, None, None])[:, None]
        self.image[rows] = torch.where(inside, moved, self.image[rows])


class Split:
    """A classifier in two parts: images to maps, and maps to logits."""

    def __init__(self, f: nn.Module, layer: str | None) -> None:
        self.f = f
        layers = dict(self.f.named_modules())
        convolutions = [name for name, module in layers.items() if isinstance(module, nn.Conv2d)]
        if layer is None and not convolutions:
            raise ExplanationError("CVE needs a classifier with a convolution, and this one has none. Name a layer.")
        if layer is not None and layer not in layers:
            raise ExplanationError(f"The classifier has no layer '{layer}'. It has {list(layers)}.")
        self.name = layer if layer is not None else _activated(convolutions[-1], list(layers))
        self.tail: nn.Module | None = None

    def features(self, x: Tensor) -> Tensor:
        """Maps (N, C, h, w) of images."""
        ran: dict[str, torch.Size] = {}
        out: list[Tensor] = []

        def note(name: str) -> Callable[..., None]:
            def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
                if not out and isinstance(output, Tensor):
                    ran[name] = output.shape[1:]
                if name == self.name:
                    out.append(output.clone())  # an activation in place may follow

            return hook

        handles = [module.register_forward_hook(note(name)) for name, module in self.f.named_modules()]
        try:
            self.f(x)
        finally:
            for handle in handles:
                handle.remove()
        if out[0].ndim != 4:
            raise ExplanationError(f"The layer gives {tuple(out[0].shape)}; CVE edits maps (N, C, h, w).")
        self.size = x.shape[1:]
        if self.tail is None:
            self.tail = _without(self.f, ran)
        return out[0]

    @torch.no_grad()
    def require_whole(self, x: Tensor) -> None:
        """Raise if the maps of a layer do not hold everything that the decision about an image needs.

        Raises:
            ExplanationError: Something reaches the logits around the layer.
        """
        expected, got = self.f(x), self.decide(self.features(x))
        off = (got - expected).abs().max()
        if off > 1e-3 * (1 + expected.abs().max()):
            raise ExplanationError(
                f"CVE cannot split the classifier here: from the layer's maps alone its logits are off by {off:.3g}, as"
                " something passes around the layer (a skip connection). Name a layer that all passes through,"
                " layer=..."
            )

    def decide(self, features: Tensor) -> Tensor:
        """Logits of maps."""
        if self.tail is None:
            raise ExplanationError("CVE takes the shapes from images, and was given none yet: call features(x) first.")
        layer = self.tail.get_submodule(self.name)
        handle = layer.register_forward_hook(lambda _m, _x, _out: features.clone())
        try:
            return self.tail(features.new_zeros(()).expand(len(features), *self.size))
        finally:
            handle.remove()


def _without(f: nn.Module, ran: dict[str, torch.Size]) -> nn.Module:
    """A copy in which layers that ran give blanks of their shape, as their results are replaced later."""
    tail = deepcopy(f)
    for name, shape in ran.items():
        module = tail.get_submodule(name)
        if not any(module.children()):
            module.forward = partial(_blank, shape)
    return tail


def _blank(shape: torch.Size, x: Tensor) -> Tensor:
    return x.new_zeros(()).expand(len(x), *shape)


def _activated(convolution: str, layers: list[str]) -> str:
    """The activation right after a convolution in a sequence, if there is one; else the convolution."""
    *path, last = convolution.split(".")
    following = ".".join([*path, str(int(last) + 1)]) if last.isdigit() else convolution
    return following if following in layers else convolution

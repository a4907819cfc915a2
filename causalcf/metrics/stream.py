"""How evenly a stream of counterfactuals runs: in the classifier's output, in its images, in latent space.

Kehe, Rooryck, Coffel, "Generating Counterfactuals by Optimizing Over Latent Space Representations" (LoSoCs), 2024,
section 2.2. Streams are (N, T, ...), the frames of a row first, padded with anything finite; `lengths` says how
many frames a row has. Where a score is undefined it is NaN, and `undefined` says why.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from causalcf.core.errors import DataError
from causalcf.core.signatures import checked
from causalcf.metrics.checks import check_finite, check_floating, check_rows

__all__ = ["chord_share", "continuity", "linearity", "path_linearity", "undefined"]


@checked
def linearity(values: Tensor, lengths: Tensor | None = None) -> Tensor:
    """R² of the target logit (or regression value) against the number of the frame, (N,), 0..1; higher is better.

    NaN with fewer than three frames, which always lie on a line, and where the values are constant, 0/0.
    (Kehe, Rooryck, Coffel, LoSoCs, 2024, section 2.2.)

    Args:
        values: Shape (N, T).
        lengths: Frames of each row, (N,); by default T.

    Raises:
        DataError: Integers, NaN, or lengths that do not fit.

    Example:
        >>> linearity(torch.tensor([[0.0, 1.0, 2.0], [0.0, 0.0, 3.0], [1.0, 1.0, 1.0]]))
        tensor([1.0000, 0.7500,    nan])
    """
    _require_frames(values, 2, "values")
    return path_linearity(values[..., None] if values.ndim == 2 else values, lengths)


@checked
def path_linearity(path: Tensor, lengths: Tensor | None = None) -> Tensor:
    """R² of each latent dimension against the number of the frame, averaged over those that move, (N,), 0..1.

    Higher is better: 1 is a straight path at constant speed. (Kehe, Rooryck, Coffel, LoSoCs, 2024, section 4.2.)

    Args:
        path: Latents, shape (N, T, D).
        lengths: Frames of each row, (N,); by default T.

    Example:
        >>> path_linearity(torch.tensor([[[0.0, 5.0], [1.0, 5.0], [2.0, 5.0]]]))
        tensor([1.])
    """
    _require_frames(path, 3, "path")
    path = path.flatten(2)
    weight, lengths = _weights(path, lengths)
    share = (weight / lengths[:, None])[..., None]
    step = torch.arange(path.shape[1], device=path.device, dtype=path.dtype)[None, :, None]
    x = (step - (step * share).sum(1, keepdim=True)) * weight[..., None]
    y = (path - (path * share).sum(1, keepdim=True)) * weight[..., None]
    covariance, spread = (x * y).sum(1), y.square().sum(1)
    moved = spread > _noise(path) * lengths[:, None]
    r2 = covariance.square() / (x.square().sum(1) * spread)
    score = torch.where(moved, r2, torch.nan).nanmean(1).clamp(0, 1)
    return torch.where(lengths > 2, score, torch.nan)


@checked
def continuity(frames: Tensor, lengths: Tensor | None = None, *, per: Literal["frame", "pixel"] = "frame") -> Tensor:
    """Coefficient of variation of the changes between consecutive frames, (N,), from 0; lower is better, 0 is even.

    Per frame, the changes are mean absolute differences of whole images: is the stream's speed constant? Per pixel,
    they are those of single pixels, so that it mostly says how local the changes are; the paper's 2.52 is of this
    kind. NaN with fewer than three frames, or where nothing changes. (Kehe, Rooryck, Coffel, LoSoCs, 2024,
    section 2.2.)

    Args:
        frames: Images, shape (N, T, C, H, W).
        lengths: Frames of each row, (N,); by default T.
        per: Unit of a change.

    Example:
        >>> even = torch.arange(4.0)[None, :, None, None, None].expand(1, 4, 1, 2, 2)
        >>> continuity(even)
        tensor([0.])
    """
    _require_frames(frames, 3, "frames")
    weight, lengths = _weights(frames.flatten(2), lengths)
    change = (frames[:, 1:] - frames[:, :-1]).abs().flatten(2)
    if per == "frame":
        change = change.mean(2, keepdim=True)
    between = weight[:, 1:, None]
    count = ((lengths - 1) * change.shape[2]).clamp_min(1)
    mean = (change * between).sum((1, 2)) / count
    variance = ((change - mean[:, None, None]).square() * between).sum((1, 2)) / count
    return torch.where((lengths > 2) & (mean > 0), variance.sqrt() / mean, torch.nan)


@checked
def chord_share(path: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Straight distance from the first frame to the last over the length of the path, (N,), 0..1; higher is better.

    Unlike `path_linearity` it does not ask for constant speed. NaN where nothing moves. (E. Batschelet, "Circular
    Statistics in Biology", 1981: the straightness index.)

    Args:
        path: Latents, shape (N, T, D).
        lengths: Frames of each row, (N,); by default T.

    Example:
        >>> chord_share(torch.tensor([[[0.0, 0.0], [3.0, 0.0], [3.0, 4.0]]]))
        tensor([0.7143])
    """
    path = path.flatten(2)
    weight, lengths = _weights(path, lengths)
    arc = ((path[:, 1:] - path[:, :-1]).square().sum(2).sqrt() * weight[:, 1:]).sum(1)
    last = path[torch.arange(len(path), device=path.device), lengths.long() - 1]
    chord = (last - path[:, 0]).square().sum(1).sqrt()
    return torch.where(arc > 0, (chord / arc).clamp_max(1), torch.nan)


@checked
def undefined(values: Tensor, lengths: Tensor | None = None) -> list[str]:
    """Why a stream's score is NaN, a sentence a row; empty where it is not.

    Args:
        values: As for the score, shape (N, T, ...).
        lengths: Frames of each row, (N,); by default T.

    Example:
        >>> undefined(torch.tensor([[1.0, 1.0, 1.0], [0.0, 1.0, 2.0]]), torch.tensor([3, 2]))
        ['nothing changes along the stream', 'fewer than 3 frames']
    """
    values = values.reshape(*values.shape[:2], -1)
    weight, lengths = _weights(values, lengths)
    still = ((values - values[:, :1]).abs().amax(2) * weight).amax(1).square() <= _noise(values).amax(1)
    return [
        "fewer than 3 frames" if few else "nothing changes along the stream" if constant else ""
        for few, constant in zip((lengths < 3).tolist(), still.tolist(), strict=True)
    ]


def _noise(values: Tensor) -> Tensor:
    """Mean squares below this are rounding, (N, D)."""
    return (values.abs().amax(1) * 8 * torch.finfo(values.dtype).eps).square()


def _require_frames(x: Tensor, axes: int, name: str) -> None:
    """Raise unless a tensor has rows, and frames in each of them."""
    check_rows(1, "A score of streams", **{name: x})
    if x.ndim < axes or not x.numel():
        raise DataError(f"{name} has shape {tuple(x.shape)}: expected rows, frames of each, and what a frame holds.")


def _weights(frames: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
    """1 for frames that exist, (N, T), and the lengths as numbers, (N,)."""
    check_floating(frames=frames)
    check_rows(1, "A score", frames=frames)
    check_finite(frames=frames)
    rows, most = frames.shape[:2]
    if lengths is None:
        lengths = torch.full((rows,), most, device=frames.device)
    if lengths.shape != (rows,):
        raise DataError(f"Expected lengths of one shape (N,) with N = {rows}, got {tuple(lengths.shape)}.")
    if int(lengths.min()) < 1 or int(lengths.max()) > most:
        raise DataError(f"Lengths must be in 1..{most}, got {int(lengths.min())}..{int(lengths.max())}.")
    lengths = lengths.to(frames)
    return (torch.arange(most, device=frames.device) < lengths[:, None]).to(frames), lengths

"""One call for many batches: leading axes folded into the rows and unfolded again."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from causalcf.mechanisms.learning import Parents
from causalcf.variables import Variable

__all__ = ["in_one_batch"]


def in_one_batch(
    parents: Mapping[str, Variable], pa: Parents, latents: Mapping[str, Tensor], *, dims: int
) -> tuple[torch.Size, dict[str, Tensor], dict[str, Tensor]]:
    """Parents and latents with the one batch dimension that networks take; ChiRho's worlds add more.

    Args:
        parents: The parents' variables.
        pa: Their values, of any batch shape.
        latents: Latents of any batch shape.
        dims: Dimensions of one latent.

    Returns:
        The batch shape of all of them together, the parents and the latents.
    """
    batch = torch.broadcast_shapes(
        *(u.shape[: u.ndim - dims] for u in latents.values()),
        *(pa[name].shape[: pa[name].ndim - len(variable.event_shape)] for name, variable in parents.items()),
    )
    flat = {
        name: pa[name].expand(*batch, *variable.event_shape).reshape(-1, *variable.event_shape)
        for name, variable in parents.items()
    }
    shapes = {site: u.shape[u.ndim - dims :] for site, u in latents.items()}
    codes = {site: u.expand(*batch, *shapes[site]).reshape(-1, *shapes[site]) for site, u in latents.items()}
    return batch, flat, codes

"""How sure the model is: spread of several abductions, log density."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

import torch

from causalcf import metrics
from causalcf.core import seeding
from causalcf.data import Batch
from causalcf.evaluation.inquiry import BATCH, Inquiry, Score

__all__ = ["DENSITY_ROWS", "PARTICLES", "log_density", "uncertainty"]

PARTICLES, DENSITY_ROWS = 8, 250
"""Latent draws a row of a bound on its log density, and most rows whose density is taken: each draw is a pass."""


def uncertainty(inquiry: Inquiry) -> Iterator[Score]:
    """Standard deviation of an image over four abductions of its latents, beside its error; 0 for point abduction."""
    x, image, draws = inquiry.x, inquiry.image, 4
    for node in inquiry.nodes:
        for residual in inquiry.residuals:
            parts = []
            for start in range(0, x.rows, BATCH):
                rows = slice(start, start + BATCH)
                do = {node: inquiry.actions[node][rows]}
                samples = []
                for draw in range(draws):
                    seed = seeding.derive(inquiry.seed, "uncertainty", node, start, draw) % 2**62
                    noise = inquiry.scm.abduct(x[rows], abduction="sample", seed=seed)
                    samples.append(inquiry.scm.predict(noise, do, residual=residual)[image])
                parts.append(metrics.abduction_std(torch.stack(samples)).cpu())
            found = torch.cat(parts)
            yield Score("abduction std", image, "model", found, "grey levels", do=node, residual=residual, better="")


def log_density(inquiry: Inquiry) -> Iterator[Score]:
    """Log density of images given their parents, exact or a bound; of rows evenly spread over those asked about."""
    x, image = inquiry.x[:: ceil(inquiry.x.rows / DENSITY_ROWS)], inquiry.image
    noise = Batch({**x, image: inquiry.noise[image][: x.rows]})
    for kind, rows in (("model", x), ("noise", noise)):
        parts = []
        for start in range(0, x.rows, BATCH // PARTICLES):
            seed = seeding.derive(inquiry.seed, "density", start) % 2**62
            density = inquiry.scm.log_prob(rows[start : start + BATCH // PARTICLES], particles=PARTICLES, seed=seed)
            parts.append(density[image].cpu())
        judge = f"bound of {PARTICLES} draws" if image in density.lower_bounds else "exact"
        yield Score("log density", image, kind, torch.cat(parts), "nats", better="higher", judge=judge)  # type: ignore[arg-type]

"""How sure the model is: spread of several abductions, log density."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, inf

import torch

from causalcf import metrics
from causalcf.core import seeding
from causalcf.data import Batch
from causalcf.evaluation.inquiry import Inquiry, Measurement, blocks
from causalcf.metrics import METRICS, Metric
from causalcf.scm.model import StructuralCausalModel

__all__ = ["DENSITY_ROWS", "LOG_DENSITY", "PARTICLES", "log_density", "uncertainty"]

PARTICLES, DENSITY_ROWS = 8, 250
"""Latent draws a row of a bound on its log density, and most rows whose density is taken: each draw is a pass."""

LOG_DENSITY = Metric(StructuralCausalModel.log_prob, "nats", (-inf, inf), True, ("density",))
"""The one score that the model itself computes; all others are functions of tensors."""


def uncertainty(inquiry: Inquiry) -> Iterator[Measurement]:
    """Standard deviation of an image over four abductions of its latents, beside its error; 0 for point abduction."""
    x, image, draws = inquiry.x, inquiry.image, 4
    for node in inquiry.nodes:
        for residual in inquiry.residuals:
            parts = []
            for start, rows in blocks(x):
                do = {node: inquiry.actions[node][start : start + rows.rows]}
                samples = []
                for draw in range(draws):
                    seed = seeding.derive(inquiry.seed, "uncertainty", node, draw) % 2**62
                    noise = inquiry.scm.abduct(rows, abduction="sample", seed=seed)
                    samples.append(inquiry.scm.predict(noise, do, residual=residual)[image])
                parts.append(metrics.abduction_std(torch.stack(samples)).cpu())
            found = torch.cat(parts)
            measure = METRICS["abduction std"]
            yield Measurement("abduction std", measure, image, "model", found, do=node, residual=residual)


def log_density(inquiry: Inquiry) -> Iterator[Measurement]:
    """Log density of images given their parents, exact or a bound; of rows evenly spread over those asked about."""
    x, image = inquiry.x[:: ceil(inquiry.x.rows / DENSITY_ROWS)], inquiry.image
    noise = Batch({**x, image: inquiry.noise[image][: x.rows]}, x.index)
    for kind, rows in (("model", x), ("noise", noise)):
        parts = []
        for _, block in blocks(rows, PARTICLES):
            seed = seeding.derive(inquiry.seed, "density") % 2**62
            density = inquiry.scm.log_prob(block, particles=PARTICLES, seed=seed)
            parts.append(density[image].cpu())
        judge = f"bound of {PARTICLES} draws" if image in density.lower_bounds else "exact"
        yield Measurement("log density", LOG_DENSITY, image, kind, torch.cat(parts), judge=judge)  # type: ignore[arg-type]

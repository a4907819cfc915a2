"""The results of `Counterfactual.check`, as a table."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Check", "Finding"]


@dataclass(frozen=True, eq=False)
class Finding:
    """One thing that was looked at.

    Args:
        name: The node or noise site.
        what: The quantity compared, in words.
        typical: Its usual values, in words.
        found: The number of each row, (N,).
        unusual: Whether it counts as extrapolation, (N,), bool.
    """

    name: str
    what: str
    typical: str
    found: Tensor
    unusual: Tensor


@dataclass(frozen=True, eq=False)
class Check:
    """The scorecard of a question; printing it gives a table.

    Args:
        findings: The checks made.
        rows: Number of rows.
    """

    findings: tuple[Finding, ...]
    rows: int

    @property
    def extrapolates(self) -> Tensor:
        """Whether any part of a row's question lies outside the data's support, (N,), bool."""
        flags = [finding.unusual for finding in self.findings]
        return torch.stack(flags).any(0) if flags else torch.zeros(self.rows, dtype=torch.bool)

    def of(self, name: str) -> tuple[Finding, ...]:
        """The findings about a node or noise site."""
        return tuple(finding for finding in self.findings if finding.name == name)

    def _repr_html_(self) -> str:
        from causalcf.plots.cards import check_html

        return check_html(self.findings, self.extrapolates)

    def __repr__(self) -> str:
        lines = [("", "compared", "typical", "here (median, extremes)", "unusual rows")]
        for finding in self.findings:
            low, middle, high = (float(v) for v in _spread(finding.found))
            here = f"{middle:.3g} ({low:.3g} .. {high:.3g})" if low != high else f"{middle:.3g}"
            unusual = int(finding.unusual.sum())
            lines.append((finding.name, finding.what, finding.typical, here, f"{unusual} of {self.rows}"))
        widths = [max(len(line[i]) for line in lines) for i in range(5)]
        table = ["  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines]
        total = int(self.extrapolates.sum())
        verdict = "no row extrapolates" if not total else f"{total} of {self.rows} rows extrapolate"
        return "\n".join([*table, f"-> {verdict}"])


def _spread(found: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return found.min(), found.median(), found.max()

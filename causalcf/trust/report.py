"""The report of trust: its parts together, a verdict, and the page."""

from __future__ import annotations

import base64
import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from causalcf.core import seeding
from causalcf.core.atomic import write_atomically
from causalcf.core.errors import CausalCFWarning, DataError
from causalcf.core.provenance import provenance
from causalcf.graph import CausalGraph
from causalcf.scm import StructuralCausalModel
from causalcf.trust.parts import (
    MARKS,
    Grade,
    Part,
    extrapolation,
    fits,
    hidden_causes,
    identified,
    independences,
    truth,
)

__all__ = ["TrustReport", "trust_report"]

FEW = 100
"""Rows below which tests tell nothing."""

TRUE_ROWS = 64
"""Rows whose true counterfactuals are compared."""


@dataclass(frozen=True)
class TrustReport:
    """Whether to trust a model, part by part.

    Args:
        graph: The model's graph.
        parts: The questions asked and their answers.
        rows: How many rows were looked at.
        provenance: How the report came about.
    """

    graph: CausalGraph
    parts: tuple[Part, ...]
    rows: int
    provenance: dict[str, Any]

    @property
    def grade(self) -> Grade:
        """The worst of the grades."""
        grades = {part.grade for part in self.parts}
        return "bad" if "bad" in grades else "doubt" if "doubt" in grades else "good"

    @property
    def verdict(self) -> str:
        """In one or two sentences."""
        bad = [part for part in self.parts if part.grade == "bad"]
        doubt = [part for part in self.parts if part.grade == "doubt"]
        for start, found in (("Do not trust this model yet.", bad), ("Trust it with care.", doubt)):
            if found:
                return " ".join([start, *(f"{part.title} {part.sentence}" for part in found[:2])])
        return (
            f"Nothing was found against this model in {self.rows:,} rows. That is no proof: a graph can be wrong in"
            " ways that no data of this kind show."
        )

    def __str__(self) -> str:
        width = max(len(mark) for mark in MARKS.values())
        lines = [f"{MARKS[part.grade].ljust(width)}  {part.title} {part.sentence}" for part in self.parts]
        return "\n".join([self.verdict, "", *lines])

    def __repr__(self) -> str:
        return str(self)

    def html(self) -> str:
        """The report as one page that needs nothing beside itself."""
        from jinja2 import Environment, FileSystemLoader, select_autoescape

        loader = FileSystemLoader(Path(__file__).parent)
        environment = Environment(loader=loader, autoescape=select_autoescape(["html"]))
        picture = io.BytesIO()
        figure = self.graph.draw().get_figure(root=True)
        figure.savefig(picture, format="png", dpi=160)  # type: ignore[union-attr]
        return environment.get_template("trust.html").render(
            report=self, marks=MARKS, picture=base64.b64encode(picture.getvalue()).decode()
        )

    def save(self, path: str | Path) -> Path:
        """Write the page, atomically."""
        write_atomically(path, self.html().encode())
        return Path(path)


def trust_report(
    scm: StructuralCausalModel, data: Any, *, n: int = 1000, seed: seeding.Seed = 0, **facts: Any
) -> TrustReport:
    """Whether to trust a fitted model: what data can say for and against it, and what they cannot.

    Does the data contradict the graph; does each mechanism fit; what extrapolates; what is not identified; how far
    would hidden causes have to go; and the truth, where the data know it. `print` it, or save it as a page.

    Args:
        scm: The fitted model.
        data: Rows that it was not fitted on, every node observed.
        n: Most rows to look at, drawn at random.
        seed: Seed of the rows drawn, of noise and of permuted graphs.
        facts: Anything to record: model, source of the data.

    Raises:
        DataError: There are fewer than 100 rows.

    Example:
        >>> from causalcf.queries.examples import linear
        >>> scm = linear()
        >>> report = trust_report(scm, scm.sample(500, seed=1))
        >>> [part.grade for part in report.parts][:2]  # x, m and y are all joined: there is nothing to test
        ['unknown', 'good']
    """
    seed = seeding.resolve(seed)
    rows = scm.read(data)
    if rows.rows < FEW:
        raise DataError(f"{rows.rows} rows tell nothing about a model: give at least {FEW} that it was not fitted on.")
    if rows.rows > n:
        generator = torch.Generator().manual_seed(seeding.derive(seed, "rows") % 2**62)
        rows = rows[torch.randperm(rows.rows, generator=generator)[:n].sort().values]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CausalCFWarning)  # they say what the report says
        parts = [
            independences(scm, rows, seed),
            fits(scm, rows, seed),
            extrapolation(scm, rows, seed),
            identified(scm),
            hidden_causes(scm, seed),
            truth(scm, data, TRUE_ROWS),
        ]
    made = provenance(seed=seed, device=scm.device, **facts)
    return TrustReport(scm.graph, tuple(part for part in parts if part is not None), rows.rows, made)

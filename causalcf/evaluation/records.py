"""The scores of an evaluation, each beside the scores of the truth, of doing nothing and of noise."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from causalcf.core.errors import DataError
from causalcf.metrics.base import ARROWS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["Record", "Records"]


@dataclass(frozen=True)
class Record:
    """One score of a model, with all that is needed to believe it.

    Args:
        metric: Name of the score; with its extractor in brackets where it depends on one.
        do: The node acted upon, empty for none.
        node: The node that was scored.
        value: The score, pooled over rows.
        low: Lower end of its 95 % bootstrap interval; None where there is no score per row.
        high: Upper end.
        unit: Of value, truth, identity and noise.
        better: "lower", "higher", or empty: compare with the score of the truth.
        truth: The same score of the true counterfactuals; None where they are not known.
        identity: The same score of doing nothing to the factual rows.
        noise: The same score of noise images, and of other rows' values.
        n: Rows.
        seed: Selected rows and values.
        device: Where the model ran.
        residual: Scale of the residual noise, or the lengths over which it fades, such as "thickness=1"; None where the
            score does not depend on it.
        abduction: "mean" or "sample" of amortised posteriors.
        judge: Which predictor, feature extractor or latent space the score depends on.
    """

    metric: str
    do: str
    node: str
    value: float
    low: float | None
    high: float | None
    unit: str
    better: str
    truth: float | None
    identity: float | None
    noise: float | None
    n: int
    seed: int
    device: str
    residual: float | str | None
    abduction: str
    judge: str

    @property
    def interval(self) -> tuple[float, float] | None:
        """Its 95 % bootstrap interval over rows."""
        return None if self.low is None or self.high is None else (self.low, self.high)


@dataclass(frozen=True)
class Records(Sequence[Record]):
    """The records of an evaluation: a sequence that can be searched, printed and written.

    Args:
        records: The scores.
        seconds: Step -> seconds it took; "counterfactuals" are the model's own passes.
        missing: Metric -> why it was not computed.
    """

    records: tuple[Record, ...]
    seconds: Mapping[str, float] = field(default_factory=dict, compare=False)
    missing: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, i: Any) -> Any:
        return self.records[i]

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    def select(self, **wanted: Any) -> Records:
        """The records whose fields have these values.

        Example:
            >>> Records(()).select(metric="effectiveness", do="thickness")
            Records(0 scores)
        """
        unknown = [name for name in wanted if name not in Record.__dataclass_fields__]
        if unknown:
            raise DataError(f"Records have no {unknown}. They have {list(Record.__dataclass_fields__)}.")
        # Values that JSON lacks, such as a fading residual, are recorded as they print.
        wanted = {k: v if v is None or isinstance(v, str | int | float) else str(v) for k, v in wanted.items()}
        found = tuple(r for r in self.records if all(getattr(r, name) == value for name, value in wanted.items()))
        return Records(found, self.seconds, self.missing)

    def one(self, **wanted: Any) -> Record:
        """The only record whose fields have these values.

        Raises:
            DataError: There is none, or more than one.
        """
        found = self.select(**wanted)
        if len(found) != 1:
            raise DataError(f"{len(found)} records have {wanted}; expected one.")
        return found[0]

    def to_frame(self) -> pd.DataFrame:
        """The records as a data frame, a column per field."""
        import pandas as pd

        return pd.DataFrame([asdict(record) for record in self.records], columns=list(Record.__dataclass_fields__))

    def to_json(self) -> dict[str, Any]:
        """The records, JSON-able; `from_json` reads them again."""
        return {
            "records": [asdict(record) for record in self.records],
            "seconds": dict(self.seconds),
            "missing": dict(self.missing),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any] | str) -> Records:
        """The inverse of `to_json`."""
        document = json.loads(document) if isinstance(document, str) else document
        return cls(tuple(Record(**fields) for fields in document["records"]), document["seconds"], document["missing"])

    def plot(self) -> Figure:
        """A panel per metric: each score with its interval, beside those of the truth and of doing nothing."""
        from causalcf.plots import plot_records

        return plot_records(self.records)

    def _repr_html_(self) -> str:
        from causalcf.plots.cards import records_html

        return records_html(self.records, self.missing, ARROWS)

    def __repr__(self) -> str:
        return f"Records({len(self)} scores)"

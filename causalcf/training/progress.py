"""The progress display of a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Report", "progress"]


class Report:
    """Says nothing; the base of a progress display."""

    def start(self, name: str, total: int, done: int) -> None:
        """A node's stage begins, some of its steps done already."""

    def advance(self, steps: int, loss: float) -> None:
        """Some more steps are done, the last with this loss."""

    def stop(self, best: float | None) -> None:
        """The stage is done; its best validation loss, if it has one."""


class _Bar(Report):
    """A rich progress bar per stage, with the loss."""

    def __init__(self, bars: Any) -> None:
        self.bars = bars

    def start(self, name: str, total: int, done: int) -> None:
        self.task = self.bars.add_task(name, total=total, completed=done, loss="")

    def advance(self, steps: int, loss: float) -> None:
        self.bars.update(self.task, advance=steps, loss=f"loss {loss:.4g}")

    def stop(self, best: float | None) -> None:
        total = self.bars.tasks[self.task].total
        self.bars.update(self.task, completed=total, **({} if best is None else {"loss": f"validation {best:.4g}"}))


@contextmanager
def progress(show: bool) -> Iterator[Report]:
    """A report to tell: bars on standard error, or silence."""
    if not show:
        yield Report()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("fit {task.description:<12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]}"),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        yield _Bar(bars)

"""The progress display of a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

__all__ = ["Report", "duration", "progress", "tell"]

WORTH_SAYING = 60.0
"""Seconds from which on it is said, before training starts, how long it will take."""


class Report:
    """Says nothing; the base of a progress display."""

    shown = False
    """Whether anybody is told."""

    def expect(self, name: str, seconds: float) -> None:
        """A node's stage is about to begin, and will take about so long."""

    def start(self, name: str, total: int, done: int) -> None:
        """A node's stage begins, some of its steps done already."""

    def advance(self, steps: int, loss: float) -> None:
        """Some more steps are done, the last with this loss."""

    def stop(self, best: float | None) -> None:
        """The stage is done; its best validation loss, if it has one."""


class _Bar(Report):
    """A rich progress bar per stage, with the loss."""

    shown = True

    def __init__(self, bars: Any) -> None:
        self.bars = bars

    def expect(self, name: str, seconds: float) -> None:
        if seconds >= WORTH_SAYING:
            self.bars.console.print(f"{name}: about {duration(seconds)} on this machine, as it is now")

    def start(self, name: str, total: int, done: int) -> None:
        self.task = self.bars.add_task(name, total=total, completed=done, loss="")

    def advance(self, steps: int, loss: float) -> None:
        self.bars.update(self.task, advance=steps, loss=f"loss {loss:.4g}")

    def stop(self, best: float | None) -> None:
        total = self.bars.tasks[self.task].total
        self.bars.update(self.task, completed=total, **({} if best is None else {"loss": f"validation {best:.4g}"}))


def duration(seconds: float) -> str:
    """A time as people say it.

    Example:
        >>> duration(40), duration(700), duration(9000)
        ('40 s', '12 min', '2.5 h')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def tell(lines: Sequence[str]) -> None:
    """Say something on standard error, where the bars are."""
    from rich.console import Console

    for line in lines:
        Console(stderr=True).print(line, markup=False, highlight=False)


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

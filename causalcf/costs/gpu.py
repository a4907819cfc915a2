"""Everything that is worth knowing of a GPU, in one prepared run: `python -m causalcf.costs.gpu --out DIR`.

Steps, most valuable first, each with its own time. What each found is in DIR/results.json as soon as it is done; what
failed is there with its traceback, and the next step goes on. A run that is started again does only the missing steps.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from xml.etree import ElementTree

import torch
import typer

from causalcf.core.provenance import provenance
from causalcf.costs import converge, speeds
from causalcf.costs.device import Job, rates, synchronise

__all__ = ["STEPS", "Step", "main", "perform"]

AGREEMENT = (
    "tests/contracts/test_devices.py",
    "tests/training/test_waiting.py",
    "tests/training/test_replay.py",
    "tests/training/test_columns.py::test_a_gpu_captures_steps_on_bytes_wherever_they_lie",
)
"""The tests that mean something else on a GPU; they are run in a checkout."""


def environment(job: Job) -> dict[str, Any]:
    """The facts of the machine, and its best measured rates."""
    facts = provenance(seed=None, device=job.device) | {"system": platform.platform(), "cores": os.cpu_count()}
    if job.device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        facts |= {"name": properties.name, "multiprocessors": properties.multi_processor_count}
        facts |= {"memory": properties.total_memory, "cudnn": torch.backends.cudnn.version()}
    return facts | {"rates": rates(job)}


def agreement(job: Job) -> dict[str, Any]:
    """The tests of the device: the distance of mechanisms, metrics and explainers from their results on the CPU."""
    report = job.out / "agreement.xml"
    files, some = (AGREEMENT[:1], ["-k", "fid"]) if job.small else (AGREEMENT, [])
    workers = ["-n", str(min(10, os.cpu_count() or 1))] if job.device == "cuda" else ["-n", "0"]
    command = [sys.executable, "-m", "pytest", *files, "-q", "-o", "filterwarnings=", *workers, *some]
    command += [f"--junitxml={report}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=max(1.0, job.left))
    cases = [_case(case) for case in ElementTree.parse(report).iter("testcase")] if report.exists() else []
    report.unlink(missing_ok=True)
    if not cases:
        raise RuntimeError(f"No test ran (in a checkout?): {done.stdout[-2000:]} {done.stderr[-2000:]}")
    failed = [case for case in cases if case["outcome"] != "passed"]
    return {"passed": len(cases) - len(failed), "failed": failed, "cases": cases}


def _case(case: ElementTree.Element) -> dict[str, Any]:
    told: dict[str, Any] = {str(p.get("name")): p.get("value") for p in case.iter("property")}
    bad = next((part for part in case if part.tag in ("failure", "error", "skipped")), None)
    outcome = "passed" if bad is None else bad.tag
    return {"test": case.get("name"), "outcome": outcome, **told} | (
        {} if bad is None else {"why": (bad.text or "")[-1500:]}
    )


@dataclass(frozen=True)
class Step:
    """A part of the run.

    Args:
        work: The function that does it.
        seconds: How long it may take.
        run: In which of two runs it is by default, "check" or "train".
    """

    work: Callable[[Job], dict[str, Any]]
    seconds: float
    run: str


STEPS: dict[str, Step] = {
    "environment": Step(environment, 20, "check"),
    "sizes": Step(converge.sizes, 70, "check"),
    "agreement": Step(agreement, 80, "check"),
    "steps": Step(speeds.steps, 50, "check"),
    "answers": Step(speeds.answers, 30, "check"),
    "tables": Step(speeds.tables, 15, "check"),
    "cld": Step(speeds.latents, 10, "check"),
    "searches": Step(speeds.searches, 25, "check"),
    "baseline": Step(converge.baseline, 5, "check"),
    "compiled": Step(speeds.compiled, 60, "check"),
    "hvae": Step(converge.hvae, 230, "train"),
    "tuned": Step(converge.tuned, 70, "train"),
    "diffusion": Step(converge.diffusion, 90, "train"),
}
"""Steps by name, most valuable first."""


@contextmanager
def _within(seconds: float) -> Iterator[None]:
    """Raise `TimeoutError` when the time is over."""

    def over(*_: Any) -> None:
        raise TimeoutError(f"The step's {seconds:.0f} s are over.")

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def perform(name: str, job: Job) -> dict[str, Any]:
    """Run one step; return its results, or its error."""
    started = time.perf_counter()
    record: dict[str, Any] = {"device": job.device, "small": job.small}
    try:
        with _within(1.15 * job.seconds):
            record["found"] = STEPS[name].work(job)
            synchronise(job.device)
    except Exception:  # whatever it is, it is written down and the next step goes on
        record |= {"error": traceback.format_exc(), "found": job.found}
    return record | {"seconds": round(time.perf_counter() - started, 2)}


def _write(out: Path, results: dict[str, Any]) -> None:
    path = out / "results.json"
    path.with_suffix(".part").write_text(json.dumps(results, indent=1, default=str), encoding="utf-8")
    path.with_suffix(".part").replace(path)


def _healthy(device: str) -> bool:
    """Whether the device still answers here: after an illegal access nothing does, after a broken capture no draw."""
    try:
        torch.rand(1, device=device)
        synchronise(device)
    except RuntimeError:
        return False
    return True


def main(
    out: Annotated[Path, typer.Option(help="Folder of everything that is written.")],
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cuda" if torch.cuda.is_available() else "cpu",
    run: Annotated[str, typer.Option(help="check: agreement and costs; train: the models; all.")] = "all",
    only: Annotated[list[str] | None, typer.Option(help="A step; others are left out.")] = None,
    minutes: Annotated[float, typer.Option(help="For all steps together.")] = 9.0,
    small: Annotated[bool, typer.Option("--small", help="Toy sizes: a rehearsal.")] = False,
    batch: Annotated[int, typer.Option(help="Rows of a training step.")] = 128,
    eager: Annotated[bool, typer.Option("--eager", help="Train without captured steps.")] = False,
) -> None:
    """Do the steps that are not done yet, most valuable first."""
    end = time.perf_counter() + 60 * minutes
    out.mkdir(parents=True, exist_ok=True)
    path = out / "results.json"
    results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for name, step in STEPS.items():
        left = end - time.perf_counter()
        if name in results or (name not in only if only else run not in ("all", step.run)) or left < 5:
            continue
        job = Job(out, device, small, eager, batch, min(step.seconds, left))
        results[name] = perform(name, job)
        _write(out, results)
        typer.echo(f"{name}: {results[name]['seconds']} s{' FAILED' if 'error' in results[name] else ''}")
        if not _healthy(device):
            os.execv(sys.executable, [sys.executable, "-m", "causalcf.costs.gpu", *sys.argv[1:]])
    if converge.SCORING:
        results["scores"] = results.get("scores", {}) | converge.collect(out, max(5.0, end - time.perf_counter()))
        _write(out, results)


if __name__ == "__main__":
    typer.run(main)

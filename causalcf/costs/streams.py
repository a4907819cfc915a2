"""Rows a second of answers in shards, by one process, two, and Ray, and what a killed one costs.

`python -m causalcf.costs.streams`. Seconds of the wall: where others use the machine too, the best of several runs.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import typer

from causalcf.core.files import write_json
from causalcf.core.provenance import provenance

__all__ = ["Stream", "main", "streams"]


@dataclass(frozen=True)
class Stream:
    """One way of answering all rows.

    Args:
        name: Which.
        rows: How many.
        seconds: From the first row to the last file, without starting processes.
        whole: The same with that.
    """

    name: str
    rows: int
    seconds: float
    whole: float


def streams(rows: int = 2048, *, repeats: int = 3, small: bool = False) -> list[Stream]:
    """Every way, the best of several runs each."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    ways = {
        "one call, nothing written": lambda: _run([sys.executable], "call", rows, small),
        "one process": lambda: _run([sys.executable], "bulk", rows, small),
        "two processes (torchrun)": lambda: _run(torchrun, "bulk", rows, small),
        "two processes, one killed half-way, started again": lambda: _killed(torchrun, rows, small),
    }
    if find_spec("ray"):
        ways["two workers (Ray)"] = lambda: _run([sys.executable], "ray", rows, small)
        ways["two workers (Ray), one killed half-way"] = lambda: _run([sys.executable], "ray-killed", rows, small)
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(repeats):  # in turns, so that what else the machine does falls on all alike
        for name, way in ways.items():
            runs[name].append(way())
    return [Stream(name, rows, min(s for s, _ in times), min(w for _, w in times)) for name, times in runs.items()]


def _start(command: list[str], way: str, rows: int, folder: str, small: bool) -> subprocess.Popen[str]:
    arguments = [*command, __file__, way, str(rows), folder, "small" if small else "shipped"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(arguments, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)


def _finish(process: subprocess.Popen[str]) -> float:
    """Seconds from the first process's first row to the last one's last file."""
    out, err = process.communicate()
    if process.returncode:
        raise RuntimeError(f"A stream failed: {err.strip()[-500:]}")
    times = [json.loads(line) for line in out.splitlines() if line.startswith("[")]
    return max(end for _, end in times) - min(start for start, _ in times)


def _run(command: list[str], way: str, rows: int, small: bool) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        start = time.time()
        return _finish(_start(command, way, rows, folder, small)), time.time() - start


def _killed(command: list[str], rows: int, small: bool) -> tuple[float, float]:
    """Kill one of two processes when half of the shards are there, and start both again."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.time()
        process = _start(command, "bulk", rows, folder, small)
        while len(list(Path(folder).glob("0*.json"))) < SHARDS // 2 and process.poll() is None:
            time.sleep(0.05)
        begun = min(path.stat().st_mtime for path in Path(folder).glob("manifest.json"))
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGKILL)
        process.communicate()  # torchrun sees it and stops the other
        _finish(_start(command, "bulk", rows, folder, small))
        return time.time() - begun, time.time() - start


SHARDS = 16


def _work(way: str, rows: int, folder: str, size: str) -> None:
    """What a process does; prints when it began and ended."""
    import torch

    import causalcf as ccf
    from causalcf.costs.models import noise_images, unfitted
    from causalcf.mechanisms import VAE

    torch.set_num_threads(1)
    vae = VAE(widths=(8, 8, 8), latent=4)
    scm = ccf.pretrained("morphomnist-vae") if size == "shipped" else unfitted("morphomnist", {"image": vae})
    x, do, block = noise_images(rows), {"thickness": 4.0}, min(128, rows // SHARDS)
    scm.counterfactual(x[:block], do)
    if way.startswith("ray"):
        start, end = _by_ray(ccf.BulkQuery(scm, do), x, block, Path(folder) / "mark", kill=way == "ray-killed")
    elif way == "bulk":
        start = time.time()
        ccf.bulk(scm, x, do, folder, shard=rows // SHARDS, block=block)
        end = time.time()
    else:
        start = time.time()
        for part in x.blocks(block):
            scm.counterfactual(part, do)["image"]
        end = time.time()
    sys.stdout.write(json.dumps([start, end]) + "\n")


def _by_ray(query, x, block: int, mark: Path, *, kill: bool) -> tuple[float, float]:  # type: ignore[no-untyped-def]
    """The same by Ray Data on two local workers, which have imported everything before the clock starts."""
    import numpy as np
    import ray  # type: ignore[missing-import]
    import ray.data  # type: ignore[missing-import]

    def asked(rows):  # type: ignore[no-untyped-def]
        answer = query(rows)
        if kill and max(rows["row"]) > x.rows // 2 and not mark.exists():
            mark.touch()
            os._exit(9)
        return answer

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=500 * 2**20)
    ray.data.DataContext.get_current().enable_progress_bars = False
    columns = {"row": np.arange(x.rows), **{name: value.numpy() for name, value in x.items()}}
    data = ray.data.from_items([{name: value[i] for name, value in columns.items()} for i in range(x.rows)])
    data.limit(4 * block).map_batches(query, batch_size=block, batch_format="numpy").materialize()
    start = time.time()
    data.map_batches(asked, batch_size=block, batch_format="numpy").write_parquet(str(mark.parent / "answers"))
    end = time.time()
    ray.shutdown()
    return start, end


def main(out: Path = Path("streams.json"), rows: int = 2048, repeats: int = 3) -> None:
    """Measure every way, print a table, and write OUT as JSON."""
    from rich.console import Console
    from rich.table import Table

    found = streams(rows, repeats=repeats)
    table = Table("way", "rows/s", "seconds", "with the start of processes, s")
    for one in found:
        table.add_row(one.name, f"{one.rows / one.seconds:,.0f}", f"{one.seconds:.1f}", f"{one.whole:.1f}")
    Console().print(table)
    document = {"streams": [asdict(one) for one in found], "provenance": provenance(seed=0, rows=rows)}
    Console().print(f"Written to {write_json(out, document)}.")


if __name__ == "__main__":
    if len(sys.argv) == 5 and sys.argv[1] in ("call", "bulk", "ray", "ray-killed"):
        _work(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4])
    else:
        typer.run(main)

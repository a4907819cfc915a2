"""Costs of a fresh process: the time of an import, and the peak memory of several worlds."""

from __future__ import annotations

from statistics import median

from causalcf.costs.measure import Cost, python

__all__ = ["imports", "memory"]


def imports(*, repeats: int = 5) -> Cost:
    """`import causalcf`, and all that asking a model needs, on top of torch, Pyro, zuko and networkx."""
    script = """
import time
start = time.process_time()
import torch, pyro, zuko, networkx
middle = time.process_time()
import causalcf
causalcf.SCM([("x", "y")], {"x": causalcf.Real(), "y": causalcf.Real()})
print(middle - start, time.process_time() - middle)
"""
    pairs = [[float(part) for part in python(script).split()] for _ in range(repeats)]
    reference, added = (median(side) for side in zip(*pairs, strict=True))
    return Cost(
        "import causalcf, after its dependencies",
        added,
        reference,
        "s",
        added / reference,
        "adds less than 0.5 s",
        added < 0.5,
    )


def memory(worlds: int = 16, *, rows: int = 500, side: int = 96) -> Cost:
    """How much peak memory grows from one world to several, against the bytes they give back."""
    peak_of_one, held_by_one, peak, held = map(float, python(_MEMORY, rows, side, worlds).split())
    grown, given = (peak - peak_of_one) / 2**20, (held - held_by_one) / 2**20
    return Cost(
        f"peak memory, {worlds} worlds over 1",
        grown,
        given,
        "MiB",
        grown / given,
        "grows as the outputs do (within a tenth)",
        grown / given <= 1.1,
    )


_MEMORY = """
import sys
import resource
import torch
import causalcf as ccf
from causalcf.mechanisms import Deterministic, LinearGaussian
torch.set_num_threads(1)
rows, side, k = map(int, sys.argv[1:])

def peak():  # of this program; getrusage would remember its parent's
    try:
        line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

bars = lambda pa: torch.sigmoid(pa["x"][:, None, None, None].expand(-1, 1, side, side))
variables = {"x": ccf.Real(), "image": ccf.Image(1, side, side)}
scm = ccf.SCM([("x", "image")], variables, {"x": LinearGaussian(), "image": Deterministic(bars)})
for mechanism in scm.mechanisms.values():
    mechanism.fitted = True
x = {"x": torch.randn(rows)}
for worlds in (1, k):
    cf = scm.counterfactual(x, do=[{"x": float(i)} for i in range(worlds)])
    tensors = [value for world in cf.worlds for value in world.values.values()]
    held = {value.untyped_storage().data_ptr(): value.untyped_storage().nbytes() for value in tensors}
    print(peak(), sum(held.values()))
    del cf, tensors
"""

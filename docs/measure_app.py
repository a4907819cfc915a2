"""How long the page's session takes: python docs/measure_app.py [DRAGS], by default 200.

Drags `thickness` and `intensity` in turn on the shipped VAE and HVAE, in one run with a bare call of the image's
mechanism. An answer is what one request of the page costs the server: counterfactual, truth and pictures.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

import causalcf as ccf
from causalcf.app import Session, Source, State
from causalcf.app.view import answer_json


def main(drags: int) -> None:
    """Print a line for each model and part."""
    print(f"{drags} drags, {torch.get_num_threads()} threads, torch {torch.__version__}; milliseconds")
    print(f"{'model':24}{'part':26}{'median':>8}{'95 %':>8}")
    data = ccf.datasets.Digits("test")
    for name in ("morphomnist-vae-tuned", "morphomnist-hvae"):
        session = Session(ccf.pretrained(name), data, Source(name, "digits:test", "", ""))
        mechanism = session.scm.mechanisms["image"]
        noise = session.abducted.of("image", mechanism)
        asked = [session.at(_state(i, drags)) for i in range(drags)]
        parents = [{node: one.counterfactual()[node] for node in _PARENTS} for one in asked]
        _report(name, "bare call of mechanism", [partial(mechanism.predict, noise, pa) for pa in parents])
        _report(name, "scm.counterfactual", [one.counterfactual for one in asked])
        _report(name, "answer with truth", [one.answer for one in asked])
        _report(name, "request: with pictures", [partial(answer_json, one) for one in asked])
        _report(name, "check, after the drag", [partial(one.check, 0) for one in asked])


_PARENTS = ("thickness", "intensity", "digit")


def _state(i: int, drags: int) -> State:
    part = i / max(1, drags - 1)
    return State().act(0, "thickness", 1 + 5 * part) if i % 2 else State().act(0, "intensity", 70 + 180 * part)


@torch.no_grad()
def _report(name: str, part: str, calls: list[Callable[[], object]]) -> None:
    calls[0]()
    took = []
    for call in calls:
        started = time.perf_counter()
        call()
        took.append(1e3 * (time.perf_counter() - started))
    print(f"{name:24}{part:26}{np.median(took):8.1f}{np.quantile(took, 0.95):8.1f}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)

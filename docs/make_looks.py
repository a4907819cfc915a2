"""Draw docs/images/look-*.png: what answers, mechanisms and scores look like.

Run it after pictures have changed: python docs/make_looks.py
"""

from __future__ import annotations

from pathlib import Path

import torch

import causalcf as ccf
from causalcf.core.provenance import provenance
from causalcf.plots import save_figure

IMAGES = Path(__file__).parent / "images"


def main() -> None:
    """Write the pictures."""
    digits, scm = ccf.datasets.Digits("test"), ccf.pretrained("morphomnist-hvae")
    many, few = digits[:100], digits[[0, 3, 10]]
    sweep = [{"thickness": t} for t in (1.5, 2.0, 2.5, 3.0, 3.5, 4.0)]
    drawn = {
        "changes": scm.counterfactual(many, do=[{"thickness": 4.0}, {"digit": "3"}], seed=0).plot(kind="changes"),
        "worlds": scm.counterfactual(few, do=sweep).plot(kind="worlds"),
        "mechanisms": scm.plot(digits),
        "scores": ccf.evaluate(scm, digits, ["truth error", "composition"], n=60).plot(),
    }
    for name, figure in drawn.items():
        save_figure(figure, IMAGES / f"look-{name}.png", provenance(seed=0, data="digits"), dpi=110)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()

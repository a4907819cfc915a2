"""Write the pages to touch: python docs/make_explorables.py [FOLDER], by default docs/_explorables/explore.

Each is one static file: no server, no framework, readable without JavaScript. The site's build calls `write`. The
texts are in docs/explorables; the numbers and pictures come from the shipped model and the embedded digits.
"""

from __future__ import annotations

import base64
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from string import Template
from typing import Any

import torch
from PIL import Image
from torch import Tensor

import causalcf as ccf

HERE = Path(__file__).parent
TEXTS = HERE / "explorables"
MODEL = "morphomnist-vae-tuned"
UNIT = 3
"""The digit that is shown: a two of middling thickness."""
THICKNESS = torch.linspace(1.5, 6.0, 12)
INTENSITY = torch.linspace(80.0, 250.0, 12)
ACTED = 4.5


def write(folder: Path) -> list[Path]:
    """Write every page, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    frame = Template((TEXTS / "frame.html").read_text(encoding="utf-8"))
    paths = []
    for name, (title, made, fill) in PAGES.items():
        text = Template((TEXTS / "pages" / f"{name}.html").read_text(encoding="utf-8"))
        path = folder / f"{name}.html"
        path.write_text(frame.substitute(title=title, made=made, body=text.substitute(fill())), encoding="utf-8")
        paths.append(path)
    return paths


def _png(image: Tensor) -> str:
    """A grey image (H, W) with values in [0, 1] as the address of a PNG."""
    buffer = io.BytesIO()
    Image.fromarray((255 * image).round().byte().numpy()).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _lists(values: Tensor, digits: int) -> Any:
    return json.loads(json.dumps(values.tolist()), parse_float=lambda text: round(float(text), digits))


# ---------------------------------------------------------------------- a digit


def _digit() -> dict[str, Any]:
    """All counterfactuals of one digit: rows are thicknesses, columns are intensities, the first leaves it free."""
    data = ccf.datasets.Digits("test")
    scm, unit = ccf.pretrained(MODEL), data[UNIT : UNIT + 1]
    heights, widths = len(THICKNESS), len(INTENSITY)
    free = {"thickness": THICKNESS}
    both = {"thickness": THICKNESS.repeat_interleave(widths), "intensity": INTENSITY.repeat(heights)}
    images, intensities = {}, {}
    for side, ask in (("model", scm.counterfactual), ("truth", data.truth)):
        left, rest = (ask(data[[UNIT] * len(do["thickness"])], do=do) for do in (free, both))
        grid = [(left[node], rest[node].unflatten(0, (heights, widths))) for node in ("image", "intensity")]
        images[side], intensities[side] = (torch.cat([one[:, None], many], 1) for one, many in grid)
        images[side] = images[side][:, :, 0]
    observed = unit["image"][0, 0]
    error, nothing = (255 * (other - images["truth"]).abs().mean((-1, -2)) for other in (images["model"], observed))
    at, middle = int((THICKNESS - ACTED).abs().argmin()), len(INTENSITY) // 2
    table = {
        "rows": len(THICKNESS),
        "columns": 1 + len(INTENSITY),
        "thickness": _lists(THICKNESS, 2),
        "intensity": _lists(INTENSITY, 1),
        "intensities": {side: _lists(values, 1) for side, values in intensities.items()},
        "error": _lists(error, 2),
        "nothing": _lists(nothing, 2),
    }
    sprites = {side: _png(grid.permute(0, 2, 1, 3).flatten(2).flatten(0, 1)) for side, grid in images.items()}
    return {
        "data": json.dumps(table),
        "factual": _png(observed),
        "observed": f"thickness {float(unit['thickness']):.1f}, intensity {float(unit['intensity']):.0f}",
        "last": len(THICKNESS) - 1,
        "at_thickness": at,
        "at_intensity": middle,
        "thickness": f"{float(THICKNESS[at]):.1f}",
        "intensity": "not set",
        "error": f"{float(error[at, 0]):.1f}",
        "nothing": f"{float(nothing[at, 0]):.1f}",
        "rows": table["rows"],
        "columns": table["columns"],
        **sprites,
    }


# ---------------------------------------------------------------------- Simpson's paradox

ILL = 0.5
"""Share of the patients who are very ill."""
RECOVERY = {"ill": (0.3, 0.4), "others": (0.8, 0.9)}
"""Probability of recovery without and with the drug."""
SHARES = tuple(range(10, 95, 5))
"""Per cent of the very ill who get the drug; of the others, the rest."""


def recovery(share: float) -> dict[str, tuple[float, float]]:
    """P(recovers) without and with the drug: in each group, as seen, and as done."""
    gets = {"ill": share, "others": 1 - share}
    weight = {"ill": ILL, "others": 1 - ILL}
    seen, done = [], []
    for drug in (0, 1):
        took = {group: weight[group] * (gets[group] if drug else 1 - gets[group]) for group in gets}
        seen.append(sum(took[group] * RECOVERY[group][drug] for group in gets) / sum(took.values()))
        done.append(sum(weight[group] * RECOVERY[group][drug] for group in gets))
    return {**RECOVERY, "seen": (seen[0], seen[1]), "done": (done[0], done[1])}


HEADINGS = {"ill": "the very ill", "others": "the others", "seen": "all, seen", "done": "all, done"}


def _bars(rates: dict[str, tuple[float, float]]) -> str:
    """Two bars for each of the four comparisons, as the inside of an SVG of 640 x 250."""
    parts = []
    for k, (name, pair) in enumerate(rates.items()):
        left = 20 + 155 * k
        parts.append(f'<text x="{left + 60}" y="245" text-anchor="middle">{HEADINGS[name]}</text>')
        for drug, (rate, colour) in enumerate(zip(pair, ("var(--line)", "var(--amber)"), strict=True)):
            x, height = left + 60 * drug, 170 * rate
            parts.append(f'<rect x="{x}" y="{200 - height:.1f}" width="55" height="{height:.1f}" fill="{colour}"/>')
            parts.append(f'<text x="{x + 27}" y="{193 - height:.1f}" text-anchor="middle">{100 * rate:.0f} %</text>')
            parts.append(f'<text x="{x + 27}" y="217" text-anchor="middle">{("no drug", "drug")[drug]}</text>')
    return "".join(parts)


def _in_words(rates: dict[str, tuple[float, float]]) -> str:
    seen, done = (round(100 * (with_drug - without)) for without, with_drug in (rates["seen"], rates["done"]))
    often = f"{abs(seen)} points {'more' if seen > 0 else 'less'} often" if seen else "as often as the others"
    verdict = "works" if seen > 0 else "harms" if seen else "does nothing"
    return (
        f"Seen: who got the drug recovers {often}. It looks as if the drug {verdict}."
        f" Done: giving it to everybody raises recovery by {done} points."
    )


def _simpson() -> dict[str, Any]:
    states = []
    for share in SHARES:
        rates = recovery(share / 100)
        states.append({"share": share, "rest": 100 - share, "bars": _bars(rates), "caption": _in_words(rates)})
    at = SHARES.index(85)
    return {"data": json.dumps(states), "last": len(SHARES) - 1, "at": at, **states[at]}


# ---------------------------------------------------------------------- a collider


def _collider() -> dict[str, Any]:
    people = torch.randn(250, 2, generator=torch.Generator().manual_seed(0)).clamp(-3.4, 3.4)
    bar = 1.0
    hired = people[people.sum(1) >= bar]
    style = "<style>.hired { fill: var(--amber); } .other { fill: var(--grey); opacity: .45; }</style>"
    places = [(210 + 60 * x, 210 - 60 * y, "hired" if x + y >= bar else "other") for x, y in people.tolist()]
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" class="{kind}"/>' for x, y, kind in places)
    left, right = 210 + 60 * (bar - 3.5), 210 + 60 * (bar + 3.5)
    line = f'<line id="line" x1="{right}" y1="420" x2="{left}" y2="0" stroke="var(--blue)"/>'
    words = '<text x="414" y="414" text-anchor="end">talent</text><text x="6" y="16">looks</text>'
    correlations = [float(torch.corrcoef(rows.T)[0, 1]) for rows in (people, hired)]
    return {
        "data": json.dumps(_lists(people, 3)),
        "at": int(10 * bar),
        "bar": f"{bar:.1f}",
        "chart": style + line + dots + words,
        "caption": f"{len(hired)} of {len(people)} are hired. Talent and looks correlate by {correlations[0]:.2f} in"
        f" the town and by {correlations[1]:.2f} among the hired.",
    }


# ---------------------------------------------------------------------- the three steps

PLACES = {"thickness": (110, 120), "intensity": (330, 120), "image": (560, 120)}
ARROWS = (("thickness", "intensity"), ("intensity", "image"))
SYMBOLS = {"thickness": "u", "intensity": "u", "image": "z"}


def _scene(values: dict[str, str], noise: dict[str, str], picture: str | None, *, is_acted: bool) -> str:
    """The graph with its values below the nodes and the noise above them, as an SVG."""
    marks = (
        '<svg viewBox="0 0 680 250" role="img"><defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4"'
        ' markerWidth="9" markerHeight="9" orient="auto"><path d="M0 0 8 4 0 8Z" fill="var(--grey)"/></marker></defs>'
    )
    lines = [_arrow(PLACES[a][0] + 58, 120, PLACES[b][0] - 58, 120) for a, b in ARROWS]
    lines.append(
        '<path d="M150 142 C 260 215, 420 215, 510 146" fill="none" stroke="var(--grey)" marker-end="url(#tip)"/>'
    )
    for node, (x, y) in PLACES.items():
        set_here = is_acted and node == "thickness"
        if node in noise and not set_here:
            lines += [_arrow(x, 50, x, 94), f'<text x="{x}" y="40" text-anchor="middle">{noise[node]}</text>']
        colour = "var(--amber)" if set_here else "var(--ink)"
        width = 3 if set_here else 1.2
        lines.append(
            f'<rect x="{x - 58}" y="{y - 24}" width="116" height="48" rx="8" fill="var(--paper)" stroke="{colour}"'
            f' stroke-width="{width}"/><text x="{x}" y="{y - 3}" text-anchor="middle">{node}</text>'
        )
        if node in values:
            lines.append(f'<text x="{x}" y="{y + 15}" text-anchor="middle" font-weight="600">{values[node]}</text>')
    if picture:
        lines.append(
            f'<image x="520" y="158" width="80" height="80" href="{picture}" style="image-rendering: pixelated"/>'
        )
    return marks + "".join(lines) + "</svg>"


def _arrow(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="var(--grey)" marker-end="url(#tip)"/>'


def _steps() -> dict[str, Any]:
    data = ccf.datasets.Digits("test")
    scm, unit = ccf.pretrained(MODEL), data[UNIT : UNIT + 1]
    noise, answer = scm.abduct(unit), scm.counterfactual(unit, do={"thickness": ACTED})
    truth = data.truth(unit, do={"thickness": ACTED})
    before = {
        "thickness": f"{float(unit['thickness']):.2f} px",
        "intensity": f"{float(unit['intensity']):.0f}",
    }
    z = ", ".join(f"{value:.1f}" for value in noise["image.z"][0, :3].tolist())
    u = {node: f"u = {float(noise[f'{node}.u']):+.2f}" for node in ("thickness", "intensity")} | {
        "image": f"z = ({z}, ...)"
    }
    acted = {"thickness": f"{ACTED} px, set"}
    after = acted | {"intensity": f"{float(answer['intensity']):.0f}"}
    old, new = _png(unit["image"][0, 0]), _png(answer["image"][0, 0])
    error = 255 * float((answer["image"] - truth["image"]).abs().mean())
    told = [
        ("What was observed", "A digit, its thickness, its intensity.", _scene(before, {}, old, is_acted=False)),
        (
            "Step 1, abduction",
            "Run the mechanisms backwards: which noise must there have been, for <em>these</em> values to come out? The"
            " noise is everything that makes this digit itself: its shape, its slant, how bright it is.",
            _scene(before, u, old, is_acted=False),
        ),
        (
            "Step 2, action",
            f"Set thickness to {ACTED} px. What used to cause it has no say any more: its noise is cut off. Nothing"
            " else is touched, and nothing is computed yet.",
            _scene(acted, u, None, is_acted=True),
        ),
        (
            "Step 3, prediction",
            "Run the mechanisms forwards, with the new thickness and the <em>same</em> noise. Intensity follows, and"
            f" then the image. The data set knows the truth: intensity {float(truth['intensity']):.0f}, and an image"
            f" {error:.1f} grey levels away on average.",
            _scene(after, u, new, is_acted=True),
        ),
    ]
    sections = [f"<section><h2>{title}</h2><p>{text}</p>{scene}</section>" for title, text, scene in told]
    return {"acted": ACTED, "steps": "\n".join(sections)}


PAGES: dict[str, tuple[str, str, Callable[[], dict[str, Any]]]] = {
    "digit": (
        "One digit under every thickness and intensity",
        f"Digit {UNIT} of the test digits that come with causalcf, its model '{MODEL}', residual 1. Made by"
        " docs/make_explorables.py.",
        _digit,
    ),
    "simpson": (
        "Simpson's paradox",
        "Exact probabilities of a model with three nodes. Made by docs/make_explorables.py.",
        _simpson,
    ),
    "collider": (
        "A collider",
        "250 draws from two independent normals, seed 0. Made by docs/make_explorables.py.",
        _collider,
    ),
    "steps": (
        "Abduction, action, prediction",
        f"Digit {UNIT} of the test digits that come with causalcf, its model '{MODEL}'. Made by"
        " docs/make_explorables.py.",
        _steps,
    ),
}
"""Name -> title, where its numbers come from, and what fills the text."""


if __name__ == "__main__":
    for path in write(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "_explorables" / "explore"):
        print(path)

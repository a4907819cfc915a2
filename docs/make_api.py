"""Write docs/api.md: every public name with the first line of its docstring.

Run it after adding a public name: python docs/make_api.py
"""

from __future__ import annotations

import inspect
import re
import types
from pathlib import Path
from typing import Any

import causalcf as ccf

HERE = Path(__file__).parent

GROUPS = {
    "Models and answers": ("SCM", "StructuralCausalModel", "Counterfactual", "Batch", "pretrained", "pretrained_names"),
    "Graphs": ("CausalGraph", "load_graph", "graph_names"),
    "Variables": (
        "Real",
        "Positive",
        "Interval",
        "Count",
        "Boolean",
        "Categorical",
        "Ordinal",
        "Vector",
        "Image",
        "Table",
    ),
    "Actions": ("shift", "scale", "given_factual"),
}
"""Names of the top level, in the order of reading; names in no group are listed under the last heading."""

VERBS = [
    "fit",
    "sample",
    "do",
    "abduct",
    "predict",
    "counterfactual",
    "log_prob",
    "model",
    "guide",
    "attach",
    "save",
    "load",
]

ANSWERS = ["world", "sample", "plot", "to_frame", "check"]

HEADER = """# API

Every public name, with what it does in one line; `help(name)` or the linked source says the rest: shapes, units,
errors, sources, an example. Made by `python docs/make_api.py`.

```python
import causalcf as ccf
```
"""


def names() -> dict[str, list[tuple[str, Any]]]:
    """Heading -> names as a user writes them, with what they stand for."""
    stub = (HERE.parent / "causalcf" / "__init__.pyi").read_text(encoding="utf-8")
    top = re.findall(r"import (\w+) as", stub)
    modules = [name for name in top if isinstance(getattr(ccf, name), types.ModuleType)]
    grouped = {name for group in GROUPS.values() for name in group}
    rest = [name for name in top if name not in grouped and name not in modules]
    found = {heading: [(f"ccf.{name}", getattr(ccf, name)) for name in group] for heading, group in GROUPS.items()}
    found["The verbs of a model"] = [(f"ccf.SCM.{name}", getattr(ccf.SCM, name)) for name in VERBS]
    found["What an answer can do"] = [
        (f"ccf.Counterfactual.{name}", getattr(ccf.Counterfactual, name)) for name in ANSWERS
    ]
    found["More"] = [(f"ccf.{name}", getattr(ccf, name)) for name in rest]
    for name in modules:
        module = getattr(ccf, name)
        found[f"ccf.{name}"] = [(f"ccf.{name}.{each}", getattr(module, each)) for each in module.__all__]
    oracles = ccf.datasets.synthetic
    found["ccf.datasets.synthetic"] = [
        (f"ccf.datasets.synthetic.{each}", getattr(oracles, each)) for each in oracles.__all__
    ]
    order = [
        "Models and answers",
        "The verbs of a model",
        "What an answer can do",
        "Graphs",
        "Variables",
        "Actions",
        "More",
    ]
    return {heading: found[heading] for heading in order} | found


def summary(value: Any) -> str:
    """The first sentence of a docstring, on one line."""
    if isinstance(value, dict):
        return f"Registry: {', '.join(map(str, value))}."
    if not callable(value) and not isinstance(value, types.ModuleType):
        return f"One of {', '.join(map(str, getattr(value, '__args__', [value])))}."
    first = (inspect.getdoc(value) or "").split("\n\n")[0].replace("\n", " ")
    first = re.sub(r":math:`([^`]*)`", r"`\1`", first)
    return first.replace("|", r"\|")


def page() -> str:
    """The page as Markdown."""
    parts = [HEADER]
    for heading, group in names().items():
        parts.append(f"## {heading}\n\n| name | |\n|---|---|")
        parts[-1] += "".join(f"\n| `{name}` | {summary(value)} |" for name, value in group) + "\n"
    return "\n".join(parts)


if __name__ == "__main__":
    (HERE / "api.md").write_text(page(), encoding="utf-8")

"""Imports go down: a file knows only those below it; pictures and heavy libraries come when asked for."""

import ast
import subprocess
import sys
from pathlib import Path

import causalcf

PACKAGE = Path(causalcf.__file__).parent
ORDER = [
    {"errors"},
    {"settings", "variables", "seeding", "provenance", "published", "_zuko"},
    {"graph", "data", "checkpoint", "records"},
    {"nn", "descent"},
    {"datasets", "metrics"},
    {"mechanisms"},
    {"abduction"},
    {"action", "residual"},
    {"prediction", "density", "program", "training", "plots", "check"},
    {"counterfactual", "predictors", "classifiers"},
    {"finetuning"},
    {"scm"},
    {"scores"},
    {"explainers", "evaluation", "reference", "pretrained"},
    {"report"},
    {"demo", "bare_loops", "benchmark_tables"},
    {"benchmarks", "arguments"},
    {"cli", "app"},
    {"__main__"},
]
LEVEL = {name: level for level, names in enumerate(ORDER) for name in names}
HEAVY = ("matplotlib", "lightning", "lightning_fabric", "torchmetrics", "typer", "rich", "skimage", "sklearn", "pandas")


def _unit(path: Path) -> str:
    """The file or folder right below the package that a path belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imported(path: Path) -> list[tuple[str, int, bool]]:
    """(module, line, whether inside a function) of every import that runs; type checking does not."""
    found: list[tuple[str, int, bool]] = []

    def visit(node: ast.AST, inside: bool) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            names = [
                f"{node.module}.{alias.name}" if node.module == "causalcf" else node.module for alias in node.names
            ]
            found.extend((str(name), node.lineno, inside) for name in names)
        elif isinstance(node, ast.Import):
            found.extend((alias.name, node.lineno, inside) for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child, inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))

    visit(ast.parse(path.read_text(encoding="utf-8")), inside=False)
    return found


def test_imports_go_down_only() -> None:
    files = [path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"]
    assert len(files) > 20
    wrong = []
    for path in files:
        unit = _unit(path)
        assert unit in LEVEL, f"{unit} has no level yet: say in ORDER where it belongs"
        for module, line, inside in _imported(path):
            other = module.split(".")[1] if module.startswith("causalcf.") else None
            if other is None or other == unit:
                continue
            if other == "plots" and not inside and LEVEL[unit] < LEVEL["report"]:
                wrong.append(f"{path.name}:{line} imports plots outside a function")
            # `counterfactual` and `graph` open plots when a picture is asked for; all else goes down.
            if other != "plots" and other in LEVEL and LEVEL[other] >= LEVEL[unit]:
                wrong.append(f"{path.name}:{line} ({unit}) imports {other}")
    assert not wrong, wrong


def test_mechanisms_see_no_graph_and_metrics_no_model() -> None:
    for folder, hidden in (("mechanisms", ("graph", "scm")), ("metrics", ("scm", "graph", "mechanisms"))):
        for path in (PACKAGE / folder).rglob("*.py"):
            modules = {module for module, _, _ in _imported(path)}
            assert modules.isdisjoint(f"causalcf.{name}" for name in hidden), path


def test_the_programs_own_questions_need_no_heavy_library() -> None:
    """`import causalcf`, and building and asking a model, load no plotting, training or command line library."""
    script = f"""
import sys
import torch
import causalcf as ccf
scm = ccf.SCM([("x", "y")], {{"x": ccf.Real(), "y": ccf.Real()}})
for mechanism in scm.mechanisms.values():
    mechanism.fitted = True
scm.counterfactual({{"x": torch.zeros(3), "y": torch.ones(3)}}, do={{"x": 1.0}})
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr

"""The house: rooms on eight floors; every import goes down, whatever its kind, and no two rooms know each other."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import causalcf

PACKAGE = Path(causalcf.__file__).parent
FLOORS = (
    (
        "What has nothing to do with causes; what may be done to a node; the list of data sets.",
        {"core", "do", "catalogue"},
    ),
    ("What a node can take, and how far apart two answers are.", {"variables", "metrics"}),
    ("Data as they are passed around, p(x | pa) and its inversion, pictures.", {"data", "mechanisms", "plots"}),
    ("The causal hypothesis; how mechanisms, and classifiers, are trained.", {"graph", "training", "classifiers"}),
    ("The model and its three steps; what reads causes back; worlds to ask about.", {"scm", "predictors", "datasets"}),
    (
        "Verbs above the model: explain, evaluate, ask, of one row or a million, fine-tune, load.",
        {"explainers", "evaluation", "finetuning", "onnx", "queries", "reference", "streaming"},
    ),
    (
        "What was found, as tables, files and a page: reports, the papers' tables, costs, the app.",
        {"report", "benchmark", "costs", "app", "trust"},
    ),
    ("The command line.", {"cli"}),
)
FLOOR = {room: floor for floor, (_, rooms) in enumerate(FLOORS) for room in rooms}
FACES = {"__init__", "__main__", "errors", "arguments"}
"""Files at the top that only hand on names: of the package, of the command line, of `core.errors` and `cli.parse`."""
HEAVY = ("matplotlib", "lightning", "lightning_fabric", "torchmetrics", "typer", "rich", "skimage", "sklearn", "pandas")
LONGEST = 450


def _room(path: Path) -> str:
    """The file or folder right below the package that a path belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _module(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if _room(path) not in FACES]
MODULES = {_module(path) for path in PACKAGE.rglob("*.py")}


def _imported(path: Path) -> list[tuple[str, int]]:
    """(module, line) of every import: at the top, in a function, for type checking alone."""
    found: list[tuple[str, int]] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found.extend((name if name in MODULES else str(node.module), node.lineno) for name in names)
        elif isinstance(node, ast.Import):
            found.extend((alias.name, node.lineno) for alias in node.names)
    return found


def _arrows() -> dict[str, set[str]]:
    """File -> files of the package that it imports."""
    return {
        _module(path): {name for name, _ in _imported(path) if name in MODULES - {"causalcf", _module(path)}}
        for path in FILES
    }


def _circle(arrows: dict[str, set[str]]) -> list[str]:
    """One circle, or nothing: what is left when whatever imports nothing that is left is taken away."""
    left = {name: set(others) for name, others in arrows.items()}
    while True:
        leaves = {name for name, others in left.items() if not others & left.keys()}
        if not leaves:
            return sorted(left)
        for name in leaves:
            del left[name]


def test_there_are_at_most_eight_floors_each_with_a_sentence() -> None:
    assert len(FLOORS) <= 8
    assert all(sentence.endswith(".") for sentence, _ in FLOORS)
    rooms = {_room(path) for path in FILES}
    assert rooms == set(FLOOR), "every room stands on one floor"


@pytest.mark.parametrize("path", FILES, ids=_module)
def test_imports_go_down_only(path: Path) -> None:
    room = _room(path)
    others = [(name.split(".")[1], line) for name, line in _imported(path) if name.startswith("causalcf.")]
    wrong = [(other, line) for other, line in others if other != room and FLOOR.get(other, 99) >= FLOOR[room]]
    assert not wrong


def test_no_two_files_know_each_other() -> None:
    assert _circle(_arrows()) == []


def test_a_circle_would_be_found() -> None:
    assert _circle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == ["a", "b", "c", "d"]


@pytest.mark.parametrize("path", FILES, ids=_module)
def test_no_file_is_long(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST


def test_pictures_know_no_model() -> None:
    for path in (PACKAGE / "plots").rglob("*.py"):
        rooms = {name.split(".")[1] for name, _ in _imported(path) if name.startswith("causalcf.")}
        assert rooms <= {"core", "do", "variables", "plots"}, path


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

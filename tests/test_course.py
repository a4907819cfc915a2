"""The course: every page runs, its exercises can be solved, and wrong answers are told from right ones."""

import contextlib
import importlib.util
import io
import re
from pathlib import Path

import jupytext
import nbformat
import pytest

COURSE = Path(__file__).parent.parent / "examples" / "course"
PAGES = sorted(COURSE.glob("[0-9][0-9]_*.py"))
SOLUTION = re.compile(r"<details><summary>Solution</summary>\n\n```python\n(.*?)\n```.*?</details>", re.DOTALL)


def tags(cell):
    return cell.metadata.get("tags", [])


def wrong(answer):
    """An answer of the same kind that is not right."""
    if isinstance(answer, bool):
        return not answer
    if isinstance(answer, int | float):
        return answer + 1
    return f"{answer}?" if isinstance(answer, str) else list(answer)[1:]


def run(cell, namespace, page):
    """What a cell prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(cell, f"{page.name}: {cell.splitlines()[0]}", "exec"), namespace)
    return printed.getvalue()


@pytest.fixture
def small(monkeypatch, tmp_path):
    monkeypatch.setenv("CAUSALCF_SMALL", "1")
    monkeypatch.chdir(tmp_path)


def solve(page):
    """Run a page as a student does: without an answer, with the right one, with a wrong one."""
    cells, namespace, solved = jupytext.read(page).cells, {"__name__": "page"}, 0
    for i, cell in enumerate(cells):
        if cell.cell_type != "code":
            continue
        printed = run(cell.source, namespace, page)
        if "check" not in tags(cell):
            continue
        assert not printed, "an exercise without an answer is no mistake"
        name = cells[i - 1].source.partition(" = ...")[0]
        run(SOLUTION.match(cells[i + 1].source)[1], namespace, page)
        assert run(cell.source, namespace, page).endswith("Right.\n"), f"{page.name}: the solution of '{name}'"
        namespace[name] = wrong(namespace[name])
        with pytest.raises(AssertionError):
            run(cell.source, namespace, page)
        solved += 1
    return solved


@pytest.mark.parametrize("page", [page for page in PAGES if "adult" not in page.name], ids=lambda page: page.stem)
@pytest.mark.usefixtures("small")
def test_a_page_runs_and_its_exercises_can_be_solved(page):
    assert solve(page) == 3


@pytest.mark.usefixtures("small", "data_root")
def test_the_page_on_adult_runs():
    assert solve(COURSE / "09_adult.py") == 3


def test_there_are_ten_pages_each_with_a_question_and_a_way_on():
    assert [int(page.name[:2]) for page in PAGES] == list(range(1, 11))
    for page, after in zip(PAGES, [*PAGES[1:], None], strict=True):
        cells = jupytext.read(page).cells
        text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
        assert cells[0].source.startswith(f"# {int(page.name[:2])}. ")
        assert "**The question.**" in cells[0].source
        assert "## What to keep" in text
        assert after is None or f"]({after.stem}.ipynb)." in text.splitlines()[-1]
        kinds = [tag for cell in cells for tag in tags(cell)]
        assert kinds == ["exercise", "check"] * 3
        assert len(SOLUTION.findall(text)) == 3


def test_the_notebooks_are_made(tmp_path):
    spec = importlib.util.spec_from_file_location("make", COURSE / "make.py")
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    maker.main(["02"], run=False, out=tmp_path)
    (made,) = tmp_path.iterdir()
    notebook = nbformat.read(made, 4)
    nbformat.validate(notebook)
    assert made.name == "02_seeing_and_doing.ipynb"
    assert notebook.cells[0].source.startswith("# 2. Seeing and doing")
    with pytest.raises(maker.typer.BadParameter, match="No page begins with"):
        maker.sources(["99"])

"""The README's commands and code are what CI runs, and what there is."""

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
BASH = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("code", PYTHON, ids=lambda code: code.splitlines()[0][:30])
def test_python_parses_without_surprises(code):
    tree = ast.parse(code)
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.names[0].name == "*"]


def test_the_promised_twelve_and_five_lines():
    lines = [[line for line in code.splitlines() if line.strip()] for code in PYTHON]
    assert len(lines[0]) <= 13  # twelve statements' worth, one line longer for its closing bracket
    assert len(lines[1]) <= 5


def test_there_are_two_commands_each_one_line():
    assert len(BASH) == 2
    run, check = (command.strip() for command in BASH)
    assert "\n" not in run
    assert run.endswith("causalcf demo")
    assert "-m pytest" in check
    for command in (run, check):
        assert "-c constraints.txt" in command
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(re.findall(r"\.\[(\w+)\]", README)) <= set(extras)


def test_ci_runs_the_second_command():
    """`.ci/run` reads its command out of the README with awk: exactly one, and the right one."""
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    (awk,) = re.findall(r"command=\"\$\((awk '.*' README\.md)\)\"", script)
    done = subprocess.run(["bash", "-c", awk], capture_output=True, text=True, cwd=ROOT, timeout=30, check=True)
    assert done.stdout.strip() == BASH[1].strip()
    assert done.stdout.count("\n") == 1
    assert subprocess.run(["bash", "-n", ROOT / ".ci" / "run"], check=False, timeout=30).returncode == 0


def test_the_commands_it_names_exist():
    import typer

    from causalcf import cli

    (listed,) = re.findall(r"`causalcf ([a-z |]+)`; each explains itself", README)
    known = set(typer.main.get_command(cli.app).commands)
    assert set(listed.split(" | ")) <= known

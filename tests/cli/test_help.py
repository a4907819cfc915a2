"""Help explains every option, does not wait for torch, and gives examples that can be typed."""

import re
import shlex
import subprocess
import sys

import pytest
import typer

import causalcf as ccf
from causalcf import cli
from causalcf.cli import load as arguments
from causalcf.cli import parse
from causalcf.evaluation.scores import SCORES


def commands(group, name=()):
    """(words of its name, command) of every command."""
    for word, command in group.commands.items():
        yield from commands(command, (*name, word)) if hasattr(command, "commands") else [((*name, word), command)]


COMMANDS = dict(commands(typer.main.get_command(cli.app)))


@pytest.mark.parametrize(("words", "command"), [pytest.param(*pair, id=" ".join(pair[0])) for pair in COMMANDS.items()])
def test_help_explains_every_option(run, words, command):
    code, out, _ = run(*words, "--help")
    assert code == 0
    for parameter in command.params:
        assert parameter.help or parameter.name == "help", f"{words}: {parameter.name} has no help"
        assert max(parameter.opts, key=len) in out
    assert command.help.splitlines()[0] in " ".join(out.split())


def test_help_does_not_wait_for_torch():
    script = (
        "import sys\n"
        "from causalcf.cli import app\n"
        f"for words in {[list(words) for words in COMMANDS]}:\n"
        "    app([*words, '--help'], standalone_mode=False)\n"
        "heavy = {'torch', 'pyro', 'zuko', 'matplotlib', 'sklearn', 'skimage'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_version_and_overview(run):
    assert run("--version") == (0, f"causalcf {ccf.__version__}\n", "")
    code, out, err = run()
    assert code == 2
    assert all(name in out + err for name in ("demo", "graphs", "fit", "counterfactual", "evaluate", "data"))


EXAMPLES = [line for one in COMMANDS.values() for line in re.findall(r"causalcf [^;]*", one.epilog or "")]
DRAFTED = {shlex.split(line)[-1] for line in EXAMPLES if line.startswith("causalcf draft ")}
"""Graphs that an example writes before another one reads them."""


@pytest.mark.parametrize("line", EXAMPLES)
def test_the_examples_of_help_can_be_typed(line):
    """Their words are options there are; what these name exists, and takes those settings."""
    _, *words = shlex.split(line)
    depth = next(depth for depth in (1, 2) if tuple(words[:depth]) in COMMANDS)
    asked = COMMANDS[tuple(words[:depth])].make_context("causalcf", words[depth:]).params
    assert {*(asked.get("metric") or ())} <= {*SCORES}
    if words[0] == "fit":
        assert asked["graph"] in DRAFTED or ccf.load_graph(asked["graph"])
        assert parse.parse_mechanisms(asked["mechanism"])
        if asked["epochs"]:
            parse.parse_epochs(asked["epochs"], ccf.load_graph(asked["graph"]).nodes)
    if words[0] == "counterfactual":
        assert all(parse.parse_do(do, ccf.load_graph("morphomnist").variables) for do in asked["do"])
    if words[0] == "explain":
        classifier, variable = arguments.load_classifier(asked["classifier"], asked["data"], "cpu")
        scm = arguments.load_model(asked["model"], "cpu")
        parse.parse_explainer(asked["method"], scm, node="image", classifier=classifier, variable=variable)
        assert parse.parse_target(asked["target"], variable) == int(asked["target"])


def test_every_command_that_needs_words_has_an_example():
    assert [name for name, one in COMMANDS.items() if "Example" not in (one.epilog or "")] == [("demo",)]

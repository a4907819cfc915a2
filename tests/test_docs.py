"""The documentation runs, prints what it says it prints, and mentions every public name."""

import contextlib
import io
import re
import shlex
import types
from pathlib import Path

import pytest
import torch
import typer

import causalcf as ccf
from causalcf import cli

ROOT = Path(__file__).parent.parent
PAGES = sorted(path for path in (ROOT / "docs").glob("*.md"))
FENCE = re.compile(r"(<!-- not run[^>]*-->\n)?```(\w*)\n(.*?)```", re.DOTALL)


def blocks(path):
    """(code, line, what it prints or None) of each Python block that is to be run."""
    text = path.read_text(encoding="utf-8")
    found = list(FENCE.finditer(text))
    for i, match in enumerate(found):
        skipped, language, code = match.groups()
        if language != "python" or skipped:
            continue
        follows = found[i + 1] if i + 1 < len(found) else None
        printed = (
            follows[3] if follows and follows[2] == "text" and not text[match.end() : follows.start()].strip() else None
        )
        yield code, text[: match.start()].count("\n") + 2, printed


def run(path, code, line, namespace):
    """Run a block as if it stood at its line of the page; what it prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile("\n" * (line - 1) + code, str(path), "exec"), namespace)
    return printed.getvalue()


def same(printed, promised):
    """Whether two outputs agree: words exactly, numbers to the last digit but one."""
    ours, theirs = printed.split(), promised.split()
    if len(ours) != len(theirs):
        return False
    for a, b in zip(ours, theirs, strict=True):
        number = re.fullmatch(r"([\[(]?)(-?\d+\.?(\d*))([\]),]*)", b)
        if not number:
            if a != b:
                return False
        elif abs(float(a.strip("[](),")) - float(number[2])) > 2.001 * 10 ** -len(number[3]) * bool(number[3]):
            return False
    return True


@pytest.mark.parametrize("path", [path for path in PAGES if list(blocks(path))], ids=lambda path: path.stem)
def test_pages_run_and_print_what_they_say(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {}
    for code, line, promised in blocks(path):
        printed = run(path, code, line, namespace)
        assert promised is not None or not printed, f"{path.name}:{line} prints, and the page does not say what"
        assert promised is None or same(printed, promised), f"{path.name}:{line} prints\n{printed}and says\n{promised}"


CARDS = [
    path
    for path in sorted((ROOT / "causalcf" / "pretrained").glob("*.md"))
    if any(promised for _, _, promised in blocks(path))
]


@pytest.mark.usefixtures("data_root")
@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_cards_print_what_they_say(path, tmp_path, monkeypatch):
    test_pages_run_and_print_what_they_say(path, tmp_path, monkeypatch)


def test_the_readme_runs(monkeypatch):
    """With a few digits for MorphoMNIST, and one epoch."""

    class Few(ccf.datasets.Digits):
        def __init__(self, root, split="train"):
            super().__init__(split)
            rows = self[:100]
            self._values, self.rows, self.index = dict(rows), rows.rows, rows.index

    fit = ccf.SCM.fit
    monkeypatch.setattr(ccf.SCM, "fit", lambda scm, data: fit(scm, data, epochs=1, seed=0, progress=False))
    monkeypatch.setattr(ccf.datasets, "MorphoMNIST", Few)
    drawn = {"image": ccf.pretrained("mnist-vae").sample(40, seed=0)["image"]}
    said = ccf.predictors.pretrained("mnist")["digit"](drawn["image"]).argmax(1)
    monkeypatch.setattr(ccf.datasets, "MNIST", lambda _root, split: {"image": drawn["image"][said != 9]})  # noqa: ARG005
    x = torch.randn(50, generator=torch.Generator().manual_seed(0))
    import pandas as pd

    frame = pd.DataFrame({"X": x.numpy(), "Y": 2 * x.numpy(), "Z": [str(i % 3) for i in range(50)]})
    first, *others = blocks(ROOT / "README.md")
    namespace = {"root": None, "frame": frame, "torch": torch}
    run("README.md", *first[:2], namespace)
    namespace["x"] = namespace["x"][:3]
    for code, line, _ in others:
        run("README.md", code, line, {**namespace, "z": torch.zeros(16 * 2)})


# ---------------------------------------------------------------------- completeness


def public_names():
    """Every public name of the package, as a user writes it after `ccf.`."""
    stub = (ROOT / "causalcf" / "__init__.pyi").read_text()
    top = re.findall(r"import (\w+) as", stub)
    modules = [name for name in top if isinstance(getattr(ccf, name), types.ModuleType)]
    inner = [f"{module}.{name}" for module in modules for name in getattr(ccf, module).__all__]
    return [name for name in top if name not in modules] + inner


@pytest.fixture(scope="module")
def api():
    return (ROOT / "docs" / "api.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", public_names())
def test_the_api_page_has_every_public_name(api, name):
    assert f"`ccf.{name}`" in api, f"docs/api.md lacks ccf.{name}. Run: python docs/make_api.py"


def test_the_api_page_invents_nothing(api):
    """What the page marks as `ccf.something` exists."""
    for name in set(re.findall(r"`ccf\.([\w.]+)`", api)):
        value = ccf
        for part in name.split("."):
            value = getattr(value, part)


def test_the_command_line_page_has_every_command():
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    group = typer.main.get_command(cli.app)
    for name, command in group.commands.items():
        assert f"## `causalcf {name}" in page, f"docs/cli.md has no section on causalcf {name}"
        for inner in getattr(command, "commands", {}):
            assert f"`causalcf {name} {inner}`" in page, f"docs/cli.md does not mention causalcf {name} {inner}"


@pytest.mark.parametrize(("name", "least"), [("cli", 6), ("own-data", 6)])
def test_pages_of_commands_ask_for_nothing_else(name, least):
    """The commands they show are parsed by the commands there are, without being run."""
    page = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    shown = [line for _, language, code in FENCE.findall(page) if language == "bash" for line in code.splitlines()]
    assert len(shown) >= least
    for line in shown:
        program, *words = shlex.split(line)
        assert program == "causalcf"
        command = typer.main.get_command(cli.app)
        while hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
        command.make_context("causalcf", words)


# ---------------------------------------------------------------------- links


def anchors(path):
    """The headings of a page as links see them."""
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES], ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", path.read_text(encoding="utf-8"))):
        if re.match(r"https?:|mailto:", target):
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        assert there.exists(), f"{path.name} links to {target}"
        if anchor:
            assert anchor in anchors(there), f"{path.name} links to {target}"

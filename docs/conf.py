"""How the site is built: sphinx-build -W -b html docs docs/_build (extra `docs`; needs no network)."""

import inspect
import re
import sys
from pathlib import Path
from typing import Any

import causalcf

project = "causalcf"
author = "The causalcf founders"
release = version = causalcf.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "_explorables", "explorables"]
html_extra_path = ["_explorables"]
html_theme = "furo"
html_title = f"causalcf {release}"
html_copy_source = False

myst_heading_anchors = 3
myst_enable_extensions = ["deflist"]
# Links to files of the repository, to pages not there yet, and notes in plain text are no errors.
suppress_warnings = ["myst.xref_missing", "toc.not_readable", "toc.excluded", "image.not_readable"]

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False

# ---------------------------------------------------------------------- pages that the build writes

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import make_api  # noqa: E402
import make_explorables  # noqa: E402

REFERENCE = HERE / "reference"
MEMBERS = {"The verbs of a model", "What an answer can do"}
"""Groups whose names are shown with their classes."""


def _entry(name: str, value: Any) -> str:
    """The directive that shows a public name by its docstring."""
    target = name.replace("ccf.", "causalcf.", 1)
    if inspect.isclass(value):
        return f".. autoclass:: {target}\n"
    if callable(value):
        return f".. autofunction:: {target}\n"
    return f"``{target}``\n   {make_api.summary(value)}\n"


def write_reference() -> None:
    """A page for each group of public names; files that are right already are left alone, and old ones go."""
    REFERENCE.mkdir(exist_ok=True)
    pages, seen = {}, set()
    for heading, group in make_api.names().items():
        if heading in MEMBERS:
            continue
        entries = [_entry(name, value) for name, value in group if not (callable(value) and value in seen)]
        seen |= {value for _, value in group if callable(value)}
        stem = re.sub(r"[^a-z]+", "-", heading.lower())
        pages[stem] = f"# {heading}\n\n```{{eval-rst}}\n" + "\n".join(entries) + "```\n"
    for old in REFERENCE.glob("*.md"):
        if old.stem not in pages:
            old.unlink()
    for stem, text in pages.items():
        page = REFERENCE / f"{stem}.md"
        if not page.is_file() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")


write_reference()
make_explorables.write(HERE / "_explorables" / "explore")


def as_plain_text(_app: Any, _what: str, _name: str, _obj: Any, _options: Any, lines: list[str]) -> None:
    """Formulas as they are written (MathJax would come from another server); `(N, *shape)` is no emphasis."""
    plain: list[str] = []
    for line in lines:
        line = re.sub(r":math:`([^`]*)`", r"``\1``", line)
        formula = re.fullmatch(r"(\s*)\.\. math::\s*(.*)", line)
        if formula:
            indent, text = formula.groups()
            plain += [f"{indent}::", "", *([f"{indent}   {text}"] if text else [])]
        elif "``" in line or ">>>" in line:
            plain.append(line)
        else:
            plain.append(re.sub(r"([(,]\s?)\*(?=[\w,])", r"\1\\*", line).replace("|", "\\|"))
    lines[:] = plain


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", as_plain_text)

"""How the site is built: sphinx-build -W -b html docs docs/_build (extra `docs`; needs no network)."""

import re
from pathlib import Path
from typing import Any

import causalcf

PACKAGE = Path(causalcf.__file__).parent

project = "causalcf"
author = "The causalcf founders"
release = version = causalcf.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"causalcf {release}"
html_copy_source = False

myst_heading_anchors = 3
# Links to files of the repository, to pages not there yet, and notes in plain text are no errors.
suppress_warnings = ["myst.xref_missing", "toc.not_readable", "toc.excluded", "image.not_readable"]

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False

# ---------------------------------------------------------------------- the reference, a page per module

REFERENCE = Path(__file__).parent / "reference"
MODULES = sorted(
    path.relative_to(PACKAGE.parent).with_suffix("").as_posix().replace("/", ".")
    for path in PACKAGE.rglob("*.py")
    if not path.stem.startswith("_") and path.stem not in ("cli", "demo")
)


def write_reference() -> None:
    """A page per module, made of its docstrings; files that are right already are left alone."""
    REFERENCE.mkdir(exist_ok=True)
    for module in MODULES:
        text = f"# {module}\n\n```{{eval-rst}}\n.. automodule:: {module}\n```\n"
        page = REFERENCE / f"{module}.md"
        if not page.is_file() or page.read_text() != text:
            page.write_text(text)


write_reference()


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

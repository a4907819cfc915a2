"""Models on the Hugging Face Hub: a safetensors file, the graph, the scores, and a card that says what they are.

What is downloaded is one safetensors file with a JSON header, read with all the doubts that `SCM.load` has: mechanisms
are looked up by name among those that causalcf knows, and nothing that was downloaded is imported or run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from causalcf.core.errors import DataError, FileError, MissingFileError
from causalcf.graph import CausalGraph
from causalcf.mechanisms import Mechanism

__all__ = ["MODEL", "card", "fetch", "push", "require_name"]

MODEL = "model.safetensors"
"""The file of a model in its repository."""


def _library() -> Any:
    """The module `huggingface_hub`.

    Raises:
        MissingFileError: It is not installed.
    """
    try:
        import huggingface_hub
    except ImportError:
        raise MissingFileError("The Hub needs huggingface_hub: pip install 'causalcf[hub]'.") from None
    return huggingface_hub


def require_name(repo: str) -> str:
    """The name of a repository, user/name.

    Raises:
        DataError: It is none.

    Example:
        >>> require_name("ada/digits")
        'ada/digits'
    """
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", repo, re.ASCII):
        raise DataError(
            f"'{repo}' is no name of a repository: expected user/name, of letters, digits, '-', '_' and '.'. A model's"
            " file is loaded by SCM.load."
        )
    return repo


def push(folder: Path, repo: str, *, private: bool = False) -> str:
    """Upload a folder's files as one commit; the repository is made if there is none.

    Args:
        folder: What to upload.
        repo: user/name.
        private: Make a new repository private.

    Returns:
        The address of the repository.

    Raises:
        FileError: The Hub cannot be reached, or refuses.
    """
    require_name(repo)
    api = _library().HfApi()
    try:
        url = api.create_repo(repo, private=private, exist_ok=True)
        api.upload_folder(repo_id=repo, folder_path=folder, commit_message="A model of causalcf")
    except Exception as error:  # which, depends on the HTTP library that the client uses
        raise FileError(
            f"{repo} cannot be written: {_first_line(error)} Log in with `hf auth login`, as one who may write there."
        ) from error
    return str(url)


def fetch(repo: str, revision: str | None = None) -> Path:
    """Download a model's file, or find it in the cache that earlier downloads filled.

    Args:
        repo: user/name.
        revision: A branch, tag or commit; by default the latest.

    Raises:
        MissingFileError: There is no such model, or it cannot be reached.
    """
    require_name(repo)
    download = _library().hf_hub_download
    try:
        return Path(download(repo, MODEL, revision=revision))
    except Exception as error:  # which, depends on the HTTP library that the client uses
        raise MissingFileError(
            f"{repo} has no {MODEL} that can be read from the Hub: {_first_line(error)} Check its name, and that you"
            " are online."
        ) from error


def _first_line(error: Exception) -> str:
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return text if text.endswith(".") else f"{text}."


# ---------------------------------------------------------------------- the card


def card(
    repo: str,
    graph: CausalGraph,
    mechanisms: Mapping[str, Mechanism],
    made: Mapping[str, Any],
    scores: Iterable[Any],
    about: str,
    license: str,
) -> str:
    """The README of a repository: what the model is, how it was made, how it scored, how it is loaded.

    Args:
        repo: user/name.
        graph: The causal graph.
        mechanisms: node -> mechanism.
        made: How the model was made: `scm.provenance`.
        scores: Records of `causalcf.evaluate`.
        about: What the model is for, and what it does not do, in the author's words.
        license: Its identifier, such as "apache-2.0"; empty for none.
    """
    front = ["library_name: causalcf", "tags: [causal-inference, counterfactuals, structural-causal-model]"]
    front += [f"license: {license}"] if license else []
    nodes = [
        [node, graph.variables[node].kind, ", ".join(graph.parents(node)), type(mechanism).__name__]
        for node, mechanism in mechanisms.items()
    ]
    facts = [[name, made[name]] for name in ("command", "seed", "device", "rows", "seconds", "date") if name in made]
    versions = made.get("versions", {})
    facts += [["versions", ", ".join(f"{name} {version}" for name, version in versions.items())]] if versions else []
    parts = [
        "\n".join(["---", *front, "---"]),
        f"# {repo.partition('/')[2]}",
        graph.title or "A structural causal model, fitted by causalcf.",
        about,
        f'```python\nimport causalcf as ccf\n\nscm = ccf.pretrained("{repo}")\n```',
        "## The model",
        _markdown(["node", "kind", "causes", "mechanism"], nodes),
        "## How it was made",
        _markdown(["", ""], facts) if facts else "Its file does not say.",
        "## Scores",
        _scores(list(scores)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _scores(scores: list[Any]) -> str:
    if not scores:
        return "It was not scored when it was shared. `ccf.evaluate(scm, data)` scores it."
    rows = [
        [
            r.metric,
            r.do,
            r.node,
            _residual(r.residual),
            _spread(r),
            _number(r.truth),
            _number(r.identity),
            _number(r.noise),
            r.unit,
            r.better,
            r.n,
        ]
        for r in scores
    ]
    headings = [
        "score",
        "do",
        "node",
        "residual",
        "model",
        "the truth",
        "doing nothing",
        "noise",
        "unit",
        "better",
        "n",
    ]
    said = f"By `ccf.evaluate`, seed {scores[0].seed}; in brackets 95 % intervals over rows; more in `scores.json`."
    return f"{said}\n\n{_markdown(headings, rows)}"


def _residual(value: Any) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float | int) else str(value)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _spread(record: Any) -> str:
    between = "" if record.interval is None else f" ({record.interval[0]:.3g} to {record.interval[1]:.3g})"
    return _number(record.value) + between


def _markdown(headings: list[str], rows: list[list[Any]]) -> str:
    """A table; what stands in a cell cannot end it."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(
        "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines
    )

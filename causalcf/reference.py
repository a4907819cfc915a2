"""Small fitted models that come with the package, each with its card."""

from __future__ import annotations

from pathlib import Path

import torch

from causalcf.core.errors import UnknownNodeError
from causalcf.core.signatures import checked
from causalcf.scm.hub import fetch
from causalcf.scm.model import StructuralCausalModel

__all__ = ["latent_space", "pretrained", "pretrained_names"]

FOLDER = Path(__file__).parent / "pretrained"


@checked
def pretrained_names() -> tuple[str, ...]:
    """Names of the reference models."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.safetensors")))


@checked
def pretrained(name: str, *, device: torch.device | str = "cpu", revision: str | None = None) -> StructuralCausalModel:
    """A fitted reference model, whose card, `pretrained/<name>.md`, says how it was made and scored; or a shared one.

    Args:
        name: For example "morphomnist-vae"; or "user/name", which is downloaded from the Hugging Face Hub, once.
            Nothing in a download is run: see `SCM.load`.
        device: Where the model goes.
        revision: Of a shared model: a branch, tag or commit.

    Raises:
        UnknownNodeError: There is no such reference model.
        MissingFileError: There is no such shared model, the Hub cannot be reached, or huggingface_hub is not installed.
        CheckpointError: What was downloaded is no model of causalcf.

    Example:
        >>> scm = pretrained("morphomnist-vae")
        >>> scm.sample(2, do={"thickness": 4.0}, seed=0)["image"].shape
        torch.Size([2, 1, 32, 32])
    """
    if "/" in name:
        return StructuralCausalModel.load(fetch(name, revision), device=device)
    path = FOLDER / f"{name}.safetensors"
    if name not in pretrained_names():
        raise UnknownNodeError(f"There is no reference model '{name}'. There are: {list(pretrained_names())}.")
    return StructuralCausalModel.load(path, device=device)


def latent_space(name: str, *, device: torch.device | str = "cpu") -> StructuralCausalModel | None:
    """The unconditional model of a data set's images in whose latent space CLD is measured; None if there is none.

    Args:
        name: The data set, for example "morphomnist"; the path of one's own data has none.
        device: Where it goes.
    """
    path = FOLDER / "latents" / f"{name}.safetensors"
    return StructuralCausalModel.load(path, device=device) if Path(name).name == name and path.is_file() else None

"""Where the weights of published networks are found; nothing is fetched unless asked."""

from __future__ import annotations

import os
import shutil
import urllib.request
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import torch

from causalcf.core.errors import DataError, MissingFileError
from causalcf.core.signatures import checked

__all__ = ["WEIGHTS", "WeightFile", "find_weights", "search_folders"]

VARIABLE = "CAUSALCF_WEIGHTS"


@dataclass(frozen=True)
class WeightFile:
    """A published file: its name, official address, and how its SHA-256 begins (empty if unpublished)."""

    file: str
    url: str
    sha256: str


WEIGHTS: dict[str, WeightFile] = {
    "inception": WeightFile(
        "inception-2015-12-05.pt",
        "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt",
        # As k-diffusion (github.com/crowsonkb/k-diffusion, evaluation.py) checks it: TorchScript is code.
        "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4",
    ),
    "vgg16": WeightFile("vgg16-397923af.pth", "https://download.pytorch.org/models/vgg16-397923af.pth", "397923af"),
    "lpips-vgg": WeightFile(
        "vgg.pth",
        "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/weights/v0.1/vgg.pth",
        "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
    ),
}
"""Published weights by name."""


@checked
def find_weights(name: str, path: str | Path | None = None, *, download: bool = False) -> Path:
    """The file of published weights: the given path, else `$CAUSALCF_WEIGHTS`, else torch hub's checkpoints.

    Args:
        name: A key of `WEIGHTS`.
        path: The file, or a folder that holds it.
        download: Fetch it into the first folder searched if it is nowhere; broken downloads are resumed.

    Raises:
        MissingFileError: Names the file, its address and hash, the folders searched and the ways out.
        DataError: No such name, or a file with another hash.

    Example:
        >>> find_weights("vgg16", "weights/vgg16-397923af.pth")  # doctest: +SKIP
        PosixPath('weights/vgg16-397923af.pth')
    """
    if name not in WEIGHTS:
        raise DataError(f"No weights are known as '{name}'; there are {list(WEIGHTS)}.")
    wanted = WEIGHTS[name]
    if path is not None and Path(path).is_file():
        _verify(Path(path), wanted)
        return Path(path)
    if path is not None and Path(path).suffix:
        raise _missing(wanted, [Path(path).parent], f" There is no file {path}.")
    folders = [Path(path)] if path is not None else search_folders()
    found = next((folder / wanted.file for folder in folders if (folder / wanted.file).is_file()), None)
    if found is None and not download:
        raise _missing(wanted, folders)
    found = found or _download(wanted, folders)
    _verify(found, wanted)
    return found


def search_folders() -> list[Path]:
    """Where weights are looked for, in order."""
    hub = Path(torch.hub.get_dir()) / "checkpoints"
    return [Path(os.environ[VARIABLE]), hub] if os.environ.get(VARIABLE) else [hub]


def _missing(wanted: WeightFile, folders: list[Path], reason: str = "") -> MissingFileError:
    hashed = f" (SHA-256 {wanted.sha256}...)" if wanted.sha256 else ""
    return MissingFileError(
        f"There is no {wanted.file}{hashed} in {', '.join(map(str, folders))}.{reason} Two ways out: get it from"
        f" {wanted.url} and put it there, or in a folder named by ${VARIABLE} (download=True does both); or use a"
        " feature extractor trained on your data: causalcf.metrics.FeatureNetwork."
    )


def _verify(path: Path, wanted: WeightFile) -> None:
    if not wanted.sha256:
        return
    with path.open("rb") as file:
        digest = sha256()
        while block := file.read(2**20):
            digest.update(block)
    if not digest.hexdigest().startswith(wanted.sha256):
        raise DataError(
            f"{path} is damaged or another file: its SHA-256 is {digest.hexdigest()[:16]}..., expected"
            f" {wanted.sha256[:16]}.... Delete it and get it from {wanted.url}."
        )


def _download(wanted: WeightFile, folders: list[Path]) -> Path:
    """Fetch into the first folder, through a partial file that a later call goes on with."""
    folders[0].mkdir(parents=True, exist_ok=True)
    target, partial = folders[0] / wanted.file, folders[0] / f"{wanted.file}.part"
    have = partial.stat().st_size if partial.is_file() else 0
    request = urllib.request.Request(wanted.url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            start = have if answer.status == 206 else 0
            with partial.open("r+b" if start else "wb") as file:
                file.seek(start)
                shutil.copyfileobj(answer, file)
            length = answer.headers.get("Content-Length")
    except OSError as error:  # URLError is one
        raise _missing(wanted, folders, f" The download failed: {error}.") from error
    if length is not None and partial.stat().st_size != start + int(length):
        raise _missing(wanted, folders, " The download was cut short; call again to go on.")
    try:
        _verify(partial, wanted)
    except DataError:
        partial.unlink()
        raise
    return partial.replace(target)

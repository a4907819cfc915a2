"""`causalcf benchmark celeba`, end to end on a made-up folder of faces; what it says when something is missing."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image as Pillow

import causalcf as ccf
from causalcf import predictors
from causalcf.mechanisms import Recipe
from causalcf.predictors import Predictor

COLUMNS = ("Bald", "Eyeglasses", "Male", "No_Beard", "Smiling", "Young")
SPLIT = 60
"""Pictures in each of the three splits."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures whose stripes tell their attributes."""
    folder = tmp_path_factory.mktemp("celeba")
    (folder / "img_align_celeba").mkdir()
    draw = np.random.default_rng(0)
    has = draw.random((3 * SPLIT, len(COLUMNS))) < 0.5
    names = [f"{i + 1:06d}.jpg" for i in range(len(has))]
    for name, row in zip(names, has, strict=True):
        pixels = draw.integers(0, 60, (218, 178, 3))
        for k in np.flatnonzero(row):
            pixels[34 + 25 * k : 59 + 25 * k, :, k % 3] += 180
        Pillow.fromarray(pixels.astype(np.uint8)).save(folder / "img_align_celeba" / name)
    signs = [" ".join("1" if value else "-1" for value in row) for row in has]
    lines = [f"{name} {row}" for name, row in zip(names, signs, strict=True)]
    (folder / "list_attr_celeba.txt").write_text("\n".join([str(len(has)), " ".join(COLUMNS), *lines, ""]))
    partition = "".join(f"{name} {i // SPLIT}\n" for i, name in enumerate(names))
    (folder / "list_eval_partition.txt").write_text(partition)
    return folder


@pytest.fixture(scope="module", autouse=True)
def _nothing_of_this_machine() -> Iterator[None]:
    """No weights and no data are found but those that are named."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CAUSALCF_WEIGHTS", raising=False)
        patch.delenv("CAUSALCF_DATA", raising=False)
        yield


def _judges(data: ccf.datasets.CelebA, name: str, folder: Path) -> None:
    folder.mkdir()
    image: Any = data.variables["image"]
    for node in data.graph.parents("image"):
        judge = Predictor(node, data.variables[node], image, widths=(4, 8), hidden=8)
        predictors.fit(judge, data, recipe=Recipe(epochs=1, batch_size=32), progress=False, name=name)
        judge.save(folder / f"{name}.{node}.safetensors")


def _candidate(data: ccf.datasets.CelebA, name: str, vae: ccf.mechanisms.VAE, folder: Path) -> list[object]:
    """The option that names a tiny model: by its file on the simple graph, by its code on the other."""
    if name == "celeba":
        scm = ccf.SCM(data.graph, mechanisms={"image": vae})
        scm.fit(data, seed=0, progress=False).save(folder / "tiny.safetensors")
        return ["--model", folder / "tiny.safetensors"]
    code = (
        "import causalcf as ccf",
        "recipe = ccf.mechanisms.Recipe(epochs=1)",
        "mechanism = ccf.mechanisms.VAE(latent=2, widths=(8, 8, 8), recipe=recipe)",
    )
    (folder / "tiny.py").write_text("\n".join(code))
    return ["--mechanism", folder / "tiny.py"]


class Made(NamedTuple):
    """A benchmark that was made from a folder of faces."""

    graph: str
    attributes: set[str]
    out: Path
    said: str


@pytest.fixture(scope="module", params=["celeba", "celeba-complex"])
def made(request: Any, root: Path, run: Any, tmp_path_factory: pytest.TempPathFactory) -> Made:
    graph, folder = request.param, tmp_path_factory.mktemp(request.param)
    data = ccf.datasets.CelebA(root, "train", graph=graph)
    _judges(data, graph, folder / "judges")
    vae = ccf.mechanisms.VAE(latent=2, widths=(8, 8, 8), recipe=Recipe(epochs=1))
    asked = _candidate(data, graph, vae, folder)
    space = ccf.SCM("celeba-image", mechanisms={"image": vae})
    space.fit({"image": data["image"]}, seed=0, progress=False).save(folder / "latents.safetensors")
    asked += ["--latents", folder / "latents.safetensors", "--predictors", folder / "judges", "--root", root]
    code, out, err = run("benchmark", "celeba", "--graph", graph, "--out", folder / "out", "--n", 0, *asked)
    assert code == 0, out + err
    return Made(graph, set(data.graph.parents("image")), folder / "out", out + err)


def test_the_page_is_named(made: Made) -> None:
    assert str(made.out / "index.html") in made.said


def test_every_attribute_is_acted_on(made: Made) -> None:
    with (made.out / "results.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    for metric in ("effectiveness (F1)", "cld", "reversibility"):
        assert {line["do"] for line in lines if line["metric"] == metric} == made.attributes, metric
    assert {line["metric"].split("[")[0] for line in lines} >= {"fid", "sample fid", "composition(10)", "log density"}


@pytest.mark.parametrize("name", ["index.html", "summary.md"])
def test_page_and_summary_say_what_is_published_and_what_is_missing(made: Made, name: str) -> None:
    text = (made.out / name).read_text(encoding="utf-8")
    assert ("HVAE, fine-tuned (published)" in text) == (made.graph == "celeba")
    assert "truth error of tiny is not there: needs data whose true counterfactuals are known" in text
    assert "LPIPS is left out" in text
    assert all(f"{node}: F1" in text for node in made.attributes)


def test_what_is_not_there_is_said(root: Path, run: Any, tmp_path: Path) -> None:
    for words, reason in {
        (): "no reference models of celeba. Fit one, causalcf fit celeba --data celeba",
        ("--model", "none.safetensors"): "CelebA: no folder given. Pass root=",
        ("--model", "none.safetensors", "--root", tmp_path): "CelebA needs list_attr_celeba.txt",
        ("--model", "none.safetensors", "--root", root): "no judge predictors of 'celeba'",
        ("--model", "x.safetensors", "--graph", "faces"): "--graph faces: choose celeba or celeba-complex",
        ("--mechanism", tmp_path / "mine.py", "--root", root): "There is no file",
        ("--model", "morphomnist-vae", "--retrain", "other"): "there are no models ['other']",
    }.items():
        code, out, err = run("benchmark", "celeba", "--out", tmp_path / "out", *words)
        said = out + err
        assert code == 2, said
        assert reason in said
        assert len(said.strip().splitlines()) == 1, said

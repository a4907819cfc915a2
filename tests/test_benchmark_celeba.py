"""`causalcf benchmark celeba`, end to end on a made-up folder of faces; what it says when something is missing."""

import csv
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

import causalcf as ccf
from causalcf import cli, predictors
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


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.delenv("CAUSALCF_WEIGHTS", raising=False)
    monkeypatch.delenv("CAUSALCF_DATA", raising=False)

    def call(*words: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["causalcf", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        printed = capsys.readouterr()
        return left.value.code or 0, printed.out + printed.err  # type: ignore[return-value]

    return call


def _judges(data: ccf.datasets.CelebA, name: str, folder: Path) -> None:
    folder.mkdir()
    image: Any = data.variables["image"]
    for node in data.graph.parents("image"):
        judge = Predictor(node, data.variables[node], image, widths=(4, 8), hidden=8)
        predictors.fit(judge, data, recipe=Recipe(epochs=1, batch_size=32), progress=False, name=name)
        judge.save(folder / f"{name}.{node}.safetensors")


@pytest.mark.parametrize("graph", ["celeba", "celeba-complex"])
def test_from_a_folder_of_faces_to_the_page(graph: str, root: Path, run: Any, tmp_path: Path) -> None:
    data = ccf.datasets.CelebA(root, "train", graph=graph)
    _judges(data, graph, tmp_path / "judges")
    vae = ccf.mechanisms.VAE(latent=2, widths=(8, 8, 8), recipe=Recipe(epochs=1))
    if graph == "celeba":
        ccf.SCM(data.graph, mechanisms={"image": vae}).fit(data, seed=0, progress=False).save(
            tmp_path / "tiny.safetensors"
        )
        asked: list[object] = ["--model", tmp_path / "tiny.safetensors"]
    else:
        code = (
            "import causalcf as ccf",
            "recipe = ccf.mechanisms.Recipe(epochs=1)",
            "mechanism = ccf.mechanisms.VAE(latent=2, widths=(8, 8, 8), recipe=recipe)",
        )
        (tmp_path / "tiny.py").write_text("\n".join(code))
        asked = ["--mechanism", tmp_path / "tiny.py"]
    space = ccf.SCM("celeba-image", mechanisms={"image": vae})
    space.fit({"image": data["image"]}, seed=0, progress=False).save(tmp_path / "latents.safetensors")
    asked += ["--latents", tmp_path / "latents.safetensors", "--predictors", tmp_path / "judges", "--root", root]
    out = tmp_path / "out"
    code, said = run("benchmark", "celeba", "--graph", graph, "--out", out, "--n", 0, *asked)
    assert code == 0, said
    assert str(out / "index.html") in said
    with (out / "results.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    attributes = set(data.graph.parents("image"))
    for metric in ("effectiveness (F1)", "cld", "reversibility"):
        assert {line["do"] for line in lines if line["metric"] == metric} == attributes, metric
    assert {line["metric"].split("[")[0] for line in lines} >= {"fid", "sample fid", "composition(10)", "log density"}
    page, summary = ((out / name).read_text(encoding="utf-8") for name in ("index.html", "summary.md"))
    for text in (page, summary):
        assert ("HVAE, fine-tuned (published)" in text) == (graph == "celeba")
        assert "truth error of tiny is not there: needs data whose true counterfactuals are known" in text
        assert "LPIPS is left out" in text
        assert all(f"{node}: F1" in text for node in attributes)


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
        code, said = run("benchmark", "celeba", "--out", tmp_path / "out", *words)
        assert code == 2, said
        assert reason in said
        assert len(said.strip().splitlines()) == 1, said

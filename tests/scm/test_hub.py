"""Models are shared with a card, and come back as they were; what is downloaded decides nothing about what runs."""

import json

import pytest
import torch
from hub import served

import causalcf as ccf
from causalcf.core.checkpoint import read_file, write_file
from causalcf.evaluation.records import Record, Records
from causalcf.queries.examples import linear
from causalcf.scm.hub import card

pytest.importorskip("huggingface_hub", reason="needs huggingface_hub: pip install 'causalcf[hub]'")

RECORD = Record(
    "truth_error", "x", "y", 0.1234, 0.1, 0.15, "mm", "lower", 0.0, 2.5, None, 100, 7, "cpu", 1.0, "mean", ""
)  # fmt: skip


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """What a Hub on this machine keeps."""
    from huggingface_hub import constants

    with served() as (address, kept):
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
        monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        yield kept


def test_a_model_comes_back_as_it_was(hub):
    scm = linear()
    url = scm.push_to_hub("ada/line", scores=Records((RECORD,)), about="A line.", license="mit")
    assert url.endswith("/ada/line")
    assert {name.removeprefix("ada/line/") for name in hub} == {
        "model.safetensors",
        "graph.json",
        "scores.json",
        "README.md",
    }
    back = ccf.pretrained("ada/line")
    x = {"x": [0.0, 1.0], "m": [1.0, 1.0], "y": [2.0, 0.0]}
    assert torch.equal(back.counterfactual(x, {"x": 3.0})["y"], scm.counterfactual(x, {"x": 3.0})["y"])
    assert json.loads(hub["ada/line/scores.json"])["records"][0]["value"] == 0.1234
    assert ccf.CausalGraph.from_json(json.loads(hub["ada/line/graph.json"])).edges == scm.graph.edges


def test_the_card_says_what_the_model_is_and_how_it_scored():
    scm = linear()
    made = {"command": "causalcf fit a|b", "seed": 3, "versions": {"torch": "2"}}
    text = card("ada/line", scm.graph, scm.mechanisms, made, [RECORD], "It is a line.", "mit")
    assert text.startswith("---\nlibrary_name: causalcf\n")
    assert "license: mit" in text
    for line in (
        "# line",
        "It is a line.",
        'ccf.pretrained("ada/line")',
        "| y | Real | x, m | LinearGaussian |",
        "| command | causalcf fit a\\|b |",
        "| truth_error | x | y | 1 | 0.123 (0.1 to 0.15) | 0 | 2.5 |  | mm | lower | 100 |",
    ):
        assert line in text
    assert "was not scored" in card("ada/line", scm.graph, scm.mechanisms, {}, [], "", "")


def test_a_download_that_names_code_is_refused(hub, tmp_path):
    scm = linear()
    scm.save(tmp_path / "model.safetensors")
    header, tensors = read_file(tmp_path / "model.safetensors")
    for kind, words in (
        ("os.system", "os.system of 'y' holds code"),
        ("Deterministic", "Deterministic of 'y' holds code"),
    ):
        header["mechanisms"]["y"]["type"] = kind
        write_file(tmp_path / "wrong.safetensors", header, tensors)
        hub[f"eve/{kind}/model.safetensors"] = (tmp_path / "wrong.safetensors").read_bytes()
        with pytest.raises(ccf.errors.CheckpointError, match=words):
            ccf.pretrained(f"eve/{kind}")
    hub["eve/junk/model.safetensors"] = b"import os"
    with pytest.raises(ccf.errors.CheckpointError, match="damaged or not a safetensors file"):
        ccf.pretrained("eve/junk")


def test_what_is_not_there_is_said(hub, monkeypatch):
    with pytest.raises(ccf.errors.MissingFileError, match=r"ada/none has no model.safetensors that can be read"):
        ccf.pretrained("ada/none")
    for name in ("../secret", "a/b/c", "a b/c", "/a"):
        with pytest.raises(ccf.errors.DataError, match="no name of a repository"):
            ccf.pretrained(name)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ccf.errors.FileError, match=r"ada/line cannot be written: .*Log in"):
        linear().push_to_hub("ada/line")
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(ccf.errors.MissingFileError, match=r"pip install 'causalcf\[hub\]'"):
        ccf.pretrained("ada/line")

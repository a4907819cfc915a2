"""`causalcf counterfactual --rows all`: every row, in shards."""

import json

import torch

import causalcf as ccf
from causalcf.datasets import from_shards


def test_all_rows_of_a_table_with_what_names_them(run, fitted, table, tmp_path):
    named, out = tmp_path / "named.csv", tmp_path / "answers"
    header, *lines = table.read_text().splitlines()
    named.write_text("\n".join([f"{header},person", *(f"{line},p{i}" for i, line in enumerate(lines))]) + "\n")
    asked = ["--do", "x+=1", "--do", "c=red", "--rows", "all", "--out", out]
    code, said, err = run("counterfactual", fitted[0], "--data", named, *asked)
    assert (code, said, err) == (0, f"{out}\n", "")
    found = from_shards(out, world=0)
    scm = ccf.SCM.load(fitted[0])
    expected = scm.counterfactual(ccf.data.read_csv(table, scm.variables), {"x": ccf.shift(1)}, seed=0)
    for node in scm.graph.nodes:
        torch.testing.assert_close(found[node], expected[node])
    assert found.labels.tolist() == [f"p{i}" for i in range(60)]
    record = json.loads((out / "manifest.json").read_text())["provenance"]
    assert (record["model"], record["do"]) == (str(fitted[0]), ["x+=1", "c=red"])


def test_images_as_bytes_in_blocks(run, model, tmp_path):
    asked = ["--do", "thickness=4", "--rows", "all", "--out", tmp_path, "--bytes", "--block", 50]
    assert run("counterfactual", model, "--data", "digits", *asked)[0] == 0
    found, x = from_shards(tmp_path), ccf.datasets.Digits("test")
    assert found.rows == x.rows
    expected = ccf.SCM.load(model).counterfactual(x[100:103], {"thickness": 4.0}, seed=0)
    assert (found[100:103]["image"] - expected["image"]).abs().max() <= 0.5001 / 255


def test_options_that_do_not_go_together_are_refused(run, model, tmp_path):
    asked = ("counterfactual", model, "--data", "digits", "--do", "thickness=4", "--out", tmp_path / "no")
    for options in (["--rows", "all", "--truth"], ["--block", 5], ["--rows", 3, "--bytes"]):
        code, _, err = run(*asked, *options)
        assert code == 2
        assert "does not go with --rows" in err
    assert not (tmp_path / "no").exists()

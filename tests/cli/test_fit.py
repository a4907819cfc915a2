"""`causalcf fit`: a table, the digits, a killed run, and the options of training."""

from cli.files import provenance_of

import causalcf as ccf


def test_fit_on_a_table_says_what_it_learned(fitted):
    file, out = fitted
    assert "LinearGaussian" in out
    assert "solved" in out
    assert not file.with_suffix(".checkpoint").exists()


def test_a_fitted_model_knows_where_it_comes_from(fitted, table):
    file, _ = fitted
    scm = ccf.SCM.load(file)
    assert scm.provenance["seed"] == 3
    assert scm.provenance["data"] == str(table)
    assert scm.provenance["command"].startswith("causalcf fit ")
    assert provenance_of(file.with_suffix(".png"))["seed"] == 3


def test_fit_on_digits(run, tmp_path):
    file = tmp_path / "digits.safetensors"
    options = [
        "--mechanism",
        "image=VAE(latent=4, widths=(8,8,8))",
        "--rows",
        "60",
        "--half",
        "image",
        "--threads",
        "1",
    ]
    epochs = [word for node in ("thickness", "intensity", "image") for word in ("--epochs", f"{node}=1")]
    code, out, _ = run("fit", "morphomnist", "--data", "digits", "--out", file, "--quiet", *options, *epochs)
    assert code == 0
    assert out.splitlines()[-2:] == [str(file.with_suffix(".png")), str(file)]
    scm = ccf.SCM.load(file)
    assert scm.mechanisms["image"].latent == 4
    assert scm.provenance["rows"] == 54  # a tenth validates
    assert file.stat().st_size < 300_000


def test_a_killed_fit_resumes_only_when_told(run, table, tmp_path):
    graph, file = tmp_path / "graph.json", tmp_path / "m.safetensors"
    ccf.CausalGraph([("x", "y")], {"x": ccf.Real(), "y": ccf.Real()}).save(graph)
    data = tmp_path / "xy.csv"
    data.write_text("\n".join(",".join(line.split(",")[:2]) for line in table.read_text().splitlines()))
    arguments = ["fit", graph, "--data", data, "--out", file, "--quiet", "--epochs", "1"]
    file.with_suffix(".checkpoint").write_bytes(b"not a checkpoint")
    code, _, err = run(*arguments)
    assert code == 2
    assert "exists already" in err
    code, _, err = run(*arguments, "--resume")
    assert code == 2
    assert "is damaged" in err


def test_epochs_that_are_no_number_are_refused(run, tmp_path):
    code, _, err = run(
        "fit", "chain", "--data", "digits", "--out", tmp_path / "m.safetensors", "--epochs", "image=many"
    )
    assert code == 2
    assert "--epochs image=many: expected a number, or node=number" in err


def test_a_csv_with_gaps_is_learned_from_when_asked(run, tmp_path):
    data, out, graph = (tmp_path / name for name in ("gaps.csv", "gaps.safetensors", "graph.json"))
    kinds = ["old" if i % 3 == 0 else "new" for i in range(240)]
    lines = [f"{'' if i % 4 == 0 else kind},{5 * (kind == 'new') + i * 37 % 100 / 50}" for i, kind in enumerate(kinds)]
    data.write_text("\n".join(["kind,price", *lines]))
    ccf.CausalGraph([("kind", "price")]).save(graph)
    asked = ["fit", graph, "--data", data, "--out", out, "--epochs", "1", "--quiet"]
    code, _, err = run(*asked)
    assert code == 2
    assert "'kind' has no value in 60 of 240 rows" in err
    code, _, err = run(*asked, "--gaps", "model")
    assert code == 0, err
    assert ccf.SCM.load(out).provenance["gaps"] == {"kind": 60}

"""What cannot be done ends with exit code 2 and one line that says why."""

import subprocess
import sys
from pathlib import Path

import pytest

FITTED = ["--data", "nowhere.csv", "--out", "m.safetensors"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["graphs", "nowhere"], "There is no graph 'nowhere'"),
        (["graphs", "chain", "--out", "chain.pdf"], "choose a name that ends in .png or .svg"),
        (["graphs", "chain", "--out", "chain.png", "--do", "sleep"], "The graph has no node 'sleep'"),
        (["graphs", "--out", "q.png"], "--out: which graph? Name one"),
        (["graphs", "chain", "--do", "x"], "--do: the graph is drawn after acting, to a file"),
        (["fit", "chain", *FITTED, "--rows", "-5"], "Invalid value for '--rows'"),
        (["fit", "chain", *FITTED, "--threads", "0"], "Invalid value for '--threads'"),
        (["fit", "chain", *FITTED, "--device", "foo"], "--device foo: this machine has no such device"),
        (["fit", "chain", *FITTED, "--device", "cuda:99"], "--device cuda:99: this machine has no such device"),
        (["fit", "chain", *FITTED, "--half", "image"], "The graph has no node 'image'"),
        (["fit", "chain", *FITTED, "--root", "nowhere"], "--root nowhere: nowhere.csv is a file by itself"),
        (["predictors", "x.csv", "--out", "judges"], "x.csv: a CSV file has no images"),
        (["predictors", "digits", "--out", "judges", "--epochs", "-1"], "Invalid value for '--epochs'"),
        (
            ["benchmark", "morphomnist", "--model", "a/vae.safetensors", "--model", "b/vae.safetensors"],
            "--model: 'vae' is given twice",
        ),
        (["fit", "chain"], "causalcf fit: Missing option '--data'. Try: causalcf fit --help"),
        (["fit", "chain", "--data", "x.csv", "--out", "m.pt"], "a model file ends in .safetensors"),
        (["fit", "chain", "--data", "nowhere.csv", "--out", "m.safetensors"], "There is no file nowhere.csv"),
        (
            ["fit", "chain", "--data", "coins", "--out", "m.safetensors"],
            "There is no data set 'coins'. Known: ['digits'",
        ),
        (["counterfactual", "nothing", "--data", "digits", "--do", "x=1"], "There is no reference model 'nothing'"),
        (["counterfactual", "no.safetensors", "--data", "digits", "--do", "x=1"], "There is no checkpoint at"),
        (["demo", "--epochs", "many"], "Invalid value for '--epochs'"),
        (["sing"], "No such command 'sing'"),
        (["data", "morphomnist", "--mnist", "nowhere", "--out", "new"], "MNIST needs train-images-idx3-ubyte"),
    ],
)
def test_bad_input_ends_with_one_line_and_code_2(run, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*arguments)
    assert code == 2
    assert not out
    assert err.count("\n") == 1
    assert err.startswith("causalcf")
    assert message in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--do", ""], "An action is empty. Write node=4"),
        (["--do", "thicknes=4"], "do names ['thicknes'], neither nodes"),
        (["--do", "digit=eleven"], "'digit' has no category 'eleven'"),
        (["--do", "digit+=1"], "cannot be shifted or scaled"),
        (["--do", "thickness=-1"], "'thickness' must be above 0"),
        (["--do", "intensity+=900"], 'pass out_of_support="clip"'),
        (["--do", "thickness=4", "--rows", "x"], "--rows x: expected a number, or start:stop"),
        (["--do", "thickness=4", "--rows", "5:5"], "The data have no rows"),
        (["--do", "thickness=4", "--split", "valid"], "There is no split 'valid'"),
        (["--do", "thickness=4", "--num-samples", "3"], "nothing in this query is random"),
        (["--do", "thickness=4", "--abduction", "best"], 'abduction must be "mean" or "sample"'),
    ],
)
def test_a_bad_question_ends_with_one_line(run, model, tmp_path, arguments, message):
    code, out, err = run("counterfactual", model, "--data", "digits", "--out", tmp_path / "cf", *arguments)
    assert code == 2
    assert not out
    assert err.count("\n") == 1
    assert message in err
    assert not (tmp_path / "cf").exists()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("image", "expected node=Name"),
        ("image=VAE(", "expected node=Name"),
        ("image=Diffuser", "there is no mechanism 'Diffuser'. Known: ['Flow'"),
        ("image=VAE(**{'latent': 3})", "expected node=Name"),
        ("image=VAE(depth=3)", "unexpected keyword argument 'depth'"),
        ("image=VAE.preset('32')", "VAE has no preset '32'"),
        ("image=HVAE.preset('128')", "HVAE has no preset '128'"),
        ("image=HVAE.build()", "HVAE has no 'build'"),
        ("picture=VAE", "Mechanisms are given for ['picture']"),
    ],
)
def test_a_bad_mechanism_ends_with_one_line(run, tmp_path, option, message):
    code, _, err = run(
        "fit", "morphomnist", "--data", "digits", "--out", tmp_path / "m.safetensors", "--mechanism", option
    )
    assert code == 2
    assert err.count("\n") == 1
    assert message in err


def test_the_shell_sees_code_2_and_one_line():
    program = Path(sys.executable).with_name("causalcf")
    done = subprocess.run([program, "graphs", "nowhere"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("causalcf: There is no graph 'nowhere'")


@pytest.mark.parametrize(("arguments", "code"), [(["--version"], 0), (["graphs"], 0), (["graphs", "nowhere"], 2)])
def test_python_m_causalcf_is_the_command(arguments, code):
    commands = [[Path(sys.executable).with_name("causalcf")], [sys.executable, "-m", "causalcf"]]
    installed, module = (
        subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=60, check=False)
        for command in commands
    )
    assert (module.returncode, module.stdout, module.stderr) == (code, installed.stdout, installed.stderr)

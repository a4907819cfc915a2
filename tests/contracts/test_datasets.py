"""What every data set owes, driven by the catalogue: a new one inherits the suite by adding a row.

Data sets that are read from files read small ones here, in the layout of the real ones.
"""

import gzip
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from sklearn.datasets import load_digits

import causalcf as ccf
from causalcf.core.errors import DataError, InterventionError, MissingFileError
from causalcf.data import Batch
from causalcf.datasets import DATASETS, Dataset, load
from causalcf.datasets.digits import enlarge
from causalcf.datasets.idx import idx_bytes, write_atomically
from causalcf.graph import CausalGraph, load_graph
from causalcf.predictors import planned, pretrained
from causalcf.scm.residual import Fading, read_residual

TEN = slice(0, 10)


@dataclass(frozen=True)
class Row:
    """How a data set is had for the tests.

    Args:
        write: Writes its files into a folder; None for what is drawn.
        redrawn: How far the true images of doing nothing may be from the stored ones, in grey levels.
        says: What the error of a missing file names: the file, and how to get it.
        options: What differs from the catalogue, so that few rows are drawn.
    """

    write: Callable[[Path], object] | None = None
    redrawn: float = 0.0
    says: tuple[str, str] = ("", "")
    options: Mapping[str, Any] = field(default_factory=dict)


def write_mnist(root: Path) -> None:
    """24 digits for training and 12 for the test."""
    pixels, labels = load_digits(return_X_y=True)
    (root / "mnist").mkdir(parents=True, exist_ok=True)
    for prefix, rows in (("train", slice(24)), ("t10k", slice(24, 36))):
        images = root / "mnist" / f"{prefix}-images-idx3-ubyte.gz"
        files = {images: idx_bytes(enlarge(pixels[rows].reshape(-1, 8, 8)))}
        write_atomically(
            files | {Path(str(images).replace("images-idx3", "labels-idx1")): idx_bytes(labels[rows].astype(np.uint8))}
        )


def write_morphomnist(root: Path) -> None:
    write_mnist(root)
    ccf.datasets.make_morphomnist(root / "mnist", root / "morphomnist", mode="fast", progress=False)


def write_celeba(root: Path) -> None:
    """Twelve pictures in grey, each with its own attributes."""
    columns = ["Bald", "Eyeglasses", "Male", "No_Beard", "Smiling", "Young"]
    folder = root / "celeba" / "img_align_celeba"
    folder.mkdir(parents=True)
    names = [f"{i:06d}.jpg" for i in range(12)]
    for i, name in enumerate(names):
        Pillow.fromarray(np.full((218, 178, 3), 20 * i, np.uint8)).save(folder / name)
    rows = [" ".join([name, *("1" if (i >> k) % 2 else "-1" for k in range(6))]) for i, name in enumerate(names)]
    (folder.parent / "list_attr_celeba.txt").write_text("\n".join(["12", " ".join(columns), *rows, ""]))
    (folder.parent / "list_eval_partition.txt").write_text(
        "".join(f"{n} {0 if i < 10 else 2}\n" for i, n in enumerate(names))
    )


def write_adult(root: Path) -> None:
    """Sixty people."""
    header = "age,workclass,fnlwgt,education,education-num,marital-status,occupation,relationship,race,sex,"
    header += "capital-gain,capital-loss,hours-per-week,native-country,class\n"
    line = "{age},Private,7,HS-grad,9,Divorced,Sales,Unmarried,White,{sex},0,0,40,Cuba,{income}\n"
    rows = [
        line.format(age=20 + i, sex=("Male", "Female")[i % 2], income=("<=50K", ">50K")[i % 3 > 1]) for i in range(60)
    ]
    (root / "adult").mkdir()
    with gzip.open(root / "adult" / "adult.csv.gz", "wt") as file:
        file.write(header + "".join(rows))


ROWS: dict[str, Row] = {
    "digits": Row(),
    "morphomnist": Row(write_morphomnist, redrawn=0.51, says=("train-images-idx3-ubyte", "causalcf data morphomnist")),
    "mnist": Row(write_mnist, says=("train-images-idx3-ubyte", "https://")),
    "faces": Row(options={"rows": 24}),
    "celeba": Row(write_celeba, says=("list_attr_celeba.txt", "https://")),
    "celeba-complex": Row(write_celeba, says=("list_attr_celeba.txt", "https://")),
    "adult": Row(write_adult, says=("adult.csv", "https://")),
    "bars": Row(),
}

every_dataset = pytest.mark.parametrize("name", DATASETS)
with_files = pytest.mark.parametrize("name", [name for name, source in DATASETS.items() if not source.drawn])
with_truth = pytest.mark.parametrize("name", [name for name, source in DATASETS.items() if source.truth])


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a data set's files, written once."""

    @cache
    def written(write: Callable[[Path], object] | None) -> Path:
        root = tmp_path_factory.mktemp("data")
        if write is not None:
            write(root)
        return root

    return lambda name: written(ROWS[name].write)


def load_few(name: str, root: Path, split: str) -> Any:
    """A data set by its name, with the few rows that its row here asks for."""
    source = DATASETS[name]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DATASETS, name, replace(source, options={**source.options, **ROWS[name].options}))
        return load(name, root, split)


@pytest.fixture(scope="session")
def data(folder: Callable[[str], Path]) -> Callable[..., Any]:
    """A split of a data set, read once."""
    return cache(lambda name, split="train": load_few(name, folder(name), split))


def acted(x: Batch, graph: CausalGraph, node: str) -> torch.Tensor:
    """Other values of a node, those of other rows: all possible."""
    return x[node].roll(1)


def test_every_data_set_has_its_row() -> None:
    assert set(ROWS) == set(DATASETS)


@every_dataset
def test_it_is_as_its_row_says(name: str, data: Callable[..., Any]) -> None:
    source, x = DATASETS[name], data(name)
    assert isinstance(x, Dataset)
    assert type(x).__name__ == source.name
    assert getattr(ccf.datasets, source.name) is type(x)
    assert not source.graph or x.graph == load_graph(source.graph)
    images = [node for node, variable in x.variables.items() if isinstance(variable, ccf.Image)]
    assert images == ([source.image] if source.image else [])
    assert bool(source.truth) == hasattr(x, "truth"), "whether the truth is known"
    assert source.title
    assert len(source.residuals) > 0


@every_dataset
def test_its_columns_fit_the_variables_of_its_graph(name: str, data: Callable[..., Any]) -> None:
    for split in ("train", "test"):
        x = data(name, split)
        assert x.rows > 0
        assert set(x) == set(x.graph.nodes)
        for node, variable in x.variables.items():
            assert x[node].shape == (x.rows, *variable.event_shape)
            variable.check(node, x[node])


@every_dataset
def test_rows_of_it_are_batches_that_know_where_they_stood(name: str, data: Callable[..., Any]) -> None:
    x = data(name)
    for key, expected in ((slice(2, 5), [2, 3, 4]), ([3, 1], [3, 1]), (torch.tensor([0]), [0])):
        rows = x[key]
        assert type(rows) is Batch
        assert rows.index.tolist() == expected
        for node in x:
            assert torch.equal(rows[node], x[node][expected])


@every_dataset
def test_it_is_the_same_every_time_and_its_splits_differ(
    name: str, data: Callable[..., Any], folder: Callable[[str], Path]
) -> None:
    x, again, other = data(name), load_few(name, folder(name), "train"), data(name, "test")
    assert all(torch.equal(x[node], again[node]) for node in x)
    assert x.rows != other.rows or any(not torch.equal(x[node], other[node]) for node in x)
    with pytest.raises(DataError, match=r"There is no split 'sixth'. Choose one of"):
        load(name, folder(name), "sixth")


@every_dataset
def test_its_judges_can_be_made(name: str, data: Callable[..., Any]) -> None:
    x, source = data(name), DATASETS[name]
    if not source.image:
        assert not source.judges
        return
    made = {judge.target: judge for judge in planned(name, x.graph)}
    assert set(made) == set(source.judges or x.graph.parents(source.image))
    for node, options in source.judges.items():
        assert set(made[node].given) == set(options.get("given", ()))
        for setting, value in options.get("recipe", {}).items():
            assert getattr(made[node].recipe, setting) == value


@pytest.mark.parametrize(
    ("name", "target", "epochs", "batch_size", "ema"),
    [
        ("morphomnist", "digit", 14, 128, 0.998),
        ("morphomnist", "thickness", 14, 128, 0.998),
        ("morphomnist", "intensity", 14, 64, 0.999),
        ("mnist", "digit", 16, 128, 0.998),
    ],
)
def test_judges_are_set_up_as_those_that_come_along(
    name: str, target: str, epochs: int, batch_size: int, ema: float
) -> None:
    """The training that reached the accuracies of the cards in `pretrained/predictors/`, and the same layers."""
    (judge,) = planned(name, load_graph(name), [target])
    recipe = judge.recipe or judge.default_recipe
    assert (recipe.epochs, recipe.batch_size, recipe.ema) == (epochs, batch_size, ema)
    shipped = pretrained(name)[target]
    assert (judge.name, judge.jitter) == (shipped.name, shipped.jitter)
    assert {k: v.shape for k, v in judge.state_dict().items()} == {k: v.shape for k, v in shipped.state_dict().items()}


@every_dataset
def test_its_residuals_can_be_read(name: str, data: Callable[..., Any]) -> None:
    from causalcf.cli.parse import parse_residual

    for text in DATASETS[name].residuals:
        residual = read_residual(parse_residual(text))
        named = dict(residual.lengths) if isinstance(residual, Fading) else {}
        assert named.keys() <= set(data(name).graph.nodes)


@with_files
def test_a_missing_file_is_named_with_the_remedy(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, remedy = ROWS[name].says
    with pytest.raises(MissingFileError) as info:
        load(name, tmp_path)
    for words in (file, remedy, str(tmp_path)):
        assert words in str(info.value)
    monkeypatch.delenv("CAUSALCF_DATA", raising=False)
    with pytest.raises(MissingFileError, match=r"no folder given. Pass root=.*CAUSALCF_DATA"):
        load(name)


# ---------------------------------------------------------------------- the truth


@with_truth
def test_doing_nothing_changes_nothing(name: str, data: Callable[..., Any]) -> None:
    x = data(name, "test")
    truth = x.truth(x[TEN], {})
    assert truth.index.tolist() == list(range(10))
    for node, value in truth.items():
        scale = 255 if node == DATASETS[name].image else 1
        assert scale * (value.double() - x[TEN][node].double()).abs().max() <= ROWS[name].redrawn, node


@with_truth
def test_acting_with_the_observed_values_changes_nothing(name: str, data: Callable[..., Any]) -> None:
    x = data(name, "test")
    nothing = x.truth(x[TEN], {})
    for node in DATASETS[name].truth:
        truth = x.truth(x[TEN], {node: x[TEN][node]})
        for each in nothing:
            torch.testing.assert_close(truth[each], nothing[each])


@with_truth
def test_an_action_sets_its_node_and_leaves_non_descendants(name: str, data: Callable[..., Any]) -> None:
    x = data(name, "test")
    for node in DATASETS[name].truth:
        values = acted(x[TEN], x.graph, node)
        truth = x.truth(x[TEN], {node: values})
        assert torch.equal(truth[node], values.to(truth[node].dtype))
        for other in set(truth) - {node, *x.graph.descendants([node])}:
            assert torch.equal(truth[other], x[TEN][other]), f"do({node}) changed {other}"
        moved = (values != x[TEN][node]).nonzero()[:, 0]
        if image := DATASETS[name].image:
            shown = (truth[image][moved] != x[TEN][image][moved]).flatten(1).any(1)
            assert shown.all(), f"the image shows do({node})"
        for each, variable in x.variables.items():
            variable.check(each, truth[each])


@with_truth
def test_the_truth_of_a_row_depends_on_no_other_row(name: str, data: Callable[..., Any]) -> None:
    x = data(name, "test")
    node = DATASETS[name].truth[0]
    whole = x.truth(x[TEN], {node: acted(x[TEN], x.graph, node)})
    order = torch.tensor([7, 2])
    some = x.truth(x[order], {node: acted(x[TEN], x.graph, node)[order]})
    assert some.index.tolist() == order.tolist()
    assert all(torch.equal(some[each], whole[each][order]) for each in whole)


@with_truth
def test_a_truth_that_is_not_known_is_refused(name: str, data: Callable[..., Any]) -> None:
    x = data(name, "test")
    for node in set(x.graph.nodes) - set(DATASETS[name].truth):
        with pytest.raises(InterventionError, match=rf"do\({node}\)"):
            x.truth(x[TEN], {node: x[TEN][node]})
    with pytest.raises(DataError):
        x.truth(dict(x[TEN]), {})


# ---------------------------------------------------------------------- the catalogue


def test_names_that_are_not_there() -> None:
    with pytest.raises(DataError, match=r"There is no data set 'coins'. Known: \['digits'"):
        load("coins")
    with pytest.raises(AttributeError, match=r"causalcf.datasets has no 'Coins'"):
        _ = ccf.datasets.Coins  # type: ignore[attr-defined]
    assert set(ccf.datasets.__all__) >= {source.name for source in DATASETS.values()}


def test_the_catalogue_is_read_without_what_it_lists() -> None:
    script = (
        "import sys; from causalcf.datasets import DATASETS; import causalcf.cli.options;"
        " print([name for name in ('skimage', 'sklearn', 'scipy', 'pandas', 'PIL') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr

"""Row labels are heeded at every door, and given back; tables of other libraries are taken or refused in a sentence."""

import copy
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch

import causalcf as ccf
from causalcf.core.errors import DataError
from causalcf.data import Batch, align, columns, read

PEOPLE = [f"p{i}" for i in range(40)]


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    x = np.random.default_rng(0).normal(size=40)
    return pd.DataFrame({"x": x, "y": 2 * x + np.sin(9 * x)}, index=pd.Index(PEOPLE, name="person"))


@pytest.fixture(scope="module")
def scm(frame: pd.DataFrame) -> ccf.SCM:
    linear = {name: ccf.mechanisms.LinearGaussian() for name in frame}
    return ccf.SCM([("x", "y")], mechanisms=linear).fit(frame, seed=0, progress=False)


@pytest.mark.parametrize(
    "wrap", [lambda s: s, ccf.shift, ccf.scale, lambda s: lambda _: s], ids=["set", "shift", "scale", "fn"]
)
def test_a_series_acts_on_the_rows_that_it_names(scm: ccf.SCM, frame: pd.DataFrame, wrap: object) -> None:
    rows = frame.sample(6, random_state=1)
    dose = rows["x"] + 1
    expected = scm.counterfactual(rows, do={"x": wrap(dose.to_numpy())})["x"]  # type: ignore[operator]
    for other in (dose, dose.sort_index(), (frame["x"] + 1).sort_values()):
        assert torch.equal(scm.counterfactual(rows, do={"x": wrap(other)})["x"], expected)  # type: ignore[operator]
    with pytest.raises(DataError, match=r"The labels of do\(x\) are not those of the rows: \[0, 1, 2, ...\] and"):
        scm.counterfactual(rows, do={"x": wrap(dose.reset_index(drop=True))})  # type: ignore[operator]


def test_a_series_serves_every_sample_of_its_unit(scm: ccf.SCM, frame: pd.DataFrame) -> None:
    rows = frame[:5]
    do = {"x": rows["x"].sort_values() + 1, "y": torch.distributions.Normal(0.0, 1.0)}
    cf = scm.counterfactual(rows, do=do, num_samples=3, seed=0)
    assert torch.allclose(cf["x"], torch.tensor(rows["x"].to_numpy() + 1, dtype=torch.float32).expand(3, 5))


def test_rows_without_labels_take_values_as_they_stand(scm: ccf.SCM, frame: pd.DataFrame) -> None:
    x = {name: frame[name].to_numpy()[:3] for name in frame}
    dose = pd.Series([1.0, 2.0, 3.0], index=["a", "b", "c"])
    assert scm.counterfactual(x, do={"x": dose})["x"].tolist() == [1.0, 2.0, 3.0]


def test_rows_without_labels_have_numbers(scm: ccf.SCM) -> None:
    rows = {"x": [0.0, 0.1, 0.2], "y": [1.0, 2.0, 3.0]}
    dose = pd.Series([3.0, 1.0, 2.0], index=[2, 0, 1])
    assert scm.counterfactual(rows, do={"x": dose})["x"].tolist() == [1.0, 2.0, 3.0]
    others = dose.set_axis([17, 4, 9])  # a part of another table
    assert scm.counterfactual(rows, do={"x": others})["x"].tolist() == [3.0, 1.0, 2.0]


def test_columns_of_a_mapping_are_put_in_one_order(frame: pd.DataFrame) -> None:
    mixed = {"x": frame["x"], "y": frame["y"].sample(frac=1, random_state=0)}
    batch = read(mixed, {"x": ccf.Real(), "y": ccf.Real()}, dtype=torch.float64)
    assert batch["y"].tolist() == frame["y"].tolist()
    assert batch.labels is not None
    assert batch.labels.equals(frame.index)
    with pytest.raises(DataError, match="The labels of 'y' are not those of 'x'"):
        columns({"x": frame["x"], "y": frame["y"].reset_index(drop=True)})


def test_a_label_that_is_there_twice_tells_nothing() -> None:
    twice = pd.Series([1.0, 2.0], index=["a", "a"])
    with pytest.raises(DataError, match="Give each row's label once"):
        align("dose", twice, pd.Index(["a", "b"]))
    assert align("dose", twice, pd.Index(["a", "a"])) is twice


def test_names_and_levels_of_the_index_come_back(scm: ccf.SCM, frame: pd.DataFrame) -> None:
    one = scm.counterfactual(frame[:3], do={"x": 1.0}).to_frame()
    assert one.index.equals(frame.index[:3])
    assert one.index.names == ["person"]
    visits = frame.set_index(pd.MultiIndex.from_product([["a", "b"], range(20)], names=["site", "visit"]))
    two = scm.counterfactual(visits[:4], do=[{"x": 1.0}, {"x": 2.0}]).to_frame()
    assert two.index.names == ["world", "site", "visit"]
    assert two.loc[1].index.equals(visits.index[:4])


def test_labels_are_selected_joined_copied_and_pickled_with_their_rows(frame: pd.DataFrame) -> None:
    batch = read(frame, {"x": ccf.Real(), "y": ccf.Real()})
    assert Batch.join(batch.blocks(7)).labels.equals(frame.index)  # type: ignore[union-attr]
    for rows in (slice(3, 5), [3, 4], torch.tensor([3, 4])):
        assert list(batch[rows].labels) == ["p3", "p4"]  # type: ignore[arg-type]
    for twin in (copy.deepcopy(batch), pickle.loads(pickle.dumps(batch))):
        assert twin.labels.equals(frame.index)


def test_read_only_values_act_without_a_warning(scm: ccf.SCM, frame: pd.DataFrame) -> None:
    frozen = frame["x"].to_numpy().copy()
    frozen.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for dose in (frozen, frame["x"], ccf.shift(frozen), pd.Series(frozen, frame.index).astype("Float64")):
            scm.counterfactual(frame, do={"x": dose})


def test_tables_of_other_libraries_give_their_columns(frame: pd.DataFrame) -> None:
    tables = [
        frame,
        frame.to_records(index=False),
        np.array([(1.0, 2.0)], dtype=[("x", float), ("y", float)]),
        frame.convert_dtypes(),
    ]
    for library in ("polars", "pyarrow"):
        module = pytest.importorskip(library)
        made = {name: frame[name].to_numpy() for name in frame}
        tables += (
            [module.DataFrame(made), module.DataFrame(made).lazy()] if library == "polars" else [module.table(made)]
        )
    for table in tables:
        batch = read(table, {"x": ccf.Real(), "y": ccf.Real()}, dtype=torch.float64)
        assert batch.rows in (1, 40)
        assert batch.rows == 1 or batch["x"].tolist() == frame["x"].tolist()


def test_what_is_no_table_is_refused_in_a_sentence(frame: pd.DataFrame) -> None:
    twice = pd.concat([frame, frame["x"]], axis=1)
    with pytest.raises(DataError, match=r"have the columns \['x'\] more than once"):
        columns(twice)
    for data in (frame["x"], frame.to_numpy(), [{"x": 1.0}], None, "x"):
        with pytest.raises(DataError, match="Expected a mapping of arrays or tensors, or a data frame, got"):
            columns(data)


@pytest.mark.parametrize("seed", [np.int64(1), np.uint8(1), np.random.default_rng(0).integers(5)])
def test_whole_numbers_of_numpy_are_seeds_and_counts(scm: ccf.SCM, frame: pd.DataFrame, seed: int) -> None:
    assert torch.equal(scm.sample(np.int64(3), seed=seed)["x"], scm.sample(3, seed=int(seed))["x"])
    do = {"x": torch.distributions.Normal(0.0, 1.0)}
    assert scm.counterfactual(frame[:2], do=do, num_samples=np.int64(4), seed=seed)["x"].shape == (4, 2)


@pytest.mark.parametrize("seed", [1.5, "1", True, [1]])
def test_what_is_no_seed_is_refused_in_a_line(scm: ccf.SCM, seed: object) -> None:
    with pytest.raises(ccf.CausalCFError, match=r"seed must be a whole number, a torch\.Generator or None, got"):
        scm.sample(3, seed=seed)  # type: ignore[arg-type]


def test_a_model_with_settings_of_numpy_can_be_saved(tmp_path: object, frame: pd.DataFrame) -> None:
    bounds = ccf.Interval(np.float64(-9), np.int64(9))
    flow = ccf.mechanisms.Flow(bins=np.int64(4), hidden=(np.int64(8),))
    scm = ccf.SCM([("x", "y")], {"x": bounds}, {"x": flow, "y": ccf.mechanisms.LinearGaussian()})
    scm.fit(frame, seed=np.int64(0), epochs=np.int64(1), validation=np.float32(0.2), progress=False)
    scm.save(tmp_path / "m.safetensors")  # type: ignore[operator]
    assert ccf.SCM.load(tmp_path / "m.safetensors").variables["x"] == ccf.Interval(-9.0, 9)  # type: ignore[operator]


def test_numbers_for_rows_or_for_components_are_told_apart() -> None:
    data = {"v": torch.randn(30, 3), "y": torch.randn(30)}
    scm = ccf.SCM([("v", "y")], {"v": ccf.Vector(3), "y": ccf.Real()}).fit(data, epochs=1, seed=0, progress=False)
    rows = {name: value[:3] for name, value in data.items()}
    with pytest.raises(
        DataError, match=r"could be one for each of 3 rows or one for each component. Give shape \(3, 1\)"
    ):
        scm.counterfactual(rows, do={"v": ccf.shift([1.0, 0.0, 0.0])})
    by_row = scm.counterfactual(rows, do={"v": ccf.shift([[1.0], [0.0], [0.0]])})["v"] - data["v"][:3]
    assert torch.allclose(by_row, torch.tensor([[1.0] * 3, [0.0] * 3, [0.0] * 3]), atol=1e-5)


def test_a_gap_that_no_answer_depends_on_stays_a_gap() -> None:
    nan = float("nan")
    flow = ccf.SCM(
        [("x", "y"), ("x", "z"), ("w", "y"), ("z", "i")], dict.fromkeys("xyzw", ccf.Real()) | {"i": ccf.Boolean()}
    )
    data = {name: torch.randn(60, generator=torch.Generator().manual_seed(0)) for name in "xyzw"}
    flow.fit(data | {"i": data["z"] > 0}, epochs=1, seed=0, progress=False)
    whole = {name: value[:3].clone() for name, value in data.items()} | {"i": data["z"][:3] > 0}
    gap = {name: value.clone() for name, value in whole.items()}
    gap["z"][1] = nan
    cf = flow.counterfactual(gap, do={"w": 1.0}, seed=0)  # neither z nor what follows from it is asked for
    assert torch.equal(cf["y"], flow.counterfactual(whole, do={"w": 1.0}, seed=0)["y"])
    assert cf["z"].isnan().tolist() == [False, True, False]
    for do in ({"x": 1.0}, {"z": ccf.shift(1.0)}, {"w": lambda _: 1.0}, {"z.u": 0.0}, [{"w": 1.0}, {"x": 1.0}]):
        with pytest.raises(DataError, match="'z' has NaN or infinite values in 1 of 3 rows"):
            flow.counterfactual(gap, do=do, seed=0)
    with pytest.raises(DataError, match="'z' has NaN"):
        flow.counterfactual(gap, do={"w": 1.0}, recompute="all", seed=0)
    gap["x"][0] = float("inf")
    with pytest.raises(DataError, match="'x' has NaN or infinite values"):
        flow.counterfactual(gap, do={"z": 1.0}, seed=0)

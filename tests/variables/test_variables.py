import json
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from causalcf.core.errors import DataError, GraphError, SupportError
from causalcf.variables import VARIABLES, Variable, variable_from_json
from causalcf.variables.codes import Boolean, Categorical
from causalcf.variables.count import Count
from causalcf.variables.image import Image
from causalcf.variables.ordinal import Ordinal
from causalcf.variables.scalar import Interval, Positive, Real, Vector
from causalcf.variables.table import Table

CPU = torch.device("cpu")
EXAMPLES = {
    "Real": Real(unit="kg"),
    "Positive": Positive(unit="px"),
    "Interval": Interval(64, 255, unit="grey levels"),
    "Boolean": Boolean(),
    "Categorical": Categorical(["red", "green", "blue"]),
    "Vector": Vector(3, unit="m"),
    "Count": Count(unit="visits"),
    "Ordinal": Ordinal(["none", "mild", "severe"]),
    "Image": Image(1, 4, 5),
    "Table": Table({"age": Positive(unit="years"), "job": Categorical(["a", "b", "c"]), "member": Boolean()}),
}


def read(variable, values, dtype=torch.float64):
    return variable.read("x", values, dtype, CPU)


def test_there_is_an_example_of_every_kind():
    assert EXAMPLES.keys() == VARIABLES.keys()


@pytest.mark.parametrize("variable", EXAMPLES.values(), ids=list(EXAMPLES))
def test_graph_files_hold_all_of_a_variable(variable):
    assert variable_from_json("x", json.loads(json.dumps(variable.to_json()))) == variable


@pytest.mark.parametrize("variable", EXAMPLES.values(), ids=list(EXAMPLES))
def test_variables_are_values_hashable_and_frozen(variable):
    assert variable == variable_from_json("x", variable.to_json())
    assert hash(variable) == hash(variable_from_json("x", variable.to_json()))
    with pytest.raises(AttributeError):
        variable.unit = "other"


@pytest.mark.parametrize("variable", EXAMPLES.values(), ids=list(EXAMPLES))
def test_features_have_the_promised_width(variable):
    x = read(variable, variable.project(torch.zeros(6, *variable.event_shape, dtype=torch.float64)))
    assert variable.features(x).shape == (6, variable.num_features)
    assert variable.features(x.reshape(2, 3, *variable.event_shape)).shape == (2, 3, variable.num_features)


# ---------------------------------------------------------------------- supports


@settings(deadline=None, max_examples=50)
@given(st.floats(-8, 8), st.floats(-1e3, 1e3), st.floats(1e-2, 1e3))
def test_bijectors_go_there_and_back_with_the_right_slope(z, low, width):
    z = torch.tensor([z], dtype=torch.float64)
    for variable in (Real(), Positive(), Interval(low, low + width)):
        x = variable.bijector(z)
        assert not variable.outside(x).any()
        assert bool(variable.constraint.check(x).all())
        assert torch.allclose(variable.bijector.inv(x), z, atol=1e-6)
        slope = torch.autograd.functional.jacobian(variable.bijector, z).abs().log()
        assert torch.allclose(variable.bijector.log_abs_det_jacobian(z, x), slope.reshape(1), atol=1e-6)


@pytest.mark.parametrize(
    ("variable", "values", "projected"),
    [
        (Interval(64, 255), [0.0, 64.0, 300.0], [64.0, 64.0, 255.0]),
        (Real(), [-1e9, 0.0, 1e9], [-1e9, 0.0, 1e9]),
        (Categorical(3), [-1, 1, 5], [0, 1, 2]),
        (Count(), [-1.0, 1.2, 5.0], [0.0, 1.0, 5.0]),
    ],
)
def test_projection_goes_to_the_nearest_value_inside(variable, values, projected):
    x = variable.project(torch.tensor(values))
    assert x.tolist() == projected
    assert not variable.outside(x).any()


def test_projection_of_positives_and_images_ends_inside():
    x = Positive().project(torch.tensor([-1.0, 0.0, 2.0]))
    assert (x > 0).all()
    assert x[2] == 2
    image = Image(1, 2, 2).project(torch.tensor([[[[-0.1, 0.5], [1.2, 1.0]]]]))
    assert image.flatten().tolist() == [0.0, 0.5, 1.0, 1.0]


def test_the_ends_of_an_interval_belong_to_it_and_zero_is_not_positive():
    assert not Interval(0, 1).outside(torch.tensor([0.0, 1.0])).any()
    assert Positive().outside(torch.tensor([0.0, 1e-30])).tolist() == [True, False]


# ---------------------------------------------------------------------- reading


def test_numbers_are_refused_where_they_could_be_names_or_codes():
    pclass = Categorical(["1", "2", "3"])
    for numbers in ([1, 2], np.array([1.0, 2.0])):
        with pytest.raises(DataError, match=r"could be its categories \['1', '2', '3'\] or their codes 0..2. Give"):
            read(pclass, numbers)
    assert read(pclass, ["1", "2"]).tolist() == read(pclass, torch.tensor([0, 1])).tolist() == [0, 1]
    assert read(Categorical(["0", "1", "unknown"]), [0, 1, 2]).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("variable", "values", "expected"),
    [
        (Real(), [1, 2], torch.tensor([1.0, 2.0], dtype=torch.float64)),
        (Real(), np.array([1.5, 2.5], dtype=">f4"), torch.tensor([1.5, 2.5], dtype=torch.float64)),
        (Real(), np.array([1.0, 2.0])[::-1], torch.tensor([2.0, 1.0], dtype=torch.float64)),
        (Positive(), np.array([1, 2], dtype=np.uint16), torch.tensor([1.0, 2.0], dtype=torch.float64)),
        (Vector(2), [[1, 2]], torch.tensor([[1.0, 2.0]], dtype=torch.float64)),
        (Boolean(), [0, 1.0], torch.tensor([False, True])),
        (Boolean(), np.array([True, False]), torch.tensor([True, False])),
        (Categorical(3), [0, 2], torch.tensor([0, 2])),
        (Categorical(3), [0.0, 2.0], torch.tensor([0, 2])),
        (Categorical(3), ["0", "2"], torch.tensor([0, 2])),
        (Categorical(["b", "a"]), ["a", "b", "a"], torch.tensor([1, 0, 1])),
        (Categorical(["b", "a"]), np.array(["a", "b"], dtype=object), torch.tensor([1, 0])),
    ],
)
def test_raw_values_become_tensors(variable, values, expected):
    x = read(variable, values)
    assert torch.equal(x, expected)
    assert x.dtype == expected.dtype


def test_read_only_arrays_are_copied_without_a_warning():
    frozen = np.array([1.0, 2.0])
    frozen.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x = read(Real(), frozen)
    x += 1
    assert frozen.tolist() == [1.0, 2.0]


def test_an_empty_batch_can_be_read():
    assert read(Image(1, 2, 2), torch.zeros(0, 1, 2, 2)).shape == (0, 1, 2, 2)
    assert read(Real(), []).shape == (0,)


@pytest.mark.parametrize(
    ("variable", "values", "error", "message"),
    [
        (Real(), [[1.0], [2.0]], DataError, r"'x' is a Real: expected shape \(N\), got \(2, 1\)"),
        (Real(), 1.0, DataError, r"expected shape \(N\), got \(\)"),
        (Image(1, 2, 2), np.zeros((3, 2, 2)), DataError, r"an Image: expected shape \(N, 1, 2, 2\), got \(3, 2, 2\)"),
        (Vector(2), np.zeros((3, 3)), DataError, r"expected shape \(N, 2\), got \(3, 3\)"),
        (Real(), [[1.0, 2.0], [3.0]], DataError, "'x' is not an array.*same shape"),
        (Real(), ["a", "b"], DataError, "'x' is a Real: expected numbers, got <U1"),
        (Real(), [1.0, None], DataError, "'x' has NaN or infinite values in 1 of 2 rows. Drop or impute"),
        (Real(), [1.0, np.nan, np.inf], DataError, "'x' has NaN or infinite values in 2 of 3 rows. Drop or impute"),
        (Image(1, 1, 2), [[[[0.0, np.nan]]]], DataError, "in 1 of 1 rows"),
        (
            Image(1, 1, 2),
            ["a.png", "b.png"],
            DataError,
            r"expected numbers, got .*text.*Files and pictures .*from_folder",
        ),
        (Image(1, 1, 2), [Pillow.new("L", (2, 1))], DataError, r"of shape \(1, 1, 2\), in no array.*from_items"),
        (Image(1, 2, 2), np.ones((1, 1, 2, 2), np.uint8), DataError, r"bytes \(uint8\).* multiply by 255"),
        (Image(1, 1, 2), torch.ones(1, 1, 1, 2, dtype=torch.uint8), DataError, r"bytes \(uint8\)"),
        (Image(1, 1, 2), [[[[0.5, 1.5]]], [[[0.0, 1.0]]]], SupportError, r"in \[0, 1\]: 1 of 2 rows.*example 1.5"),
        (Positive(), [1.0, 0.0, -2.0], SupportError, r"'x' must be above 0: 2 of 3 rows are not \(for example 0\)"),
        (Interval(64, 255), [63.0], SupportError, r"must be in \[64, 255\]: 1 of 1 rows are not \(for example 63\)"),
        (Boolean(), [0, 2], SupportError, r"must be True or False \(or 0 and 1\): 1 of 2 rows.*example 2"),
        (Boolean(), [1.0, np.nan], SupportError, "1 of 2 rows.*example nan"),
        (Boolean(), ["maybe"], DataError, "a Boolean: expected true or false"),
        (Categorical(3), [0, 3], SupportError, r"codes 0\.\.2: 1 of 2 rows are not \(for example 3\)"),
        (Categorical(3), [-1], SupportError, "example -1"),
        (Categorical(3), [0.5], SupportError, "fractional or missing"),
        (Categorical(3), [np.nan], SupportError, "fractional or missing"),
        (Categorical(["a", "b"]), ["a", "c"], SupportError, r"'x' has no category 'c'. It has \['a', 'b'\]"),
    ],
)
def test_bad_values_are_refused(variable, values, error, message):
    with pytest.raises(error, match=message):
        read(variable, values)


def test_a_caller_can_name_another_remedy():
    with pytest.raises(SupportError, match="Choose a value inside the support"):
        Positive().check("x", torch.tensor([-1.0]), remedy="Choose a value inside the support.")


# ---------------------------------------------------------------------- declarations


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Interval(1, 1), "low < high, got low=1, high=1"),
        (lambda: Interval(0, float("nan")), "low < high"),
        (lambda: Categorical(1), "two or more different categories"),
        (lambda: Categorical(["a", "a"]), "two or more different categories"),
        (lambda: Vector(0), "at least 1, got d=0"),
        (lambda: Image(1, 0, 4), r"at least 1, got \(1, 0, 4\)"),
        (lambda: Table({}), "one or more columns"),
        (lambda: Table({"a": Real(), "v": Vector(2)}), r"\['v'\] are not"),
    ],
)
def test_impossible_declarations_are_refused(make, message):
    with pytest.raises(GraphError, match=message):
        make()


def test_categories_have_codes():
    colour = Categorical(["red", "blue"])
    assert colour.k == 2
    assert colour.code("c", "blue") == 1
    with pytest.raises(SupportError, match="no category 'green'"):
        colour.code("c", "green")
    assert colour.features(torch.tensor([1, 0])).tolist() == [[0, 1], [1, 0]]


TABLE = EXAMPLES["Table"]


def test_a_table_packs_columns_and_gives_them_back():
    columns = {"age": torch.tensor([3.0, 40.0]), "job": ["c", "a"], "member": [True, False]}
    x = TABLE.pack(columns)
    assert x.tolist() == [[3, 0, 0, 1, 1], [40, 1, 0, 0, 0]]
    back = TABLE.unpack(x)
    assert torch.equal(back["age"], columns["age"])
    assert back["job"].tolist() == [2, 0]
    assert back["member"].tolist() == [True, False]
    assert TABLE.numbers.tolist() == [True, False, False, False, False]


def test_projection_keeps_a_tables_categories_valid():
    between = torch.tensor([[-5.0, 0.2, 0.5, 0.3, 0.4], [7.0, 0.0, 0.0, 0.1, 0.6]])
    assert TABLE.outside(between).all()
    nearest = TABLE.project(between)
    assert not TABLE.outside(nearest).any()
    assert nearest[:, 1:].tolist() == [[0, 1, 0, 0], [0, 0, 1, 1]]
    assert torch.equal(TABLE.project(nearest), nearest)


def test_a_table_refuses_what_its_columns_refuse():
    with pytest.raises(DataError, match=r"columns \['job', 'member'\] are missing"):
        TABLE.pack({"age": [1.0]})
    with pytest.raises(SupportError, match="'age' must be above 0"):
        TABLE.pack({"age": [-1.0], "job": ["a"], "member": [True]})
    with pytest.raises(SupportError, match="each in its support: 1 of 1 rows"):
        read(TABLE, [[1.0, 0.5, 0.5, 0.0, 1.0]])


def test_a_table_in_a_graph_file_needs_its_columns():
    with pytest.raises(GraphError, match='expected "columns"'):
        variable_from_json("t", {"kind": "Table"})


def test_a_variable_has_to_say_what_its_support_is():
    with pytest.raises(TypeError, match="abstract"):
        Variable()  # type: ignore[abstract]

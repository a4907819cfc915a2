"""Drawn faces: the model they follow, the laws of their truth, what they look like, and the files they become."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from scipy.stats import norm
from torch.nn.functional import avg_pool2d

from causalcf.core.errors import DataError, InterventionError, SupportError
from causalcf.datasets import CelebA, Faces
from causalcf.datasets.faces import ATTRIBUTES, HAIR, write
from causalcf.datasets.faces.model import fill_in
from causalcf.datasets.faces.renderer import render

SOME = {"male": 1, "age": 70.0, "smile": 0.9, "eyeglasses": 1, "beard": 1, "bald": 1, "hair": 3}


@pytest.fixture(scope="module")
def faces() -> Faces:
    return Faces("test", rows=24, size=64)


@pytest.fixture(scope="module")
def many() -> Faces:
    """Enough rows to count; none of them is drawn."""
    return Faces("train", rows=20_000, seed=1)


def share(values, among=slice(None)) -> float:
    return float(values[among].double().mean())


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


# ---------------------------------------------------------------------- the model


def test_attributes_follow_their_equations(many):
    u = {name: value.double().numpy() for name, value in many.noise.items()}
    x = {name: many[name].double().numpy() for name in ATTRIBUTES}
    age = 18 + 62 * sigmoid(1.4 * u["age"] - 1.1)
    np.testing.assert_allclose(x["age"], age, rtol=1e-5)
    np.testing.assert_allclose(x["smile"], sigmoid(1.5 * u["smile"]), rtol=1e-5)
    men = u["male"] < 0.42
    beard = u["beard"] < np.where(men, sigmoid(-0.5 + 0.02 * (age - 40)), sigmoid(-6.0))
    bald = u["bald"] < np.where(men, sigmoid(-2.2 + 0.06 * (age - 45)), sigmoid(-7.0))
    colour = np.searchsorted([0.30, 0.68, 0.93], u["hair"])
    hair = np.where(age > 57 + 9 * u["greying"], 4, colour)
    for name, expected in (("male", men), ("beard", beard), ("bald", bald), ("hair", hair)):
        assert (x[name] != expected).sum() <= 2, name  # a row or two may lie on a threshold, in single precision
    assert np.array_equal(x["eyeglasses"], u["eyeglasses"] > 1.175)


def test_base_rates_are_those_stated(many):
    men = many["male"]
    found = [
        (many["male"], slice(None), 0.42),
        (many["eyeglasses"], slice(None), 1 - norm.cdf(1.175)),
        (many["beard"], men, 0.366),
        (many["beard"], ~men, sigmoid(-6)),
        (many["bald"], men, 0.0865),
        (many["bald"], ~men, sigmoid(-7)),
    ]
    colours = dict(zip(HAIR, (0.2585, 0.327, 0.215, 0.060, 0.1395), strict=True))
    found += [(many["hair"] == HAIR.index(name), slice(None), rate) for name, rate in colours.items()]
    for values, among, rate in found:
        n = len(values[among])
        assert abs(share(values, among) - rate) < 4 * (rate * (1 - rate) / n) ** 0.5 + 0.001
    assert abs(share(many["age"]) - 37.1) < 0.5
    assert abs(share(many["smile"]) - 0.5) < 0.01


def test_noise_is_uniform_or_normal_and_only_glasses_go_with_age(many):
    normal = ("age", "smile", "eyeglasses", "greying")
    scores = []
    for name, value in many.noise.items():
        z = value.double().numpy() if name in normal else norm.ppf(value.double().numpy())
        assert abs(z.mean()) < 5 / len(z) ** 0.5, name
        assert abs(z.std() - 1) < 5 / (2 * len(z)) ** 0.5, name
        scores.append(z)
    correlation = np.corrcoef(scores) - np.eye(len(scores))
    names = list(many.noise)
    i, j = names.index("age"), names.index("eyeglasses")
    assert abs(correlation[i, j] - 0.5) < 0.03
    correlation[i, j] = correlation[j, i] = 0
    assert np.abs(correlation).max() < 5.5 / len(scores[0]) ** 0.5
    free = Faces(rows=20_000, confounding=0.0)
    assert abs(np.corrcoef(free.noise["age"].numpy(), free.noise["eyeglasses"].numpy())[0, 1]) < 0.03


def test_a_row_is_the_same_face_in_any_company(faces):
    few, more = Faces("test", rows=5), Faces("test", rows=300)
    for name in ATTRIBUTES:
        assert torch.equal(few[name], more[name][:5])
    assert torch.equal(few["image"], faces["image"][:5])
    one_by_one = torch.cat([more[i : i + 1]["image"] for i in (4, 0, 2)])
    assert torch.equal(one_by_one, faces["image"][[4, 0, 2]])
    assert torch.equal(more[[4, 0, 2, 4]]["image"][:3], one_by_one)
    assert more[[4, 0]].index.tolist() == [4, 0]


def test_other_seeds_and_splits_are_other_faces(faces):
    for other in (Faces("train", rows=24), Faces("valid", rows=24), Faces("test", rows=24, seed=1)):
        assert not torch.equal(other["age"], faces["age"])
        assert (other["image"][:4] - faces["image"][:4]).abs().mean() > 0.05


def test_pictures_are_drawn_when_asked_for():
    data = Faces(rows=1_000_000, size=128)
    assert data.rows == 1_000_000  # 49 GB of bytes, of which little comes to be
    assert data[[0, 999_999, 7]]["image"].shape == (3, 3, 128, 128)


def test_the_data_fit_their_graph(faces):
    assert faces.graph.parents("bald") == ("male", "age")
    assert set(faces.graph.parents("image")) == set(ATTRIBUTES)
    for name, variable in faces.variables.items():
        assert faces[name].shape == (24, *variable.event_shape)
        variable.check(name, faces[name])
    assert Faces(rows=2, size=32).variables["image"].event_shape == (3, 32, 32)


# ---------------------------------------------------------------------- true counterfactuals


def test_doing_nothing_and_doing_what_was_gives_the_factual_bits(faces):
    x = faces[3:15]
    assert torch.equal(faces.truth(x, do={})["image"], x["image"])
    for name in ATTRIBUTES:
        same = faces.truth(x, do={name: x[name]})
        assert all(torch.equal(same[node], x[node]) for node in x), name
        assert torch.equal(same.index, x.index)


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_only_effects_change(faces, name):
    x = faces[:]
    world = faces.truth(x, do={name: SOME[name]})
    effects = {"male": {"beard", "bald"}, "age": {"beard", "bald", "hair"}}.get(name, set())
    for node in ATTRIBUTES:
        if node == name:
            assert (world[node] == SOME[name]).all()
        elif node not in effects:
            assert torch.equal(world[node], x[node])
    changed = (world["image"] != x["image"]).flatten(1).any(1)
    assert torch.equal(changed, x[name] != SOME[name])


def test_effects_follow_the_noise_of_the_person(many):
    world = many.noise
    old = 75.0
    x = many[torch.arange(0)]  # no row is drawn; the model alone is asked
    assert many.truth(x, do={"age": old})["image"].shape == (0, 3, 64, 64)
    few = Faces(rows=200, size=8, seed=1)
    aged = few.truth(few[:], do={"age": old})
    grey = old > 57 + 9 * world["greying"][:200]
    assert torch.equal(aged["hair"] == HAIR.index("grey"), grey)
    bald = world["bald"][:200] < torch.where(world["male"][:200] < 0.42, sigmoid(-2.2 + 0.06 * 30), sigmoid(-7.0))
    assert torch.equal(aged["bald"], bald)
    held = few.truth(few[:], do={"age": old, "hair": "red", "bald": False})
    assert (held["hair"] == HAIR.index("red")).all()
    assert not held["bald"].any()


def test_disjoint_actions_in_one_call_are_one_world(faces):
    x = faces[:6]
    values = torch.linspace(20, 80, 6)
    world = faces.truth(x, do={"age": values, "smile": 0.1, "hair": "blond"})
    assert torch.equal(world["age"], values)
    for i in range(6):
        alone = faces.truth(faces[i : i + 1], do={"age": float(values[i]), "smile": 0.1, "hair": 2})
        assert torch.equal(alone["image"], world["image"][i : i + 1])


def test_actions_that_cannot_be(faces):
    x = faces[:3]
    with pytest.raises(InterventionError, match=r"known for do\(image\)\. It is known for the attributes \['male', "):
        faces.truth(x, do={"image": 0.0})
    with pytest.raises(SupportError, match=r"'age' must be in \[18, 80\]: 3 of 3 rows are not"):
        faces.truth(x, do={"age": 90.0})
    with pytest.raises(SupportError, match="'hair' has no category 'green'"):
        faces.truth(x, do={"hair": "green"})
    with pytest.raises(InterventionError, match=r"do\(age\) takes a value or one per row, got 'old'"):
        faces.truth(x, do={"age": "old"})
    with pytest.raises(DataError, match=r"shape \(3,\), got \(2,\)"):
        faces.truth(x, do={"age": torch.tensor([20.0, 30.0])})
    with pytest.raises(DataError, match="Pass rows of the data set"):
        faces.truth(dict(x), do={"age": 20.0})
    with pytest.raises(DataError, match=r"row numbers 0\.\.1\."):
        Faces("test", rows=2).truth(x, do={"age": 20.0})
    with pytest.raises(DataError, match="not rows of this data set as they are"):
        Faces("test", rows=24, seed=5).truth(x, do={"age": 20.0})


def test_data_sets_that_cannot_be():
    with pytest.raises(DataError, match="There is no split 'dev'"):
        Faces("dev")
    with pytest.raises(DataError, match="rows of at least 1"):
        Faces(rows=0)
    with pytest.raises(DataError, match="confounding is a correlation, from -1 to 1, got 2"):
        Faces(confounding=2.0)
    with pytest.raises(DataError, match="from 0 on, got -1"):
        Faces(seed=-1)


# ---------------------------------------------------------------------- what they look like


def test_a_face_is_the_same_at_any_size(faces):
    large = avg_pool2d(faces.draw(slice(None), 128, 128).float(), 2)
    apart = (large - 255 * faces["image"]).abs().mean((1, 2, 3))
    others = (large - 255 * faces["image"].roll(1, 0)).abs().mean((1, 2, 3))
    assert apart.max() < 2.5
    assert others.min() > 10 * apart.max()


def band(picture: torch.Tensor, top: int, bottom: int) -> torch.Tensor:
    """Share of pixels touched between two rows of 64."""
    return picture[:, top:bottom].float().mean((1, 2))


def test_attributes_act_where_they_should(faces):
    x = faces[:]
    touched = {name: faces.touched(x, name) for name in ATTRIBUTES}
    for name in ATTRIBUTES:
        assert touched[name].flatten(1).any(1).all(), name
    # rows of 64: brows lie at about 24 to 28, eyes at 29 to 34, the mouth at 43 to 49, the chin ends at about 54
    assert (band(touched["smile"], 42, 50) > 0.08).all()
    assert not touched["smile"][:, :14].any()
    assert not touched["smile"][:, 55:].any()
    assert (band(touched["eyeglasses"], 26, 38) > 0.15).all()
    assert not touched["eyeglasses"][:, :23].any()
    assert not touched["eyeglasses"][:, 44:].any()
    assert not touched["beard"][:, :28].any()
    assert (band(touched["beard"], 44, 56) > 0.05).all()
    bare = faces.noise["hat"][:24] >= 0.03
    assert (band(touched["bald"], 6, 18)[bare] > 0.15).all()
    # no attribute reaches the backdrop's upper corners
    for name in ATTRIBUTES:
        assert not touched[name][:, :6, :6].any()
        assert not touched[name][:, :6, -6:].any()


def test_everything_is_drawn_on_the_noises_device_without_looking_at_it():
    """On torch's device without memory, a constant left on the CPU and a look at a value are both errors."""
    noise = {name: value.to("meta") for name, value in Faces(rows=3).noise.items()}
    assert render(fill_in(noise, {}), noise, 64, 64).device.type == "meta"


def test_pictures_are_varied_and_use_the_range(faces):
    image = faces["image"]
    assert image.min() < 0.1
    assert image.max() > 0.9
    assert image.std(0).mean() > 0.1
    assert (image.flatten(1).std(1) > 0.1).all()


class Studio:
    """Forty people, drawn with any attributes and any noise set to one value for all."""

    def __init__(self) -> None:
        self.data = Faces(rows=40, seed=3)
        self.plain = {"age": 25.0, "bald": False, "beard": False, "eyeglasses": False, "hair": 2, "hat": 0.5}

    def picture(self, **values: float) -> torch.Tensor:
        """Pictures (40, 3, 64, 64), in grey levels."""
        columns = self.data.noise | {name: self.data[name] for name in ATTRIBUTES}
        given = {name: torch.full_like(columns[name], value) for name, value in (self.plain | values).items()}
        attributes = {name: given.get(name, self.data[name]) for name in ATTRIBUTES}
        noise = self.data.noise | {name: value for name, value in given.items() if name not in ATTRIBUTES}
        return render(attributes, noise, 64, 64).float()


def test_what_is_worn_hides_what_lies_behind():
    draw = Studio().picture
    brows, chin = (..., slice(24, 30), slice(20, 44)), (..., slice(47, 53), slice(27, 37))
    seen, behind_frames = (
        (draw(hair=0, eyeglasses=on) - draw(hair=2, eyeglasses=on))[brows].abs().mean() for on in (False, True)
    )
    assert behind_frames < 0.9 * seen
    bare, under_beard = (
        (draw(skin=0.1, beard=on, beard_style=0.2) - draw(skin=0.9, beard=on, beard_style=0.2))[chin].abs().mean()
        for on in (False, True)
    )
    assert under_beard < 0.4 * bare


def test_light_changes_skin_and_hair_together_and_how_lines_show():
    lit = Studio().picture
    warmer = lit(light_warmth=0.97) - lit(light_warmth=0.03)
    for place in ((slice(8, 13), slice(28, 36)), (slice(36, 40), slice(22, 27))):  # hair on the crown, a cheek
        red, _, blue = warmer[(..., *place)].mean((-2, -1)).unbind(1)
        assert (red - blue).mean() > 10
    forehead = (..., slice(18, 25), slice(26, 38))
    low, high = (lit(age=78.0, light_height=h) - lit(light_height=h) for h in (0.02, 0.98))
    assert (high - low)[forehead].abs().mean() > 0.25 * low[forehead].abs().mean()


# ---------------------------------------------------------------------- the truth of explanations


def test_credit_goes_to_whom_it_is_due(faces):
    x = faces[:8]
    aged = faces.credit(x, faces.truth(x, do={"age": 78.0})["image"], "age")
    assert (aged.target > 0.999).all()
    mixed = faces.truth(x, do={"smile": 0.95 - 0.9 * (x["smile"] > 0.5).float(), "eyeglasses": ~x["eyeglasses"]})[
        "image"
    ]
    split = faces.credit(x, mixed, "smile")
    assert (split.target > 0.01).all()
    assert (split.other > 0.3).all()
    assert (split.others["eyeglasses"] > split.others["hair"]).all()
    assert (split.rest < 0.12).all()
    for shares in (aged, split):
        torch.testing.assert_close(shares.target + shares.other + shares.rest, torch.ones(8), atol=1e-5, rtol=0)


def test_specks_are_nobodys_doing_and_no_change_has_no_shares(faces):
    x = faces[:4]
    specks = faces.credit(x, (x["image"] + 0.1 * torch.randn(x["image"].shape)), "age")
    assert (specks.rest > 0.98).all()
    torch.testing.assert_close(specks.size, torch.full((4,), 25.5), rtol=0.03, atol=0)
    still = faces.credit(x, x["image"], "age")
    assert still.target.isnan().all()
    assert (still.size == 0).all()
    with pytest.raises(DataError, match=r"must have the shape of x's, \(4, 3, 64, 64\)"):
        faces.credit(x, x["image"][:, :1], "age")
    with pytest.raises(InterventionError, match=r"do\(image\)"):
        faces.credit(x, x["image"], "image")


# ---------------------------------------------------------------------- files


def test_a_folder_of_pictures_with_a_table(tmp_path):
    folder = write(tmp_path / "faces", rows=20, size=32, seed=3)
    with (folder / "metadata.csv").open(encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert [row["split"] for row in table] == ["train"] * 16 + ["valid"] * 2 + ["test"] * 2
    data = Faces("test", rows=2, size=32, seed=3)
    for i, row in enumerate(table[-2:]):
        pixels = np.asarray(Pillow.open(folder / row["file_name"]))
        assert np.array_equal(pixels.transpose(2, 0, 1), np.rint(255 * data["image"][i].numpy()))
        assert np.float32(row["age"]) == data["age"][i].numpy()
        assert HAIR.index(row["hair"]) == data["hair"][i]
        assert bool(int(row["bald"])) == bool(data["bald"][i])
    assert len(list(folder.rglob("*.png"))) == 20


def test_celebas_files_are_read_by_celebas_loader(tmp_path):
    folder = write(tmp_path / "celeba", "celeba", rows=40, seed=4)
    with Pillow.open(folder / "img_align_celeba" / "000040.jpg") as picture:
        assert picture.size == (178, 218)
    for split, rows in (("train", 32), ("valid", 4), ("test", 4)):
        read, drawn = CelebA(folder, split, graph="celeba-complex"), Faces(split, rows=rows, seed=4)
        assert read.rows == rows
        for name in ("male", "beard", "bald"):
            assert torch.equal(read[name], drawn[name])
        assert torch.equal(read["young"], drawn["age"] < 40)
        # The loader cuts out the usual square: the same faces but for the JPEG's loss and the resizing.
        assert 255 * (read["image"] - drawn["image"]).abs().mean() < 3
    simple = CelebA(folder, "train", graph="celeba")
    assert torch.equal(simple["smiling"], Faces("train", rows=32, seed=4)["smile"] > 0.5)
    header = (folder / "list_attr_celeba.txt").read_text().splitlines()[:2]
    assert header[0] == "40"
    assert len(header[1].split()) == 40


def test_files_that_cannot_be(tmp_path):
    with pytest.raises(DataError, match="Unknown layout 'zip'"):
        write(tmp_path / "a", "zip", rows=10)
    with pytest.raises(DataError, match="rows must be at least 10, got 3"):
        write(tmp_path / "a", rows=3)
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(DataError, match="is not empty"):
        write(tmp_path, rows=10)

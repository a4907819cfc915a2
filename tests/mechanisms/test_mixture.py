"""The mixture autoencoder: what is settled after training, what a classifier does in it, and tables."""

from pathlib import Path

import networkx as nx
import pytest
import torch
from torch import Tensor, nn

import causalcf as ccf
from causalcf.classifiers import Perceptrons, accuracies, fit_classifier
from causalcf.core.errors import MechanismError
from causalcf.mechanisms import MixtureAE, Recipe

TABLE = ccf.Table({"age": ccf.Positive(unit="years"), "job": ccf.Categorical(["a", "b", "c"]), "member": ccf.Boolean()})


def _people(n: int, seed: int) -> Tensor:
    """Age 20..70, any job, half of them members."""
    generator = torch.Generator().manual_seed(seed)
    age = 20 + 50 * torch.rand(n, generator=generator)
    job = torch.randint(3, (n,), generator=generator)
    member = torch.rand(n, generator=generator) < 0.5
    return TABLE.pack({"age": age, "job": job, "member": member})


def _joined(x: Tensor) -> Tensor:
    """Black box: is a person a member?"""
    return 10 * (x[:, 4] - 0.5)


@pytest.fixture(scope="module")
def people() -> ccf.SCM:
    graph = nx.DiGraph()
    graph.add_node("person")
    scm = ccf.SCM(graph, {"person": TABLE}, {"person": MixtureAE(_joined, latent=3, irrelevant=4)})
    recipe = Recipe(epochs=40, batch_size=100, lr=3e-3, warmup=0)
    return scm.fit({"person": _people(1200, 0)}, recipes={"person": recipe}, seed=0, progress=False)


def test_a_table_comes_out_with_valid_categories_and_in_the_datas_range(people: ccf.SCM) -> None:
    drawn = people.sample(500, seed=1)["person"]
    assert not TABLE.outside(drawn).any()
    mechanism = people.mechanisms["person"]
    shares = mechanism.decode(5 * torch.randn(500, 3), 5 * torch.randn(500, 4), {})
    assert torch.allclose(shares[:, 1:4].sum(1), torch.ones(500), atol=1e-5)
    assert shares[:, 0].min() >= 20 - 1e-3
    assert shares[:, 0].max() <= 70 + 1e-3


def test_tables_are_rebuilt(people: ccf.SCM) -> None:
    x = _people(400, 1)
    mechanism = people.mechanisms["person"]
    u = mechanism.abduct(x, {})
    again = TABLE.project(mechanism.decode(u["z"], u["u"], {}))
    before, after = TABLE.unpack(x), TABLE.unpack(again)
    assert (before["age"] - after["age"]).abs().mean() < 5
    assert (before["job"] == after["job"]).float().mean() > 0.95


def test_the_mixture_is_that_of_the_training_rows(people: ccf.SCM) -> None:
    from causalcf import training
    from causalcf.data import Batch

    mechanism = people.mechanisms["person"]
    train, _ = training.split(Batch({"person": _people(1200, 0)}), 0.1, 0)
    x = train["person"]
    z, u, label = mechanism.abduct(x, {})["z"], mechanism.abduct(x, {})["u"], (_joined(x) > 0).long()
    for code in (0, 1):
        of_class = z[label == code]
        assert torch.allclose(mechanism.means[code], of_class.mean(0), atol=1e-4)
        assert torch.allclose(mechanism.log_scales[code].exp().square(), of_class.var(0) + 0.01, atol=1e-3)
    assert torch.allclose(mechanism.class_weights, torch.bincount(label) / len(label), atol=1e-6)
    assert torch.allclose(mechanism.u_mean, u.mean(0), atol=1e-4)
    law = mechanism.prior({})["u"]
    assert torch.allclose(law.covariance_matrix, torch.cov(u.T) + 0.01 * torch.eye(4), atol=1e-2)


def test_the_class_is_in_z_and_hardly_in_u(people: ccf.SCM) -> None:
    mechanism = people.mechanisms["person"]
    right = {}
    for name in ("z", "u"):
        codes = [mechanism.abduct(_people(n, seed), {})[name] for n, seed in ((1000, 2), (500, 3))]
        labels = [(_joined(_people(n, seed)) > 0).long() for n, seed in ((1000, 2), (500, 3))]
        f = fit_classifier(Perceptrons([codes[0].shape[1], 16, 2]), codes[0], labels[0], epochs=20, lr=0.02)
        right[name] = float(accuracies(f, codes[1], labels[1]))
    assert right["z"] > 0.97
    assert right["u"] < 0.8


def test_a_person_is_explained_by_a_valid_person(people: ccf.SCM) -> None:
    explainer = ccf.explainers.MixtureSearch(people, node="person", classifier=_joined)
    x = _people(300, 4)
    x = x[_joined(x) <= 0]
    e = explainer.explain(x, True)
    assert e.reached.float().mean() > 0.97
    assert not TABLE.outside(e.counterfactual).any()
    assert (_joined(e.counterfactual)[e.reached] > 0).all()


def test_the_classifier_is_copied_and_not_saved(people: ccf.SCM, tmp_path: Path) -> None:
    f = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).train()
    mechanism = MixtureAE(f).bind("image", ccf.Image(1, 8, 8), {})
    assert mechanism.classes == 3
    assert not any("classifier" in name for name in mechanism.state_dict())
    assert f.training
    assert all(parameter.requires_grad for parameter in f.parameters())
    people.save(tmp_path / "people.safetensors")
    again = ccf.SCM.load(tmp_path / "people.safetensors")
    x = _people(5, 5)
    assert torch.equal(again.abduct({"person": x})["person.z"], people.abduct({"person": x})["person.z"])
    with pytest.raises(MechanismError, match="labels its training rows by a classifier, and has none"):
        again.mechanisms["person"].labels(x)


def test_what_it_cannot_do_without_is_asked_for() -> None:
    with pytest.raises(MechanismError, match="needs a classifier, or the number of its classes"):
        MixtureAE().bind("image", ccf.Image(1, 8, 8), {})
    with pytest.raises(MechanismError, match=r"cannot take a tensor of shape \(2, 1, 8, 8\)"):
        MixtureAE(nn.Linear(5, 2)).bind("image", ccf.Image(1, 8, 8), {})
    assert MixtureAE(classes=4).bind("image", ccf.Image(1, 8, 8), {}).means.shape == (4, 15)

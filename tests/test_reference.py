"""The models that come along: each loads, answers, keeps to its size, and has a card."""

import pytest
import torch

import causalcf as ccf
from causalcf.core.errors import DataError, UnknownNodeError
from causalcf.reference import FOLDER

MIB = 2**20
NAMES = ccf.pretrained_names()


def test_the_reference_vae_is_there():
    assert "morphomnist-vae" in NAMES


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UnknownNodeError, match=r"There is no reference model 'nothing'\. There are: "):
        ccf.pretrained("nothing")
    with pytest.raises(DataError, match="is no name of a repository: expected user/name"):
        ccf.pretrained("../pretrained/morphomnist-vae-2")


@pytest.mark.parametrize("name", NAMES)
def test_a_reference_model_answers(name):
    scm = ccf.pretrained(name)
    x = scm.sample(4, seed=0)
    first = next((node for node in scm.graph.nodes if scm.graph.descendants([node])), "image.z")
    value = x[first].flip(0) if first in x else scm.abduct(x)[first].flip(0)
    cf = scm.counterfactual(x, do={first: value}, seed=0)
    for node, variable in scm.variables.items():
        assert cf[node].shape == (4, *variable.event_shape)
        assert not variable.outside(cf[node]).any()
    null = scm.counterfactual(x, do={}, recompute="all", seed=0)
    images = [node for node, variable in scm.variables.items() if isinstance(variable, ccf.Image)]
    for node in images:
        torch.testing.assert_close(null[node], x[node], atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_a_reference_model_has_a_card_and_its_size(name):
    assert (FOLDER / f"{name}.safetensors").stat().st_size <= 4 * MIB
    card = (FOLDER / f"{name}.md").read_text(encoding="utf-8").lower()
    causes = len(ccf.pretrained(name).graph.nodes) > 1
    for fact in ("data", "command", "seed", *(("truth",) if causes else ())):
        assert fact in card, f"the card of {name} does not say its {fact}"
    facts = ccf.pretrained(name).provenance
    assert facts["command"].startswith(("causalcf fit", "causalcf finetune"))
    assert facts["seed"] is not None


def test_all_reference_models_together_are_small():
    assert sum(path.stat().st_size for path in FOLDER.rglob("*.safetensors")) <= 18 * MIB


def test_the_reference_hvae_obeys_do_digit_on_its_own_samples():
    """A judge that it was not trained with reads the digit asked for; the card says 99 % on test images."""
    scm, judges = ccf.pretrained("morphomnist-hvae"), ccf.predictors.pretrained("morphomnist")
    x = scm.sample(100, seed=0)
    asked = (x["digit"] + 1 + torch.arange(100) % 9) % 10
    for residual in (0.0, 1.0):
        cf = scm.counterfactual(x, do={"digit": asked}, residual=residual)
        assert (judges["digit"].read(dict(cf)) == asked).float().mean() > 0.8
        assert (judges["digit"].read({**cf, "image": x["image"]}) == asked).float().mean() < 0.1

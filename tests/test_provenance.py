"""Every result says how it came about."""

import json
import shlex
import sys
from datetime import UTC, datetime

import pytest
import torch

import causalcf
from causalcf.core.provenance import lineage, provenance


def test_facts_of_a_run(monkeypatch):
    arguments = ["fit", "chain", "--mechanism", "image=VAE(latent=4, widths=(8,8,8))", "--out", "my model.safetensors"]
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/causalcf", *arguments])
    facts = provenance(seed=3, device=torch.device("cpu"), rows=10)
    assert shlex.split(facts["command"]) == ["causalcf", *arguments]  # can be pasted into a shell
    assert (facts["seed"], facts["device"], facts["rows"], facts["threads"]) == (3, "cpu", 10, torch.get_num_threads())
    assert facts["versions"]["torch"] == torch.__version__
    assert facts["versions"]["causalcf"] == causalcf.__version__
    assert (datetime.now(UTC) - datetime.fromisoformat(facts["date"])).total_seconds() < 5
    assert json.loads(json.dumps(facts)) == facts


def test_an_absent_package_is_no_error(monkeypatch):
    monkeypatch.setattr("causalcf.core.provenance._PACKAGES", ("no-such-package",))
    assert provenance(seed=None)["versions"]["no-such-package"] == "not installed"


@pytest.mark.parametrize("name", ["made_from", "pretrained"])  # its name today, and in older files
def test_a_record_leads_to_those_before_it(name):
    assert [one["seed"] for one in lineage({"seed": 2, name: {"seed": 1, name: {"seed": 0}}})] == [2, 1, 0]

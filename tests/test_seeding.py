"""Seeds: definite, derived, and leaving the process's own random state alone."""

import subprocess
import sys

import torch

from causalcf.core import seeding


def test_a_seed_is_a_number_a_generator_or_torchs_state() -> None:
    assert seeding.resolve(7) == 7
    generators = [torch.Generator().manual_seed(3) for _ in range(2)]
    assert seeding.resolve(generators[0]) == seeding.resolve(generators[1])
    assert seeding.resolve(generators[0]) != seeding.resolve(torch.Generator().manual_seed(3))
    torch.manual_seed(1)
    first = seeding.resolve(None)
    assert first != seeding.resolve(None)
    torch.manual_seed(1)
    assert first == seeding.resolve(None)


def test_derived_seeds_are_the_same_in_every_process() -> None:
    here = [seeding.derive(0, "image", 3), seeding.derive(0, "image", 4), seeding.derive(1, "image", 3)]
    assert len(set(here)) == 3
    script = "from causalcf.core import seeding; print(seeding.derive(0, 'image', 3))"
    environment = {"PYTHONHASHSEED": "5", "PATH": ""}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert int(done.stdout) == here[0]
    torch.manual_seed(here[0])


def test_a_seeded_block_puts_the_state_back() -> None:
    state = torch.get_rng_state()
    with seeding.seeded(5):
        first = torch.rand(3)
    assert torch.equal(torch.get_rng_state(), state)
    try:
        with seeding.seeded(5):
            second = torch.rand(3)
            raise KeyError
    except KeyError:
        assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, second)
    with seeding.seeded(None):
        torch.rand(3)
    assert not torch.equal(torch.get_rng_state(), state), "no seed: torch's own state is drawn from"


def test_a_seeded_block_on_the_cpu_leaves_accelerators_alone(monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", asked.append)
    with seeding.seeded(5):
        first = torch.rand(3)
    assert asked == []
    assert torch.equal(first, torch.rand(3, generator=torch.Generator().manual_seed(5)))

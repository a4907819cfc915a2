"""What every mechanism owes, driven by the registry: a new one inherits the suite by adding a row."""

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

import causalcf as ccf
from causalcf.core.errors import DensityError, MechanismError
from causalcf.mechanisms import MECHANISMS, Mechanism
from causalcf.variables import Variable

PARENTS: dict[str, Variable] = {
    "r": ccf.Real(),
    "c": ccf.Categorical(3),
    "b": ccf.Boolean(),
    "i": ccf.Interval(64, 255),
    "v": ccf.Vector(2),
    "o": ccf.Ordinal(4),
    "n": ccf.Count(),
}
NUMBERS = (ccf.Real, ccf.Positive, ccf.Interval, ccf.Vector)
KINDS: tuple[Variable, ...] = (
    ccf.Real(),
    ccf.Positive(),
    ccf.Interval(-1, 1),
    ccf.Boolean(),
    ccf.Categorical(3),
    ccf.Vector(2),
    ccf.Image(1, 8, 8),
    ccf.Count(),
    ccf.Ordinal(3),
)


@dataclass(frozen=True)
class Row:
    """How to make a mechanism, and what it is about.

    Args:
        make: Gives an unbound one.
        variable: What it models here.
        parents: parent -> variable.
        takes: Kinds of variables it can model; others must be refused.
        tolerance: Largest error of abduct -> predict in float32 and float64, as a share of the range.
        noise_cdf: Distribution function of each component of its noise; None to leave it untested.
        holds_code: Whether it is made with a function, which no configuration can hold.
        images: Whether it takes images as parents.
    """

    make: Callable[[], Mechanism]
    variable: Variable
    parents: Mapping[str, Variable] = field(default_factory=lambda: PARENTS)
    takes: tuple[type[Variable], ...] = NUMBERS
    tolerance: tuple[float, float] = (1e-5, 1e-9)
    noise_cdf: Callable[[Tensor], Tensor] | None = torch.special.ndtr
    holds_code: bool = False
    images: bool = False


def _gumbel_cdf(u: Tensor) -> Tensor:
    return torch.exp(-torch.exp(-u))


def _double(pa: Mapping[str, Tensor]) -> Tensor:
    return 2 * pa["r"] + pa["v"].sum(-1)


def _first_three(x: Tensor) -> Tensor:
    return x.flatten(1).repeat(1, 2)[:, :3]


class _Drawing(torch.nn.Linear):
    """Latents and a number to an image: a generator from elsewhere."""

    def __init__(self) -> None:
        super().__init__(4, 64)

    def forward(self, z: Tensor, r: Tensor) -> Tensor:
        return super().forward(torch.cat([z, r[:, None].to(z)], 1)).sigmoid().unflatten(1, (1, 8, 8))


class _Reading(torch.nn.Linear):
    """An image and a number to latents: its encoder."""

    def __init__(self) -> None:
        super().__init__(64, 3)

    def forward(self, x: Tensor, r: Tensor) -> Tensor:
        return super().forward(x.flatten(1)) + r[:, None]


M = ccf.mechanisms
ANY = tuple(type(variable) for variable in KINDS)
ROWS: dict[str, list[Row]] = {
    "Flow": [
        Row(M.Flow, ccf.Real()),
        Row(M.Flow, ccf.Real(), {}),
        Row(lambda: M.Flow(bins=4, hidden=(16,)), ccf.Positive()),
        Row(M.Flow, ccf.Interval(64, 255)),
        Row(M.Flow, ccf.Interval(1900, 2020), {}),
        Row(M.Flow, ccf.Vector(3)),
    ],
    "LinearGaussian": [
        Row(M.LinearGaussian, ccf.Real(), takes=(ccf.Real,)),
        Row(M.LinearGaussian, ccf.Real(), {}, takes=(ccf.Real,)),
    ],
    "AdditiveNoise": [
        Row(M.AdditiveNoise, ccf.Real(), takes=(ccf.Real,)),
        Row(M.AdditiveNoise, ccf.Real(), {}, takes=(ccf.Real,)),
    ],
    "Categorical": [
        Row(M.Categorical, ccf.Categorical(10), takes=(ccf.Categorical,), tolerance=(0, 0), noise_cdf=_gumbel_cdf),
        Row(M.Categorical, ccf.Categorical(4), {}, takes=(ccf.Categorical,), tolerance=(0, 0), noise_cdf=None),
    ],
    "Boolean": [
        Row(M.Boolean, ccf.Boolean(), takes=(ccf.Boolean,), tolerance=(0, 0), noise_cdf=torch.sigmoid),
        Row(M.Boolean, ccf.Boolean(), {}, takes=(ccf.Boolean,), tolerance=(0, 0), noise_cdf=None),
    ],
    "Ordinal": [
        Row(M.Ordinal, ccf.Ordinal(5), takes=(ccf.Ordinal,), tolerance=(0, 0), noise_cdf=torch.sigmoid),
        Row(M.Ordinal, ccf.Ordinal(2), {}, takes=(ccf.Ordinal,), tolerance=(0, 0), noise_cdf=None),
    ],
    "Count": [
        Row(M.Count, ccf.Count(), takes=(ccf.Count,), tolerance=(0, 0), noise_cdf=torch.sigmoid),
        Row(lambda: M.Count(components=1), ccf.Count(), {}, takes=(ccf.Count,), tolerance=(0, 0), noise_cdf=None),
    ],
    "Deterministic": [
        Row(lambda: M.Deterministic(_double), ccf.Real(), takes=ANY, tolerance=(0, 0), holds_code=True, images=True)
    ],
    "Classifier": [
        Row(
            lambda: M.Classifier(torch.nn.Linear(2, 3)),
            ccf.Categorical(3),
            {"v": ccf.Vector(2)},
            takes=ANY,
            tolerance=(0, 0),
            holds_code=True,
            images=True,
        ),
        Row(
            lambda: M.Classifier(torch.nn.Linear(2, 1)),
            ccf.Boolean(),
            {"v": ccf.Vector(2)},
            takes=ANY,
            tolerance=(0, 0),
            holds_code=True,
            images=True,
        ),
    ],
    "VAE": [
        Row(
            lambda by_category=by_category: M.VAE(latent=4, widths=(8, 8, 8), by_category=by_category),  # type: ignore[misc]
            ccf.Image(1, 8, 8),
            parents,
            takes=(ccf.Image,),
            tolerance=(1e-4, 1e-9),
            noise_cdf=None,
        )
        for by_category in (False, True)
        for parents in (PARENTS, {})
    ],
    "HVAE": [
        Row(
            lambda exogenous=exogenous: M.HVAE(  # type: ignore[misc]
                strides=(2, 4), widths=(8, 8, 8), blocks=(0, 1, 2), latent=(0, 2, 3), exogenous_prior=exogenous
            ),
            ccf.Image(1, 8, 8),
            parents,
            takes=(ccf.Image,),
            tolerance=(1e-4, 1e-9),
            noise_cdf=None,
        )
        for parents, exogenous in ((PARENTS, True), (PARENTS, False), ({}, True))
    ],
    "Diffusion": [
        Row(
            lambda: M.Diffusion(widths=(8, 8, 8), steps=5),
            ccf.Image(1, 8, 8),
            parents,
            takes=(ccf.Image,),
            tolerance=(1e-4, 1e-6),
            noise_cdf=None,
        )
        for parents in (PARENTS, {})
    ],
    "GAN": [
        Row(
            lambda: M.GAN(latent=4, widths=(8, 8, 8)),
            ccf.Image(1, 8, 8),
            parents,
            takes=(ccf.Image,),
            tolerance=(1e-4, 1e-9),
            noise_cdf=None,
        )
        for parents in (PARENTS, {})
    ],
    "Generator": [
        Row(
            lambda encoder=encoder: M.Generator(_Drawing(), _Reading() if encoder else None, latent=3, refine=5),  # type: ignore[misc]
            ccf.Image(1, 8, 8),
            {"r": ccf.Real()},
            takes=(ccf.Image,),
            tolerance=(1e-4, 1e-9),
            noise_cdf=None,
            holds_code=True,
            images=True,
        )
        for encoder in (False, True)
    ],
    "MixtureAE": [
        Row(
            lambda: M.MixtureAE(_first_three, latent=3, irrelevant=4),
            variable,
            parents,
            takes=(ccf.Image, ccf.Vector),
            tolerance=(1e-4, 1e-9),
            noise_cdf=None,
        )
        for variable, parents in ((ccf.Image(1, 8, 8), PARENTS), (ccf.Image(1, 6, 7), {}), (ccf.Vector(4), PARENTS))
    ],
}
CASES = [(name, row) for name, of_name in ROWS.items() for row in of_name]


def _id(value: object) -> str:
    if isinstance(value, Row):
        return f"{value.variable.kind}-{'root' if not value.parents else 'child'}"
    return str(value)


every_mechanism = pytest.mark.parametrize(("name", "row"), CASES, ids=_id)
every_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


def _values(variable: Variable, n: int, dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    """Plausible values of a variable, in data units."""
    raw = torch.randn(n, *variable.event_shape, generator=generator, dtype=torch.float64)
    match variable:
        case ccf.Boolean():
            return raw > 0.3
        case ccf.Categorical():
            return torch.randint(variable.k, (n,), generator=generator)
        case ccf.Image():
            return torch.sigmoid(raw).to(dtype)
        case ccf.Count():
            return variable.project((2 * raw + 2).to(dtype))
    return variable.bijector(0.8 * raw + 0.2).to(dtype)


def _parents(row: Row, n: int, dtype: torch.dtype = torch.float64, seed: int = 1) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: _values(variable, n, dtype, generator) for name, variable in row.parents.items()}


def _ready(row: Row, dtype: torch.dtype = torch.float64) -> Mechanism:
    """A bound mechanism with random weights, calibrated and settled on plausible data."""
    mechanism = row.make().bind("node", row.variable, row.parents).to(dtype=dtype)
    pa = _parents(row, 500, dtype)
    x = _values(row.variable, 500, dtype, torch.Generator().manual_seed(2))
    mechanism.calibrate(x, pa)
    with torch.no_grad():
        for parameter in mechanism.parameters():
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 4
            parameter.add_(0.3 * max(fan_in, 1) ** -0.5 * torch.randn_like(parameter))
        mechanism.settle(x, pa)
    mechanism.fitted = True
    return mechanism.requires_grad_(False).eval()


def _observed(row: Row, mechanism: Mechanism, n: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Rows that the mechanism itself gives, with their parents."""
    pa = _parents(row, n, mechanism.dtype, seed=3)
    return mechanism.variable.project(mechanism.predict(mechanism.sample_noise(n), pa)), pa


def _range(x: Tensor) -> float:
    return float(x.double().amax() - x.double().amin())


def _each_component(u: Tensor) -> Iterator[Tensor]:
    yield from u.reshape(u.shape[0], -1).T


def test_every_registered_mechanism_has_a_row() -> None:
    assert ROWS.keys() == MECHANISMS.keys()
    for name, row in CASES:
        assert type(row.make()) is MECHANISMS[name]


@every_dtype
@every_mechanism
def test_shapes_and_types_follow_the_inputs(name: str, row: Row, dtype: torch.dtype) -> None:
    mechanism = _ready(row, dtype)
    x, pa = _observed(row, mechanism, 7)
    assert x.shape == (7, *row.variable.event_shape)
    expected = {ccf.Boolean: torch.bool, ccf.Categorical: torch.long, ccf.Ordinal: torch.long}.get(
        type(row.variable), dtype
    )
    assert x.dtype == expected
    assert not row.variable.outside(x).any()
    for suffix, u in mechanism.abduct(x, pa).items():
        assert u.shape[0] == 7, suffix
        assert u.device == x.device
        assert u.dtype in (dtype, expected)


@every_mechanism
def test_noise_has_the_same_sites_however_it_comes(name: str, row: Row) -> None:
    mechanism = _ready(row)
    x, pa = _observed(row, mechanism, 5)
    abducted, drawn = mechanism.abduct(x, pa), mechanism.sample_noise(5)
    assert tuple(abducted) == tuple(drawn) == mechanism.sites
    assert all(abducted[site].shape == drawn[site].shape for site in mechanism.sites)
    assert all(abducted[site].dtype == drawn[site].dtype for site in mechanism.sites)
    assert {*mechanism.latents, *mechanism.residual_sites} <= {*mechanism.sites}
    assert tuple(mechanism.prior(pa)) == tuple(mechanism.posterior(x, pa)) == mechanism.latents


@every_dtype
@every_mechanism
def test_predicting_what_was_abducted_gives_the_observation(name: str, row: Row, dtype: torch.dtype) -> None:
    mechanism = _ready(row, dtype)
    x, pa = _observed(row, mechanism, 2000)
    again = mechanism.predict(mechanism.abduct(x, pa), pa)
    error = (again.double() - x.double()).abs().max()
    assert error <= row.tolerance[dtype == torch.float64] * max(_range(x), 1e-12)


@every_mechanism
def test_abducted_noise_has_the_law_of_the_prior_whatever_the_parents(name: str, row: Row) -> None:
    """Kolmogorov-Smirnov at sqrt(n) D < 2.2: a false alarm rate of 1.3e-4 a component, and the seed is fixed."""
    mechanism = _ready(row)
    if row.noise_cdf is None or mechanism.kind != "invertible":
        x, pa = _observed(row, mechanism, 50)
        again = mechanism.abduct(x, pa) if not row.parents else mechanism.sample_noise(50)
        assert all(torch.isfinite(u.double()).all() for u in again.values())
        return
    x, pa = _observed(row, mechanism, 20_000)
    (u,) = mechanism.abduct(x, pa).values()
    groups = [torch.ones(len(u), dtype=torch.bool), *([pa["b"], pa["c"] == 2] if row.parents else [])]
    for group in groups:
        for component in _each_component(u[group]):
            n = len(component)
            levels = row.noise_cdf(component.sort().values)
            steps = torch.arange(n + 1, dtype=torch.float64) / n
            distance = torch.maximum(steps[1:] - levels, levels - steps[:-1]).max()
            assert n**0.5 * distance < 2.2


@every_mechanism
def test_the_density_integrates_to_one(name: str, row: Row) -> None:
    mechanism = _ready(row)
    pa = {name: value[:1] for name, value in _parents(row, 3).items()}
    if mechanism.kind == "deterministic":
        with pytest.raises(DensityError, match="'node'"):
            mechanism.dist(pa)
        return
    if isinstance(row.variable, ccf.Boolean | ccf.Categorical | ccf.Count):
        values = {
            ccf.Boolean: torch.tensor([False, True]),
            ccf.Count: torch.arange(2000.0, dtype=torch.float64),
        }.get(type(row.variable))
        values = torch.arange(row.variable.num_features) if values is None else values
        total = mechanism.dist(pa).log_prob(values).exp().sum()
        assert float(total) == pytest.approx(1, abs=1e-12)
    elif row.variable.numel == 1:
        u = torch.linspace(-9, 9, 40_001, dtype=torch.float64)
        grid = mechanism.predict({"u": u}, {name: value.expand(len(u), *value.shape[1:]) for name, value in pa.items()})
        total = torch.trapezoid(mechanism.dist(pa).log_prob(grid).exp(), grid)
        assert float(total) == pytest.approx(1, abs=1e-4)
    elif mechanism.kind == "invertible":  # too many dimensions to integrate: the change of variables instead
        x, pa = _observed(row, mechanism, 1)
        jacobian = torch.autograd.functional.jacobian(lambda v: mechanism.abduct(v, pa)["u"], x).squeeze()
        u = mechanism.abduct(x, pa)["u"]
        expected = torch.distributions.Normal(0, 1).log_prob(u).sum(-1) + jacobian.slogdet().logabsdet
        assert torch.allclose(mechanism.dist(pa).log_prob(x), expected, atol=1e-9)


@every_mechanism
def test_log_densities_are_finite_one_a_row(name: str, row: Row) -> None:
    mechanism = _ready(row)
    if mechanism.kind in ("deterministic", "implicit"):
        return
    x, pa = _observed(row, mechanism, 50)
    latents = {suffix: law.sample() for suffix, law in mechanism.prior(pa).items()}
    log_prob = mechanism.dist(pa, latents).log_prob(x)
    assert log_prob.shape == (50,)
    assert torch.isfinite(log_prob).all()


@every_mechanism
def test_distributions_take_extra_batch_dimensions_on_the_left(name: str, row: Row) -> None:
    """ChiRho gives each world a dimension of its own; parents broadcast."""
    mechanism = _ready(row)
    if mechanism.kind in ("deterministic", "implicit") or not row.parents:
        return
    x, pa = _observed(row, mechanism, 6)
    latents = {suffix: law.expand([6]).sample() for suffix, law in mechanism.prior(pa).items()}
    worlds = {name: torch.stack([value, value.flip(0)]).unsqueeze(1) for name, value in pa.items()}
    law = mechanism.dist(worlds, {suffix: z.expand(2, 1, *z.shape) for suffix, z in latents.items()})
    assert law.batch_shape == (2, 1, 6)
    one = {name: value if name != "r" else value.expand(4, 1, 6) for name, value in pa.items()}
    assert mechanism.dist(one, latents).batch_shape == (4, 1, 6)
    assert torch.allclose(law.log_prob(x)[0, 0], mechanism.dist(pa, latents).log_prob(x), atol=1e-9)
    assert law.sample().shape == (2, 1, 6, *row.variable.event_shape)


@every_mechanism
def test_the_loss_reaches_every_parameter(name: str, row: Row) -> None:
    mechanism = _ready(row).requires_grad_(True).train()
    parameters = {name: parameter for name, parameter in mechanism.named_parameters() if parameter.numel()}
    objectives = {turn.loss for stage in mechanism.stages for turn in stage.turns}
    if mechanism.kind == "deterministic" or not objectives:
        return
    with torch.no_grad():
        x, pa = _observed(row, mechanism, 200)
    assert parameters
    for objective in sorted(objectives):
        loss = getattr(mechanism, objective)(x, pa)
        assert loss.shape == (), objective
        loss.backward()
    for parameter_name, parameter in parameters.items():
        assert parameter.grad is not None, parameter_name
        assert torch.isfinite(parameter.grad).all(), parameter_name
    assert any(parameter.grad.abs().sum() > 0 for parameter in parameters.values())  # type: ignore[union-attr]


@every_mechanism
def test_a_configuration_makes_the_same_architecture(name: str, row: Row) -> None:
    mechanism = row.make().bind("node", row.variable, row.parents)
    config = json.loads(json.dumps(mechanism.config))
    if row.holds_code:  # only the code itself is missing: what a file cannot hold must be given again
        assert not any(isinstance(getattr(mechanism, key), torch.nn.Module) for key in config)
        return
    config = {key: tuple(value) if isinstance(value, list) else value for key, value in config.items()}
    again = MECHANISMS[name](**config).bind("node", row.variable, row.parents)
    assert again.config == mechanism.config
    shapes = [{key: tensor.shape for key, tensor in m.state_dict().items()} for m in (mechanism, again)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("variable", KINDS, ids=lambda variable: variable.kind)
@pytest.mark.parametrize("name", MECHANISMS)
def test_variables_it_cannot_model_are_refused_by_name(name: str, variable: Variable) -> None:
    row = ROWS[name][0]
    if isinstance(variable, row.takes):
        assert row.make().bind("node", variable, {"r": ccf.Real()}).node == "node"
        return
    with pytest.raises(MechanismError, match=rf"{name} cannot model 'node', an? {variable.kind}: it takes"):
        row.make().bind("node", variable, {"r": ccf.Real()})


@pytest.mark.parametrize("name", [name for name, rows in ROWS.items() if not rows[0].images])
def test_image_parents_it_cannot_take_are_refused_by_name(name: str) -> None:
    row = ROWS[name][0]
    with pytest.raises(MechanismError, match=rf"{name} of 'node' cannot take the image parents \['picture'\]"):
        row.make().bind("node", row.variable, {"picture": ccf.Image(1, 8, 8)})


@every_mechanism
def test_a_deep_copy_is_equal_and_apart(name: str, row: Row) -> None:
    mechanism = _ready(row)
    twin = copy.deepcopy(mechanism)
    pa, u = _parents(row, 4), mechanism.sample_noise(4)
    assert torch.equal(twin.predict(u, pa), mechanism.predict(u, pa))
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(1.0)
    for before, after in zip(mechanism.parameters(), twin.parameters(), strict=True):
        assert torch.equal(before + 1.0, after)


@every_mechanism
def test_a_batch_gives_what_single_rows_give(name: str, row: Row) -> None:
    mechanism = _ready(row)
    x, pa = _observed(row, mechanism, 12)
    u = mechanism.abduct(x, pa)
    batch = mechanism.predict(u, pa)
    rows = [
        mechanism.predict(
            {suffix: value[i : i + 1] for suffix, value in u.items()}, {p: value[i : i + 1] for p, value in pa.items()}
        )
        for i in range(12)
    ]
    assert torch.allclose(torch.cat(rows).double(), batch.double(), rtol=1e-9, atol=1e-9)


@every_mechanism
def test_the_same_seed_gives_the_same_bits(name: str, row: Row) -> None:
    mechanism = _ready(row)
    x, pa = _observed(row, mechanism, 20)

    def draw(seed: int) -> dict[str, Tensor]:
        torch.manual_seed(seed)
        abducted = {f"abducted.{suffix}": u for suffix, u in mechanism.abduct(x, pa, sample=True).items()}
        return abducted | mechanism.sample_noise(20)

    first, second, other = draw(1), draw(1), draw(2)
    assert all(torch.equal(first[suffix], second[suffix]) for suffix in first)
    if mechanism.sites:
        assert any(not torch.equal(first[suffix], other[suffix]) for suffix in mechanism.sites)
    assert mechanism.is_random(sample=True) == any(
        not torch.equal(first[suffix], other[suffix]) for suffix in first if suffix.startswith("abducted.")
    )


@every_mechanism
def test_only_amortised_abduction_depends_on_sampling(name: str, row: Row) -> None:
    mechanism = _ready(row)
    assert mechanism.is_random(sample=False) <= mechanism.is_random(sample=True)
    if mechanism.kind == "invertible":
        assert mechanism.is_random(sample=False) == mechanism.is_random(sample=True)

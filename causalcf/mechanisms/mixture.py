"""A disentangled autoencoder whose latent space is a Gaussian mixture of a classifier's classes."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import log
from typing import Any, ClassVar

import torch
from pyro.distributions import (
    Categorical,
    Independent,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    TorchDistribution,
)
from torch import Tensor, nn
from torch.nn import functional as F

from causalcf.core import draws, laws
from causalcf.core.errors import MechanismError
from causalcf.core.nn import Standardiser, mlp
from causalcf.core.settings import COUNT, NATURAL, POSITIVE, WEIGHT
from causalcf.mechanisms.amortised import AmortisedMechanism
from causalcf.mechanisms.autoencoder import ImageDecoder, ImageEncoder, TableDecoder, TableEncoder
from causalcf.mechanisms.base import Parents, Recipe, Stage, Turn
from causalcf.mechanisms.parents import ParentEncoder
from causalcf.variables.image import Image
from causalcf.variables.scalar import Vector
from causalcf.variables.table import Table

__all__ = ["MixtureAE"]

ROWS = 1000
"""Rows encoded at once when all training rows are."""


@dataclass(eq=False, repr=False)
class MixtureAE(AmortisedMechanism):
    r"""Autoencoder: code z for the features a classifier uses, u for the rest: :math:`x := G(z, u) + \sigma\epsilon`.

    z follows a mixture of Gaussians, one for each class that the classifier f gives (its own labels, not the data's):

    .. math::
        L_{cls} = -\log \frac{p(\hat y)\, N(z; \mu_{\hat y}, \Sigma_{\hat y})}{\sum_c p(c)\, N(z; \mu_c, \Sigma_c)},
        \qquad L_{lik} = -\log N(z; \mu_{\hat y}, \Sigma_{\hat y}).

    u is made to forget the class: an adversary reads it off u with cross-entropy :math:`L_{adv}`, and the encoder of u
    has :math:`-\lambda_{adv} L_{adv}` in its loss. Each step moves the adversary, then the encoder of z with means and
    covariances by :math:`L_{cls} + \lambda_{lik} L_{lik}`, then encoders and decoder by
    :math:`MSE(x, G) + \lambda_{lik} L_{lik} - \lambda_{adv} L_{adv}`. After training, u's Gaussian, the mixture and the
    residual's :math:`\sigma` are taken from the training rows in closed form.

    Beyond the paper, the decoder is also asked for what the search will ask: x' with u as it is and another class's
    mean for z, which the encoder of z, held fixed, has to put into that class (`swaps`). Without it the centre of the
    other class decodes into that class for 59 % of Adult's rows, with it for 99.7 %. Codes carry a little Gaussian
    noise, without which the covariances shrink to nothing and the posterior has no density; the adversary's loss counts
    up to that of chance only, as being fooled into the wrong class is no forgetting; parents of the node, if any, are
    read by encoders and decoder; the layer sizes are ours, as the printed ones do not fit together. The decoder of a
    table gives shares of categories by a softmax of temperature .5, which the variable rounds to one category, and
    numbers within the range of the training rows.

    References:
        Zhao, Broelemann, Kasneci, "Counterfactual Explanation via Search in Gaussian Mixture Distributed Latent
        Space", 2023, algorithm 1. Hadad, Wolf, Shahar, "A Two-Step Disentanglement Method", 2018. Wan et al.,
        "Rethinking Feature Distribution for Loss Functions in Image Classification", 2018.

    Args:
        classifier: Module or function of the node's values that gives logits (N, K), or (N,) for two classes; needed
            to fit, not to ask. It is not saved with the model.
        classes: K; read off the classifier if one is given.
        latent: Dimensions of z.
        irrelevant: Dimensions of u.
        adversary_weight: Lambda of the adversary.
        likelihood_weight: Lambda of the likelihood; None for .1 (images) or .5 (tables and vectors).
        noise: Standard deviation of the codes given x.
        swaps: Whether the decoder learns to follow z into other classes.

    Example:
        >>> f = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
        >>> mechanism = MixtureAE(classifier=f).bind("image", Image(1, 8, 8), {})
        >>> u = mechanism.abduct(torch.rand(2, 1, 8, 8), {})
        >>> {site: tuple(value.shape) for site, value in u.items()}
        {'z': (2, 15), 'u': (2, 25), 'eps': (2, 1, 8, 8)}
    """

    classifier: Any = None
    classes: int | None = None
    latent: int = 15
    irrelevant: int = 25
    adversary_weight: float = 0.05
    likelihood_weight: float | None = None
    noise: float = 0.1
    swaps: bool = True

    latents: ClassVar[tuple[str, ...]] = ("z", "u")
    takes_columns: ClassVar[bool] = True
    mixed_precision: ClassVar[bool] = True
    default_recipe: ClassVar[Recipe] = Recipe(epochs=20, batch_size=100, lr=1e-3, betas=(0.9, 0.999), clip=100.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        f = self._modules.pop("classifier", None)
        given = f if f is not None else self.__dict__.get("classifier")
        if given is not None and not callable(given):
            raise MechanismError(f"MixtureAE: classifier must be a torch module giving logits, got {given!r:.40}.")
        if f is not None:  # a copy, kept out of the submodules: it is neither trained nor saved
            self.__dict__["classifier"] = copy.deepcopy(f).requires_grad_(False).eval()

    @property
    def config(self) -> dict[str, Any]:
        """Hyperparameters; a classifier cannot be written as JSON."""
        return {name: value for name, value in super().config.items() if name != "classifier"}

    # ------------------------------------------------------------------ building

    def validate(self) -> None:
        if not isinstance(self.variable, Image | Table | Vector):
            raise self.reject("an Image, a Table or a Vector")
        self.require(latent=COUNT, irrelevant=NATURAL, adversary_weight=WEIGHT, noise=POSITIVE)
        if self.classes is not None:
            self.require(classes=COUNT)
        if self.likelihood_weight is not None:
            self.require(likelihood_weight=WEIGHT)
        unfit = ParentEncoder.unfit(self.parents)
        if unfit:
            raise MechanismError(f"MixtureAE of '{self.node}' cannot take the image parents {unfit}.")
        if self.classes is None:
            if self.classifier is None:
                raise MechanismError(f"MixtureAE of '{self.node}' needs a classifier, or the number of its classes.")
            self.classes = self._count_classes()

    def _count_classes(self) -> int:
        shape = (2, *self.variable.event_shape)
        try:
            with torch.no_grad():
                logits = self._ask(torch.zeros(shape, device=self.device, dtype=self.dtype))
        except (RuntimeError, ValueError, TypeError) as error:
            raise MechanismError(
                f"The classifier of '{self.node}' cannot take a tensor of shape {shape}: {error}"
            ) from error
        return logits.shape[1] if logits.ndim == 2 and logits.shape[1] > 1 else 2

    def build(self) -> None:
        classes: Any = self.classes  # known since `validate`
        self.context = ParentEncoder(self.parents)
        image = isinstance(self.variable, Image)
        inward, outward = (ImageEncoder, ImageDecoder) if image else (TableEncoder, TableDecoder)
        variable: Any = self.variable
        self.encoder = inward(variable, self.latent, self.context.width)
        self.encoder_u = inward(variable, self.irrelevant, self.context.width)
        self.decoder = outward(variable, self.latent + self.irrelevant, self.context.width)
        self.adversary = mlp([self.irrelevant, 64, 64, classes])
        self.means = nn.Parameter(torch.randn(classes, self.latent))
        self.log_scales = nn.Parameter(torch.zeros(classes, self.latent))
        self.likelihood = self.likelihood_weight if self.likelihood_weight is not None else (0.1 if image else 0.5)
        self.class_weights: Tensor
        self.u_mean: Tensor
        self.u_tril: Tensor
        self.log_sigma: Tensor
        self.register_buffer("class_weights", torch.full((classes,), 1 / classes))
        self.register_buffer("u_mean", torch.zeros(self.irrelevant))
        self.register_buffer("u_tril", torch.eye(self.irrelevant))
        shape = (self.variable.event_shape[0], 1, 1) if image else self.variable.event_shape
        self.register_buffer("log_sigma", torch.full(shape, -2.5))
        self.standardise = Standardiser(1 if image else self.variable.event_shape[0])

    # ------------------------------------------------------------------ learning

    @property
    def stages(self) -> tuple[Stage, ...]:
        mixture = Turn("mixture_loss", ("encoder", "means", "log_scales"))
        autoencoder = Turn("autoencoder_loss", ("encoder", "encoder_u", "decoder"))
        turns = (Turn("adversary_loss", ("adversary",)), mixture, autoencoder)
        if self.swaps:
            turns += (Turn("swap_loss", ("encoder_u", "decoder")),)
        return (Stage(turns=turns, validation=None),)

    def calibrate(self, x: Tensor, pa: Parents) -> None:
        self.context.calibrate(pa)
        if isinstance(self.decoder, TableDecoder):
            self.standardise.calibrate(x)
            if isinstance(self.variable, Table):  # shares of categories are scaled as they are
                shares = ~self.variable.numbers.to(x.device)
                self.standardise.loc.masked_fill_(shares, 0.0)
                self.standardise.scale.masked_fill_(shares, 1.0)
            self.decoder.calibrate(self._scaled(x))
        if self.classifier is None:
            return
        counts = torch.bincount(torch.cat([self.labels(part) for part in x.split(ROWS)]), minlength=self.classes or 0)
        self.class_weights.copy_(counts / counts.sum())

    def _ask(self, x: Tensor) -> Tensor:
        """The classifier's logits; it follows x to its device and type."""
        if isinstance(self.classifier, nn.Module):
            self.classifier.to(device=x.device, dtype=x.dtype)
        return self.classifier(x)

    @torch.no_grad()
    def labels(self, x: Tensor) -> Tensor:
        """The classifier's classes of x, (N,).

        Raises:
            MechanismError: There is no classifier.
        """
        if self.classifier is None:
            raise MechanismError(
                f"MixtureAE of '{self.node}' labels its training rows by a classifier, and has none."
                " Give one: MixtureAE(classifier=f)."
            )
        logits = self._ask(x)
        return logits.argmax(1) if logits.ndim == 2 and logits.shape[1] > 1 else (logits.reshape(-1) > 0).long()

    def adversary_loss(self, x: Tensor, pa: Parents) -> Tensor:
        """Cross-entropy of reading the class off u."""
        return F.cross_entropy(self.adversary(self._noisy(self._encode_u(x, pa))), self.labels(x))

    def mixture_loss(self, x: Tensor, pa: Parents) -> Tensor:
        """Classification and likelihood of z under the mixture: the terms that shape means and covariances."""
        z = self._noisy(self._encode_z(x, pa))
        each, label = self._components(z), self.labels(x)
        return F.cross_entropy(each + self._log_weights(), label) - self.likelihood * _chosen(each, label).mean()

    def autoencoder_loss(self, x: Tensor, pa: Parents) -> Tensor:
        """Mean squared error, likelihood of z, and a reward if the adversary cannot read the class in u."""
        z, u = self._noisy(self._encode_z(x, pa)), self._noisy(self._encode_u(x, pa))
        label = self.labels(x)
        error = (self._scaled(x) - self.decoder(torch.cat([z, u], 1), self.context(pa))).square().flatten(1).mean(1)
        unreadable = F.cross_entropy(self.adversary(u), label).clamp_max(log(self.classes or 2))
        likelihood = _chosen(self._components(z), label).mean()
        return error.mean() - self.likelihood * likelihood - self.adversary_weight * unreadable

    def swap_loss(self, x: Tensor, pa: Parents) -> Tensor:
        """Cross-entropy of the class that z was swapped for, as the encoder of z reads it in the decoded image."""
        label, u = self.labels(x), self._noisy(self._encode_u(x, pa))
        classes = len(self.means)
        other = (label + torch.randint(1, classes, label.shape, device=label.device)) % classes
        swapped = self.decode(self._noisy(self.means[other]), u, pa)
        swapped = swapped + (self.variable.project(swapped) - swapped).detach()
        return F.cross_entropy(self._components(self._encode_z(swapped, pa)) + self._log_weights(), other)

    def _log_weights(self) -> Tensor:
        return self.class_weights.clamp_min(1e-6).log()

    def loss(self, x: Tensor, pa: Parents) -> Tensor:
        """The sum of the losses of encoders and decoder."""
        return self.autoencoder_loss(x, pa) + self.mixture_loss(x, pa)

    def settle(self, x: Tensor, pa: Parents) -> None:
        """Mixture, Gaussian of u and residual's deviation as they are in the training rows."""
        z, u, residual, label = (torch.cat(parts) for parts in zip(*self._encoded(x, pa), strict=True))
        counts = torch.bincount(label, minlength=self.classes or 0)
        for code in torch.nonzero(counts > 1)[:, 0].tolist():
            of_class = z[label == code]
            self.means[code] = of_class.mean(0)
            self.log_scales[code] = 0.5 * (of_class.var(0) + self.noise**2).log()
        self.class_weights.copy_(counts / counts.sum())
        self.u_mean.copy_(u.mean(0))
        covariance = torch.cov(u.double().T) + self.noise**2 * torch.eye(self.irrelevant, device=u.device).double()
        self.u_tril.copy_(torch.linalg.cholesky(covariance))
        self.log_sigma.copy_(0.5 * residual.mean(0).clamp_min(1e-6).log().reshape(self.log_sigma.shape))

    def _encoded(self, x: Tensor, pa: Parents) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Codes, mean squared residuals and labels, part by part."""
        for rows in torch.arange(len(x), device=x.device).split(ROWS):
            part, of = x[rows], {name: value[rows] for name, value in pa.items()}
            z, u = self._encode_z(part, of), self._encode_u(part, of)
            square = (part - self.decode(z, u, of)).square()
            yield z, u, square.flatten(2).mean(2) if square.ndim > 2 else square, self.labels(part)

    # ------------------------------------------------------------------ codes

    def _scaled(self, x: Tensor) -> Tensor:
        """Images as they are; numbers of tables in standard deviations."""
        return x if isinstance(self.variable, Image) else self.standardise(x)

    def _encode_z(self, x: Tensor, pa: Parents) -> Tensor:
        return self.encoder(self._scaled(x), self.context(pa))

    def _encode_u(self, x: Tensor, pa: Parents) -> Tensor:
        return self.encoder_u(self._scaled(x), self.context(pa))

    def _noisy(self, code: Tensor) -> Tensor:
        return code + self.noise * draws.normal(code.shape, code)

    def decode(self, z: Tensor, u: Tensor, pa: Parents) -> Tensor:
        """G(z, u, pa), (N, *event_shape), in data units."""
        scaled = self.decoder(torch.cat([z, u], 1), self.context(pa))
        return scaled if isinstance(self.variable, Image) else self.standardise.inverse(scaled)

    def _components(self, z: Tensor) -> Tensor:
        """log N(z; mean, covariance) of every class, (N, K)."""
        scaled = (z[:, None] - self.means) * (-self.log_scales).exp()
        return -0.5 * scaled.square().sum(2) - self.log_scales.sum(1) - 0.5 * self.latent * log(2 * torch.pi)

    # ------------------------------------------------------------------ distributions

    def prior(self, pa: Parents) -> dict[str, TorchDistribution]:
        components = Independent(Normal(self.means, self.log_scales.exp()), 1)
        return {
            "z": MixtureSameFamily(Categorical(self.class_weights), components),
            "u": MultivariateNormal(self.u_mean, scale_tril=self.u_tril),
        }

    def posterior(self, x: Tensor, pa: Parents) -> dict[str, TorchDistribution]:
        codes = {"z": self._encode_z(x, pa), "u": self._encode_u(x, pa)}
        return {suffix: Normal(code, self.noise).to_event(1) for suffix, code in codes.items()}

    # ------------------------------------------------------------------ the structural assignment

    def location_scale(self, u: Mapping[str, Tensor], pa: Parents) -> tuple[Tensor, Tensor]:
        return self.decode(u["z"], u["u"], pa), self.log_sigma.exp()

    def infer(self, x: Tensor, pa: Parents, *, sample: bool) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        z, u = self._encode_z(x, pa), self._encode_u(x, pa)
        if sample:
            z, u = self._noisy(z), self._noisy(u)
        codes = {"z": z, "u": u}
        return codes, *self.location_scale(codes, pa)

    def sample_noise(self, n: int) -> dict[str, Tensor]:
        drawn = {suffix: laws.drawn(law.expand((n,))) for suffix, law in self.prior({}).items()}
        eps = draws.normal((n, *self.variable.event_shape), self._anchor)
        return {**drawn, "eps": eps}


def _chosen(values: Tensor, classes: Tensor) -> Tensor:
    return values.gather(1, classes[:, None])[:, 0]

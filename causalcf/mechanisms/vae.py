"""Image mechanism by a conditional variational autoencoder, with the residual as part of the noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from pyro.distributions import Independent, MultivariateNormal, Normal, TorchDistribution
from torch import Tensor

from causalcf.core.columns import Column
from causalcf.core.errors import MechanismError
from causalcf.core.settings import COUNT, WEIGHT
from causalcf.mechanisms.amortised import AmortisedImage, divergence
from causalcf.mechanisms.base import Parents, Recipe
from causalcf.mechanisms.categories import ByCategory
from causalcf.mechanisms.images import CELL, Decoder, Encoder, draw_normal, framed

__all__ = ["VAE"]

SETTLED_ROWS, BATCH = 20_000, 500
"""Most rows that the codes' law is taken from, and rows a call."""


@dataclass(eq=False, repr=False)
class VAE(AmortisedImage):
    r"""Conditional VAE: :math:`x := \mu(z, pa) + \sigma(z, pa)\,\epsilon`, z and :math:`\epsilon` standard normal.

    Abduction takes z from the encoder q(z | x, pa), mean or sample, and the residual
    :math:`\epsilon = (x - \mu)/\sigma` exactly; so with nothing done, prediction gives x back. Parents act in two
    ways: they modulate every block of encoder and decoder, and they brighten the whole image by a
    gain that multiplies :math:`\mu` and :math:`\sigma` alike (see `Gain`).

    References:
        Kingma and Welling, "Auto-Encoding Variational Bayes", 2014. Sohn, Lee, Yan, "Learning
        Structured Output Representation using Deep Conditional Generative Models", 2015. Pawlowski,
        Castro, Glocker, "Deep Structural Causal Models for Tractable Counterfactual Inference", 2020.
        Perez et al., "FiLM: Visual Reasoning with a General Conditioning Layer", 2018.

    Args:
        latent: Dimensions of z.
        widths: Channels at half, a quarter and an eighth of the image's resolution.
        beta: Weight of the KL term in the training objective (Higgins et al. 2017). Above 1 it keeps
            what the parents explain out of z, which counterfactuals gain from.
        sigma: Standard deviation of pixels before the gain, or None to learn one per channel.
        average: Add the parents' average effect on each pixel, in closed form, and learn what differs (see `Average`).
        sparsity: Weight in training of how much an action on one parent changes: what does not pay stays as it is.
        by_category: Take what the parents' categories say out of the code after training, in closed form (see
            `ByCategory`): do(category) is then obeyed, and draws from the prior look like their category.

    Example:
        >>> from causalcf.variables import Image, Real
        >>> vae = VAE(latent=4, widths=(8, 8, 8)).bind("image", Image(1, 16, 16), {"t": Real()})
        >>> x, pa = torch.rand(2, 1, 16, 16), {"t": torch.zeros(2)}
        >>> u = vae.abduct(x, pa)
        >>> vae.predict(u, pa).allclose(x, atol=1e-5)
        True
    """

    latent: int = 32
    widths: tuple[int, int, int] = (32, 64, 96)
    beta: float = 4.0
    sigma: float | None = None
    average: bool = False
    sparsity: float = 0.0
    by_category: bool = False

    takes_columns: ClassVar[bool] = True
    latents: ClassVar[tuple[str, ...]] = ("z",)
    default_recipe: ClassVar[Recipe] = Recipe(
        epochs=30, batch_size=64, lr=2e-3, warmup=200, weight_decay=0.01, clip=1.0, ema=0.999
    )

    @classmethod
    def preset(cls, name: str, **options: Any) -> Self:
        """Settings for a kind of images: "colour", small, for coloured pictures such as portraits.

        What parents do on average is taken from the data in closed form, so that a few minutes of two slow cores do for
        a first useful model of 64 x 64 pictures; see docs/results.md.

        Args:
            name: "colour".
            options: Fields to set otherwise, such as `latent`.

        Raises:
            MechanismError: There is no such preset.

        Example:
            >>> VAE.preset("colour").average
            True
        """
        if name not in PRESETS:
            raise MechanismError(f"VAE has no preset '{name}'. There are: {list(PRESETS)}.")
        return cls(**{**PRESETS[name], **options})

    def validate(self) -> None:
        super().validate()
        self.require(latent=COUNT, widths=COUNT.each(3), beta=WEIGHT)

    def build(self) -> None:
        super().build()
        channels = self.variable.event_shape[0]
        height, width = self.frame(CELL)
        grid = (height // CELL, width // CELL)
        self.inference = Encoder(channels, self.context, self.widths, 2 * self.latent, grid)
        self.generator = Decoder(self.drawn_channels, self.context, self.widths, self.latent, grid)
        self.still(self.generator.head)  # type: ignore[arg-type]
        self.categories = ByCategory(self.parents, self.latent) if self.by_category else None

    # ------------------------------------------------------------------ distributions

    def encode(self, x: Tensor, pa: Parents) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation of q(z | x, pa), each (N, latent)."""
        framed_x = framed(x / self.gain(pa), self.frame(CELL))
        mean, log_std = self.inference(framed_x, self.features(pa, x.shape[0])).chunk(2, 1)
        return mean, log_std.clamp(-4, 2)

    def decode(self, z: Tensor, pa: Parents) -> tuple[Tensor, Tensor]:
        """Mean (N, C, H, W) of p(x | z, pa), and its standard deviation, broadcastable to that."""
        c = self.features(pa, z.shape[0])
        return self.drawn(self.generator(z, torch.zeros_like(c) if self.average else c), c, pa)

    def location_scale(self, u: Mapping[str, Tensor], pa: Parents) -> tuple[Tensor, Tensor]:
        return self.decode(self._code(u["z"], pa), pa)

    def infer(self, x: Tensor, pa: Parents, *, sample: bool) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        mean, log_std = self.encode(x, pa)
        z = draw_normal(mean, log_std) if sample else mean
        return {"z": self._noise(z, pa)}, *self.decode(z, pa)

    def prior(self, pa: Parents) -> dict[str, Independent]:
        zeros = torch.zeros(self.latent, device=self.device, dtype=self.dtype)
        return {"z": Normal(zeros, torch.ones_like(zeros)).to_event(1)}

    def posterior(self, x: Tensor, pa: Parents) -> dict[str, TorchDistribution]:
        mean, log_std = self.encode(x, pa)
        if self.categories is None:
            return {"z": Normal(mean, log_std.exp()).to_event(1)}
        inverse = self.categories.inverse[self.categories.cell(pa, len(mean))]
        factor = inverse * log_std.exp()[:, None, :]
        covariance = factor @ factor.mT
        return {"z": MultivariateNormal(self.categories.noise(mean, pa), covariance)}

    def bound(self, x: Tensor, pa: Parents) -> tuple[Tensor, dict[str, Tensor]]:
        mean, log_std = self.encode(x, pa)
        z = draw_normal(mean, log_std)
        mu, sigma = self.decode(z, pa)
        loss = self.negative_bound(x, mu, sigma, divergence(mean, log_std))
        return loss, {"z": self._noise(z, pa), "eps": (x - mu) / sigma}

    def prepare_finetuning(self, x: Tensor | Column, pa: Parents) -> None:
        if self.categories is None:
            self.by_category = True
            self.categories = ByCategory(self.parents, self.latent).to(self.device, self.dtype)
        self.settle(x, pa)

    @torch.no_grad()
    def settle(self, x: Tensor | Column, pa: Parents) -> None:
        if self.categories is None:
            return
        rows = torch.arange(min(len(x), SETTLED_ROWS), device=x.device)
        pa = {name: pa[name][rows] for name in self.parents}
        codes = [self.encode(x[part], {name: pa[name][part] for name in pa}) for part in rows.split(BATCH)]
        mean, log_std = (torch.cat(of) for of in zip(*codes, strict=True))
        self.categories.settle(mean, (2 * log_std).exp(), pa)

    def _noise(self, z: Tensor, pa: Parents) -> Tensor:
        """The noise of codes, which are noise themselves unless their law depends on categories."""
        return z if self.categories is None else self.categories.noise(z, pa)

    def _code(self, u: Tensor, pa: Parents) -> Tensor:
        """The codes of noise."""
        return u if self.categories is None else self.categories.code(u, pa)

    def sample_noise(self, n: int) -> dict[str, Tensor]:
        return self.standard_noise({"z": (n, self.latent), "eps": (n, *self.variable.event_shape)})


PRESETS: dict[str, dict[str, Any]] = {
    "colour": {"widths": (16, 32, 64), "average": True, "sparsity": 1.0},
}
"""Fields of the settings for kinds of images."""

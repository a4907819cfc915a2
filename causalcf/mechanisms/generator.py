"""Image mechanism around a pretrained generator of any make."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from causalcf.core.errors import MechanismError
from causalcf.mechanisms.base import Parents
from causalcf.mechanisms.implicit import ImplicitImage, invert
from causalcf.mechanisms.learning import Stage
from causalcf.variables.image import Image

__all__ = ["Generator"]

Adapter = Callable[[Parents], tuple[Tensor, ...]]
"""Parents in data units -> the arguments of a pretrained network after its first."""


@dataclass(eq=False, repr=False)
class Generator(ImplicitImage):
    r"""x := G(z, pa) + residual, with a pretrained G that stays as it is, and z standard normal.

    Abduction takes z from the encoder E(x, pa) if there is one, then goes on by gradient descent on
    :math:`|G(z, pa) - x|^2`, from the encoder's z or, without encoder, from several starts of which each row keeps
    the best. The residual is the part of an image that G cannot reach. There is nothing to fit: the mechanism is ready
    at once, and its copies of the networks are frozen and in evaluation mode whatever happens around them. A file holds
    the networks' weights and the settings, but not the networks' code:
    `SCM.load(path, mechanisms={"image": Generator(G)})`, with the same settings.

    References:
        Bora, Jalal, Price, Dimakis, "Compressed Sensing using Generative Models", 2017 (inversion from several
        starts). Zhu, Kraehenbuehl, Shechtman, Efros, "Generative Visual Manipulation on the Natural Image
        Manifold", 2016 (an encoder, then descent). Brock, Donahue, Simonyan, "Large Scale GAN Training for High
        Fidelity Natural Image Synthesis", 2019 (class-conditional generators).

    Args:
        G: Network from latents (N, latent), and the output of `adapt`, to images (N, C, H, W).
        E: Encoder from images, and the output of `adapt`, to latents (N, latent).
        D: Discriminator of images, and the output of `adapt`, for `realism`.
        latent: Dimensions of z.
        adapt: Parents -> further arguments of the networks, such as
            `lambda pa: (F.one_hot(pa["label"], 1000).float(),)`; by default the parents' values, one by one.
        span: Lowest and highest pixel value of the networks' images, which become 0 and 1.
        refine: Most steps of descent; by default 200 without an encoder, and none with one.
        lr: Step size of the descent.
        starts: Points the descent begins from if there is no encoder: 0, and fixed draws from the prior.
        plausible: Weight of the mean square of z in the descent.
        carry: Whether a counterfactual carries over the residual x - G(z, pa).

    Example:
        >>> G = torch.nn.Sequential(torch.nn.Linear(2, 64), torch.nn.Unflatten(1, (1, 8, 8)))
        >>> generator = Generator(G, latent=2, span=(-1, 1)).bind("image", Image(1, 8, 8), {})
        >>> x = generator.predict(generator.sample_noise(3), {})
        >>> z = generator.abduct(x, {})["z"]
        >>> bool(((generator.decode(z, {}) - x).abs() < 0.02).all())
        True
    """

    G: Callable[..., Tensor]
    # Made by a factory: a default would be the class's attribute, which hides the module of that name.
    E: Callable[..., Tensor] | None = field(default_factory=lambda: None)
    D: Callable[..., Tensor] | None = field(default_factory=lambda: None)
    latent: int = 128
    adapt: Adapter | None = None
    span: tuple[float, float] = (0.0, 1.0)
    refine: int | None = None
    lr: float = 0.05
    starts: int = 4
    plausible: float = 0.0
    carry: bool = True

    takes_columns: ClassVar[bool] = True
    holds_code: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, network in {"G": self.G, "E": self.E, "D": self.D}.items():
            if not (callable(network) or (network is None and name != "G")):
                raise MechanismError(f"Generator takes a module or function as {name}, got {type(network).__name__}.")
        low, high = self.span
        if self.latent < 1 or self.starts < 1 or (self.refine or 0) < 0 or not low < high:
            raise MechanismError(
                f"Generator needs latent >= 1, starts >= 1, refine >= 0 and span low < high, got latent={self.latent},"
                f" starts={self.starts}, refine={self.refine}, span={self.span}."
            )
        for name in ("G", "E", "D"):
            if isinstance(network := getattr(self, name), torch.nn.Module):
                setattr(self, name, deepcopy(network))  # the caller's goes on training
        self.fitted = True
        self.requires_grad_(False).train()

    @property
    def config(self) -> dict[str, Any]:
        """The settings; networks of any make cannot be written, so `load` must be given them again, as they were."""
        settings = ("latent", "span", "refine", "lr", "starts", "plausible", "carry")
        return {name: getattr(self, name) for name in settings}

    def train(self, mode: bool = True) -> Self:
        """Evaluation mode, whatever is asked for: dropout and batch statistics have no place in an assignment."""
        return super().train(False)

    def validate(self) -> None:
        if not isinstance(self.variable, Image):
            raise self.reject("an Image")

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Empty: there is nothing to train."""
        return ()

    # ------------------------------------------------------------------ networks

    def decode(self, z: Tensor, pa: Parents) -> Tensor:
        """The image (N, C, H, W) that G gives, in [0, 1].

        Raises:
            MechanismError: It has another shape, or cannot be called so.
        """
        low, high = self.span
        image = self._ask("G", z, pa)
        expected = (z.shape[0], *self.variable.event_shape)
        if tuple(image.shape) != expected:
            raise MechanismError(
                f"The generator of '{self.node}' must give images of shape {expected} for latents {tuple(z.shape)},"
                f" got {tuple(image.shape)}."
            )
        return (image - low) / (high - low)

    def encode(self, x: Tensor, pa: Parents) -> Tensor:
        """Latents (N, latent) that explain images: of the encoder, of descent, or of the one and then the other.

        Raises:
            MechanismError: The encoder gives another shape, or cannot be called so.
        """
        n = x.shape[0]
        if self.E is None:
            starts = self._starts().to(x)
            return self._invert(x, pa, starts[:, None].expand(-1, n, -1), 200 if self.refine is None else self.refine)
        low, high = self.span
        z = self._ask("E", low + (high - low) * x, pa)
        if tuple(z.shape) != (n, self.latent):
            raise MechanismError(
                f"The encoder of '{self.node}' must give latents of shape {(n, self.latent)}, got {tuple(z.shape)}."
            )
        return self._invert(x, pa, z[None], self.refine) if self.refine else z

    def realism(self, x: Tensor, pa: Parents) -> Tensor:
        """The discriminator's scores of images, in its own unit.

        Raises:
            MechanismError: There is no discriminator.
        """
        if self.D is None:
            raise MechanismError(f"The generator of '{self.node}' came without a discriminator: Generator(G, D=...).")
        low, high = self.span
        return self._ask("D", low + (high - low) * x, pa)

    def _ask(self, name: str, x: Tensor, pa: Parents) -> Tensor:
        """The output of one of the networks, told of the parents."""
        told = self.adapt(pa) if self.adapt else tuple(pa[parent] for parent in self.parents)
        try:
            return getattr(self, name)(x, *told)
        except torch.OutOfMemoryError:
            raise
        except (TypeError, RuntimeError) as error:
            shapes = [tuple(value.shape) for value in (x, *told)]
            raise MechanismError(
                f"{name} of '{self.node}' cannot be called with tensors of shapes {shapes}: {error}. Set latent= to the"
                f" width that it takes, and adapt= to what it is to be told of the parents {list(self.parents)}."
            ) from error

    def _starts(self) -> Tensor:
        """Where descent begins, (starts, latent): the same points in every call."""
        drawn = torch.randn(self.starts - 1, self.latent, generator=torch.Generator().manual_seed(0))
        return torch.cat([drawn.new_zeros(1, self.latent), drawn])

    def _invert(self, x: Tensor, pa: Parents, starts: Tensor, steps: int) -> Tensor:
        """The best latent a row, (N, latent), of descents from starts (S, N, latent), side by side in one batch."""
        s, n = starts.shape[:2]
        repeated = {name: value.repeat(s, *[1] * (value.ndim - 1)) for name, value in pa.items()}
        z, loss = invert(
            lambda z: self.decode(z, repeated),
            x.repeat(s, 1, 1, 1),
            starts.reshape(s * n, self.latent),
            steps=steps,
            lr=self.lr,
            plausible=self.plausible,
        )
        best = loss.reshape(s, n).argmin(0)
        return z.reshape(s, n, self.latent)[best, torch.arange(n, device=x.device)]

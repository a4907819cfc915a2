"""Image mechanism by a hierarchical variational autoencoder: a top-down stack of latents, coarse to fine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count, pairwise
from typing import Any, ClassVar, Self

import torch
from pyro.distributions import Independent, Normal
from torch import Tensor

from causalcf.core import draws
from causalcf.core.errors import MechanismError
from causalcf.core.settings import COUNT, NATURAL, POSITIVE, WEIGHT
from causalcf.mechanisms.amortised import AmortisedImage, divergence
from causalcf.mechanisms.base import Draw, Parents, Recipe
from causalcf.mechanisms.hvae_networks import Choose, Inference, Shape, Shapes, TopDown
from causalcf.mechanisms.images import draw_normal, framed

__all__ = ["HVAE"]


@dataclass(eq=False, repr=False)
class HVAE(AmortisedImage):
    r"""Very deep conditional VAE: latents from one global vector down to maps of local detail.

    .. math::
        z_k := m_k(h_k) + s_k(h_k)\,u_k, \qquad x := \mu(z, pa) + \sigma(pa)\,\epsilon,
        \qquad u_k, \epsilon \sim N(0, 1)

    with :math:`h_k` the top-down features left by the latents above. The exogenous sites `z0`, `z1`, ... hold the
    *standardised* noise :math:`u_k`, standard normal whatever the parents are; :math:`z_k` is a mediator between
    them and the image. A counterfactual keeps :math:`u` and computes :math:`z` again under the new parents, so an
    action is never absorbed by an abducted :math:`z`, whether :math:`m_k, s_k` see the parents or not
    (`exogenous_prior`). That they do is the default: then :math:`q` need not be bent to make :math:`z` independent
    of the parents, since the prior takes off what they explain.

    Parents act in three ways: they modulate every block, they shift the priors (unless `exogenous_prior`), and
    they brighten the whole image by a gain outside the networks (see `Gain`). There is no normalisation layer, as
    in the paper; residual branches start out faint instead.

    References:
        Child, "Very Deep VAEs Generalize Autoregressive Models and Can Outperform Them on Images", 2021.
        De Sousa Ribeiro, Xia, Monteiro, Pawlowski, Glocker, "High Fidelity Image Counterfactuals with
        Probabilistic Causal Models", 2023, section 3 (exogenous prior; prior given parents, with its mediator).
        Vahdat and Kautz, "NVAE: A Deep Hierarchical Variational Autoencoder", 2020.

    Args:
        strides: Pixels of the image per cell, at each level of maps, finest first, each a multiple of
            the one before. A level of one cell, the whole image, is always on top.
        widths: Channels of the features, at these levels and then on top.
        blocks: Latents at these levels and then on top; 0 for a level of features alone.
        latent: Channels of a latent, at these levels and then on top.
        bottleneck: Channels inside a residual block, as a share of its width.
        beta: Weight of the KL terms in the training objective (Higgins et al. 2017).
        sigma: Standard deviation of pixels before the gain, or None to learn one per channel.
        exogenous_prior: Whether the prior of z is independent of the parents too, not that of u alone.
        temperature: Standard deviation of drawn latents as a share of the model's own: in `sample_noise`, in
            abduction by sample, and in the Pyro program. It is part of the configuration, so a file records it,
            and answers whose latents were drawn have it in `temperatures`.
        average: Add the parents' average effect on each pixel, in closed form, and learn what differs (see `Average`).
        sparsity: Weight in training of how much an action on one parent changes: what does not pay stays as it is.
        gain_only: Parents known to do no more than brighten the image: the gain alone hears of them, and acting on
            one of them multiplies the image by a number.
        size: The only height and width it takes, for presets made for one; None for any,
            which is framed by black to a multiple of the last stride.

    Example:
        >>> from causalcf.variables import Image, Real
        >>> hvae = HVAE(widths=(8, 8, 8, 8)).bind("image", Image(1, 16, 16), {"t": Real()})
        >>> x, pa = torch.rand(2, 1, 16, 16), {"t": torch.zeros(2)}
        >>> u = hvae.abduct(x, pa)
        >>> {site: tuple(value.shape) for site, value in u.items()}["z0"]
        (2, 16, 1, 1)
        >>> hvae.predict(u, pa).allclose(x, atol=1e-5)
        True
    """

    strides: tuple[int, ...] = (2, 4, 8)
    widths: tuple[int, ...] = (32, 64, 96, 128)
    blocks: tuple[int, ...] = (0, 1, 2, 3)
    latent: tuple[int, ...] = (0, 2, 4, 16)
    bottleneck: float = 1.0
    beta: float = 4.0
    sigma: float | None = None
    exogenous_prior: bool = False
    temperature: float = 1.0
    average: bool = False
    sparsity: float = 0.0
    gain_only: tuple[str, ...] = ()
    size: int | None = None

    takes_columns: ClassVar[bool] = True
    latent_dims: ClassVar[int] = 3
    default_recipe: ClassVar[Recipe] = Recipe(
        epochs=20, batch_size=32, lr=2e-3, warmup=200, weight_decay=0.01, clip=1.0, ema=0.999
    )

    @classmethod
    def preset(cls, name: str, **options: Any) -> Self:
        """The published architectures, by the size of their images: "32" (MorphoMNIST) and "64" (CelebA); and "colour".

        Resolutions, widths, latents and beta are the published ones, and so is the prior independent of the
        parents. With the benchmark's parents "32" has 3.1 M parameters (published: 2.0 M; the full connections
        between 4 x 4 and 1 x 1, for average pooling, make the difference), "64" 45.5 M; HVAE() itself has 1.8 M.
        "colour" is a slim one for coloured pictures and CPUs, with the parents' average effects in closed form.

        Args:
            name: "32", "64" or "colour".
            options: Fields to set otherwise, such as `beta`.

        Raises:
            MechanismError: There is no such preset.

        Example:
            >>> HVAE.preset("32").size
            32
        """
        if name not in PRESETS:
            raise MechanismError(f"HVAE has no preset '{name}'. There are: {list(PRESETS)}.")
        return cls(**{**PRESETS[name], **options})

    def validate(self) -> None:
        self._check_options()
        super().validate()
        height, width = self.variable.event_shape[1:]
        if self.size is not None and (height, width) != (self.size, self.size):
            raise MechanismError(
                f"HVAE of '{self.node}' with size={self.size} takes images of {self.size} x {self.size},"
                f" got {height} x {width}. Resize the images, or use a preset of their size or HVAE() for any."
            )

    def _check_options(self) -> None:
        self.require(strides=COUNT.each(), bottleneck=POSITIVE, beta=WEIGHT, temperature=POSITIVE)
        # One entry per stride and one for the top level.
        levels = len(self.strides) + 1
        self.require(widths=COUNT.each(levels), blocks=NATURAL.each(levels), latent=NATURAL.each(levels))
        if any(fine >= coarse or coarse % fine for fine, coarse in pairwise(self.strides)):
            raise MechanismError(
                f"HVAE of '{self.node}': each stride must be a multiple of the one before, got {self.strides}."
            )
        if not any(self.blocks):
            raise MechanismError(f"HVAE of '{self.node}': blocks must hold at least one latent, got {self.blocks}.")

    def build(self) -> None:
        super().build()
        plan = self._plan()
        self.inference = Inference(plan)
        self.generator = TopDown(plan)
        self.still(self.generator.head)  # type: ignore[arg-type]

    def _plan(self) -> Shapes:
        return Shapes(
            channels=self.variable.event_shape[0],
            drawn=self.drawn_channels,
            context=self.context,
            stride=self.strides[0],
            grids=tuple(self.grids()),
            widths=self.widths,
            blocks=self.blocks,
            latent=self.latent,
            bottleneck=self.bottleneck,
            exogenous_prior=self.exogenous_prior,
        )

    # ------------------------------------------------------------------ sites

    def grids(self) -> list[tuple[int, int]]:
        """Cells at each level, finest first, the top last."""
        height, width = self.frame(self.strides[-1])
        return [*((height // stride, width // stride) for stride in self.strides), (1, 1)]

    def shapes(self) -> dict[str, Shape]:
        """Latent site -> (channels, height, width), coarse to fine."""
        numbers = count()
        return {
            f"z{next(numbers)}": (channels, *grid)
            for channels, blocks, grid in reversed(list(zip(self.latent, self.blocks, self.grids(), strict=True)))
            for _ in range(blocks)
        }

    @property
    def latents(self) -> tuple[str, ...]:  # type: ignore[override]  # their number is a choice
        """Sites of the standardised noise of the latents, coarse to fine."""
        return tuple(f"z{k}" for k in range(sum(self.blocks)))

    # ------------------------------------------------------------------ distributions

    def location_scale(self, u: Mapping[str, Tensor], pa: Parents) -> tuple[Tensor, Tensor]:
        rows = u["z0"].shape[0]
        return self._image(lambda k, *_: u[f"z{k}"], self.features(pa, rows), pa)

    def _image(self, choose: Choose, c: Tensor, pa: Parents) -> tuple[Tensor, Tensor]:
        return self.drawn(self.generator(c, choose), c, pa)

    def _run_inference(
        self, x: Tensor, pa: Parents, draw: Callable[[int, Tensor, Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Run q from the top down, and p(x | u, pa) beside it.

        Args:
            x: Images.
            pa: Parents.
            draw: (site's number, mean and log standard deviation of u there) -> u.
        """
        c = self.features(pa, x.shape[0])
        features = self.inference(framed(x / self.gain(pa), self.frame(self.strides[-1])), c)

        def choose(k: int, h: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
            z_mean, z_log_std = self.inference.head(k, h, features)
            # q speaks about z; what is exogenous is z's standardised noise, so its law follows from the prior's.
            return draw(k, (z_mean - mean) / log_std.exp(), z_log_std - log_std)

        return self._image(choose, c, pa)

    def prior(self, pa: Parents) -> dict[str, Independent]:
        one = torch.ones((), device=self.device, dtype=self.dtype)
        return {site: self._law(one.new_zeros(shape), one) for site, shape in self.shapes().items()}

    def posterior(self, x: Tensor, pa: Parents) -> dict[str, Independent]:
        """q of each latent where those above it are at their means; `propose` draws from the whole of q."""
        laws: dict[str, Independent] = {}

        def at_mean(k: int, mean: Tensor, log_std: Tensor) -> Tensor:
            laws[f"z{k}"] = self._law(mean, log_std.exp())
            return mean

        self._run_inference(x, pa, at_mean)
        return laws

    def propose(self, x: Tensor, pa: Parents, draw: Draw) -> dict[str, Tensor]:
        u: dict[str, Tensor] = {}

        def drawn(k: int, mean: Tensor, log_std: Tensor) -> Tensor:
            u[f"z{k}"] = draw(f"z{k}", self._law(mean, log_std.exp()))
            return u[f"z{k}"]

        self._run_inference(x, pa, drawn)
        return u

    def _law(self, mean: Tensor, std: Tensor) -> Independent:
        return Normal(mean, (self.temperature * std).expand_as(mean)).to_event(3)

    def bound(self, x: Tensor, pa: Parents) -> tuple[Tensor, dict[str, Tensor]]:
        divergences: list[Tensor] = []
        u: dict[str, Tensor] = {}

        def drawn(k: int, mean: Tensor, log_std: Tensor) -> Tensor:
            divergences.append(divergence(mean, log_std))
            u[f"z{k}"] = draw_normal(mean, log_std)
            return u[f"z{k}"]

        mu, sigma = self._run_inference(x, pa, drawn)
        loss = self.negative_bound(x, mu, sigma, torch.stack(divergences).sum(0))
        return loss, {**u, "eps": (x - mu) / sigma}

    def infer(self, x: Tensor, pa: Parents, *, sample: bool) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        u: dict[str, Tensor] = {}

        def chosen(k: int, mean: Tensor, log_std: Tensor) -> Tensor:
            noise = self.temperature * log_std.exp() * draws.normal(mean.shape, mean) if sample else 0.0
            u[f"z{k}"] = mean + noise
            return u[f"z{k}"]

        return u, *self._run_inference(x, pa, chosen)

    def sample_noise(self, n: int) -> dict[str, Tensor]:
        noise = self.standard_noise({site: (n, *shape) for site, shape in self.shapes().items()})
        noise = {site: self.temperature * u for site, u in noise.items()}
        return {**noise, **self.standard_noise({"eps": (n, *self.variable.event_shape)})}


PRESETS: dict[str, dict[str, Any]] = {
    "32": {
        "strides": (1, 2, 4, 8),
        "widths": (16, 32, 64, 128, 256),
        "blocks": (4, 4, 4, 4, 4),
        "latent": (16, 16, 16, 16, 16),
        "bottleneck": 0.25,
        "beta": 1.0,
        "exogenous_prior": True,
        "size": 32,
    },
    "64": {
        "strides": (1, 2, 4, 8, 16),
        "widths": (32, 64, 128, 256, 512, 1024),
        "blocks": (4, 4, 4, 4, 4, 4),
        "latent": (16, 16, 16, 16, 16, 16),
        "bottleneck": 0.25,
        "beta": 5.0,
        "exogenous_prior": True,
        "size": 64,
    },
    "colour": {
        "strides": (4, 8, 16),
        "widths": (32, 64, 96, 128),
        "blocks": (0, 1, 2, 2),
        "latent": (0, 2, 4, 16),
        "average": True,
        "sparsity": 1.0,
    },
}
"""Fields of the published architectures (Melistas et al. 2024, appendix A.3), and of a slim one."""

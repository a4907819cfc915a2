"""Image mechanism by a conditional, bidirectional generative adversarial network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from causalcf.core.columns import Column, by_blocks
from causalcf.core.settings import COUNT, NATURAL, WEIGHT
from causalcf.mechanisms.base import Parents
from causalcf.mechanisms.images import CELL, EMBEDDING, Decoder, Encoder, ImageMechanism, embedding, framed
from causalcf.mechanisms.implicit import ImplicitImage, invert
from causalcf.mechanisms.learning import Recipe, Stage, Turn
from causalcf.variables import Variable

__all__ = ["GAN"]

NUDGE = 0.05
"""Standard deviation of the pixel noise by which the discriminator's slope is measured."""

HIDDEN = 128
"""Width of the discriminator's layers."""


@dataclass(eq=False, repr=False)
class GAN(ImplicitImage, ImageMechanism):
    r"""Bidirectional GAN: x := G(z, pa) + g(pa) eps, with an encoder E(x, pa) of z and no density.

    *Adversarial stage.* A discriminator of image, latent and parents together tells (x, E(x, pa), pa) from two kinds
    of fakes: (G(z, pa), z, pa) with z from the prior, as in bidirectional GANs, and the model's own counterfactuals
    (G(z, pa*), z, pa*) with z = E(x, pa) and pa* another row's parents. So G has to obey the parents also where the
    encoder puts z, and an encoder that leaves the class in z is found out: published GANs, which see prior draws
    only, lose do(digit) when their encoder is tuned. Beside the score, the discriminator learns to read the parents
    off real images, and G must give fakes off which it reads the parents asked for, also where one of them was changed.
    Two cycles keep the identity: :math:`|x - G(E(x, pa), pa)|^2` and :math:`|z - E(G(z, pa^*), pa^*)|^2`.

    *Encoder stage.* G stays as it is, and the encoder alone goes on with the two cycles.

    The discriminator's slope at real images is penalised (R1), measured by a small change of the pixels. What the
    parents brighten is left to a gain outside the networks (see `Gain`).

    References:
        Donahue, Kraehenbuehl, Darrell, "Adversarial Feature Learning", and Dumoulin et al., "Adversarially Learned
        Inference", both 2017 (encoder, generator and joint discriminator). Dash, Balasubramanian, Sharma, "Evaluating
        and Mitigating Bias in Image Classifiers: A Causal Perspective Using Counterfactuals", 2022 (the cycles).
        Larsen et al., "Autoencoding beyond pixels using a learned similarity metric", 2016 (reconstruction and
        adversary together). Choi et al., "StarGAN", 2018 (a discriminator that reads attributes, and judges images
        under other ones). Mescheder, Geiger, Nowozin, "Which Training Methods for GANs do actually Converge?", 2018
        (R1). Lin et al., "Diffusion Adversarial Post-Training for One-Step Video Generation", 2025 (R1 by
        differences). Miyato and Koyama, "cGANs with Projection Discriminator", 2018.

    Args:
        latent: Dimensions of z.
        widths: Channels at half, a quarter and an eighth of the image's resolution.
        identity: Weight of the image cycle, a mean square over pixels.
        cycle: Weight of the latent cycle, a mean square over dimensions.
        obedience: Weight of the parents' log-likelihood, as the discriminator reads them in fakes.
        penalty: Weight of the discriminator's squared slope at real images.
        jitter: Standard deviation of the noise that is added to the encoder's z in training, so that neighbours
            of a latent look alike.
        carry: Whether a counterfactual carries over the residual x - G(E(x, pa), pa). Predict with
            residual=0 to leave it out of one answer.
        refine: Steps of gradient descent on :math:`|x - G(z, pa)|^2`, from the encoder's z, in abduction.

    Example:
        >>> from causalcf.variables import Image, Real
        >>> gan = GAN(latent=4, widths=(8, 8, 8)).bind("image", Image(1, 16, 16), {"t": Real()})
        >>> x, pa = torch.rand(2, 1, 16, 16), {"t": torch.zeros(2)}
        >>> u = gan.abduct(x, pa)
        >>> gan.predict(u, pa).allclose(x, atol=1e-5)
        True
    """

    latent: int = 32
    widths: tuple[int, int, int] = (16, 48, 96)
    identity: float = 500.0
    cycle: float = 1.0
    obedience: float = 2.0
    penalty: float = 0.3
    jitter: float = 0.1
    carry: bool = True
    refine: int = 0

    takes_columns: ClassVar[bool] = True
    multiple: ClassVar[int] = 1  # any size: images are framed to a multiple of CELL
    training_only: ClassVar[tuple[str, ...]] = ("discriminator",)
    default_recipe: ClassVar[Recipe] = Recipe(epochs=4, batch_size=64, lr=2e-3, betas=(0.5, 0.99), clip=5.0, ema=0.998)

    def validate(self) -> None:
        super().validate()
        self.require(latent=COUNT, widths=COUNT.each(3), refine=NATURAL)
        self.require(**dict.fromkeys(("identity", "cycle", "obedience", "penalty", "jitter"), WEIGHT))

    def build(self) -> None:
        super().build()
        height, width = self.frame(CELL)
        channels = self.variable.event_shape[0]
        shape = (channels, self.context, self.widths, self.latent, (height // CELL, width // CELL))
        self.inference, self.generator = Encoder(*shape), Decoder(*shape)
        self.discriminator = Discriminator(*shape, self.encoder.parents)
        self.peak: Tensor
        self.register_buffer("peak", torch.ones(()))

    def calibrate(self, x: Tensor | Column, pa: Parents) -> None:
        super().calibrate(x, pa)
        # The generator's brightest: plateaus lie where its sigmoid is flat, and are even.
        self.peak.copy_(by_blocks(x, lambda part, rows: self._peaks(part, pa, rows)).median())

    def _peaks(self, x: Tensor, pa: Parents, rows: slice) -> Tensor:
        """The brightest pixel of each image, its gain taken away; x are these rows."""
        return (x / self.gain({name: value[rows] for name, value in pa.items()})).flatten(1).amax(1)

    @property
    def stages(self) -> tuple[Stage, ...]:
        adversarial = (
            Turn("discriminator_loss", ("discriminator",)),
            Turn("generator_loss", ("generator", "inference")),
        )
        tuning = Recipe(epochs=1, batch_size=64, lr=3e-4, clip=5.0, ema=0.998)
        return (
            Stage("adversarial", adversarial, validation=None),
            Stage("encoder", (Turn("encoder_loss", ("inference",)),), tuning, validation="encoder_loss"),
        )

    # ------------------------------------------------------------------ networks

    def brightness(self, pa: Parents) -> Tensor:
        return self.gain(pa)

    def infer(self, x: Tensor, pa: Parents) -> Tensor:
        """E(x, pa): the encoder's latents (N, latent)."""
        return self.inference(framed(x / self.gain(pa), self.frame(CELL)), self.features(pa, x.shape[0]))

    def encode(self, x: Tensor, pa: Parents) -> Tensor:
        z = self.infer(x, pa)
        return invert(lambda z: self.decode(z, pa), x, z, steps=self.refine)[0] if self.refine else z

    def decode(self, z: Tensor, pa: Parents) -> Tensor:
        _, height, width = self.variable.event_shape
        image = framed(self.generator(z, self.features(pa, z.shape[0])), (height, width))
        return self.gain(pa) * self.peak * image.sigmoid()

    def judge(self, x: Tensor, z: Tensor, pa: Parents) -> tuple[Tensor, Tensor]:
        """How real (x, z, pa) looks to the discriminator, (N,), and the parents' features it reads in x, (N, F)."""
        score, read = self.discriminator(framed(x, self.frame(CELL)), z, self.features(pa, x.shape[0]))
        return score.to(z.dtype), read.to(z.dtype)

    # ------------------------------------------------------------------ losses

    def discriminator_loss(self, x: Tensor, pa: Parents) -> Tensor:
        """The discriminator's loss: real from fake, misread parents of real images, and its slope."""
        n, few = x.shape[0], -(-x.shape[0] // 4)
        with torch.no_grad():
            codes = self._jittered(x, pa)
            z, acted, judged = self._fakes(codes, pa)
            fake = self.decode(z, acted)
        nudged = x[:few] + NUDGE * torch.randn_like(x[:few])
        told = {name: torch.cat([pa[name], acted[name], pa[name][:few]]) for name in pa}
        scores, read = self.judge(torch.cat([x, fake, nudged]), torch.cat([codes, z, codes[:few]]), told)
        real, false, moved = scores.split([n, n, few])
        slope = (moved - real[:few]).square().mean() / NUDGE**2
        told_apart = F.softplus(-real).mean() + _mean(F.softplus(false), judged)
        return told_apart + self.discriminator.misread(read[:n], self.encoder(pa)) + 0.5 * self.penalty * slope

    def generator_loss(self, x: Tensor, pa: Parents) -> Tensor:
        """The loss of generator and encoder: being told apart, misread parents of fakes, and the two cycles."""
        n = x.shape[0]
        codes = self._jittered(x, pa)
        z, acted, judged = self._fakes(codes, pa)
        told = {name: torch.cat([pa[name], acted[name]]) for name in pa}
        again, fake = self.decode(torch.cat([codes, z]), told).split(n)
        scores, read = self.judge(torch.cat([x, fake]), torch.cat([codes, z]), told)
        adversarial = F.softplus(scores[:n]).mean() + _mean(F.softplus(-scores[n:]), judged)
        misread = self.discriminator.misread(read[n:], self.encoder(acted))
        latent = F.mse_loss(self.infer(fake, acted), z.detach())
        image = F.mse_loss(again, x)
        return adversarial + self.obedience * misread + self.identity * image + self.cycle * latent

    def encoder_loss(self, x: Tensor, pa: Parents) -> Tensor:
        """The encoder's own loss in the end: the image cycle, and the latent cycle under acted parents."""
        codes = self.infer(x, pa)
        z, acted, _ = self._fakes(codes.detach(), pa)
        told = {name: torch.cat([pa[name], acted[name]]) for name in pa}
        again, fake = self.decode(torch.cat([codes, z]), told).split(x.shape[0])
        return self.identity * F.mse_loss(again, x) + self.cycle * F.mse_loss(self.infer(fake, acted), z)

    def loss(self, x: Tensor, pa: Parents) -> Tensor:
        """The objective that fine-tuning holds: the two cycles, which need no discriminator."""
        return self.encoder_loss(x, pa)

    def _jittered(self, x: Tensor, pa: Parents) -> Tensor:
        z = self.infer(x, pa)
        return z + self.jitter * torch.randn_like(z)

    def _fakes(self, z: Tensor, pa: Parents) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Latents and parents of fake images, and which of them the discriminator can judge, (N,), as 0 or 1.

        In turn, a row has a latent from the prior and its own parents; its latent and another row's parents; and its
        latent and parents of which one is another row's. There may be no real images of the last kind, so what
        is real says nothing of them.
        """
        n = z.shape[0]
        kind = torch.arange(n, device=z.device) % 3
        other, which = torch.randperm(n, device=z.device), torch.randint(max(len(pa), 1), (n,), device=z.device)
        z = torch.where((kind == 0)[:, None], torch.randn_like(z), z)
        acted = {}
        for i, (name, value) in enumerate(pa.items()):
            moved = (kind == 1) | ((kind == 2) & (which == i))
            shape = (n, *[1] * (value.ndim - 1))
            # Not value[other]: torch 2.13 fails to compile an index that randperm drew.
            others = value.gather(0, other.reshape(shape).expand_as(value))
            acted[name] = torch.where(moved.reshape(shape), others, value)
        return z, acted, ((kind < 2) | (not pa)).to(z.dtype)


class Discriminator(nn.Module):
    """How real image, latent and parents look together; and the parents, read off the image alone."""

    def __init__(
        self,
        channels: int,
        context: int,
        widths: tuple[int, int, int],
        latent: int,
        grid: tuple[int, int],
        parents: Mapping[str, Variable],
    ) -> None:
        super().__init__()
        self.parents = dict(parents)
        fine, middle, coarse = widths
        self.embed = embedding(context)
        self.trunk = nn.Sequential(
            nn.PixelUnshuffle(2),
            *(nn.Conv2d(4 * channels, fine, 3, padding=1), nn.LeakyReLU(0.2)),
            *(nn.Conv2d(fine, middle, 4, stride=2, padding=1), nn.LeakyReLU(0.2)),
            *(nn.Conv2d(middle, middle, 3, padding=1), nn.LeakyReLU(0.2)),
            *(nn.Conv2d(middle, coarse, 4, stride=2, padding=1), nn.LeakyReLU(0.2)),
            nn.Flatten(),
            *(nn.Linear(coarse * grid[0] * grid[1], 2 * HIDDEN), nn.LeakyReLU(0.2)),
        )
        self.code = nn.Sequential(nn.Linear(latent, HIDDEN), nn.LeakyReLU(0.2), nn.Linear(HIDDEN, HIDDEN))
        self.joint = nn.Sequential(
            nn.Linear(3 * HIDDEN + EMBEDDING, 2 * HIDDEN), nn.LeakyReLU(0.2), nn.Linear(2 * HIDDEN, 1)
        )
        self.projection = nn.Linear(EMBEDDING, 2 * HIDDEN)
        self.reader = nn.Linear(2 * HIDDEN, sum(v.num_features for v in parents.values())) if parents else None
        self.log_scale = nn.Parameter(torch.zeros(sum(v.num_features for v in parents.values() if not v.discrete)))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor, z: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        e = self.embed(c)
        h = self.trunk(x.contiguous(memory_format=torch.channels_last))
        score = self.joint(torch.cat([h, self.code(z), e], 1)).squeeze(1) + (h * self.projection(e)).mean(1)
        return score, h[:, :0] if self.reader is None else self.reader(h)

    def misread(self, read: Tensor, features: Tensor | None) -> Tensor:
        """Minus the log-likelihood of the parents' features as read: categorical, Bernoulli or Laplace."""
        loss = read.new_zeros(())
        if features is None:
            return loss
        widths = [variable.num_features for variable in self.parents.values()]
        scales = iter(self.log_scale.clamp(-3.5, 3).split([v.num_features for v in self.numbers]))
        for variable, output, true in zip(
            self.parents.values(), read.split(widths, 1), features.split(widths, 1), strict=True
        ):
            if not variable.discrete:
                log_scale = next(scales)
                loss = loss + ((output - true).abs() / log_scale.exp() + log_scale).sum(1).mean()
            elif variable.num_features > 1:
                loss = loss - (output.log_softmax(1) * true).sum(1).mean()
            else:
                loss = loss + F.binary_cross_entropy_with_logits(output, true)
        return loss

    @property
    def numbers(self) -> list[Variable]:
        """The parents that are numbers, not codes."""
        return [variable for variable in self.parents.values() if not variable.discrete]


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    return (values * weights).sum() / weights.sum()

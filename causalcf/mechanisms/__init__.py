"""Mechanisms: p(x | pa) as a structural assignment, and its inversion. An open set.

To add one: a file with a `Mechanism` subclass, and a row in `MECHANISMS`; the contract suite in
`tests/contracts/test_mechanisms.py` then runs on it.
"""

from causalcf.core.errors import MechanismError
from causalcf.core.signatures import checked
from causalcf.mechanisms.base import Mechanism
from causalcf.mechanisms.categorical import Boolean, Categorical
from causalcf.mechanisms.count import Count
from causalcf.mechanisms.deterministic import Classifier, Deterministic
from causalcf.mechanisms.diffusion import Diffusion
from causalcf.mechanisms.flow import AdditiveNoise, Flow
from causalcf.mechanisms.gan import GAN
from causalcf.mechanisms.generator import Generator
from causalcf.mechanisms.hvae import HVAE
from causalcf.mechanisms.learning import Recipe, Stage, Trainable, Turn
from causalcf.mechanisms.linear import LinearGaussian
from causalcf.mechanisms.mixture import MixtureAE
from causalcf.mechanisms.ordinal import Ordinal
from causalcf.mechanisms.vae import VAE
from causalcf.variables import Variable

__all__ = [
    "GAN",
    "HVAE",
    "MECHANISMS",
    "VAE",
    "AdditiveNoise",
    "Boolean",
    "Categorical",
    "Classifier",
    "Count",
    "Deterministic",
    "Diffusion",
    "Flow",
    "Generator",
    "LinearGaussian",
    "Mechanism",
    "MixtureAE",
    "Ordinal",
    "Recipe",
    "Stage",
    "Trainable",
    "Turn",
    "default_mechanism",
]

MECHANISMS: dict[str, type[Mechanism]] = {
    "Flow": Flow,
    "LinearGaussian": LinearGaussian,
    "AdditiveNoise": AdditiveNoise,
    "Categorical": Categorical,
    "Boolean": Boolean,
    "Ordinal": Ordinal,
    "Count": Count,
    "Deterministic": Deterministic,
    "Classifier": Classifier,
    "VAE": VAE,
    "MixtureAE": MixtureAE,
    "HVAE": HVAE,
    "Diffusion": Diffusion,
    "GAN": GAN,
    "Generator": Generator,
}
"""Mechanisms by the name a checkpoint knows them by."""
for _kind in MECHANISMS.values():
    checked(_kind, numbers=False)

_DEFAULTS: dict[str, type[Mechanism]] = {
    "Real": Flow,
    "Positive": Flow,
    "Interval": Flow,
    "Vector": Flow,
    "Categorical": Categorical,
    "Boolean": Boolean,
    "Ordinal": Ordinal,
    "Count": Count,
}


@checked
def default_mechanism(node: str, variable: Variable) -> Mechanism:
    """The mechanism a variable gets unless another is named.

    Raises:
        MechanismError: The kind has no default; an image's generator is a choice to make.

    Example:
        >>> from causalcf.variables import Positive
        >>> type(default_mechanism("t", Positive())).__name__
        'Flow'
    """
    if variable.kind not in _DEFAULTS:
        raise MechanismError(
            f"'{node}' is {variable.article} and has no default mechanism."
            f" Name one: SCM(graph, mechanisms={{'{node}': ccf.mechanisms.VAE()}})."
        )
    return _DEFAULTS[variable.kind]()

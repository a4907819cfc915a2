"""Explainers: what would have to change for a classifier to say something else. An open set.

Every explanation is an intervention on the model: on the latent sites of an image's mechanism, or on the image
itself. To add one: a file with an `Explainer` subclass, and a row in `EXPLAINERS`; the contract suite in
`tests/contracts/test_explainers.py` then runs on it.
"""

from causalcf.core.signatures import checked
from causalcf.explainers.base import Explainer
from causalcf.explainers.explanation import Explanation, Stream
from causalcf.explainers.found import REASONS
from causalcf.explainers.methods.c3lt import C3LT
from causalcf.explainers.methods.cem import CEM
from causalcf.explainers.methods.cfproto import CFProto
from causalcf.explainers.methods.cfrl import CFRL
from causalcf.explainers.methods.clarity import Clarity
from causalcf.explainers.methods.cve import CVE
from causalcf.explainers.methods.cyclegan import CycleGAN
from causalcf.explainers.methods.explaingan import ExplainGAN
from causalcf.explainers.methods.gdl import GDL
from causalcf.explainers.methods.image_gradient import ImageGradient
from causalcf.explainers.methods.losocs import LoSoCs
from causalcf.explainers.methods.mixture_search import MixtureSearch
from causalcf.explainers.methods.pgd import PGD
from causalcf.explainers.methods.revise import REVISE
from causalcf.explainers.methods.schut import Schut

__all__ = [
    "C3LT",
    "CEM",
    "CFRL",
    "CVE",
    "EXPLAINERS",
    "GDL",
    "PGD",
    "REASONS",
    "REVISE",
    "CFProto",
    "Clarity",
    "CycleGAN",
    "ExplainGAN",
    "Explainer",
    "Explanation",
    "ImageGradient",
    "LoSoCs",
    "MixtureSearch",
    "Schut",
    "Stream",
]

EXPLAINERS: dict[str, type[Explainer]] = {
    "ImageGradient": ImageGradient,
    "Schut": Schut,
    "REVISE": REVISE,
    "Clarity": Clarity,
    "LoSoCs": LoSoCs,
    "GDL": GDL,
    "CFProto": CFProto,
    "CEM": CEM,
    "PGD": PGD,
    "MixtureSearch": MixtureSearch,
    "C3LT": C3LT,
    "CFRL": CFRL,
    "ExplainGAN": ExplainGAN,
    "CVE": CVE,
    "CycleGAN": CycleGAN,
}
"""Explainers by the name the command line knows them by."""
for _method in EXPLAINERS.values():
    checked(_method)

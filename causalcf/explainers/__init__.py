"""Explainers: what would have to change for a classifier to say something else. An open set.

Every explanation is an intervention on the model: on the latent sites of an image's mechanism, or on the image
itself. To add one: a file with an `Explainer` subclass, and a row in `EXPLAINERS`; the contract suite in
`tests/contracts/test_explainers.py` then runs on it.
"""

from causalcf.explainers.base import Explainer
from causalcf.explainers.explanation import Explanation, Stream
from causalcf.explainers.query import REASONS
from causalcf.explainers.revise import REVISE

__all__ = ["EXPLAINERS", "REASONS", "REVISE", "Explainer", "Explanation", "Stream"]

EXPLAINERS: dict[str, type[Explainer]] = {
    "REVISE": REVISE,
}
"""Explainers by the name the command line knows them by."""

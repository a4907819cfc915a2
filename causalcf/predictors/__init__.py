"""Anti-causal predictors: networks that read the causes of an image back from it.

They judge whether a counterfactual image shows the acted values (effectiveness), and guide the
fine-tuning of image mechanisms. A judge is only worth its own error, so every predictor carries the
rows it was trained on and its error on real images. There is no batch normalisation in them, so
nothing about them depends on the batch or on a training mode left on by mistake.
"""

from causalcf.core.signatures import checked
from causalcf.predictors.fitting import Part, fit, part
from causalcf.predictors.jitter import Jitter
from causalcf.predictors.network import Predictor
from causalcf.predictors.score import ClassScore, Score
from causalcf.predictors.shipped import PLANS, file_name, planned, pretrained
from causalcf.predictors.together import Ensemble, Predictors

__all__ = [
    "PLANS",
    "ClassScore",
    "Ensemble",
    "Jitter",
    "Part",
    "Predictor",
    "Predictors",
    "Score",
    "file_name",
    "fit",
    "part",
    "planned",
    "pretrained",
]

for _kind in (Predictor, Jitter):
    checked(_kind)

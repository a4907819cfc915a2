"""Metrics of counterfactuals: pure functions of tensors, which see no model. An open set.

To add one: a file with a function, and a row in `METRICS`; the contract suite in
`tests/contracts/test_metrics.py` then runs on it.
"""

from math import inf

from causalcf.metrics.autoencoders import ClassAutoencoders, fit_autoencoders
from causalcf.metrics.base import Metric
from causalcf.metrics.bootstrap import Estimate, bootstrap_interval
from causalcf.metrics.change import changed_features, distance, proximity, total_change
from causalcf.metrics.cld import Minimality, cld, equal_width_bins
from causalcf.metrics.composition import composition, reversibility
from causalcf.metrics.decision import class_changed, validity
from causalcf.metrics.disagreement import Doubt, aleatoric, doubt, epistemic
from causalcf.metrics.diversity import diversity
from causalcf.metrics.effectiveness import accuracy, confusion, f1, f1_interval
from causalcf.metrics.embedding import embedding_distance
from causalcf.metrics.error import absolute_error, grey_level_error, rmse, zero_one_error
from causalcf.metrics.features import Extractor, FeatureNetwork, Features, evaluating, extract, metric_name
from causalcf.metrics.fid import fid, frechet_distance
from causalcf.metrics.inception import inception_features
from causalcf.metrics.kid import KernelDistance, kid
from causalcf.metrics.lpips import PerceptualNetwork, lpips
from causalcf.metrics.manifold import im1, im2, reconstruction_error
from causalcf.metrics.moments import FeatureBank, FeatureMoments
from causalcf.metrics.protocol import draw_other_bin, draw_other_category
from causalcf.metrics.sharpness import sharpness
from causalcf.metrics.similarity import Siamese, SiameseScore, distance_ratio, siamese_pairs, siamese_similarity
from causalcf.metrics.stream import chord_share, continuity, linearity, path_linearity, undefined
from causalcf.metrics.transition import aupc, cout, transition_curves
from causalcf.metrics.uncertainty import abduction_spread, abduction_std, abduction_std_map
from causalcf.metrics.untouched import max_change, unchanged
from causalcf.metrics.vgg import vgg_features, vgg_perception
from causalcf.metrics.weights import find_weights

__all__ = [
    "METRICS",
    "ClassAutoencoders",
    "Doubt",
    "Estimate",
    "Extractor",
    "FeatureBank",
    "FeatureMoments",
    "FeatureNetwork",
    "Features",
    "KernelDistance",
    "Metric",
    "Minimality",
    "PerceptualNetwork",
    "Siamese",
    "SiameseScore",
    "abduction_spread",
    "abduction_std",
    "abduction_std_map",
    "absolute_error",
    "accuracy",
    "aleatoric",
    "aupc",
    "bootstrap_interval",
    "changed_features",
    "chord_share",
    "class_changed",
    "cld",
    "composition",
    "confusion",
    "continuity",
    "cout",
    "distance",
    "distance_ratio",
    "diversity",
    "doubt",
    "draw_other_bin",
    "draw_other_category",
    "embedding_distance",
    "epistemic",
    "equal_width_bins",
    "evaluating",
    "extract",
    "f1",
    "f1_interval",
    "fid",
    "find_weights",
    "fit_autoencoders",
    "frechet_distance",
    "grey_level_error",
    "im1",
    "im2",
    "inception_features",
    "kid",
    "linearity",
    "lpips",
    "max_change",
    "metric_name",
    "path_linearity",
    "proximity",
    "reconstruction_error",
    "reversibility",
    "rmse",
    "sharpness",
    "siamese_pairs",
    "siamese_similarity",
    "total_change",
    "transition_curves",
    "unchanged",
    "undefined",
    "validity",
    "vgg_features",
    "vgg_perception",
    "zero_one_error",
]

# unit, range, whether higher is better, what it needs: said here once, and read by evaluation, report and benchmark
METRICS: dict[str, Metric] = {
    "truth error": Metric(grey_level_error, "grey levels", (0, 255), False, ("truth",)),
    "absolute error": Metric(absolute_error, "the variable's", (0, inf), False, ("predictors",)),
    "zero-one error": Metric(zero_one_error, "share wrong", (0, 1), False, ("truth",)),
    "rmse": Metric(rmse, "the variable's", (0, inf), False, ("truth",), per_row=False),
    "accuracy": Metric(accuracy, "accuracy", (0, 1), True, ("predictors",)),
    "f1": Metric(f1, "F1", (0, 1), True, ("predictors",), per_row=False),
    "composition": Metric(composition, "grey levels", (0, 255), False, ("factual", "cycled")),
    "reversibility": Metric(reversibility, "grey levels", (0, 255), False, ("factual", "returned")),
    "embedding distance": Metric(embedding_distance, "features", (0, inf), False, ("factual", "features")),
    "lpips": Metric(lpips, "LPIPS", (0, inf), False, ("factual", "perception")),
    "fid": Metric(fid, "features²", (0, inf), False, ("reference", "features"), per_row=False),
    "kid": Metric(kid, "", (-inf, inf), False, ("reference", "features"), per_row=False),
    "cld": Metric(cld, "", (0, 1), False, ("factual", "reference", "latents")),
    "unchanged": Metric(unchanged, "share", (0, 1), True, ("factual",)),
    "max change": Metric(max_change, "the variable's", (0, inf), False, ("factual",)),
    "abduction std": Metric(abduction_std, "grey levels", (0, 255), None, ("samples",)),
    "abduction spread": Metric(abduction_spread, "grey levels", (0, 255), None, ("samples",)),
    "sharpness": Metric(sharpness, "grey levels²", (0, inf), None, ()),
    "diversity": Metric(diversity, "grey levels", (0, 255), None, ("samples",), per_row=False),
    "validity": Metric(validity, "share", (0, 1), True, ("classifier",)),
    "class changed": Metric(class_changed, "share", (0, 1), True, ("classifier", "factual")),
    "proximity": Metric(proximity, "the variable's", (0, inf), False, ("factual",)),
    "distance": Metric(distance, "the variable's", (0, inf), False, ("factual",)),
    "total change": Metric(total_change, "the variable's", (0, inf), False, ("factual",)),
    "changed features": Metric(changed_features, "share", (0, 1), False, ("factual",)),
    "reconstruction error": Metric(reconstruction_error, "the variable's²", (0, inf), False, ("autoencoder",)),
    "cout": Metric(cout, "", (-1, 1), True, ("classifier", "factual")),
    "im1": Metric(im1, "", (0, inf), False, ("autoencoder",)),
    "im2": Metric(im2, "the variable's", (0, inf), False, ("autoencoder",)),
    "linearity": Metric(linearity, "", (0, 1), True, ("stream",)),
    "continuity": Metric(continuity, "", (0, inf), False, ("stream",)),
    "path linearity": Metric(path_linearity, "", (0, 1), True, ("stream",)),
    "chord share": Metric(chord_share, "", (0, 1), True, ("stream",)),
    "distance ratio": Metric(distance_ratio, "", (0, inf), None, ("factual",), per_row=False),
    "epistemic doubt": Metric(epistemic, "nats", (0, inf), False, ("ensemble",)),
    "aleatoric doubt": Metric(aleatoric, "nats", (0, inf), False, ("ensemble",)),
}
"""Metrics by the name reports give them."""

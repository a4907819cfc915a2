"""Metrics of counterfactuals: pure functions of tensors, which see no model. An open set.

To add one: a file with a function that gives one score per row, and its name here.
"""

from causalcf.metrics.error import absolute_error, grey_level_error, rmse
from causalcf.metrics.protocol import draw_other_bin, draw_other_category

__all__ = ["absolute_error", "draw_other_bin", "draw_other_category", "grey_level_error", "rmse"]

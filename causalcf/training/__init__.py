"""Fitting: each mechanism by its own objectives, on one split of the data that all nodes share.

The order of the rows, and the noise of stochastic objectives, follow from (seed, node, stage, epoch)
alone, so a run that is killed and resumed gives the same bits as one that is not.
"""

from causalcf.training.feeding import all_rows, rows_of
from causalcf.training.job import Fit, Recipes, dtype_of
from causalcf.training.processes import agree, join
from causalcf.training.progress import tell
from causalcf.training.resume import check
from causalcf.training.run import fit, plan, recipe_of, split
from causalcf.training.trainer import MAX_SKIPPED, Trainer, schedule

__all__ = [
    "MAX_SKIPPED",
    "Fit",
    "Recipes",
    "Trainer",
    "agree",
    "all_rows",
    "check",
    "dtype_of",
    "fit",
    "join",
    "plan",
    "recipe_of",
    "rows_of",
    "schedule",
    "split",
    "tell",
]

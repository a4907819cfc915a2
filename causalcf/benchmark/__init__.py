"""`causalcf benchmark`: the papers' tables, ours beside theirs and both beside the truth, as one page.

A row is one model. Its records are kept in a file of their own, so that a run that is killed goes on
where it stopped, and one row can be computed again alone.
"""

from causalcf.benchmark.leaderboard import file_digest, fitted_once, leaderboard, read_mechanism_file, truth_row
from causalcf.benchmark.retrain import refit
from causalcf.benchmark.rows import model_digest, run
from causalcf.benchmark.setup import Benchmark

__all__ = [
    "Benchmark",
    "file_digest",
    "fitted_once",
    "leaderboard",
    "model_digest",
    "read_mechanism_file",
    "refit",
    "run",
    "truth_row",
]

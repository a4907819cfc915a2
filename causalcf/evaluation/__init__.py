"""Measure a model: the questions, the scores, and the records of the results."""

from causalcf.evaluation.evaluate import evaluate, select_rows
from causalcf.evaluation.records import Record, Records

__all__ = ["Record", "Records", "evaluate", "select_rows"]

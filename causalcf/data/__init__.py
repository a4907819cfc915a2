"""Data, from how people have them to batches of tensors, and back: one reader for every door."""

from causalcf.data.batch import Batch
from causalcf.data.csv_files import read_csv
from causalcf.data.frames import align, columns, scalar_columns, to_frame
from causalcf.data.inference import Inferred, infer, infer_variable, infer_variables
from causalcf.data.reading import numbers, read

__all__ = [
    "Batch",
    "Inferred",
    "align",
    "columns",
    "infer",
    "infer_variable",
    "infer_variables",
    "numbers",
    "read",
    "read_csv",
    "scalar_columns",
    "to_frame",
]

"""Every error causalcf raises on purpose.

Each message names the variable, says what was expected and what came, and ends with a remedy.
All derive from `CausalCFError`, and from the built-in error a caller would expect.
"""

__all__ = [
    "ArgumentError",
    "CausalCFError",
    "CausalCFWarning",
    "CheckpointError",
    "DataError",
    "DensityError",
    "ExplanationError",
    "FileError",
    "GraphError",
    "InterventionError",
    "MechanismError",
    "MissingFileError",
    "NotFittedError",
    "SeedError",
    "SupportError",
    "TrainingError",
    "UnknownNodeError",
]


class CausalCFError(Exception):
    """Base of all errors raised by causalcf."""


class CausalCFWarning(UserWarning):
    """A call is allowed, but may not mean what it says; the text names the column and the line that settles it."""


class ArgumentError(CausalCFError, TypeError):
    """An argument of another type than the function takes, one that is missing, or one that it does not have."""


class GraphError(CausalCFError, ValueError):
    """The causal graph is not a usable directed acyclic graph."""


class UnknownNodeError(CausalCFError, KeyError):
    """A name that the graph does not have."""

    # KeyError shows its message quoted and escaped; a sentence should read as one.
    __str__ = Exception.__str__


class DataError(CausalCFError, ValueError):
    """Data of the wrong shape, length or type, or with missing values."""


class SeedError(CausalCFError, TypeError):
    """A seed that is not a whole number."""


class SupportError(DataError):
    """A value outside the support of its variable."""


class InterventionError(CausalCFError, ValueError):
    """An action that cannot be carried out."""


class ExplanationError(CausalCFError, ValueError):
    """An explanation that cannot be asked for: its target, or the classifier it is about."""


class MechanismError(CausalCFError, TypeError):
    """A mechanism that does not fit its variable or its parents."""


class DensityError(CausalCFError, TypeError):
    """A density was asked of a mechanism that has none."""


class NotFittedError(CausalCFError, RuntimeError):
    """A query was made before `fit`."""


class TrainingError(CausalCFError, RuntimeError):
    """Training cannot go on, for example because losses are not finite."""


class CheckpointError(CausalCFError, ValueError):
    """A checkpoint that is damaged, or belongs to something else."""


class FileError(CausalCFError, OSError):
    """A file that cannot be written, or read."""


class MissingFileError(CausalCFError, FileNotFoundError):
    """A data file is not where it was looked for."""

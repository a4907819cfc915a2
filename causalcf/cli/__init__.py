"""The command line: the verbs of the API, with results as files that say how they were made."""

from causalcf.cli.app import app, main

__all__ = ["app", "main"]

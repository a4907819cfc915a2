"""The readers of a command line, under their old name: scripts written for the earlier layout import them here."""

from causalcf.cli.parse import *  # noqa: F403
from causalcf.cli.parse import __all__ as __all__

"""What reads a command line, under the name that scripts of the layout before import it by."""

from causalcf.cli.parse import *  # noqa: F403
from causalcf.cli.parse import __all__ as __all__

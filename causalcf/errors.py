"""Every error of causalcf, under the name that users import it by."""

from causalcf.core.errors import *  # noqa: F403
from causalcf.core.errors import __all__ as __all__

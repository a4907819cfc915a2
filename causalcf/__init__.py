"""causalcf: counterfactual images and counterfactual explanations on structural causal models.

Names are imported when first used (SPEC 1), so that `causalcf --help` need not wait for torch; the
table of contents is `__init__.pyi`.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

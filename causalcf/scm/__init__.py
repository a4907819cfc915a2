"""The structural causal model: abduction, action and prediction, one file each, and the model that asks them."""

from causalcf.scm.model import SCM, ActedSCM, StructuralCausalModel

__all__ = ["SCM", "ActedSCM", "StructuralCausalModel"]

"""The structural causal model: abduction, action and prediction, one file each, and the model that asks them."""

from causalcf.core.signatures import checked
from causalcf.scm.model import SCM, ActedSCM, StructuralCausalModel
from causalcf.scm.questions import Questions

__all__ = ["SCM", "ActedSCM", "StructuralCausalModel"]

for _name in ("read", "sample", "do", "abduct", "predict", "counterfactual", "infer", "log_prob", "model", "guide"):
    setattr(Questions, _name, checked(getattr(Questions, _name)))
for _name in ("fit", "attach", "save"):
    setattr(SCM, _name, checked(getattr(SCM, _name)))
SCM.load = classmethod(checked(SCM.load.__func__))  # type: ignore[attr-defined,method-assign]
checked(SCM)

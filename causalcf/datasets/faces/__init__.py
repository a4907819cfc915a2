"""Drawn faces under a known causal model: pictures in colour whose true counterfactuals are known.

`model` draws the attributes and the noise, `anatomy` turns them into measures, `renderer` paints; `head`, `eyes`,
`mouth`, `hair` and `scenery` hold the parts. `credit` says what in a change of a picture an attribute caused.
"""

from causalcf.datasets.faces.credit import Credit
from causalcf.datasets.faces.dataset import Faces
from causalcf.datasets.faces.files import write
from causalcf.datasets.faces.model import ATTRIBUTES, HAIR

__all__ = ["ATTRIBUTES", "HAIR", "Credit", "Faces", "write"]

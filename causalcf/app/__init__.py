"""A page to touch: drag a slider and see the same unit in another world, beside the truth where it is known."""

from __future__ import annotations

from causalcf.app.session import Answer, Session, Source
from causalcf.app.state import State, read_state

__all__ = ["Answer", "Session", "Source", "State", "read_state"]

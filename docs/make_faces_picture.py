"""Draw docs/images/faces.jpg: eight faces, and what each would truly have been under four actions.

Run it after the renderer has changed: python docs/make_faces_picture.py
"""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image

from causalcf.datasets import Faces

ACTIONS = ({}, {"age": 70.0}, {"smile": 1.0}, {"eyeglasses": True}, {"bald": True})


def main() -> None:
    """Write the picture."""
    faces = Faces("test", rows=400, seed=0)
    rows = [faces.truth(faces[:8], do)["image"] for do in ACTIONS]
    grid = torch.cat([torch.cat(list(row), 2) for row in rows], 1)
    pixels = (255 * grid).round().byte().permute(1, 2, 0).numpy()
    picture = Image.fromarray(pixels).resize((2 * pixels.shape[1], 2 * pixels.shape[0]))
    picture.save(Path(__file__).parent / "images" / "faces.jpg", quality=88)


if __name__ == "__main__":
    main()

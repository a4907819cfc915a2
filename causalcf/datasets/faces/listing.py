"""CelebA's 40 columns, as they would be said of a drawn face."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from causalcf.datasets.faces.anatomy import traits_of
from causalcf.datasets.faces.model import ATTRIBUTES, HAIR

if TYPE_CHECKING:
    from causalcf.datasets.faces.dataset import Faces

__all__ = ["CELEBA_COLUMNS", "celeba_attributes"]

CELEBA_COLUMNS = (
    "5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald", "Bangs", "Big_Lips",
    "Big_Nose", "Black_Hair", "Blond_Hair", "Blurry", "Brown_Hair", "Bushy_Eyebrows", "Chubby", "Double_Chin",
    "Eyeglasses", "Goatee", "Gray_Hair", "Heavy_Makeup", "High_Cheekbones", "Male", "Mouth_Slightly_Open",
    "Mustache", "Narrow_Eyes", "No_Beard", "Oval_Face", "Pale_Skin", "Pointy_Nose", "Receding_Hairline",
    "Rosy_Cheeks", "Sideburns", "Smiling", "Straight_Hair", "Wavy_Hair", "Wearing_Earrings", "Wearing_Hat",
    "Wearing_Lipstick", "Wearing_Necklace", "Wearing_Necktie", "Young",
)  # fmt: skip
"""The columns of list_attr_celeba.txt, in their order."""


def celeba_attributes(faces: Faces) -> list[list[int]]:
    """1 or -1 for each face and column; attributes that no drawing shows (attractive, blurry, neckties ...) are -1."""
    noise = faces.noise
    t = traits_of({name: faces[name] for name in ATTRIBUTES}, noise)
    bald, hair = faces["bald"], faces["hair"]
    full, chin = noise["beard_style"] < 0.5, (noise["beard_style"] >= 0.5) & (noise["beard_style"] < 0.75)
    long = t.short.flatten() == 0

    def high(name: str, level: float) -> torch.Tensor:
        return (getattr(t, name) > level).flatten()

    listed = {
        "5_o_Clock_Shadow": faces["beard"] & ~full & ~chin,
        "Arched_Eyebrows": high("brow_arch", 0.03),
        "Bags_Under_Eyes": high("old", 0.5),
        "Bald": bald,
        "Bangs": long & ~bald & (noise["hair_fringe"] > 0.745),
        "Big_Lips": high("lips", 1.15),
        "Big_Nose": high("nose_w", 0.089),
        "Bushy_Eyebrows": high("brow_h", 0.029),
        "Eyeglasses": faces["eyeglasses"],
        "Goatee": faces["beard"] & chin,
        "Heavy_Makeup": high("make_up", 0.5),
        "High_Cheekbones": high("cheeks", 1.15),
        "Male": faces["male"],
        "Mouth_Slightly_Open": faces["smile"] > 0.4,
        "Mustache": faces["beard"] & (full | chin),
        "Narrow_Eyes": ~high("eye_h", 0.035),
        "No_Beard": ~faces["beard"],
        "Pale_Skin": high("fair", 0.95),
        "Receding_Hairline": ~bald & high("receding", 0.25),
        "Rosy_Cheeks": high("make_up", 0.8),
        "Sideburns": faces["beard"] & full,
        "Smiling": faces["smile"] > 0.5,
        "Straight_Hair": ~bald & (noise["hair_wave"] >= 0.24) & (noise["hair_wave"] <= 0.5),
        "Wavy_Hair": ~bald & (noise["hair_wave"] > 0.5) & long,
        "Wearing_Earrings": noise["earrings"] < 0.42 - 0.38 * faces["male"].float(),
        "Wearing_Hat": noise["hat"] < 0.03,
        "Wearing_Lipstick": high("lipstick", 0.5),
        "Wearing_Necklace": noise["necklace"] < 0.30 - 0.24 * faces["male"].float(),
        "Young": faces["age"] < 40,
    }
    colours = {"Black_Hair": "black", "Blond_Hair": "blond", "Brown_Hair": "brown", "Gray_Hair": "grey"}
    listed |= {column: ~bald & (hair == HAIR.index(name)) for column, name in colours.items()}
    never = torch.zeros(faces.rows, dtype=torch.bool)
    table = torch.stack([listed.get(column, never) for column in CELEBA_COLUMNS], 1)
    return (2 * table.int() - 1).tolist()

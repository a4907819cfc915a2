"""Published numbers, for tables that show ours beside them."""

from __future__ import annotations

from typing import Any

__all__ = ["PUBLISHED"]

_DIGITS = ("VAE, fixed sigma", "VAE, learned sigma", "HVAE", "GAN", "GAN, fine-tuned")
_FACES = ("VAE, fixed sigma", "VAE, learned sigma", "HVAE, fine-tuned", "GAN", "GAN, fine-tuned")


def _rows(*lines: tuple[float | None, ...], models: tuple[str, ...] = _DIGITS) -> dict[str, tuple[float | None, ...]]:
    return dict(zip(models, lines, strict=True))


PUBLISHED: dict[str, dict[str, Any]] = {
    "morphomnist": {
        "reference": (
            "Melistas, Spyrou, Gkouti, Sanchez, Vlontzos, Panagakis, Papanastasiou, Tsaftaris:"
            " Benchmarking Counterfactual Image Generation, 2024, tables 1, 3 and 5"
        ),
        # grey levels, embeddings and LPIPS, each after 1 and 10 cycles
        "composition": _rows(
            (4.244, 9.855, 0.095, 0.158, 0.039, 0.098),
            (2.600, 7.698, 0.064, 0.135, 0.026, 0.075),
            (0.438, 1.550, 0.009, 0.038, 0.006, 0.024),
            (16.779, 16.780, 0.193, 0.193, 0.154, 0.154),
            (3.807, 11.697, 0.089, 0.272, 0.049, 0.184),
        ),
        # thickness MAE, intensity MAE, digit accuracy, each under do(thickness), do(intensity), do(digit)
        "effectiveness": _rows(
            (0.125, 0.346, 0.138, 9.382, 20.642, 11.279, 0.988, 0.989, 0.933),
            (0.109, 0.333, 0.139, 3.149, 5.326, 4.640, 0.989, 0.988, 0.775),
            (0.086, 0.224, 0.117, 1.991, 3.517, 2.098, 0.985, 0.935, 0.972),
            (0.227, 0.631, 0.214, 6.680, 9.795, 6.632, 0.810, 0.811, 0.813),
            (0.228, 0.680, 0.393, 9.436, 15.137, 12.388, 0.961, 0.966, 0.451),
        ),
        # FID with Inception features, CLD
        "realism": _rows((17.10, 0.276), (10.12, 0.268), (5.36, 0.272), (72.77, 0.390), (35.57, 0.286)),
    },
    "celeba": {
        "reference": (
            "Melistas, Spyrou, Gkouti, Sanchez, Vlontzos, Panagakis, Papanastasiou, Tsaftaris:"
            " Benchmarking Counterfactual Image Generation, 2024, tables 2, 4 and 5"
        ),
        # embeddings (VGG-16) and LPIPS, each after 1 and 10 cycles; the grey levels printed beside them (115 to 139)
        # come from differences of bytes that overflowed, and are left out
        "composition": _rows(
            (None, None, 0.536, 0.553, 0.332, 0.462),
            (None, None, 0.527, 0.549, 0.295, 0.424),
            (None, None, 0.498, 0.525, 0.063, 0.200),
            (None, None, 0.548, 0.660, 0.403, 0.506),
            (None, None, 0.516, 0.592, 0.290, 0.462),
            models=_FACES,
        ),
        # F1 of smiling, of eyeglasses, each under do(smiling), do(eyeglasses)
        "effectiveness": _rows(
            (0.981, 0.996, 0.929, 0.771),
            (0.897, 0.987, 0.938, 0.810),
            (0.998, 0.997, 0.883, 0.981),
            (0.818, 0.837, 0.824, 0.873),
            (0.819, 0.873, 0.957, 0.891),
            models=_FACES,
        ),
        "realism": _rows(
            (77.307, 0.310),
            (66.412, 0.297),
            (22.047, 0.295),
            (41.536, 0.362),
            (31.560, 0.304),
            (12.667, 0.295),
            models=(*_FACES, "HVAE"),
        ),
    },
}
"""Data set -> table -> model -> numbers."""

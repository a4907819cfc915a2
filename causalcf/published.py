"""Published numbers, for tables that show ours beside them."""

from __future__ import annotations

from typing import Any

__all__ = ["PUBLISHED"]

_MODELS = ("VAE, fixed sigma", "VAE, learned sigma", "HVAE", "GAN", "GAN, fine-tuned")


def _rows(*lines: tuple[float, ...]) -> dict[str, tuple[float, ...]]:
    return dict(zip(_MODELS, lines, strict=True))


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
    }
}
"""Data set -> table -> model -> numbers."""

"""Mean and covariance of features, gathered batch by batch and merged across processes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from causalcf.core.errors import DataError
from causalcf.metrics.checks import check_finite

__all__ = ["FeatureBank", "FeatureMoments"]


class FeatureMoments:
    """Count, mean and scatter matrix of feature vectors, in float64.

    Batches are joined by their deviations from their own means (Chan, Golub, LeVeque, "Updating
    formulae and a pairwise algorithm for computing sample variances", 1979), so that features far
    from zero lose no digits. Processes each gather their own, send `state()`, and one of them merges.

    Example:
        >>> features = torch.randn(100, 3)
        >>> whole = FeatureMoments().update(features)
        >>> parts = FeatureMoments().update(features[:30]).merge(FeatureMoments().update(features[30:]))
        >>> torch.allclose(whole.compute()[1], parts.compute()[1])
        True
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = torch.zeros(0, dtype=torch.float64)
        self.scatter = torch.zeros(0, 0, dtype=torch.float64)

    def update(self, features: Tensor) -> FeatureMoments:
        """Add a batch of features, shape (N, d); gives itself.

        Raises:
            DataError: Not (N, d), NaN, or another d than before.
        """
        _check_features(features)
        if not features.shape[0]:
            return self
        features = features.detach().double()
        mean = features.mean(0)
        centred = features - mean
        return self._join(features.shape[0], mean, centred.T @ centred)

    def merge(self, other: FeatureMoments) -> FeatureMoments:
        """Add all that another one has seen; gives itself.

        Raises:
            DataError: The other's features have another dimension.
        """
        return self._join(other.count, other.mean, other.scatter)

    def compute(self) -> tuple[Tensor, Tensor]:
        """Mean (d,) and unbiased covariance (d, d).

        Raises:
            DataError: Fewer than two rows were seen.
        """
        if self.count < 2:
            raise DataError(f"A covariance needs at least 2 images, got {self.count}.")
        return self.mean, self.scatter / (self.count - 1)

    def state(self) -> dict[str, Tensor]:
        """The statistics so far, as tensors to send or save."""
        return {"count": torch.tensor(self.count), "mean": self.mean, "scatter": self.scatter}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> FeatureMoments:
        """The inverse of `state`."""
        moments = cls()
        moments.count = int(state["count"])
        moments.mean, moments.scatter = state["mean"].double(), state["scatter"].double()
        return moments

    def _join(self, count: int, mean: Tensor, scatter: Tensor) -> FeatureMoments:
        if not count:
            return self
        if not self.count:
            self.count, self.mean, self.scatter = count, mean.clone(), scatter.clone()
            return self
        if mean.shape != self.mean.shape:
            raise DataError(f"Expected features of dimension {len(self.mean)}, got {len(mean)}.")
        total = self.count + count
        delta = mean.to(self.mean.device) - self.mean
        self.scatter = (
            self.scatter + scatter.to(self.scatter.device) + delta.outer(delta) * (self.count * count / total)
        )
        self.mean = self.mean + delta * (count / total)
        self.count = total
        return self


class FeatureBank:
    """All features seen, for metrics that need each of them (KID); the same verbs as `FeatureMoments`.

    Example:
        >>> FeatureBank().update(torch.zeros(3, 2)).merge(FeatureBank().update(torch.ones(1, 2))).compute().shape
        torch.Size([4, 2])
    """

    def __init__(self) -> None:
        self.batches: list[Tensor] = []

    def update(self, features: Tensor) -> FeatureBank:
        """Add a batch of features, shape (N, d); gives itself.

        Raises:
            DataError: Not (N, d), or NaN.
        """
        _check_features(features)
        self.batches.append(features.detach())
        return self

    def merge(self, other: FeatureBank) -> FeatureBank:
        """Add all that another one has seen; gives itself."""
        self.batches += other.batches
        return self

    def compute(self) -> Tensor:
        """All features in the order seen, shape (N, d).

        Raises:
            DataError: None were seen, or of different dimensions.
        """
        if not self.batches:
            raise DataError("The feature bank is empty.")
        if len({batch.shape[1] for batch in self.batches}) > 1:
            raise DataError(f"Features of different dimensions: {sorted({b.shape[1] for b in self.batches})}.")
        return torch.cat([batch.to(self.batches[0].device) for batch in self.batches])

    def state(self) -> dict[str, Tensor]:
        """The features so far, as tensors to send or save."""
        return {"features": self.compute()}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> FeatureBank:
        """The inverse of `state`."""
        return cls().update(state["features"])


def _check_features(features: Tensor) -> None:
    if features.ndim != 2:
        raise DataError(f"Expected features of shape (N, d), got {tuple(features.shape)}.")
    check_finite(features=features)

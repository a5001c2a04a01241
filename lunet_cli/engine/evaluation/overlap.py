"""Measures of how much two masks overlap, and of how their volumes differ."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Overlap:
    """Voxel counts of a prediction, a reference and what they share."""

    prediction: int
    reference: int
    shared: int

    @classmethod
    def of(cls, prediction: Mask, reference: Mask) -> Overlap:
        """Count the voxels of two masks of equal shape."""
        counts = map(np.count_nonzero, (prediction, reference, prediction & reference))
        return cls(*map(int, counts))

    def share_of(self, total: float) -> float:
        """Shared voxels of `total`; 1 where both masks are empty, 0 where exactly one is."""
        if self.prediction == 0 or self.reference == 0:
            return float(self.prediction == self.reference)
        return self.shared / total

    @property
    def relative_difference(self) -> float:
        """(|P| - |R|) / |R|; 0 where both masks are empty, NaN where only the reference is."""
        if self.reference > 0:
            return (self.prediction - self.reference) / self.reference
        if self.prediction > 0:
            return math.nan
        return 0.0

    def difference_ml(self, spacing_mm: tuple[float, float, float]) -> float:
        """The difference of the two volumes in ml, without its sign; a voxel is (z, y, x) mm."""
        return abs(self.prediction - self.reference) * math.prod(spacing_mm) / 1000


def dice(prediction: Mask, reference: Mask) -> float:
    """Dice coefficient 2 |P and R| / (|P| + |R|).

    Args:
        prediction: Mask of any shape, bool.
        reference: Mask of the same shape, bool.

    Returns:
        0 to 1; 1 where both masks are empty, 0 where exactly one is.
    """
    overlap = Overlap.of(prediction, reference)
    return overlap.share_of((overlap.prediction + overlap.reference) / 2)


def iou(prediction: Mask, reference: Mask) -> float:
    """Intersection over union |P and R| / |P or R| (Jaccard); see `dice` for empty masks."""
    overlap = Overlap.of(prediction, reference)
    return overlap.share_of(overlap.prediction + overlap.reference - overlap.shared)


def sensitivity(prediction: Mask, reference: Mask) -> float:
    """Share of the reference that is found, |P and R| / |R|; see `dice` for empty masks."""
    overlap = Overlap.of(prediction, reference)
    return overlap.share_of(overlap.reference)


def precision(prediction: Mask, reference: Mask) -> float:
    """Share of the prediction that is right, |P and R| / |P|; see `dice` for empty masks."""
    overlap = Overlap.of(prediction, reference)
    return overlap.share_of(overlap.prediction)


def relative_volume_difference(prediction: Mask, reference: Mask) -> float:
    """(|P| - |R|) / |R|, below zero where too little is predicted.

    Returns:
        0 where both masks are empty, NaN (undefined) where only the reference is.
    """
    return Overlap.of(prediction, reference).relative_difference


def absolute_volume_difference_ml(
    prediction: Mask, reference: Mask, spacing_mm: tuple[float, float, float]
) -> float:
    """The difference of the two volumes in ml, without its sign.

    Args:
        prediction: Mask (D, H, W), bool.
        reference: Mask (D, H, W), bool.
        spacing_mm: Voxel size (z, y, x).
    """
    return Overlap.of(prediction, reference).difference_ml(spacing_mm)

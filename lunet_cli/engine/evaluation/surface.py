"""Distances between the surfaces of two masks, in mm.

The surface of a mask are its voxels with at least one of their six neighbours outside it, or
outside the array; a distance is that between voxel centres. Each surface is put into a k-d tree, so
that time and memory grow with the surfaces and not with the volume.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import KDTree

Mask = npt.NDArray[np.bool_]
Spacing = tuple[float, float, float]


@dataclass(frozen=True)
class SurfaceDistances:
    """From every surface voxel of one mask to the nearest one of the other.

    Args:
        forth_mm: From the prediction to the reference; infinite where the reference is empty.
        back_mm: From the reference to the prediction; infinite where the prediction is empty.
    """

    forth_mm: npt.NDArray[np.float64]
    back_mm: npt.NDArray[np.float64]

    @classmethod
    def between(cls, prediction: Mask, reference: Mask, spacing_mm: Spacing) -> SurfaceDistances:
        """Measure two masks (D, H, W), bool, with voxels of `spacing_mm` (z, y, x)."""
        predicted = _surface_points(prediction, spacing_mm)
        expected = _surface_points(reference, spacing_mm)
        return cls(_nearest(predicted, expected), _nearest(expected, predicted))

    @property
    def num_empty(self) -> int:
        """How many of the two masks are empty."""
        return (len(self.forth_mm) == 0) + (len(self.back_mm) == 0)

    def percentile(self, share: float) -> float:
        """The larger of both directions' percentiles; 0 or NaN where masks are empty.

        Args:
            share: 0 to 100.
        """
        if self.num_empty:
            return self._where_empty(both=0.0, one=math.nan)
        # The larger of two percentiles, as in MONAI; that of all distances together would hide a
        # small prediction within a large reference.
        return float(max(np.percentile(self.forth_mm, share), np.percentile(self.back_mm, share)))

    @property
    def mean(self) -> float:
        """Mean over both directions' distances together; 0 or NaN where masks are empty."""
        if self.num_empty:
            return self._where_empty(both=0.0, one=math.nan)
        # Every voxel counts alike, so the larger surface weighs more.
        return float((self.forth_mm.sum() + self.back_mm.sum()) / self._num_voxels)

    def share_within(self, tolerance_mm: float) -> float:
        """Share of all surface voxels within `tolerance_mm`; 1 or 0 where masks are empty."""
        if self.num_empty:
            return self._where_empty(both=1.0, one=0.0)
        # Five voxels of 0.4 mm are 2 mm, whatever the last digit of their sum is.
        limit = tolerance_mm * (1 + 1e-6)
        within = np.count_nonzero(self.forth_mm <= limit) + np.count_nonzero(self.back_mm <= limit)
        return int(within) / self._num_voxels

    @property
    def _num_voxels(self) -> int:
        return len(self.forth_mm) + len(self.back_mm)

    def _where_empty(self, *, both: float, one: float) -> float:
        if self.num_empty == 2:
            return both
        return one


def hausdorff95(prediction: Mask, reference: Mask, spacing_mm: Spacing) -> float:
    """The larger of the two directions' 95th percentiles of the distance between surfaces.

    Args:
        prediction: Mask (D, H, W), bool.
        reference: Mask (D, H, W), bool.
        spacing_mm: Voxel size (z, y, x).

    Returns:
        Millimetres; 0 where both masks are empty, NaN (undefined) where exactly one is.
    """
    return SurfaceDistances.between(prediction, reference, spacing_mm).percentile(95)


def hausdorff(prediction: Mask, reference: Mask, spacing_mm: Spacing) -> float:
    """The largest distance from one surface to the other, either way; see `hausdorff95`."""
    return SurfaceDistances.between(prediction, reference, spacing_mm).percentile(100)


def assd(prediction: Mask, reference: Mask, spacing_mm: Spacing) -> float:
    """Average symmetric surface distance: the mean over both directions; see `hausdorff95`."""
    return SurfaceDistances.between(prediction, reference, spacing_mm).mean


def nsd(
    prediction: Mask, reference: Mask, spacing_mm: Spacing, *, tolerance_mm: float = 1.0
) -> float:
    """Normalised surface Dice: the share of both surfaces within a tolerance of the other one.

    Args:
        prediction: Mask (D, H, W), bool.
        reference: Mask (D, H, W), bool.
        spacing_mm: Voxel size (z, y, x).
        tolerance_mm: Distance that still counts as equal.

    Returns:
        0 to 1; 1 where both masks are empty, 0 where exactly one is.

    References:
        arXiv:1809.04430, which weighs surfaces by area; here each surface voxel counts once.
    """
    return SurfaceDistances.between(prediction, reference, spacing_mm).share_within(tolerance_mm)


def surface(mask: Mask) -> Mask:
    """Voxels of a mask (D, H, W) with one of their six neighbours outside it or the array."""
    inner = mask.copy()
    for axis in range(3):
        moved, kept = np.moveaxis(inner, axis, 0), np.moveaxis(mask, axis, 0)
        moved[1:] &= kept[:-1]
        moved[:-1] &= kept[1:]
        # A structure that is cut off at the border of the array has a surface there.
        moved[0] = moved[-1] = False
    return mask & ~inner


def field_of_view_diagonal_mm(size: tuple[int, ...], spacing_mm: Spacing) -> float:
    """Length of a volume's diagonal, which no distance within it exceeds."""
    return math.hypot(*np.multiply(size, spacing_mm))


def _surface_points(mask: Mask, spacing_mm: Spacing) -> npt.NDArray[np.float64]:
    """Centres (N, 3) of the surface voxels in mm."""
    box: list[slice] = []
    corner: list[int] = []
    # Structures are small in their volume. Each axis is looked at within what the ones before have
    # left.
    for other_axes in ((1, 2), (0, 2), (0, 1)):
        hit = np.flatnonzero(mask[tuple(box)].any(axis=other_axes))
        if len(hit) == 0:
            return np.empty((0, 3))
        corner.append(int(hit[0]))
        box.append(slice(int(hit[0]), int(hit[-1]) + 1))
    voxels = np.argwhere(surface(mask[tuple(box)]))
    points: npt.NDArray[np.float64] = (voxels + corner) * np.array(spacing_mm)
    return points


def _nearest(
    points: npt.NDArray[np.float64], others: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Distance (N,) from each of `points` to the nearest of `others`."""
    if len(points) == 0 or len(others) == 0:
        return np.full(len(points), np.inf)
    # Voxels lie evenly, so the cheap way to build a tree makes a good one.
    tree = KDTree(others, balanced_tree=False, compact_nodes=False)
    distances: npt.NDArray[np.float64] = tree.query(points, workers=-1)[0]
    return distances

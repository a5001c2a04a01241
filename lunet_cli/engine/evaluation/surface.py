"""Distances between the surfaces of two masks, in mm."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813

Mask = npt.NDArray[np.bool_]


def hausdorff95(prediction: Mask, reference: Mask, spacing_mm: tuple[float, float, float]) -> float:
    """The larger of the two directions' 95th percentiles of the distance between surfaces.

    Args:
        prediction: Mask (D, H, W), bool.
        reference: Mask (D, H, W), bool.
        spacing_mm: Voxel size (z, y, x).

    Returns:
        Millimetres; 0 where both masks are empty, NaN (undefined) where exactly one is.
    """
    if not prediction.any() and not reference.any():
        return 0.0
    if not prediction.any() or not reference.any():
        return math.nan
    box = _bounding_box(prediction | reference)
    # The distance filter needs background around a surface, so a rim of one voxel comes on.
    surfaces = [np.pad(surface(mask[box]), 1) for mask in (prediction, reference)]
    forth = _distance_map(surfaces[1], spacing_mm)[surfaces[0]]
    back = _distance_map(surfaces[0], spacing_mm)[surfaces[1]]
    return float(max(np.percentile(forth, 95), np.percentile(back, 95)))


def surface(mask: Mask) -> Mask:
    """Voxels of a mask (D, H, W) with at least one of their six neighbours outside it or outside the array."""
    padded = np.pad(mask, 1)
    inner = mask.copy()
    for axis in range(3):
        for shift in (0, 2):
            window = [slice(1, -1)] * 3
            window[axis] = slice(shift, shift + mask.shape[axis])
            inner &= padded[tuple(window)]
    return mask & ~inner


def _bounding_box(mask: Mask) -> tuple[slice, ...]:
    box = []
    for axis in range(3):
        hit = np.flatnonzero(mask.any(axis=tuple(i for i in range(3) if i != axis)))
        box.append(slice(int(hit[0]), int(hit[-1]) + 1))
    return tuple(box)


def _distance_map(mask: Mask, spacing_mm: tuple[float, float, float]) -> npt.NDArray[np.float32]:
    """Distance of every voxel centre to the nearest voxel centre of `mask`."""
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing([float(edge) for edge in reversed(spacing_mm)])
    signed = sitk.SignedMaurerDistanceMap(image, squaredDistance=False, useImageSpacing=True)
    distances: npt.NDArray[np.float32] = np.abs(sitk.GetArrayFromImage(signed))
    return distances

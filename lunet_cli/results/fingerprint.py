"""What a data set holds, case by case: the result of `fingerprint`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ChannelFacts:
    """Intensities of one image channel of a case.

    Args:
        low: Smallest value.
        high: Largest value.
        percentiles: Those of 0.5, 50 and 99.5 % of the labelled voxels; of all where none is
            labelled.
        mean: Mean of the same voxels.
        std: Their standard deviation.
    """

    low: float
    high: float
    percentiles: tuple[float, float, float]
    mean: float
    std: float


@dataclass(frozen=True, kw_only=True)
class ValueFacts:
    """One label value of a case.

    Args:
        value: The value in the label map.
        num_voxels: How many voxels have it.
        volume_ml: Their volume.
        num_components: Pieces that touch in no corner.
    """

    value: int
    num_voxels: int
    volume_ml: float
    num_components: int


@dataclass(frozen=True, kw_only=True)
class CaseFacts:
    """One case, along the patient's axes (z upwards, y to the back, x to the left).

    Args:
        case_id: Its name.
        size: Voxels (z, y, x).
        spacing_mm: Size of a voxel (z, y, x).
        orientation: Directions in which the stored x, y and z axes increase, such as `LPS`.
        dtype: Number type of the image as it was read.
        channels: Facts of each image channel.
        values: Facts of each label value that occurs.
    """

    case_id: str
    size: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    orientation: str
    dtype: str
    channels: tuple[ChannelFacts, ...]
    values: tuple[ValueFacts, ...]

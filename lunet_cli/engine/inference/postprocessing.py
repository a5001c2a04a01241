"""Cleaning a segmentation: largest component, holes, small components."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813

from lunet_cli.engine.inference.segmentation import Segmentation
from lunet_cli.errors import ConfigError

Mask = npt.NDArray[np.bool_]
OPERATIONS = ("largest-component", "fill-holes", "min-volume")
# A volume in ml over that of a voxel is a whole number up to the last digits of the division.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Step:
    """One cleaning step.

    Args:
        operation: `largest-component` keeps the largest of the components that touch at a face,
            edge or corner; `fill-holes` fills what the region encloses; `min-volume` drops
            components that are smaller.
        label: The region; None for all.
        volume_ml: The smallest component that `min-volume` keeps, in ml.
    """

    operation: str
    label: str | None
    volume_ml: float = 0.0

    def __str__(self) -> str:
        """As `parse_step` reads it."""
        text = self.operation
        if self.operation == "min-volume":
            text = f"{text}={self.volume_ml:g}"
        if self.label is not None:
            text = f"{self.label}:{text}"
        return text


def parse_step(text: str, labels: Sequence[str]) -> Step:
    """Read `OPERATION`, `LABEL:OPERATION` or `[LABEL:]min-volume=ML`.

    Raises:
        ConfigError: The operation or the label is unknown, or the volume is missing or not a
            number.
    """
    what = f"`postprocess={text}`"
    label, _, rest = text.rpartition(":")
    operation, equals, value = rest.partition("=")
    if operation not in OPERATIONS:
        raise ConfigError(
            f"{what}: unknown operation '{operation}'", hint=f"Known: {', '.join(OPERATIONS)}"
        )
    if label and label not in labels:
        raise ConfigError(f"{what}: unknown label '{label}'", hint=f"Known: {', '.join(labels)}")
    takes_volume = operation == "min-volume"
    if bool(equals) != takes_volume:
        raise ConfigError(f"{what}: only min-volume takes a volume, as in min-volume=0.5 (ml)")
    volume_ml = 0.0
    if takes_volume:
        volume_ml = _read_volume(value, what)
    return Step(operation, label or None, volume_ml)


def _read_volume(text: str, what: str) -> float:
    try:
        volume_ml = float(text)
    except ValueError:
        volume_ml = math.nan
    if not (math.isfinite(volume_ml) and volume_ml >= 0):
        raise ConfigError(f"{what}: '{text}' is not a volume in ml")
    return volume_ml


def postprocess(segmentation: Segmentation, steps: Sequence[Step]) -> None:
    """Apply cleaning steps in their order, in place."""
    voxel_ml = math.prod(segmentation.geometry.spacing_mm) / 1000
    for step in steps:
        for index, name in enumerate(segmentation.scheme.names):
            if step.label not in (None, name):
                continue
            mask = segmentation.mask(index)
            if mask.any():
                segmentation.replace_mask(index, clean(mask, step, voxel_ml=voxel_ml))


def clean(mask: Mask, step: Step, *, voxel_ml: float) -> Mask:
    """Apply one step to a mask.

    Args:
        mask: Mask (D, H, W), bool, not empty.
        step: What to do.
        voxel_ml: Volume of a voxel in ml.

    Returns:
        A mask of the same shape.
    """
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    if step.operation == "fill-holes":
        filled: Mask = sitk.GetArrayFromImage(sitk.BinaryFillhole(image)).astype(bool)
        return filled
    # Voxels that touch at a corner are one component: thin structures would fall apart otherwise.
    components = sitk.ConnectedComponent(image, True)
    if step.operation == "largest-component":
        ranked = sitk.RelabelComponent(components)
        largest: Mask = sitk.GetArrayViewFromImage(ranked) == 1
        return largest
    smallest = math.ceil(step.volume_ml / voxel_ml - _ROUNDING)
    large = sitk.RelabelComponent(components, minimumObjectSize=smallest)
    kept: Mask = sitk.GetArrayViewFromImage(large) > 0
    return kept

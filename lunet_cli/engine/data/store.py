"""A case as training needs it: read, checked and preprocessed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813

from lunet_cli.config.machine import GIB, memory_bytes
from lunet_cli.engine.data.cases import Case, CaseSet
from lunet_cli.engine.data.foreground import Foreground
from lunet_cli.engine.data.labels import LabelScheme
from lunet_cli.engine.data.preprocessing import Preprocessing
from lunet_cli.engine.data.reading import OnRemark, ignore_remark
from lunet_cli.engine.data.volume import Geometry
from lunet_cli.errors import DataError

_MOST_NAMED = 6  # Labels in a hint.


@dataclass(frozen=True)
class PreparedCase:
    """A preprocessed case.

    Args:
        image: Normalised intensities (C, D, H, W), float32, or float16 if they are kept so.
        label: Label values (D, H, W), uint8 or uint16.
        spacing_mm: Voxel size (z, y, x).
        foreground: Where the labelled voxels lie.
    """

    image: npt.NDArray[np.float32] | npt.NDArray[np.float16]
    label: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
    spacing_mm: tuple[float, float, float]
    foreground: Foreground


def prepare_case(
    case: Case,
    case_set: CaseSet,
    *,
    preprocessing: Preprocessing,
    scheme: LabelScheme,
    on_remark: OnRemark = ignore_remark,
) -> PreparedCase:
    """Read, check and preprocess one case.

    Raises:
        DataError: The files are damaged, image and label do not share a grid, or a label value is
            not configured.
    """
    channels, label = case_set.reader(case, on_remark)
    _require_room(case, channels, preprocessing)
    require_same_grid(case, channels[0], label)
    require_known_values(str(case.label), label, scheme, may_name=True)
    try:
        volume = preprocessing.apply_to_image(channels)
    except DataError as error:  # It knows no files.
        source = case.images[0] if case.images else case.case_id
        raise DataError(f"{source}: {error.message}", hint=error.hint) from None
    label_map = preprocessing.apply_to_label(label)
    labels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16] = label_map.array
    # Labels are kept for every case, and few data sets have more than 255 of them.
    if max(scheme.values) < 256:
        labels = labels.astype(np.uint8)
    return PreparedCase(
        volume.array,
        labels,
        volume.geometry.spacing_mm,
        Foreground.of(labels, ignored=scheme.ignored),
    )


def _require_room(case: Case, channels: Sequence[sitk.Image], preprocessing: Preprocessing) -> None:
    """Raise if the preprocessed case would not fit into memory.

    A small `spacing_mm` multiplies its voxels.
    """
    size = preprocessing.place(Geometry.of(channels[0])).grid.size
    needed = 4 * len(channels) * math.prod(size)  # bytes of float32
    if needed > memory_bytes():
        voxels = " x ".join(map(str, size))
        raise DataError(
            f"case {case.case_id}: would have {voxels} voxels, more than {needed / GIB:,.0f} GiB",
            hint="Set a coarser preprocessing.spacing_mm.",
        )


def require_known_values(
    name: str, label: sitk.Image, scheme: LabelScheme, *, may_name: bool = False
) -> None:
    """Raise if a label map holds values that belong to no region.

    Args:
        name: Where the label map comes from.
        label: The label map.
        scheme: The labels that may occur.
        may_name: Whether they are configured still, so that a value can be named; a trained network
            has its own.

    Raises:
        DataError: With `name`, where the label map comes from.
    """
    unknown = scheme.unknown_values(sitk.GetArrayViewFromImage(label))
    if unknown:
        known = ", ".join(f"{region}: {list(values)}" for region, values in scheme.regions)
        noun = "label value" if len(unknown) == 1 else "label values"
        listed = ", ".join(map(str, unknown[:5]))
        raise DataError(
            f"{name}: {noun} {listed} not configured (labels are {known})",
            hint=_naming_hint(unknown, scheme) if may_name else "Correct the label map.",
        )


def _naming_hint(unknown: list[int], scheme: LabelScheme) -> str:
    """How the unknown values are named, together with those that are known."""
    # Named labels replace those of the data set, so all of them are given.
    if len(unknown) + len(scheme.regions) > _MOST_NAMED:
        return (
            "Correct the label map, or name all values in the section labels (labels.NAME: VALUE)."
        )
    settings = []
    for name, values in scheme.regions:
        value = values[0] if len(values) == 1 else list(values)
        settings.append(f"`labels.{name}={value}`")
    for one in unknown:
        name = "NAME" if len(unknown) == 1 else f"NAME{one}"
        settings.append(f"`labels.{name}={one}`")
    return f"Correct the label map, or name the value ({' '.join(settings)})."


def require_same_grid(case: Case, image: sitk.Image, label: sitk.Image) -> None:
    """Raise if the label map of a case does not lie on the grid of its image.

    Raises:
        DataError: It does not; the message says in what it differs.
    """
    differences = Geometry.of(label).differences(Geometry.of(image))
    if differences:
        raise DataError(
            f"{case.label}: does not lie on the grid of its image {case.images[0].name}: "
            f"{'; '.join(differences)}",
            hint="Resample the label map onto the image (nearest neighbour), or correct its "
            "header.",
        )

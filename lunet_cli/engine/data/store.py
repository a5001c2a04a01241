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
from lunet_cli.engine.data.findings import Examined, examine
from lunet_cli.engine.data.foreground import Foreground
from lunet_cli.engine.data.labels import LabelScheme
from lunet_cli.engine.data.preprocessing import Preprocessing
from lunet_cli.engine.data.volume import Geometry
from lunet_cli.errors import DataError
from lunet_cli.results.check import CaseFindings


@dataclass(frozen=True)
class PreparedCase:
    """A preprocessed case.

    Args:
        image: Normalised intensities (C, D, H, W), float32, or float16 if they are kept so.
        label: Label values (D, H, W), uint8 or uint16.
        spacing_mm: Voxel size (z, y, x).
        foreground: Where the labelled voxels lie.
        soft: Probabilities of each region (R, D, H, W), float16; None where none belong to it.
    """

    image: npt.NDArray[np.float32] | npt.NDArray[np.float16]
    label: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
    spacing_mm: tuple[float, float, float]
    foreground: Foreground
    soft: npt.NDArray[np.float16] | None = None


def prepare_case(
    case: Case,
    case_set: CaseSet,
    *,
    preprocessing: Preprocessing,
    scheme: LabelScheme,
) -> tuple[PreparedCase, CaseFindings]:
    """Read, check and preprocess one case.

    Returns:
        The case, and what was found in its files.

    Raises:
        DataError: The files are damaged, image and label do not share a grid, or a label value is
            not configured.
    """
    examined = examine(case, case_set, scheme)
    if not isinstance(examined, Examined):
        raise DataError(
            [problem.text for problem in examined],
            hint=" ".join(dict.fromkeys(problem.hint for problem in examined)),
        )
    channels, label = examined.channels, examined.label
    _require_room(case, channels, preprocessing)
    try:
        volume = preprocessing.apply_to_image(channels)
    except DataError as error:  # It knows no files.
        source = case.images[0] if case.images else case.case_id
        raise DataError(f"{source}: {error.message}", hint=error.hint) from None
    label_map = preprocessing.apply_to_label(label)
    labels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16] = label_map.array
    # Labels are kept for every case, and few data sets have more than 255 of them.
    if max(*scheme.values, scheme.ignored or 0) < 256:
        labels = labels.astype(np.uint8)
    soft = None
    if case.maps and case_set.soft_maps is not None:
        maps = case_set.soft_maps.read(case.maps, Geometry.of(channels[0]))
        soft = preprocessing.apply_to_maps(maps)
    prepared = PreparedCase(
        volume.array,
        labels,
        volume.geometry.spacing_mm,
        Foreground.of(labels, ignored=scheme.ignored),
        soft,
    )
    return prepared, examined.findings


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

"""Masks of labels as `score` reads them: of label maps, and of DICOM segmentations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813

from lunet_cli.engine.data.dicom_seg import SegFile, is_segmentation, open_segmentation
from lunet_cli.engine.data.findings import present_values, require_known_values
from lunet_cli.engine.data.labels import LabelScheme
from lunet_cli.engine.data.reading import read_header, read_label
from lunet_cli.engine.data.volume import Geometry
from lunet_cli.engine.evaluation.masks import Mask
from lunet_cli.engine.evaluation.measurement import has_value
from lunet_cli.errors import DataError
from lunet_cli.results.events import Event, warnings_to


@dataclass(frozen=True)
class LabelMasks:
    """The masks of a file.

    Args:
        geometry: The grid that they lie on.
        mask: Gives the voxels (D, H, W) of a label, by its name and its values.
    """

    geometry: Geometry
    mask: Callable[[str, tuple[int, ...]], Mask]


def shared_grid(prediction: Path, reference: Path) -> Geometry | None:
    """The grid that two files are compared on, where one of them has not the whole of it.

    Returns:
        That of the label map beside a DICOM segmentation; of two segmentations, the smallest that
        holds both; None for two label maps.

    Raises:
        DataError: The voxels of two segmentations do not coincide.
    """
    segs = [path for path in (prediction, reference) if is_segmentation(path)]
    if not segs:
        return None
    if len(segs) == 1:
        (other,) = {prediction, reference} - set(segs)
        return read_header(other)[0]
    first, second = (open_segmentation(path).geometry for path in segs)
    return _around(first, second)


def read_masks(
    path: Path, scheme: LabelScheme, grid: Geometry | None, on_event: Callable[[Event], None]
) -> LabelMasks:
    """Read a label map or a segmentation.

    Args:
        path: The file.
        scheme: The labels that it may have. Segments are found by their names, or else by number.
        grid: Where the masks of a segmentation are placed.
        on_event: Called with what is odd about the file.

    Raises:
        DataError: It cannot be read, or has other labels.
    """
    if is_segmentation(path):
        return _masks_of_seg(path, scheme, grid)
    image = read_label(path, on_remark=warnings_to(on_event))
    require_known_values(str(path), present_values(image), scheme)
    array = sitk.GetArrayFromImage(image)
    return LabelMasks(Geometry.of(image), lambda name, values: has_value(array, values))


def _masks_of_seg(path: Path, scheme: LabelScheme, grid: Geometry | None) -> LabelMasks:
    seg = open_segmentation(path)
    geometry = grid or seg.geometry
    by_name = {segment.label: segment.number for segment in seg.segments}
    by_value = _numbers_by_value(seg, by_name, scheme)

    def mask(name: str, values: tuple[int, ...]) -> Mask:
        if name in by_name:
            return seg.mask(by_name[name], geometry)
        # A group of labels, of which each has a segment; or one without any voxel.
        found = np.zeros(geometry.size, np.bool_)
        for value in by_value.keys() & set(values):
            found |= seg.mask(by_value[value], geometry)
        return found

    return LabelMasks(geometry, mask)


def _numbers_by_value(seg: SegFile, by_name: dict[str, int], scheme: LabelScheme) -> dict[int, int]:
    """The segment that has each label value.

    Raises:
        DataError: A segment is none of the labels.
    """
    regions = dict(scheme.regions)
    if regions.keys().isdisjoint(by_name):
        require_known_values(str(seg.path), list(by_name.values()), scheme)
        return {number: number for number in by_name.values()}
    for label in by_name:
        if label not in regions:
            raise DataError(
                f"{seg.path}: its segment {label} is none of the labels {', '.join(regions)}",
                hint="Name it too, or none of the segments, so that their numbers count.",
            )
    return {regions[label][0]: number for label, number in by_name.items()}


def _around(first: Geometry, second: Geometry) -> Geometry:
    """The smallest grid of planes like those of `first` that holds the planes of both."""
    normal = np.array(first.direction).reshape(3, 3)[:, 2]
    step = first.spacing_mm[0]
    offset = round(float((np.array(second.origin_mm) - first.origin_mm) @ normal / step))
    low = min(0, offset)
    high = max(first.size[0], offset + second.size[0])
    origin = np.array(first.origin_mm) + low * step * normal
    x, y, z = origin.tolist()
    return Geometry((high - low, *first.size[1:]), first.spacing_mm, (x, y, z), first.direction)

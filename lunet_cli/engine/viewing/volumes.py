"""Any volume to look at, with its label map and what its file says."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813

from lunet_cli.engine.data.dicom_seg import is_segmentation, open_segmentation
from lunet_cli.engine.data.layouts import find_description
from lunet_cli.engine.data.reading import read_image, read_label, stored_number_type
from lunet_cli.engine.data.volume import Geometry, along_patient, stem
from lunet_cli.errors import ConfigError, DataError
from lunet_cli.results.events import Event, warnings_to
from lunet_cli.results.views import LabeledVolume, LabelImage, VolumeFacts, paint_masks
from lunet_cli.results.words import visible

_NUM_BINS = 48


def read_volume(
    path: Path,
    label: Path | None = None,
    *,
    channel: int = 0,
    on_event: Callable[[Event], None] = lambda event: None,
) -> tuple[LabeledVolume, VolumeFacts]:
    """Read a volume.

    Args:
        path: A file of any format that SimpleITK reads, or the folder of a DICOM series.
        label: A label map on the same grid, or a DICOM segmentation. Its labels are called as a
            `dataset.json` around or the segmentation says, or else by value.
        channel: Which channel is shown.
        on_event: Called with what is odd about a file.

    Raises:
        DataError: A file cannot be read, is not three-dimensional, or lies on another grid.
        ConfigError: There is no such channel.
    """
    channels = read_image([path], on_remark=warnings_to(on_event))
    if not 0 <= channel < len(channels):
        raise ConfigError(f"`channel={channel}`: {path} has the channels 0 to {len(channels) - 1}")
    image = channels[channel]
    geometry = Geometry.of(image)
    placement = along_patient(geometry)
    names: tuple[str, ...] = ()
    oriented: LabelImage | None = None
    if label is not None:
        names, painted = _read_labels(label, path, geometry, on_event)
        oriented = placement.orient(painted)
    volume = LabeledVolume(
        stem(path),
        placement.orient(sitk.GetArrayFromImage(image)),
        placement.oriented_spacing_mm,
        names,
        oriented,
    )
    facts = _facts_of(path, image, num_channels=len(channels), channel=channel)
    if oriented is not None:
        facts = replace(facts, label_ml=volume.volumes_ml(oriented))
    return volume, facts


def _facts_of(path: Path, image: sitk.Image, *, num_channels: int, channel: int) -> VolumeFacts:
    geometry, array = Geometry.of(image), sitk.GetArrayFromImage(image)
    # As many as find a column each in a terminal of 80.
    counts, edges = np.histogram(array, bins=_NUM_BINS)
    return VolumeFacts(
        path=path,
        size=geometry.size[::-1],
        spacing_mm=geometry.spacing_mm[::-1],
        origin_mm=geometry.origin_mm,
        orientation=sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(
            geometry.direction
        ),
        angle_degrees=_angle_degrees(geometry),
        number_type=stored_number_type(path),
        num_channels=num_channels,
        channel=channel,
        intensity=_intensity(array),
        histogram=tuple(counts.tolist()),
        edges=tuple(edges.tolist()),
        label_ml=None,
    )


def _angle_degrees(geometry: Geometry) -> float:
    """The largest angle between a stored axis and its axis of the patient."""
    cosines = np.abs(np.array(geometry.direction).reshape(3, 3)).max(axis=0)
    # A cosine that was stored with few digits may be above 1.
    return math.degrees(math.acos(min(1.0, float(cosines.min()))))


def _intensity(array: npt.NDArray[np.number]) -> dict[str, float]:
    low, first, middle, last, high = np.percentile(array, (0, 1, 50, 99, 100)).tolist()
    return {
        "lowest": low,
        "1st percentile": first,
        "median": middle,
        # In double precision: a sum over millions of voxels in single precision is far off.
        "mean": float(array.mean(dtype=np.float64)),
        "99th percentile": last,
        "highest": high,
    }


def _read_labels(
    label: Path, image: Path, geometry: Geometry, on_event: Callable[[Event], None]
) -> tuple[tuple[str, ...], LabelImage]:
    stored = read_label(label, grid=geometry, on_remark=warnings_to(on_event))
    differences = Geometry.of(stored).differences(geometry)
    if differences:
        raise DataError(
            f"{label}: does not lie on the grid of {image}: {'; '.join(differences)}",
            hint="Resample the label map onto the image (nearest neighbour).",
        )
    values = sitk.GetArrayFromImage(stored)
    found = np.unique(values[values > 0]).tolist()
    names: dict[int, str] = {}
    if is_segmentation(label):
        for segment in open_segmentation(label).segments:
            names[segment.number] = segment.label
    description = find_description(label.parent, image.parent)
    named = description.labels if description is not None else None
    for name, of_label in (named or {}).items():
        # A label of several values is a region of other labels, and not the name of one.
        if len(of_label) == 1:
            names[of_label[0]] = name
    told = [visible(names.get(value, f"label {value}")) for value in found]
    return tuple(told), paint_masks((values == value for value in found), values.shape)

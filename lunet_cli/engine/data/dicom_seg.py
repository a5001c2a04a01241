"""DICOM segmentations (SEG): which segments they have, and the masks of these on any grid.

A SEG holds a frame for each plane in which a segment has voxels, and none for the others. Its
grid is therefore smaller than that of the series that it was made of, and its masks are placed on a
grid that is named.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Sequence as DicomSequence
from pydicom.dataset import Dataset

from lunet_cli.engine.data.dicom_pixels import frames_of, is_compressed
from lunet_cli.engine.data.dicom_planes import (
    Frame,
    groups_of_frames,
    is_dicom,
    read_dataset,
    value_of,
    whole_number,
)
from lunet_cli.engine.data.disk import is_file
from lunet_cli.engine.data.volume import Geometry, has_volume_suffix
from lunet_cli.engine.data.volume_file import checked_geometry, damaged
from lunet_cli.errors import DataError
from lunet_cli.results.words import visible

Mask = npt.NDArray[np.bool_]
_STORAGES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
_IDENTIFICATION = "SegmentIdentificationSequence"
_MEASURES = "PixelMeasuresSequence"
# Positions are decimals of some digits: what lies this near to a plane or voxel, in parts of the
# distance between two, lies on it.
_ON_GRID = 0.05
# Of cosines and of millimetres: rounding, frame by frame.
_SAME = 1e-3
_LARGEST_NUMBER = 65535
_LONGEST_LABEL = 64
# More planes than any scan has.
_MOST_PLANES = 1 << 16


@dataclass(frozen=True)
class Segment:
    """A segment.

    Args:
        number: Its number within the file.
        label: What it is called.
    """

    number: int
    label: str


@dataclass(frozen=True)
class _SegFrame:
    """A frame.

    Args:
        plane: The plane of the grid that it lies on.
        number: The segment that it is of; None in a label map, whose values are numbers.
    """

    plane: int
    number: int | None


@dataclass(frozen=True)
class SegFile:
    """A segmentation whose header was read.

    Args:
        path: The file.
        segments: In the order of the file.
        geometry: The smallest grid that all frames lie on.
        frames: In the order of the file.
    """

    path: Path
    segments: tuple[Segment, ...]
    geometry: Geometry
    frames: tuple[_SegFrame, ...]

    def mask(self, number: int, grid: Geometry | None = None) -> Mask:
        """The voxels (D, H, W) of a segment, on its own grid or on another.

        Raises:
            DataError: The pixels are damaged, or do not lie on `grid`.
        """
        mask = np.zeros(self.geometry.size, np.bool_)
        for index, frame in enumerate(self.frames):
            if frame.number is None:
                mask[frame.plane] |= self._pixels.values(index) == number
            elif frame.number == number:
                mask[frame.plane] |= self._pixels.values(index) > 0
        return mask if grid is None else place_on(mask, self.geometry, grid, self.path)

    def label_map(self, grid: Geometry | None = None) -> npt.NDArray[np.uint16]:
        """Segment numbers (D, H, W), on the grid of the file or on another.

        Raises:
            DataError: Segments overlap, the pixels are damaged, or do not lie on `grid`.
        """
        size = self.geometry.size if grid is None else grid.size
        labels = np.zeros(size, np.uint16)
        for segment in self.segments:
            mask = self.mask(segment.number, grid)
            covered = labels[mask]
            if covered.any():
                names = {one.number: one.label for one in self.segments}
                other = names[int(covered[covered > 0][0])]
                raise DataError(
                    f"{self.path}: its segments {other} and {segment.label} overlap, and a label "
                    "map has one value per voxel"
                )
            labels[mask] = segment.number
        return labels

    @cached_property
    def _pixels(self) -> _Pixels:
        return _Pixels(self.path, len(self.frames), self.geometry.size[1:])


def is_segmentation(path: Path) -> bool:
    """Whether a path is a DICOM segmentation."""
    if has_volume_suffix(path) or not is_file(path) or not is_dicom(path):
        return False
    dataset = read_dataset(path, ["SOPClassUID"])
    return str(value_of(path, dataset, "SOPClassUID")) in _STORAGES


def open_segmentation(path: Path) -> SegFile:
    """Read the header of a segmentation.

    Raises:
        DataError: It is damaged, or holds probabilities.
    """
    dataset = read_dataset(path)
    kind = value_of(path, dataset, "SegmentationType")
    if kind not in ("BINARY", "LABELMAP"):
        raise DataError(
            f"{path}: is a segmentation of the type {visible(str(kind))[:20]}, which does not say "
            "which voxels belong to a segment",
            hint="Take the binary segmentation.",
        )
    segments = _segments(path, dataset)
    found = [Frame(path, dataset, group) for group in groups_of_frames(path, dataset)]
    geometry, planes = _grid(path, dataset, found)
    frames = []
    for frame, plane in zip(found, planes, strict=True):
        number = None
        if kind == "BINARY":
            number = int(frame.numbers(_IDENTIFICATION, "ReferencedSegmentNumber", 1)[0])
        frames.append(_SegFrame(plane, number))
    known = {segment.number for segment in segments}
    for number in {frame.number for frame in frames} - {None}:
        if number not in known:
            raise damaged(path, f"a frame is of segment {number}, which it does not describe")
    return SegFile(path, segments, geometry, tuple(frames))


def _segments(path: Path, dataset: Dataset) -> tuple[Segment, ...]:
    items = value_of(path, dataset, "SegmentSequence")
    if not isinstance(items, DicomSequence):
        items = []
    found: dict[int, Segment] = {}
    labels: set[str] = set()
    for item in items:
        number = whole_number(path, item, "SegmentNumber", 0)
        if number == 0:  # The background of a label map.
            continue
        if number > _LARGEST_NUMBER or number in found:
            raise damaged(path, f"it has a segment of the number {number}, or two of them")
        label = visible(str(value_of(path, item, "SegmentLabel") or "").strip())[:_LONGEST_LABEL]
        if label in labels or not label:
            label = f"{label} {number}".strip()
        labels.add(label)
        found[number] = Segment(number, label)
    if not found:
        raise damaged(path, "it describes no segment")
    return tuple(found.values())


def _grid(path: Path, dataset: Dataset, frames: list[Frame]) -> tuple[Geometry, list[int]]:
    """The smallest grid that frames lie on, and the plane of each."""
    axes = _of_all(frames, "PlaneOrientationSequence", "ImageOrientationPatient", 6)
    positions = _of_all(frames, "PlanePositionSequence", "ImagePositionPatient", 3)
    pixel = _of_all(frames, _MEASURES, "PixelSpacing", 2)
    if np.ptp(axes, axis=0).max() > _SAME or np.ptp(pixel, axis=0).max() > _SAME:
        raise damaged(path, "its frames differ in their orientation or pixel spacing")
    across, down = axes[0, :3], axes[0, 3:]
    normal = np.cross(across, down)
    places = positions @ normal
    step = _step(path, frames[0], places)
    planes = np.round((places - places.min()) / step)
    if planes.max() > _MOST_PLANES:
        raise damaged(path, f"its frames lie up to {np.ptp(places):g} mm apart")
    origin = positions[int(np.argmin(places))]
    shifts = positions - origin - np.outer(planes * step, normal)
    if np.abs(shifts).max() > max(_ON_GRID * step, 0.5 * pixel.min()):
        raise damaged(path, "its frames are shifted against each other")
    columns, rows = (whole_number(path, dataset, name, 0) for name in ("Columns", "Rows"))
    geometry = checked_geometry(
        path,
        sizes=(columns, rows, int(planes.max()) + 1),
        spacing_mm=(pixel[0, 1], pixel[0, 0], step),
        origin_mm=origin.tolist(),
        direction=np.column_stack([across, down, normal]),
    )
    return geometry, planes.astype(int).tolist()


def _of_all(frames: list[Frame], macro: str, keyword: str, count: int) -> npt.NDArray[np.float64]:
    """Numbers of each frame, a row each."""
    return np.array([frame.numbers(macro, keyword, count) for frame in frames])


def _step(path: Path, frame: Frame, places: npt.NDArray[np.float64]) -> float:
    """The distance between planes: as the file says, or the smallest between two frames."""
    gaps = np.diff(np.unique(places))
    # Frames of several segments on one plane differ by rounding at most.
    gaps = gaps[gaps > 1e-3]
    # Some writers give it a sign.
    said = abs(frame.numbers(_MEASURES, "SpacingBetweenSlices", 1, [0.0])[0])
    thickness = frame.numbers(_MEASURES, "SliceThickness", 1, [0.0])[0]
    smallest = [float(gaps.min())] if len(gaps) else []
    for step in [said, *smallest, thickness, 1.0]:
        if step > 0 and not (_off_grid(places, step) > _ON_GRID).any():
            return step
    raise DataError(
        f"{path}: the frames of its segments do not lie on planes at equal distances",
        hint="Was it made of a series with uneven slices? Those cannot be compared.",
    )


def _off_grid(places: npt.NDArray[np.float64], step: float) -> npt.NDArray[np.float64]:
    """How far places lie from the nearest plane, in parts of the distance between planes."""
    in_steps = (places - places.min()) / step
    off: npt.NDArray[np.float64] = np.abs(in_steps - np.round(in_steps))
    return off


def place_on(mask: Mask, source: Geometry, grid: Geometry, path: Path) -> Mask:
    """A mask (D, H, W) on another grid of the same voxels, which may be larger or turned.

    Args:
        mask: The mask.
        source: Its grid.
        grid: The other grid.
        path: Where the mask comes from, for messages.

    Raises:
        DataError: The voxels of the grids do not coincide, or the mask reaches beyond the other.
    """
    turn, first = _turn(source, grid, path)
    order = np.abs(turn).argmax(axis=1)
    mirrored = np.flatnonzero(turn[range(3), order] < 0)
    turned = np.flip(mask.transpose(order), tuple(mirrored))
    placed = np.zeros(grid.size, np.bool_)
    there, here = [], []
    for start, edge, size in zip(first, turned.shape, grid.size, strict=True):
        there.append(slice(max(start, 0), max(start + edge, 0)))
        here.append(slice(max(-start, 0), max(size - start, 0)))
    placed[tuple(there)] = turned[tuple(here)]
    if np.count_nonzero(placed) < np.count_nonzero(mask):
        raise DataError(f"{path}: has voxels beyond the grid that it is compared on")
    return placed


def _turn(
    source: Geometry, grid: Geometry, path: Path
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """How axes (z, y, x) of one grid become those of another, and its first voxel there.

    Raises:
        DataError: The voxels of the grids do not coincide.
    """
    matrix, shift = _between(source, grid)
    turn, moved = np.round(matrix), np.round(shift)
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(source.size) - 1)
    places = corners @ turn.T + moved
    off = np.abs(corners @ matrix.T + shift - places).max()
    is_turn = np.array_equal(np.abs(turn) @ np.ones(3), np.ones(3))
    if not is_turn or off > 2 * _ON_GRID:
        raise DataError(
            f"{path}: its voxels are not those of the other grid: "
            f"{'; '.join(grid.differences(source))}",
            hint="Is it a segmentation of another series?",
        )
    return turn.astype(np.int64), places.min(axis=0).astype(np.int64)


def _between(
    source: Geometry, grid: Geometry
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The matrix and shift that take an index (z, y, x) of one grid to that of another."""
    (from_source, of_source), (from_grid, of_grid) = map(_affine, (source, grid))
    back = np.linalg.inv(from_grid)
    return back @ from_source, back @ (of_source - of_grid)


def _affine(geometry: Geometry) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The matrix from an index (z, y, x) to mm, and where the first voxel lies."""
    direction = np.array(geometry.direction).reshape(3, 3)[:, ::-1]
    return direction * np.array(geometry.spacing_mm), np.array(geometry.origin_mm)


class _Pixels:
    """The pixels of a segmentation, a frame at a time: unpacked, those of all would be too many.

    Args:
        path: The file.
        num_frames: How many it has.
        size: Rows and columns.

    Raises:
        DataError: The file is damaged, or ends early.
    """

    def __init__(self, path: Path, num_frames: int, size: tuple[int, ...]) -> None:
        self._size = (size[0], size[1])
        dataset = read_dataset(path, with_pixels=True)
        is_packed = whole_number(path, dataset, "BitsAllocated", 0) == 1
        self._bits: npt.NDArray[np.uint8] | None = None
        self._frames: npt.NDArray[Any] | None = None
        if is_packed and not is_compressed(path, dataset):
            packed = value_of(path, dataset, "PixelData")
            self._bits = np.frombuffer(packed if isinstance(packed, bytes) else b"", np.uint8)
            if 8 * len(self._bits) < num_frames * size[0] * size[1]:
                raise damaged(path, "its pixels end early")
            return
        ((_, frames),) = frames_of([path])
        if frames.shape != (num_frames, *self._size):
            raise damaged(path, f"its pixels have the shape {' x '.join(map(str, frames.shape))}")
        self._frames = frames

    def values(self, index: int) -> npt.NDArray[Any]:
        """The values (rows, columns) of a frame."""
        if self._frames is not None:
            values: npt.NDArray[Any] = self._frames[index]
            return values
        assert self._bits is not None
        num_pixels = self._size[0] * self._size[1]
        # Frames follow each other without a gap, so that one may begin within a byte.
        first, offset = divmod(index * num_pixels, 8)
        last = -(-((index + 1) * num_pixels) // 8)
        bits = np.unpackbits(self._bits[first:last], bitorder="little")
        return bits[offset : offset + num_pixels].reshape(self._size)

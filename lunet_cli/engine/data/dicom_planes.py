"""What DICOM files say about their images: each slice or frame as a plane with its place and its scale of values."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset

from lunet_cli.engine.data.disk import open_file, reason_of
from lunet_cli.engine.data.volume_file import damaged
from lunet_cli.errors import DataError

# Real files break rules of value representations everywhere; what matters here is checked by hand
# below.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
logging.getLogger("pydicom").setLevel(
    logging.CRITICAL
)  # It would print its doubts on every damaged file.
warnings.filterwarnings(
    "ignore", module=r"pydicom\."
)  # Texts are decoded, and doubted, when they are looked at.

_DEFLATED = b"1.2.840.10008.1.2.1.99"
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_PER_FRAME, _SHARED = "PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"
_COUNTS = ("ImagesInAcquisition", "NumberOfSlices", "NumberOfSeriesRelatedInstances")
_MOST_FRAMES = 2**20
_LARGEST = 1e12  # of all numbers that are read here: a position in nanometres, a scale of counts
_TAGS = [
    *(
        "SOPClassUID",
        "Modality",
        "InstanceNumber",
        "NumberOfFrames",
        "Rows",
        "Columns",
        "SamplesPerPixel",
    ),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "ImagePositionPatient"),
    *(
        "ImageOrientationPatient",
        "PixelSpacing",
        "SliceThickness",
        "RescaleSlope",
        "RescaleIntercept",
    ),
    *("ModalityLUTSequence", "InConcatenationTotalNumber", _PER_FRAME, _SHARED, *_COUNTS),
]


@dataclass(frozen=True)
class Plane:
    """One slice or frame.

    Args:
        file: Where it lies.
        frame: Its index within the file.
        position: Centre of its first pixel in LPS, mm.
        orientation: Direction of its rows and of its columns, three cosines each.
        spacing: Distance between rows, and between columns, mm.
        thickness: Slice thickness in mm; 0 where the file does not say.
        slope: What stored values are multiplied by.
        intercept: What is added then.
        size: Rows and columns.
        bits: Bits per stored value.
        is_signed: Whether stored values may be negative.
        number: Instance number, negative where the file does not say; None for a frame of several.
    """

    file: Path
    frame: int
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing: tuple[float, ...]
    thickness: float
    slope: float
    intercept: float
    size: tuple[int, int]
    bits: int
    is_signed: bool
    number: int | None


@dataclass(frozen=True)
class PlanesOfFile:
    """The planes of a file.

    Args:
        planes: In the order of the file.
        counts: What its header says of the number of images and files around it, by the name of the
            field.
    """

    planes: list[Plane]
    counts: dict[str, int]


def is_dicom(path: Path) -> bool:
    """Whether a file is one of DICOM, with its preamble or without.

    Raises:
        DataError: It cannot be opened.
    """
    with open_file(path) as file:
        try:
            head = file.read(132)
        except OSError as error:
            raise damaged(path, reason_of(error)) from None
    # Without a preamble, the first tag is one of the groups 0002 and 0008.
    return head[128:] == b"DICM" or (
        head[:2] in (b"\x02\0", b"\x08\0") and head[3:4] == b"\0" and len(head) == 132
    )


def read_dataset(
    path: Path, tags: Sequence[str] | None = None, *, with_pixels: bool = False
) -> Dataset:
    """Read a DICOM file.

    Args:
        path: The file.
        tags: Keywords of the elements that are wanted; None for all.
        with_pixels: Whether the pixels are read, too.

    Raises:
        DataError: It is damaged, or deflated.
    """
    with open_file(path) as file:
        try:
            if _DEFLATED in file.read(4096):
                raise DataError(
                    f"{path}: cannot be read: its data set is deflated",
                    hint="Convert it, for instance with dcmconv.",
                )
            file.seek(0)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return pydicom.dcmread(
                    file,
                    stop_before_pixels=not with_pixels,
                    force=True,
                    specific_tags=None if tags is None else list(tags),
                )
        except DataError:
            raise
        except Exception as error:  # A damaged file leads pydicom into errors of every kind.
            raise damaged(path, f"it is damaged or incomplete ({_one_line(error)})") from None


def read_planes(path: Path) -> PlanesOfFile:
    """The planes of a file, each with a place of its own.

    Raises:
        DataError: It is damaged, holds no image in space, or something else stands where a number
            should.
    """
    dataset = read_dataset(path, _TAGS)
    _require_image(path, dataset)
    num_frames = _whole(path, dataset, "NumberOfFrames", 1)
    groups = _value(path, dataset, _PER_FRAME)
    if groups is None and num_frames > 1:
        raise DataError(
            f"{path}: has {num_frames} frames without a position of their own",
            hint="Enhanced multi-frame images and series of single slices can be read.",
        )
    if groups is not None and not (
        isinstance(groups, pydicom.Sequence) and 0 < len(groups) <= _MOST_FRAMES
    ):
        raise damaged(path, "its functional groups are not a sequence")
    if groups is not None and len(groups) != num_frames:
        raise damaged(path, f"it has {num_frames} frames, and {len(groups)} functional groups")
    frames = (
        [_Frame(path, dataset, None)]
        if groups is None
        else [_Frame(path, dataset, group) for group in groups]
    )
    counts = {name: _whole(path, dataset, name, 0) for name in _COUNTS}
    counts["InConcatenationTotalNumber"] = _whole(path, dataset, "InConcatenationTotalNumber", 0)
    return PlanesOfFile([_plane(frame, index) for index, frame in enumerate(frames)], counts)


@dataclass(frozen=True)
class _Frame:
    """Where the values of a frame stand: in its own group, in the shared one, or (`group` is None) in the file."""

    path: Path
    dataset: Dataset
    group: Dataset | None

    def numbers(
        self, macro: str, keyword: str, count: int, default: list[float] | None = None
    ) -> list[float]:
        """Finite numbers; `default` where there are none.

        Raises:
            DataError: They are not numbers, or missing without a default.
        """
        value = _value(self.path, self._place(macro, keyword), keyword)
        if value is None or value == "":
            if default is None:
                raise DataError(
                    f"{self.path}: has no {_words(keyword)}, so its place in the patient is unknown"
                )
            return default
        try:
            numbers = [float(part) for part in ([value] if count == 1 else value)]
        except (TypeError, ValueError):
            numbers = []
        # What is not finite fails the comparison, too.
        if len(numbers) != count or not all(abs(number) < _LARGEST for number in numbers):
            raise damaged(
                self.path, f"its {_words(keyword)} is '{str(value)[:60]}', not {_count(count)}"
            )
        return numbers

    def _place(self, macro: str, keyword: str) -> Dataset:
        if self.group is None:
            return self.dataset
        shared = _first(_value(self.path, self.dataset, _SHARED))
        for place in (self.group, shared):
            item = None if place is None else _first(_value(self.path, place, macro))
            if item is not None and keyword in item:
                return item
        return Dataset()


def _plane(frame: _Frame, index: int) -> Plane:
    path, dataset = frame.path, frame.dataset
    is_alone = frame.group is None
    return Plane(
        path,
        index,
        tuple(frame.numbers("PlanePositionSequence", "ImagePositionPatient", 3)),
        tuple(frame.numbers("PlaneOrientationSequence", "ImageOrientationPatient", 6)),
        tuple(frame.numbers("PixelMeasuresSequence", "PixelSpacing", 2)),
        frame.numbers("PixelMeasuresSequence", "SliceThickness", 1, [0.0])[0],
        frame.numbers("PixelValueTransformationSequence", "RescaleSlope", 1, [1.0])[0],
        frame.numbers("PixelValueTransformationSequence", "RescaleIntercept", 1, [0.0])[0],
        (_whole(path, dataset, "Rows", 0), _whole(path, dataset, "Columns", 0)),
        _whole(path, dataset, "BitsStored", 0) or _whole(path, dataset, "BitsAllocated", 0),
        _whole(path, dataset, "PixelRepresentation", 0) == 1,
        (_whole(path, dataset, "InstanceNumber", -1) if is_alone else None),
    )


def _require_image(path: Path, dataset: Dataset) -> None:
    """Refuse what is not a stack of grey values."""
    kind = str(_value(path, dataset, "SOPClassUID") or "")
    modality = str(_value(path, dataset, "Modality") or "")
    if kind == _SECONDARY_CAPTURE or kind.startswith(f"{_SECONDARY_CAPTURE}."):
        raise DataError(f"{path}: is a secondary capture, a picture without a place in the patient")
    if modality == "SEG":
        raise DataError(
            f"{path}: is a DICOM segmentation",
            hint="Convert it to NIfTI, for instance with highdicom.",
        )
    samples = _whole(path, dataset, "SamplesPerPixel", 1)
    if samples != 1:
        raise DataError(f"{path}: has {samples} values per pixel, so it is a picture in colour")
    if _value(path, dataset, "ModalityLUTSequence") is not None:
        raise DataError(
            f"{path}: scales its values by a table (Modality LUT Sequence), which is not supported"
        )
    allocated, stored = (_whole(path, dataset, name, 0) for name in ("BitsAllocated", "BitsStored"))
    if allocated not in (8, 16, 32) or not 0 < stored <= allocated:
        raise damaged(path, f"it stores {stored} of {allocated} bits per pixel")
    if _whole(path, dataset, "HighBit", stored - 1) != stored - 1:
        raise damaged(path, "its High Bit is not the last of its stored bits")


def _whole(path: Path, dataset: Dataset, keyword: str, default: int) -> int:
    value = _value(path, dataset, keyword)
    if value is None or value == "":
        return default
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        raise damaged(
            path, f"its {_words(keyword)} is '{str(value)[:60]}', not a whole number"
        ) from None
    if not 0 <= number < 2**31:
        return (
            default if keyword in ("InstanceNumber", *_COUNTS) else _refuse(path, keyword, number)
        )
    return number


def _refuse(path: Path, keyword: str, number: int) -> int:
    raise damaged(path, f"its {_words(keyword)} is {number}")


def _value(path: Path, dataset: Dataset, keyword: str) -> Any:
    """A value that pydicom converts only now, which fails where something else stands."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return dataset.get(keyword)
    except Exception as error:
        raise damaged(
            path, f"its {_words(keyword)} cannot be understood ({_one_line(error)})"
        ) from None


def _first(sequence: Any) -> Dataset | None:
    return sequence[0] if isinstance(sequence, pydicom.Sequence) and len(sequence) else None


def _words(keyword: str) -> str:
    """The keyword as the standard prints it: `ImagePositionPatient` becomes `Image Position Patient`."""
    return "".join(f" {letter}" if letter.isupper() else letter for letter in keyword).strip()


def _count(count: int) -> str:
    return "a number" if count == 1 else f"{count} numbers"


def _one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:120] if lines else type(error).__name__

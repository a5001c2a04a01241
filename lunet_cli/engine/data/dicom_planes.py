"""What DICOM files say about their images: slices and frames as planes with place and scale."""

from __future__ import annotations

import logging
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset

from lunet_cli.engine.data.disk import open_file
from lunet_cli.engine.data.stored_bytes import read_start
from lunet_cli.engine.data.volume_file import damaged
from lunet_cli.errors import DataError

# Real files break rules of value representations everywhere; what matters here is checked by hand
# below.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
# It would print its doubts on every damaged file.
logging.getLogger("pydicom").setLevel(logging.CRITICAL)
# Texts are decoded, and doubted, when they are looked at.
warnings.filterwarnings("ignore", module=r"pydicom\.")

_DEFLATED = b"1.2.840.10008.1.2.1.99"
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_PER_FRAME, _SHARED = "PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"
_COUNTS = ("ImagesInAcquisition", "NumberOfSlices", "NumberOfSeriesRelatedInstances")
_CONCATENATION = "InConcatenationTotalNumber"
# More than any scan has; each frame becomes an object in memory.
_MOST_FRAMES = 2**20
_LARGEST = 1e12  # of all numbers that are read here: a position in nanometres, a scale of counts
_TAGS = [
    "SOPClassUID",
    "Modality",
    "InstanceNumber",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "RescaleSlope",
    "RescaleIntercept",
    "ModalityLUTSequence",
    _CONCATENATION,
    _PER_FRAME,
    _SHARED,
    *_COUNTS,
]


@dataclass(frozen=True, kw_only=True)
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
        num_images: Images that there are around it, as its header says; 0 if it does not.
        num_files: Files that it is a part of, likewise.
    """

    planes: list[Plane]
    num_images: int
    num_files: int


def is_dicom(path: Path) -> bool:
    """Whether a file is one of DICOM, with its preamble or without.

    Raises:
        DataError: It cannot be opened.
    """
    head = read_start(path, 132)
    if head[128:] == b"DICM":
        return True
    # Without a preamble, the first tag is one of the groups 0002 and 0008.
    return head[:2] in (b"\x02\0", b"\x08\0") and head[3:4] == b"\0" and len(head) == 132


def read_dataset(
    path: Path, tags: list[str] | None = None, *, with_pixels: bool = False
) -> Dataset:
    """Read a DICOM file.

    Args:
        path: The file.
        tags: Keywords of the elements that are wanted; None for all.
        with_pixels: Whether the pixels are read, too.

    Raises:
        DataError: It is damaged, or deflated.
    """
    # pydicom would unpack all of it at once, and a small file may unpack to gigabytes.
    if _DEFLATED in read_start(path, 4096):
        raise DataError(
            f"{path}: cannot be read: its data set is deflated",
            hint="Convert it, for instance with dcmconv.",
        )
    with open_file(path) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return pydicom.dcmread(
                file,
                stop_before_pixels=not with_pixels,
                force=True,
                specific_tags=tags,
            )
        except Exception as error:
            # A damaged file leads pydicom into errors of every kind, and must give one line.
            raise damaged(path, f"it is damaged or incomplete ({one_line(error)})") from None


def read_planes(path: Path) -> PlanesOfFile:
    """The planes of a file, each with a place of its own.

    Raises:
        DataError: It is damaged, holds no image in space, or something else stands where a number
            should.
    """
    dataset = read_dataset(path, _TAGS)
    _require_image(path, dataset)
    planes = []
    for index, group in enumerate(groups_of_frames(path, dataset)):
        planes.append(_plane(Frame(path, dataset, group), index))
    num_images = max(whole_number(path, dataset, name, 0) for name in _COUNTS)
    return PlanesOfFile(planes, num_images, whole_number(path, dataset, _CONCATENATION, 0))


def groups_of_frames(path: Path, dataset: Dataset) -> list[Dataset | None]:
    """The functional group of each frame; a single None for an image of one frame without any.

    Raises:
        DataError: Frames and groups do not fit together.
    """
    num_frames = whole_number(path, dataset, "NumberOfFrames", 1)
    groups = value_of(path, dataset, _PER_FRAME)
    if groups is None:
        if num_frames > 1:
            raise DataError(
                f"{path}: has {num_frames} frames without a position of their own",
                hint="Enhanced multi-frame images and series of single slices can be read.",
            )
        return [None]
    if not isinstance(groups, pydicom.Sequence) or not 0 < len(groups) <= _MOST_FRAMES:
        raise damaged(path, "its functional groups are not a sequence")
    if len(groups) != num_frames:
        raise damaged(path, f"it has {num_frames} frames, and {len(groups)} functional groups")
    return list(groups)


@dataclass(frozen=True)
class Frame:
    """A frame, and where its values stand: in its group, in the shared one, or in the file.

    Args:
        path: The file.
        dataset: All of it.
        group: Functional group of the frame; None where the values stand in the file itself.
    """

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
        value = value_of(self.path, self._place(macro, keyword), keyword)
        if value is None or value == "":
            if default is None:
                raise DataError(
                    f"{self.path}: has no {words_of(keyword)}, so its place in the patient is "
                    "unknown"
                )
            return default
        numbers = _floats([value] if count == 1 else value)
        # What is not finite fails the comparison, too.
        if len(numbers) != count or not all(abs(number) < _LARGEST for number in numbers):
            expected = "a number" if count == 1 else f"{count} numbers"
            raise damaged(
                self.path, f"its {words_of(keyword)} is '{str(value)[:60]}', not {expected}"
            )
        return numbers

    def _place(self, macro: str, keyword: str) -> Dataset:
        if self.group is None:
            return self.dataset
        shared = first_item(value_of(self.path, self.dataset, _SHARED))
        for place in (self.group, shared):
            item = first_item(value_of(self.path, place, macro))
            if keyword in item:
                return item
        return Dataset()


def _floats(values: Any) -> list[float]:
    """Values as numbers; none where they are something else."""
    try:
        return list(map(float, values))
    except (TypeError, ValueError):
        return []


def _plane(frame: Frame, index: int) -> Plane:
    path, dataset = frame.path, frame.dataset
    measures, scale = "PixelMeasuresSequence", "PixelValueTransformationSequence"
    number = None
    if frame.group is None:
        number = whole_number(path, dataset, "InstanceNumber", -1)
    return Plane(
        file=path,
        frame=index,
        position=tuple(frame.numbers("PlanePositionSequence", "ImagePositionPatient", 3)),
        orientation=tuple(frame.numbers("PlaneOrientationSequence", "ImageOrientationPatient", 6)),
        spacing=tuple(frame.numbers(measures, "PixelSpacing", 2)),
        thickness=frame.numbers(measures, "SliceThickness", 1, [0.0])[0],
        slope=frame.numbers(scale, "RescaleSlope", 1, [1.0])[0],
        intercept=frame.numbers(scale, "RescaleIntercept", 1, [0.0])[0],
        size=(whole_number(path, dataset, "Rows", 0), whole_number(path, dataset, "Columns", 0)),
        bits=whole_number(path, dataset, "BitsStored", 0)
        or whole_number(path, dataset, "BitsAllocated", 0),
        is_signed=whole_number(path, dataset, "PixelRepresentation", 0) == 1,
        number=number,
    )


def _require_image(path: Path, dataset: Dataset) -> None:
    """Refuse what is not a stack of grey values."""
    kind = str(value_of(path, dataset, "SOPClassUID") or "")
    modality = str(value_of(path, dataset, "Modality") or "")
    if kind == _SECONDARY_CAPTURE or kind.startswith(f"{_SECONDARY_CAPTURE}."):
        raise DataError(f"{path}: is a secondary capture, a picture without a place in the patient")
    if modality == "SEG":
        raise DataError(
            f"{path}: is a DICOM segmentation",
            hint="Name it where a label map is asked for, and its series as the image.",
        )
    samples = whole_number(path, dataset, "SamplesPerPixel", 1)
    if samples != 1:
        raise DataError(f"{path}: has {samples} values per pixel, so it is a picture in colour")
    if value_of(path, dataset, "ModalityLUTSequence") is not None:
        raise DataError(
            f"{path}: scales its values by a table (Modality LUT Sequence), which is not supported"
        )
    _require_bits(path, dataset)


def _require_bits(path: Path, dataset: Dataset) -> None:
    """Refuse stored values that the masks of `dicom_pixels` would tear apart."""
    allocated = whole_number(path, dataset, "BitsAllocated", 0)
    stored = whole_number(path, dataset, "BitsStored", 0)
    if allocated not in (8, 16, 32) or not 0 < stored <= allocated:
        raise damaged(path, f"it stores {stored} of {allocated} bits per pixel")
    if whole_number(path, dataset, "HighBit", stored - 1) != stored - 1:
        raise damaged(path, "its High Bit is not the last of its stored bits")


def whole_number(path: Path, dataset: Dataset, keyword: str, default: int) -> int:
    """A whole number of a file; `default` where it says none.

    Raises:
        DataError: Something else stands there.
    """
    value = value_of(path, dataset, keyword)
    if value is None or value == "":
        return default
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        raise damaged(
            path, f"its {words_of(keyword)} is '{str(value)[:60]}', not a whole number"
        ) from None
    if 0 <= number < 2**31:
        return number
    # These only make remarks, and some writers put -1 for "unknown".
    if keyword in ("InstanceNumber", *_COUNTS):
        return default
    raise damaged(path, f"its {words_of(keyword)} is {number}")


def value_of(path: Path, dataset: Dataset, keyword: str) -> Any:
    """A value of a file, of whatever type it has there; None where it is absent.

    Raises:
        DataError: It cannot be understood.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return dataset.get(keyword)
    except Exception as error:
        # pydicom converts a value only now, and fails with errors of every kind where something
        # else stands.
        reason = one_line(error)
        raise damaged(path, f"its {words_of(keyword)} cannot be understood ({reason})") from None


def first_item(sequence: object) -> Dataset:
    """The first item; an empty one where there is none."""
    if isinstance(sequence, pydicom.Sequence) and len(sequence):
        return sequence[0]
    return Dataset()


def words_of(keyword: str) -> str:
    """The keyword as the standard prints it, such as `Image Position Patient`."""
    return re.sub("(?=[A-Z])", " ", keyword).strip()


def one_line(error: Exception) -> str:
    """What an error says first, or else its kind."""
    lines = str(error).strip().splitlines()
    return lines[0][:120] if lines else type(error).__name__

"""DICOM series: finding them in folders, choosing one, and opening it as a volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydicom.uid import UID, MediaStorageDirectoryStorage

from lunet_cli.engine.data.dicom_pixels import number_of, read_pixels
from lunet_cli.engine.data.dicom_planes import (
    Plane,
    PlanesOfFile,
    is_dicom,
    read_dataset,
    read_planes,
)
from lunet_cli.engine.data.dicom_stack import stack
from lunet_cli.engine.data.disk import is_file, list_folder
from lunet_cli.engine.data.volume import Geometry, has_volume_suffix
from lunet_cli.engine.data.volume_file import VolumeFile, damaged
from lunet_cli.errors import DataError
from lunet_cli.results.words import plural

SUFFIXES = (".dcm", ".ima")
_TAGS = [
    "SeriesInstanceUID",
    "SeriesNumber",
    "SeriesDescription",
    "Modality",
    "SOPClassUID",
    "Rows",
    "ImageType",
]
# What lies beside the scans of a study, and is none: results, plans, and pictures.
_NO_SCANS = frozenset(
    {"SEG", "RTSTRUCT", "RTDOSE", "RTIMAGE", "RTPLAN", "SR", "PR", "KO", "DOC", "REG"}
)
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


@dataclass(frozen=True, kw_only=True)
class DicomSeries:
    """One series of a folder.

    Args:
        folder: Where its files lie; of a single file, the file.
        uid: Series Instance UID.
        number: Series Number; empty if the files do not say.
        description: Series Description, likewise.
        modality: Modality, likewise.
        files: Its files, ordered by their names.
        is_scan: Whether it may be a volume: no result of another program, no scout, no picture.
        damaged: What is wrong with DICOM files of the folder that do not say which series they
            belong to.
    """

    folder: Path
    uid: str
    number: str
    description: str
    modality: str
    files: tuple[Path, ...]
    is_scan: bool = True
    damaged: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.name

    def __str__(self) -> str:
        return str(self.folder)

    def summary(self) -> str:
        """What a person tells series apart by."""
        words = []
        if self.description:
            words.append(f"'{self.description}'")
        if self.modality:
            words.append(self.modality)
        words += [plural(len(self.files), "file"), f"UID {self.uid}"]
        number = f"number {self.number}" if self.number else "no number"
        return f"{number}: {', '.join(words)}"

    def matches(self, wanted: str) -> bool:
        """Whether `wanted` is its number, description, or UID or the end of it."""
        if self.description and wanted.lower() == self.description.lower():
            return True
        return wanted in (self.number, self.uid) or self.uid.endswith(f".{wanted}")


def find_series(folder: Path) -> list[DicomSeries]:
    """The series that lie directly in a folder, in order of their numbers.

    Raises:
        DataError: The folder cannot be listed, or holds DICOM files and none of them can be read.
    """
    found: dict[str, DicomSeries] = {}
    files: dict[str, list[Path]] = {}
    problems: list[str] = []
    for path in list_folder(folder):
        try:
            one = _series_of(path) if _may_be_dicom(path) else None
        except DataError as error:
            problems.append(error.message)
            continue
        if one is not None:
            found.setdefault(one.uid, one)
            files.setdefault(one.uid, []).append(path)
    if problems and not found:
        raise DataError(
            problems[0], hint=f"All {len(problems)} DICOM files of {folder} are damaged."
        )
    # They may belong to any of the series, so that each is told of them.
    series = []
    for uid, one in found.items():
        series.append(replace(one, folder=folder, files=tuple(files[uid]), damaged=tuple(problems)))
    return sorted(series, key=_place_in_list)


def series_of_file(path: Path) -> DicomSeries:
    """A single DICOM file as a series.

    Raises:
        DataError: It is damaged, or holds no image.
    """
    series = _series_of(path)
    if series is None:
        raise DataError(f"{path}: is a DICOM file without an image")
    return series


def choose_series(folder: Path, wanted: str | None = None) -> DicomSeries:
    """The series that `wanted` names (see `DicomSeries.matches`), or the only one of a folder.

    Raises:
        DataError: There is none, or more than one fits; the message lists them.
    """
    series = find_series(folder)
    if not series:
        raise DataError(
            f"{folder}: holds no DICOM series", hint="Name a file in it, or the folder of a series."
        )
    return choose_among(series, folder, wanted)


def choose_among(series: Sequence[DicomSeries], folder: Path, wanted: str | None) -> DicomSeries:
    """The series that `wanted` names, or the only scan; `folder` is where they come from.

    Raises:
        DataError: None or more than one fits; the message lists them.
    """
    fitting = [one for one in series if wanted is None or one.matches(wanted)]
    if wanted is None:
        fitting = scans_among(series)
    if len(fitting) == 1:
        return fitting[0]
    listed = "; ".join(one.summary() for one in (fitting or series))
    if wanted is not None and not fitting:
        raise DataError(f"{folder}: no DICOM series is called '{wanted}'; there are {listed}")
    raise DataError(
        f"{folder}: holds {len(fitting)} DICOM series ({listed})",
        hint="Name one by its number, description or UID (`series`), take all of them "
        "(`series=all`), or keep one series per folder.",
    )


def scans_among(series: Sequence[DicomSeries]) -> list[DicomSeries]:
    """Those that may be volumes; all, where none may be, so that a reader says why."""
    return [one for one in series if one.is_scan] or list(series)


def merge_series(series: Sequence[DicomSeries], folder: Path) -> list[DicomSeries]:
    """Series of several folders below `folder`, of which those with one UID are one."""
    merged: dict[str, DicomSeries] = {}
    for one in series:
        known = merged.get(one.uid)
        if known is None:
            merged[one.uid] = one
            continue
        merged[one.uid] = replace(
            known,
            folder=folder,
            files=known.files + one.files,
            damaged=tuple(dict.fromkeys(known.damaged + one.damaged)),
        )
    return sorted(merged.values(), key=_place_in_list)


def open_series(series: DicomSeries) -> VolumeFile:
    """Read the headers of a series, and put its slices and frames in order.

    Raises:
        DataError: A file is damaged, or they are not one volume; see `stack`.
    """
    planes, geometry, remarks = planes_of_series(series)
    return VolumeFile(
        geometry=geometry,
        num_channels=1,
        number=number_of(planes),
        read=lambda: read_pixels(planes),
        remarks=tuple(remarks),
    )


def planes_of_series(series: DicomSeries) -> tuple[list[Plane], Geometry, list[str]]:
    """The slices and frames of a series in order, the grid that they lie on, and remarks.

    Raises:
        DataError: A file is damaged, or they are not one volume; see `stack`.
    """
    if series.damaged:
        # A damaged file does not tell its series, so it may be a slice of this one.
        what = series.damaged[0]
        if len(series.damaged) > 1:
            what += f" ({len(series.damaged) - 1} more files are damaged, too)"
        raise DataError(what, hint="A slice may be missing; copy the series again.")
    files = [read_planes(path) for path in series.files]
    unordered: list[Plane] = []
    for file in files:
        unordered += file.planes
    planes, geometry, remarks = stack(series, unordered)
    doubts = [*_doubts_on_headers(files, planes), *_doubts_on_instance_numbers(planes)]
    if doubts:
        remarks.append(f"{series}: may be incomplete: {'; '.join(doubts)}")
    return planes, geometry, remarks


def _may_be_dicom(path: Path) -> bool:
    if has_volume_suffix(path) or not is_file(path):
        return False
    return path.suffix.lower() in SUFFIXES or is_dicom(path)


def _place_in_list(series: DicomSeries) -> tuple[int, str]:
    number = int(series.number) if series.number.isdecimal() else 0
    return number, series.uid


def _series_of(path: Path) -> DicomSeries | None:
    """A file as a series of its own; None if it holds no image, as a report does."""
    dataset = read_dataset(path, _TAGS)
    try:
        words = [str(dataset.get(keyword) or "").strip() for keyword in _TAGS]
    except Exception:
        # pydicom converts values when they are asked for, and those of damaged files lead it into
        # errors of every kind; a stranger's file must give one line.
        raise damaged(path, "the description of its series is damaged") from None
    uid, series_number, description, modality, kind, rows, image_type = words
    name = UID(kind or str(dataset.file_meta.get("MediaStorageSOPClassUID", ""))).name
    if len(dataset) == 0 and name != MediaStorageDirectoryStorage.name:
        raise damaged(path, "it is not a DICOM file, or its header is damaged")
    if not rows and name.endswith("Image Storage"):
        raise damaged(path, "it is incomplete (it ends before its image)")
    if not rows:
        return None
    return DicomSeries(
        folder=path,
        uid=uid,
        number=series_number,
        description=description,
        modality=modality,
        files=(path,),
        is_scan=_is_scan(modality, kind, image_type),
    )


def _is_scan(modality: str, kind: str, image_type: str) -> bool:
    is_picture = kind == _SECONDARY_CAPTURE or kind.startswith(f"{_SECONDARY_CAPTURE}.")
    is_scout = "LOCALIZER" in image_type.upper()
    return not (is_picture or is_scout or modality in _NO_SCANS)


# That slices are missing at an end of a stack, the distances between the others cannot show; counts
# and numbers can. They only make a remark: part of a scan that was exported on purpose looks alike.
def _doubts_on_headers(files: Sequence[PlanesOfFile], planes: Sequence[Plane]) -> list[str]:
    """Where headers count more images or files than there are."""
    doubts = []
    num_images = max(file.num_images for file in files)
    is_single = all(plane.number is not None for plane in planes)
    if is_single and num_images > len(planes):
        doubts.append(f"its headers count {num_images} images, but only {len(planes)} are here")
    num_files = max(file.num_files for file in files)
    if num_files > len(files):
        doubts.append(f"its headers count {num_files} files, but only {len(files)} are here")
    return doubts


def _doubts_on_instance_numbers(planes: Sequence[Plane]) -> list[str]:
    """Where instance numbers that are all there and all different begin late, or have gaps."""
    numbers = set()
    for plane in planes:
        if plane.number is not None:
            numbers.add(plane.number)
    if len(numbers) != len(planes) or len(planes) == 1 or min(numbers) < 0:
        return []
    first, last = min(numbers), max(numbers)
    doubts = []
    if first > 1:
        doubts.append(f"its instance numbers begin at {first}")
    num_missing = last - first + 1 - len(numbers)
    if num_missing:
        doubts.append(f"{num_missing} of its instance numbers {first} to {last} are missing")
    return doubts

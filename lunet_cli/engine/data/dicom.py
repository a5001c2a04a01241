"""DICOM series: finding them in folders, choosing one, and opening it as a volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
from lunet_cli.engine.data.volume import has_volume_suffix
from lunet_cli.engine.data.volume_file import VolumeFile, damaged
from lunet_cli.errors import DataError
from lunet_cli.results.words import plural

SUFFIXES = (".dcm", ".ima")
_CONCATENATION = "InConcatenationTotalNumber"
_TAGS = (
    "SeriesInstanceUID",
    "SeriesNumber",
    "SeriesDescription",
    "Modality",
    "SOPClassUID",
    "Rows",
)


@dataclass(frozen=True)
class DicomSeries:
    """One series of a folder.

    Args:
        folder: Where its files lie; of a single file, the file.
        uid: Series Instance UID.
        number: Series Number; empty if the files do not say.
        description: Series Description, likewise.
        modality: Modality, likewise.
        files: Its files, ordered by their names.
        damaged: What is wrong with DICOM files of the folder that do not say which series they
            belong to.
    """

    folder: Path
    uid: str
    number: str
    description: str
    modality: str
    files: tuple[Path, ...]
    damaged: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.name

    def __str__(self) -> str:
        return str(self.folder)

    def summary(self) -> str:
        """What a person tells series apart by."""
        words = [f"'{self.description}'"] if self.description else []
        words += [self.modality] if self.modality else []
        number = f"number {self.number}" if self.number else "no number"
        return (
            f"{number}: {', '.join([*words, plural(len(self.files), 'file'), f'UID {self.uid}'])}"
        )

    def matches(self, wanted: str) -> bool:
        """Whether `wanted` is its number, description, or UID or the end of it."""
        described = self.description and wanted.lower() == self.description.lower()
        return (
            bool(described)
            or wanted == self.number
            or self.uid == wanted
            or self.uid.endswith(f".{wanted}")
        )


def find_series(folder: Path) -> list[DicomSeries]:
    """The series that lie directly in a folder, in order of their numbers.

    Raises:
        DataError: The folder cannot be listed, or holds DICOM files and none of them can be read.
    """
    found: dict[str, list[tuple[Path, tuple[str, ...]]]] = {}
    problems: list[str] = []
    for path in list_folder(folder):
        if has_volume_suffix(path) or not is_file(path):
            continue
        try:
            if path.suffix.lower() in SUFFIXES or is_dicom(path):
                description = _describe(path)
                if description is not None:
                    found.setdefault(description[0], []).append((path, description))
        except DataError as error:
            problems.append(error.message)
    if problems and not found:
        raise DataError(
            problems[0], hint=f"All {len(problems)} DICOM files of {folder} are damaged."
        )
    series = []
    for uid, files in found.items():
        _, number, words, modality = files[0][1]
        paths = tuple(path for path, _ in files)
        series.append(DicomSeries(folder, uid, number, words, modality, paths, tuple(problems)))
    return sorted(
        series, key=lambda one: (int(one.number) if one.number.isdecimal() else 0, one.uid)
    )


def series_of_file(path: Path) -> DicomSeries:
    """A single DICOM file as a series.

    Raises:
        DataError: It is damaged, or holds no image.
    """
    description = _describe(path)
    if description is None:
        raise DataError(f"{path}: is a DICOM file without an image")
    uid, number, words, modality = description
    return DicomSeries(path, uid, number, words, modality, (path,))


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
    """The series that `wanted` names, or the only one; `folder` is where they come from.

    Raises:
        DataError: None or more than one fits; the message lists them.
    """
    fitting = [one for one in series if wanted is None or one.matches(wanted)]
    if len(fitting) == 1:
        return fitting[0]
    listed = "; ".join(one.summary() for one in (fitting or series))
    if wanted is not None and not fitting:
        raise DataError(f"{folder}: no DICOM series is called '{wanted}'; there are {listed}")
    raise DataError(
        f"{folder}: holds {len(fitting)} DICOM series ({listed})",
        hint="Name one by its number, description or UID (lunet predict --series), or keep one series per folder.",
    )


def open_series(series: DicomSeries) -> VolumeFile:
    """Read the headers of a series, and put its slices and frames in order.

    Raises:
        DataError: A file is damaged, or they are not one volume; see `stack`.
    """
    if series.damaged:
        more = (
            f" ({len(series.damaged) - 1} more files are, too)" if len(series.damaged) > 1 else ""
        )
        raise DataError(
            f"{series.damaged[0]}{more}", hint="A slice may be missing; copy the series anew."
        )
    files = [read_planes(path) for path in series.files]
    planes, geometry, remarks = stack(series, [plane for file in files for plane in file.planes])
    remarks += _remarks_on_count(series, files, planes)
    return VolumeFile(geometry, 1, number_of(planes), lambda: read_pixels(planes), tuple(remarks))


def _describe(path: Path) -> tuple[str, ...] | None:
    """UID, number, description and modality of the series of a file; None if it holds no image, as a report does."""
    dataset = read_dataset(path, _TAGS)
    try:
        *words, kind, rows = (str(dataset.get(keyword) or "").strip() for keyword in _TAGS)
    except Exception:  # A damaged file leads pydicom into errors of every kind.
        raise damaged(path, "the description of its series is damaged") from None
    name = UID(kind or str(dataset.file_meta.get("MediaStorageSOPClassUID", ""))).name
    if len(dataset) == 0 and name != MediaStorageDirectoryStorage.name:
        raise damaged(path, "it is not a DICOM file, or its header is damaged")
    if not rows and name.endswith("Image Storage"):
        raise damaged(path, "it is incomplete (it ends before its image)")
    return tuple(words) if rows else None


def _remarks_on_count(
    series: DicomSeries, files: Sequence[PlanesOfFile], planes: Sequence[Plane]
) -> list[str]:
    """What says that slices may be missing, which the distances cannot show at an end of the stack."""
    doubts = []
    expected = max(
        count for file in files for name, count in file.counts.items() if name != _CONCATENATION
    )
    is_single = all(plane.number is not None for plane in planes)
    if is_single and expected > len(planes):
        doubts.append(f"its headers tell of {expected} images, and {len(planes)} are here")
    num_files = max(file.counts[_CONCATENATION] for file in files)
    if num_files > len(files):
        doubts.append(f"its headers tell of {num_files} files, and {len(files)} are here")
    numbers = sorted(
        {plane.number for plane in planes if plane.number is not None and plane.number >= 0}
    )
    if len(numbers) == len(planes) > 1:
        if numbers[0] > 1:
            doubts.append(f"its instance numbers begin at {numbers[0]}")
        num_missing = numbers[-1] - numbers[0] + 1 - len(numbers)
        if num_missing:
            doubts.append(
                f"of its instance numbers {numbers[0]} to {numbers[-1]}, {num_missing} are not here"
            )
    return [f"{series}: may be incomplete: {'; '.join(doubts)}"] if doubts else []

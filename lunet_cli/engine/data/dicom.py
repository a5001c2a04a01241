"""DICOM series: finding them in folders, choosing one, and stacking its slices into a volume."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813

from lunet_cli.errors import DataError
from lunet_cli.results.words import plural

_POSITION = "0020|0032"  # Image Position (Patient)
_ORIENTATION = "0020|0037"  # Image Orientation (Patient)
_THICKNESS = "0018|0050"  # Slice Thickness


@dataclass(frozen=True)
class DicomSeries:
    """One series of a folder.

    Args:
        folder: Where its files lie.
        uid: Series Instance UID.
        number: Series Number; empty if the files do not say.
        description: Series Description, likewise.
        modality: Modality, likewise.
        files: The slices, ordered by their position.
    """

    folder: Path
    uid: str
    number: str
    description: str
    modality: str
    files: tuple[str, ...]

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
        return f"{number}: {', '.join([*words, plural(len(self.files), 'file'), f'UID {self.uid}'])}"

    def matches(self, wanted: str) -> bool:
        """Whether `wanted` is its number, description, or UID or the end of it."""
        described = self.description and wanted.lower() == self.description.lower()
        return bool(described) or wanted == self.number or self.uid == wanted or self.uid.endswith(f".{wanted}")


def find_series(folder: Path) -> list[DicomSeries]:
    """The series that lie directly in a folder, in order of their numbers."""
    found = []
    for uid in sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder)):
        files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), uid)
        reader = sitk.ImageFileReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileName(files[0])
        tags = {}
        try:
            reader.ReadImageInformation()
        except RuntimeError:
            pass  # The series is listed all the same; reading it says what is wrong.
        else:
            tags = {key: reader.GetMetaData(key).strip() for key in reader.GetMetaDataKeys()}
        number, description, modality = (tags.get(key, "") for key in ("0020|0011", "0008|103e", "0008|0060"))
        found.append(DicomSeries(folder, uid, number, description, modality, tuple(files)))
    return sorted(found, key=lambda series: (int(series.number) if series.number.isdigit() else 0, series.uid))


def choose_series(folder: Path, wanted: str | None = None) -> DicomSeries:
    """The series that `wanted` names (see `DicomSeries.matches`), or the only one of a folder.

    Raises:
        DataError: There is none, or more than one fits; the message lists them.
    """
    series = find_series(folder)
    if not series:
        raise DataError(f"{folder}: holds no DICOM series", hint="Name a file in it, or the folder of a series.")
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


def read_series(series: DicomSeries) -> sitk.Image:
    """Stack the slices of a series.

    Raises:
        DataError: Slices are missing, do not lie at equal distances, or are of several orientations.
        RuntimeError: From ITK, if a file cannot be read or the slices differ in size.
    """
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(series.files)
    reader.MetaDataDictionaryArrayUpdateOn()
    image: sitk.Image = reader.Execute()
    _require_even_slices(reader, series.folder)
    if len(series.files) == 1 and reader.HasMetaDataKey(0, _THICKNESS):
        # ITK takes the distance of the slices, and 1 mm where there is only one.
        x, y, _ = image.GetSpacing()
        thickness = float(reader.GetMetaData(0, _THICKNESS) or 0)
        image.SetSpacing((x, y, thickness if thickness > 0 else 1.0))
    return image


def _require_even_slices(reader: sitk.ImageSeriesReader, folder: Path) -> None:
    """Refuse a series with a gap or a turn: ITK stacks slices at equal distances, whatever their tags say."""
    slices = range(len(reader.GetFileNames()))
    if all(reader.HasMetaDataKey(index, _ORIENTATION) for index in slices):
        axes = [reader.GetMetaData(index, _ORIENTATION).split("\\") for index in slices]
        if np.ptp(np.array(axes, dtype=np.float64), axis=0).max() > 0.01:
            raise DataError(
                f"{folder}: the slices of its DICOM series have several orientations",
                hint="Is it a localizer, or are two scans mixed? Keep the slices of one scan in the folder.",
            )
    if len(slices) < 2 or not all(reader.HasMetaDataKey(index, _POSITION) for index in slices):
        return
    positions = np.array([reader.GetMetaData(index, _POSITION).split("\\") for index in slices], dtype=np.float64)
    distances = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    if (
        np.ptp(distances) > 0.1 * distances.mean() or distances.mean() == 0
    ):  # Positions are rounded, so small differences are common.
        raise DataError(
            f"{folder}: the {len(slices)} slices of its DICOM series lie {distances.min():g} to {distances.max():g} mm "
            "apart",
            hint="Is a slice missing, damaged or there twice? Copy the series anew, or resample it to equal distances.",
        )

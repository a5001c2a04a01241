"""What a DICOM object that is made of a series says about it: patient, study, slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset

from lunet_cli.engine.data.dicom import DicomSeries, planes_of_series, series_of_file
from lunet_cli.engine.data.dicom_planes import Plane, is_dicom, read_dataset, value_of
from lunet_cli.engine.data.disk import is_folder
from lunet_cli.engine.data.volume import Geometry, has_volume_suffix
from lunet_cli.errors import DataError

# Attributes that the standard asks for in every object, be they empty.
_PATIENT_AND_STUDY = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
)
# Those that are copied where they are there.
OPTIONAL = (
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "StudyDescription",
    "PositionReferenceIndicator",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
)
# Without these, nothing can refer to an image, or lie in the same space.
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
_SPACE = "FrameOfReferenceUID"


@dataclass(frozen=True)
class Instance:
    """A file of a series, as others refer to it."""

    kind: str
    uid: str


@dataclass(frozen=True)
class DicomSource:
    """A series of which another object is made.

    Args:
        name: Where it lies, for messages.
        planes: Slices and frames, in the order of the volume.
        geometry: The grid that they lie on.
        instances: The files that hold them.
        header: Patient, study, series and frame of reference.
    """

    name: str
    planes: tuple[Plane, ...]
    geometry: Geometry
    instances: dict[Path, Instance]
    header: Dataset


def series_of(source: Path | DicomSeries) -> DicomSeries:
    """The series that an input is.

    Raises:
        DataError: It is none.
    """
    if isinstance(source, DicomSeries):
        return source
    if is_folder(source) or has_volume_suffix(source) or not is_dicom(source):
        raise DataError(
            f"{source}: is no DICOM series, and a DICOM segmentation refers to one",
            hint="Take another format, such as `suffix=.nii.gz`.",
        )
    return series_of_file(source)


def require_referable(source: Path | DicomSeries) -> None:
    """Raise if a DICOM object could not refer to an input, by its first file.

    Raises:
        DataError: It could not.
    """
    _header(series_of(source).files[0])


def open_source(source: Path | DicomSeries) -> DicomSource:
    """Read what an object that is made of a series says about it.

    Raises:
        DataError: It is no series, is damaged, or lacks an identifier.
    """
    series = series_of(source)
    planes, geometry, _ = planes_of_series(series)
    headers = {path: _header(path) for path in dict.fromkeys(plane.file for plane in planes)}
    first = headers[planes[0].file]
    _require_one_study(series, list(headers.values()))
    instances = {}
    for path, header in headers.items():
        instances[path] = Instance(str(header.SOPClassUID), str(header.SOPInstanceUID))
    return DicomSource(str(series), tuple(planes), geometry, instances, first)


def _header(path: Path) -> Dataset:
    """Patient, study, series and identifiers of a file.

    Raises:
        DataError: An identifier is missing.
    """
    tags = [*_UIDS, _SPACE, *_PATIENT_AND_STUDY, *OPTIONAL, "SeriesNumber", "SpecificCharacterSet"]
    dataset = read_dataset(path, tags)
    for keyword in (*_UIDS, _SPACE):
        if not value_of(path, dataset, keyword):
            raise DataError(
                f"{path}: has no {keyword}, so that a DICOM segmentation cannot refer to it",
                hint="Was it taken out with the name of the patient? Take another format, such as "
                "`suffix=.nii.gz`.",
            )
    return dataset


def _require_one_study(series: DicomSeries, headers: Sequence[Dataset]) -> None:
    for keyword in ("StudyInstanceUID", _SPACE):
        if len({str(header[keyword].value) for header in headers}) > 1:
            raise DataError(f"{series}: its files differ in their {keyword}")
    uids = {str(header.SOPInstanceUID) for header in headers}
    if len(uids) < len(headers):
        raise DataError(
            f"{series}: two of its files have the same SOPInstanceUID",
            hint="A DICOM segmentation refers to each by it. Take another format, such as "
            "`suffix=.nii.gz`.",
        )

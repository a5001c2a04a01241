"""Writing DICOM segmentations (SEG) with highdicom, so that a file is there whole or not at all."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, RLELossless, generate_uid
from pydicom.valuerep import DA, TM

from lunet_cli.engine.data.dicom_planes import Plane, one_line
from lunet_cli.engine.data.dicom_source import OPTIONAL, DicomSource, Instance
from lunet_cli.engine.data.label_meanings import Meaning
from lunet_cli.engine.data.writing import placed_whole
from lunet_cli.errors import DataError

if TYPE_CHECKING:
    from highdicom.seg import Segmentation, SegmentDescription

SegKind = Literal["BINARY", "LABELMAP", "FRACTIONAL"]
# The largest value of a probability: eight bits.
_MOST = 255
_LONGEST = 64
# Series of our own beside those of a scanner, which counts from 1 and rarely reaches hundreds.
_SERIES_NUMBER = 1000
_LARGEST_SERIES_NUMBER = 2**31 - 1
# Turned by this angle again and again, a hue comes near none that it had before.
_GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))
_SEXES = ("M", "F", "O", "")


@dataclass(frozen=True, kw_only=True)
class SegmentFacts:
    """What a segment is.

    Args:
        number: Its number.
        label: What it is called.
        meaning: What it is in codes.
    """

    number: int
    label: str
    meaning: Meaning


@dataclass(frozen=True, kw_only=True)
class Maker:
    """What has made a segmentation.

    Args:
        network: Name of the network.
        version: Version of lunet.
        serial: The SHA-256 of the network's file.
        parameters: How the network was used, by name.
    """

    network: str
    version: str
    serial: str
    parameters: dict[str, str]


@dataclass(frozen=True)
class SegSeries:
    """A series of segmentations, each of which refers to the images that it was made of.

    Args:
        source: The series of these images.
        maker: What has made the segmentations.
        uid: Series Instance UID.
    """

    source: DicomSource
    maker: Maker
    uid: str

    def write(
        self,
        pixels: npt.NDArray[Any],
        segments: Sequence[SegmentFacts],
        path: Path,
        *,
        kind: SegKind,
        number: int,
    ) -> None:
        """Write a segmentation.

        Args:
            pixels: On the grid of the source (D, H, W): segment numbers; or, of segments that
                overlap, masks (D, H, W, segments) of 0 and 1; or probabilities of a single segment.
            segments: In the order of their numbers.
            path: The file.
            kind: How they are stored.
            number: Its number within the series, from 1.

        Raises:
            DataError: It cannot be made or written; nothing is left at `path`.
        """
        if kind == "FRACTIONAL":
            # To what is stored, so that planes of nothing but zeros are left out.
            pixels = np.round(pixels * _MOST) / _MOST
        slices = _slices(self.source)
        with _one_line_of(self.source):
            made = _make(pixels, kind, slices, segments, self.maker)
        # UTF-8: whatever the source is written in, its texts can be written so.
        made.SpecificCharacterSet = "ISO_IR 192"
        made.SeriesInstanceUID, made.InstanceNumber = self.uid, number
        made.SeriesNumber = _series_number(self.source)
        _refer_to_files(made, self.source, slices)
        with placed_whole(path) as partial:
            made.save_as(partial)
            stored = pydicom.dcmread(partial)
            if stored.PixelData != made.PixelData:
                raise OSError("what was written differs from what was to be written")


@contextlib.contextmanager
def _one_line_of(source: DicomSource) -> Iterator[None]:
    """Let what the header of a stranger's series leads highdicom into be an error of one line."""
    try:
        with warnings.catch_warnings():
            # Of values in the source that break rules; they are copied as they are.
            warnings.simplefilter("ignore")
            yield
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(
            f"{source.name}: a segmentation cannot refer to it ({one_line(error)})"
        ) from None


def _make(
    pixels: npt.NDArray[Any],
    kind: SegKind,
    slices: Sequence[Dataset],
    segments: Sequence[SegmentFacts],
    maker: Maker,
) -> Segmentation:
    from highdicom.seg import Segmentation

    title = f"Segmentation by {maker.network}"[:_LONGEST]
    return Segmentation(
        source_images=slices,
        pixel_array=pixels,
        segmentation_type=kind,
        segment_descriptions=[_describe(segment, maker) for segment in segments],
        series_instance_uid=generate_uid(),
        series_number=1,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="lunet",
        manufacturer_model_name=maker.network[:_LONGEST],
        software_versions=maker.version,
        device_serial_number=maker.serial,
        max_fractional_value=_MOST,
        content_label="SEGMENTATION",
        content_description=title,
        series_description=title,
        transfer_syntax_uid=ExplicitVRLittleEndian if kind == "BINARY" else RLELossless,
    )


def _slices(source: DicomSource) -> list[Dataset]:
    """An image of one slice for each plane, whatever files they lie in.

    highdicom takes single slices of one orientation, or one file of frames that share it, which
    concatenated files and frames with values of their own are not.
    """
    depth_mm, *pixel_mm = source.geometry.spacing_mm
    slices = []
    for plane in source.planes:
        image = _study_of(source.header)
        # For the time being, each has a name of its own; see `_refer_to_files`.
        image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, generate_uid()
        image.Modality = "OT"
        image.Rows, image.Columns = plane.size
        image.PixelSpacing = _decimals(pixel_mm)
        (image.SpacingBetweenSlices,) = _decimals([depth_mm])
        (image.SliceThickness,) = _decimals([plane.thickness or depth_mm])
        image.ImagePositionPatient = _decimals(plane.position)
        image.ImageOrientationPatient = _decimals(source.planes[0].orientation)
        slices.append(image)
    return slices


def _decimals(numbers: Iterable[float]) -> list[str]:
    """Numbers as DICOM writes them, in 16 characters at most."""
    return [pydicom.valuerep.format_number_as_ds(float(number)) for number in numbers]


def _study_of(header: Dataset) -> Dataset:
    """Patient, study and frame of reference, with what the standard asks for."""
    study = Dataset()
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        setattr(study, keyword, header[keyword].value)
    for keyword in OPTIONAL:
        if header.get(keyword) is not None:
            setattr(study, keyword, header[keyword].value)
    for keyword in ("PatientID", "PatientName", "StudyID", "AccessionNumber"):
        setattr(study, keyword, header.get(keyword) or "")
    study.ReferringPhysicianName = header.get("ReferringPhysicianName") or ""
    for keyword, kind in (("PatientBirthDate", DA), ("StudyDate", DA), ("StudyTime", TM)):
        setattr(study, keyword, _parsed(header.get(keyword), kind))
    sex = str(header.get("PatientSex") or "")
    study.PatientSex = sex if sex in _SEXES else ""
    return study


def _parsed(value: object, kind: type[DA] | type[TM]) -> str:
    """A date or time as it stands; empty where it is none."""
    try:
        return str(value) if value and kind(str(value)) is not None else ""
    except ValueError:
        return ""


def _series_number(source: DicomSource) -> int:
    try:
        number = int(source.header.get("SeriesNumber") or 0)
    except (TypeError, ValueError):
        number = 0
    return min(max(number, 0) + _SERIES_NUMBER, _LARGEST_SERIES_NUMBER)


def _refer_to_files(made: Segmentation, source: DicomSource, slices: Sequence[Dataset]) -> None:
    """Let references to slices be references to the files and frames that they lie in."""
    made.SourceImageSequence = [_reference(one) for one in source.instances.values()]
    (series,) = made.ReferencedSeriesSequence
    series.ReferencedInstanceSequence = [_reference(one) for one in source.instances.values()]
    planes: dict[str, Plane] = {}
    for image, plane in zip(slices, source.planes, strict=True):
        planes[str(image.SOPInstanceUID)] = plane
    for group in made.PerFrameFunctionalGroupsSequence:
        for derivation in group.get("DerivationImageSequence", []):
            for reference in derivation.SourceImageSequence:
                uid = str(reference.ReferencedSOPInstanceUID)
                if uid not in planes:  # Frames of one plane share the reference: it was seen.
                    continue
                plane = planes[uid]
                reference.update(_reference(source.instances[plane.file]))
                if plane.number is None:  # A frame of several, and not a slice.
                    reference.ReferencedFrameNumber = plane.frame + 1


def _reference(instance: Instance) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = instance.kind
    reference.ReferencedSOPInstanceUID = instance.uid
    return reference


def _describe(segment: SegmentFacts, maker: Maker) -> SegmentDescription:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentDescription
    from highdicom.sr import CodedConcept

    algorithm = AlgorithmIdentificationSequence(
        name=maker.network[:_LONGEST],
        family=codes.cid7162.ArtificialIntelligence,
        version=maker.version,
        source="lunet",
        parameters=maker.parameters,
    )
    description = SegmentDescription(
        segment.number,
        segment.label[:_LONGEST],
        segment.meaning.category,
        segment.meaning.type,
        algorithm_type="AUTOMATIC",
        algorithm_identification=algorithm,
        display_color=CIELabColor(*_color_of(segment.number)),
    )
    if segment.meaning.side is not None:
        (kind,) = description.SegmentedPropertyTypeCodeSequence
        side = CodedConcept.from_code(segment.meaning.side)
        kind.SegmentedPropertyTypeModifierCodeSequence = [side]
    return description


def _color_of(number: int) -> tuple[float, float, float]:
    """A colour (CIELab) that viewers give a segment, far from those of its neighbours."""
    angle = number * _GOLDEN_ANGLE
    return 65.0, 60 * math.cos(angle), 60 * math.sin(angle)

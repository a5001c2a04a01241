"""DICOM segmentations as they are written, against highdicom's own reader, and as we read them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from lunet_cli.engine.data.dicom import choose_series
from lunet_cli.engine.data.dicom_seg import is_segmentation, open_segmentation, place_on
from lunet_cli.engine.data.dicom_seg_writing import Maker, SegmentFacts, SegSeries
from lunet_cli.engine.data.dicom_source import DicomSource, open_source, require_referable
from lunet_cli.engine.data.label_meanings import meanings_of
from lunet_cli.engine.data.reading import read_image, read_label
from lunet_cli.engine.data.volume import Geometry
from lunet_cli.errors import DataError

highdicom = pytest.importorskip("highdicom")
SPACING, ORIGIN = (0.7, 0.8, 2.5), (-10.5, 20.25, 30.0)
_C30, _S30, _C40, _S40 = 0.8660254038, 0.5, 0.7660444431, 0.6427876097
OBLIQUE = np.array(
    [[_C30, -_S30, 0], [_S30 * _C40, _C30 * _C40, -_S40], [_S30 * _S40, _C30 * _S40, _C40]]
)
DIRECTIONS = {
    "plain": np.eye(3),
    "oblique": OBLIQUE,
    "reversed": OBLIQUE @ np.diag([1, -1, -1]),
    "sagittal": np.array([[0, 0, 1], [1, 0, 0], [0, -1, 0]]),
}
MAKER = Maker(network="lunet_small_1f", version="1.2", serial="a" * 64, parameters={"window": "16"})
LABELS = np.random.default_rng(1).integers(0, 3, (6, 7, 9)).astype(np.uint8)
LABELS[[0, 3]] = 0  # Planes without any segment, of which one is inside.
ORDER = [3, 1, 0, 2, 5, 4]
FACTS = [
    SegmentFacts(number=number, label=name, meaning=meanings_of((name,), {})[name])
    for number, name in enumerate(("liver", "kidney_left"), start=1)
]


def sources_of(
    folder: Path, write_series: Any, write_enhanced: Callable[..., Dataset]
) -> dict[str, Path]:
    """A series of each kind: slices in several directions, frames of a file, frames of three."""
    image = np.arange(LABELS.size, dtype=np.int16).reshape(LABELS.shape)
    where: dict[str, Any] = {"spacing": SPACING, "origin": ORIGIN}
    sources = {}
    for name, direction in DIRECTIONS.items():
        direction = tuple(direction.ravel().tolist())
        sources[name] = write_series(folder / name, image, **where, direction=direction)
    sources["frames"] = folder / "frames"
    write_enhanced(folder / "frames/a.dcm", image.astype(np.uint16), order=ORDER)
    sources["files_of_frames"] = folder / "files"
    write_enhanced(folder / "files/a.dcm", image[:4].astype(np.uint16))
    second = write_enhanced(folder / "files/b.dcm", image[4:].astype(np.uint16))
    first = pydicom.dcmread(folder / "files/a.dcm")
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        setattr(second, name, first[name].value)
    step = OBLIQUE[:, 2] * SPACING[2] * 4
    for group in second.PerFrameFunctionalGroupsSequence:
        place = group.PlanePositionSequence[0]
        place.ImagePositionPatient = [*(np.array(place.ImagePositionPatient, float) + step)]
    second.save_as(folder / "files/b.dcm", enforce_file_format=True)
    return sources


@pytest.fixture(scope="module")
def sources(
    tmp_path_factory: pytest.TempPathFactory, write_series: Any, write_enhanced: Any
) -> dict[str, Path]:
    return sources_of(tmp_path_factory.mktemp("sources"), write_series, write_enhanced)


@pytest.fixture(scope="module")
def seg_file(sources: dict[str, Path]) -> Path:
    return write(sources["plain"], sources["plain"].parent / "seg.dcm")


def source_in(folder: Path) -> DicomSource:
    return open_source(choose_series(folder))


def write(
    folder: Path, path: Path, pixels: np.ndarray = LABELS, kind: str = "BINARY", **change: Any
) -> Path:
    series = SegSeries(source_in(folder), MAKER, generate_uid())
    facts = change.pop("facts", FACTS)
    series.write(pixels, facts, path, kind=kind, number=1, **change)  # type: ignore[arg-type]
    return path


def points_of(mask: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Where voxels lie in the patient, sorted."""
    axes = np.array(geometry.direction).reshape(3, 3)[:, ::-1] * geometry.spacing_mm
    return in_order(np.argwhere(mask) @ axes.T + geometry.origin_mm)


def in_order(points: np.ndarray) -> np.ndarray:
    rounded = np.round(points, 3) + 0.0
    return rounded[np.lexsort(rounded.T)]


KINDS = [*DIRECTIONS, "frames", "files_of_frames"]


@pytest.mark.parametrize(
    ("name", "kind"), [*((name, "BINARY") for name in KINDS), ("frames", "LABELMAP")]
)
def test_highdicom_finds_each_voxel_in_its_place(
    name: str, kind: str, sources: dict[str, Path], tmp_path: Path
) -> None:
    path = write(sources[name], tmp_path / "seg.dcm", kind=kind)
    source = source_in(sources[name])
    seg = highdicom.seg.segread(path)
    assert [one.segment_label for one in map(seg.get_segment_description, (1, 2))] == [
        "liver",
        "kidney_left",
    ]
    for number in (1, 2):
        volume = seg.get_volume(segment_numbers=[number], combine_segments=True, relabel=True)
        found = in_order(volume.map_indices_to_reference(np.argwhere(volume.array)))
        expected = points_of(number == LABELS, source.geometry)
        assert np.abs(found - expected).max() < 2e-3
        assert np.array_equal(
            open_segmentation(path).mask(number, source.geometry), number == LABELS
        )
    own = read_label(path)
    assert own.GetSize() == (9, 7, 5), "planes of nothing are left out at the ends only"
    placed = read_label(path, grid=source.geometry)
    assert np.array_equal(sitk.GetArrayFromImage(placed), LABELS)


@pytest.mark.parametrize("name", KINDS)
def test_references_are_those_of_the_planes(
    name: str, sources: dict[str, Path], tmp_path: Path
) -> None:
    seg = pydicom.dcmread(write(sources[name], tmp_path / "seg.dcm"))
    files = {path: pydicom.dcmread(path) for path in sources[name].iterdir()}
    instances = {str(file.SOPInstanceUID): file for file in files.values()}
    for file in instances.values():
        for keyword in ("StudyInstanceUID", "FrameOfReferenceUID"):
            assert seg[keyword].value == file[keyword].value
        assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == file.SeriesInstanceUID
        assert seg.SeriesInstanceUID != file.SeriesInstanceUID
    for named in (
        seg.SourceImageSequence,
        seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence,
    ):
        assert {one.ReferencedSOPInstanceUID for one in named} == set(instances)
        assert {one.ReferencedSOPClassUID for one in named} == {
            one.SOPClassUID for one in instances.values()
        }
    num_frames = 0
    for group in seg.PerFrameFunctionalGroupsSequence:
        (derivation,) = group.DerivationImageSequence
        assert derivation.DerivationCodeSequence[0].CodeValue == "113076"
        (reference,) = derivation.SourceImageSequence
        file = instances[reference.ReferencedSOPInstanceUID]
        place = file
        if "PerFrameFunctionalGroupsSequence" in file:
            frame = reference.ReferencedFrameNumber - 1
            place = file.PerFrameFunctionalGroupsSequence[frame].PlanePositionSequence[0]
        else:
            assert "ReferencedFrameNumber" not in reference
        position = group.PlanePositionSequence[0].ImagePositionPatient
        np.testing.assert_allclose(position, place.ImagePositionPatient, atol=1e-6)
        num_frames += 1
    assert num_frames == 8


def test_it_says_what_has_made_it(seg_file: Path) -> None:
    seg = pydicom.dcmread(seg_file)
    assert (seg.Manufacturer, seg.ManufacturerModelName) == ("lunet", "lunet_small_1f")
    assert (seg.SoftwareVersions, seg.DeviceSerialNumber) == ("1.2", "a" * 64)
    assert (seg.SeriesNumber, seg.InstanceNumber, seg.Modality) == (1001, 1, "SEG")
    assert list(seg.ImageType) == ["DERIVED", "PRIMARY"]
    liver, kidney = seg.SegmentSequence
    (algorithm,) = liver.SegmentationAlgorithmIdentificationSequence
    assert (algorithm.AlgorithmName, algorithm.AlgorithmParameters) == (
        "lunet_small_1f",
        "window=16",
    )
    assert liver.SegmentedPropertyTypeCodeSequence[0].CodeValue == "10200004"
    (side,) = kidney.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence
    assert side.CodeMeaning == "Left"
    assert liver.RecommendedDisplayCIELabValue != kidney.RecommendedDisplayCIELabValue


def test_overlapping_segments_keep_all_their_voxels(
    sources: dict[str, Path], tmp_path: Path, refusal: Callable[..., str]
) -> None:
    masks = np.stack([LABELS > 0, LABELS == 2], axis=-1).astype(np.uint8)
    path = write(sources["oblique"], tmp_path / "seg.dcm", masks)
    grid = source_in(sources["oblique"]).geometry
    seg = open_segmentation(path)
    assert np.array_equal(seg.mask(1, grid), LABELS > 0)
    assert np.array_equal(seg.mask(2, grid), LABELS == 2)
    assert "its segments liver and kidney_left overlap" in refusal(read_label, path)


def test_probabilities_are_stored_in_255_steps(
    sources: dict[str, Path], tmp_path: Path, refusal: Callable[..., str]
) -> None:
    chance = np.random.default_rng(0).random(LABELS.shape, np.float32)
    chance[0] = 1e-4  # Less than half a step: nothing of this plane is stored.
    path = write(sources["oblique"], tmp_path / "p.dcm", chance, "FRACTIONAL", facts=FACTS[:1])
    seg = highdicom.seg.segread(path)
    assert seg.SegmentationFractionalType == "PROBABILITY"
    stored = seg.get_volume(segment_numbers=[1]).array[..., 0]
    # highdicom counts slices along the normal or against it, as it likes.
    differences = [np.abs(array - chance[1:]).max() for array in (stored, stored[::-1])]
    assert min(differences) <= 0.5 / 255 + 1e-6
    assert "segmentation of the type FRACTIONAL" in refusal(read_label, path)


def test_an_empty_segmentation_is_one(sources: dict[str, Path], tmp_path: Path) -> None:
    path = write(sources["oblique"], tmp_path / "seg.dcm", np.zeros_like(LABELS))
    assert not sitk.GetArrayFromImage(read_label(path)).any()


def test_a_header_that_breaks_rules_is_referred_to_all_the_same(
    write_series: Any, tmp_path: Path, change_slices: Any
) -> None:
    folder = write_series(tmp_path / "in", LABELS)

    def break_it(dataset: Dataset, index: int) -> None:
        dataset.PatientSex, dataset.StudyDate, dataset.PatientBirthDate = "X", "yesterday", "1.2.60"
        dataset.PatientName, dataset.SpecificCharacterSet = "Müller^Jürgen", "ISO_IR 100"
        dataset.PatientID, dataset.SeriesNumber = "7" * 70, -4
        del dataset.StudyTime
        # Rounded slice by slice, as some writers do.
        dataset.ImageOrientationPatient = [1, 0, index * 1e-6, 0, 1, 0]

    change_slices(folder, break_it)
    seg = pydicom.dcmread(write(folder, tmp_path / "seg.dcm"))
    assert str(seg.PatientName) == "Müller^Jürgen"
    assert (seg.PatientSex, seg.StudyDate, seg.StudyTime) == ("", "", "")
    assert seg.SeriesNumber == 1000
    assert np.array_equal(sitk.GetArrayFromImage(read_label(tmp_path / "seg.dcm")), LABELS[1:])


@pytest.mark.parametrize(
    ("keyword", "value", "told"),
    [
        ("FrameOfReferenceUID", None, "has no FrameOfReferenceUID"),
        ("SOPInstanceUID", None, "has no SOPInstanceUID"),
        ("SOPInstanceUID", "1.2.3", "two of its files have the same SOPInstanceUID"),
        ("FrameOfReferenceUID", "1.2.{}", "its files differ in their FrameOfReferenceUID"),
    ],
)
def test_what_cannot_be_referred_to(
    keyword: str,
    value: str | None,
    told: str,
    write_series: Any,
    tmp_path: Path,
    change_slices: Any,
    refusal: Callable[..., str],
) -> None:
    folder = write_series(tmp_path / "in", LABELS)

    def change(dataset: Dataset, index: int) -> None:
        if value is None:
            del dataset[keyword]
        else:
            setattr(dataset, keyword, value.format(index))

    change_slices(folder, change)
    assert told in refusal(source_in, folder)


def test_what_is_no_series(tmp_path: Path, write_volume: Any, refusal: Callable[..., str]) -> None:
    path = write_volume(tmp_path / "a.nii.gz", LABELS)
    assert "is no DICOM series" in refusal(require_referable, path)


def test_a_segmentation_is_no_image(
    sources: dict[str, Path], seg_file: Path, refusal: Callable[..., str]
) -> None:
    assert is_segmentation(seg_file)
    assert not is_segmentation(next(sources["plain"].iterdir()))
    assert "is a DICOM segmentation" in refusal(read_image, [seg_file])


def test_a_mask_is_turned_onto_another_grid() -> None:
    mask = np.zeros((2, 3, 4), np.bool_)
    mask[1, 0, 2] = True
    source = Geometry((2, 3, 4), (3.0, 1.0, 2.0), (10.0, 20.0, 30.0), tuple(np.eye(3).ravel()))
    # The voxel lies at x 14, y 20, z 33. On the other grid z runs first, then y downwards, then x.
    turned = (0.0, 0.0, 1.0, 0.0, -1.0, 0.0, 1.0, 0.0, 0.0)
    grid = Geometry((6, 4, 5), (2.0, 1.0, 3.0), (8.0, 22.0, 27.0), turned)
    placed = place_on(mask, source, grid, Path("seg.dcm"))
    assert np.argwhere(placed).tolist() == [[3, 2, 2]]
    beyond = Geometry((6, 4, 2), (2.0, 1.0, 3.0), (8.0, 22.0, 27.0), turned)
    with pytest.raises(DataError, match="voxels beyond the grid"):
        place_on(mask, source, beyond, Path("seg.dcm"))
    for change in ({"spacing_mm": (2.0, 1.5, 3.0)}, {"origin_mm": (8.5, 22.0, 27.0)}):
        other = Geometry(**{**vars(grid), **change})
        with pytest.raises(DataError, match="are not those of the other grid"):
            place_on(mask, source, other, Path("seg.dcm"))


def damage(dataset: Dataset, what: str) -> None:
    frame = dataset.PerFrameFunctionalGroupsSequence[0]
    if what == "no segments":
        del dataset.SegmentSequence
    elif what == "twice":
        dataset.SegmentSequence[1].SegmentNumber = 1
    elif what == "unknown":
        frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber = 7
    elif what == "short":
        dataset.PixelData = dataset.PixelData[:-8]
    elif what == "uneven":
        frame.PlanePositionSequence[0].ImagePositionPatient = [-10.5, 20.25, 30.9]
        del dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices
    elif what == "shifted":
        frame.PlanePositionSequence[0].ImagePositionPatient = [3, 0, 2.5]
    elif what == "far":
        frame.PlanePositionSequence[0].ImagePositionPatient = [-10.5, 20.25, 1e6]
    elif what == "nowhere":
        del frame.PlanePositionSequence
    elif what == "frames":
        dataset.NumberOfFrames = 3


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("no segments", "it describes no segment"),
        ("twice", "it has a segment of the number 1, or two of them"),
        ("unknown", "a frame is of segment 7"),
        ("short", "its pixels end early"),
        ("uneven", "do not lie on planes at equal distances"),
        ("shifted", "its frames are shifted"),
        ("far", "its frames lie up to"),
        ("nowhere", "has no Image Position Patient"),
        ("frames", "it has 3 frames, and 8 functional groups"),
    ],
)
def test_damaged_segmentations(
    what: str, told: str, seg_file: Path, tmp_path: Path, refusal: Callable[..., str]
) -> None:
    path = tmp_path / "seg.dcm"
    dataset = pydicom.dcmread(seg_file)
    damage(dataset, what)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.save_as(path)
    assert told in refusal(read_label, path)


def test_flipped_bytes_give_one_line_or_a_label_map(seg_file: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    whole = np.frombuffer(seg_file.read_bytes(), np.uint8)
    path = tmp_path / "seg.dcm"
    refusals: list[str] = []
    for _ in range(80):
        content = whole.copy()
        places = random.integers(132, len(whole), 5)
        content[places] = random.integers(0, 256, 5)
        path.write_bytes(content.tobytes())
        try:
            read_label(path)
        except DataError as error:
            refusals.append(error.message)
    assert 0 < len(refusals) < 80
    assert "\n" not in "".join(refusals)

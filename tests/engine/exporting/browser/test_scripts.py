"""Each script of the page beside the Python that it repeats."""

from __future__ import annotations

import dataclasses
import gzip
import itertools
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from pydicom.dataset import Dataset
from pydicom.uid import JPEGLSLossless, RLELossless

from lunet_cli.engine.data.nifti import open_nifti
from lunet_cli.engine.data.preprocessing import Normalization, Preprocessing
from lunet_cli.engine.data.reading import read_image
from lunet_cli.engine.data.volume import Geometry, place
from lunet_cli.engine.inference.sliding_window import _importance, window_starts
from lunet_cli.errors import DataError

RNG = np.random.default_rng(0)
ARRAY = RNG.integers(-900, 2000, (5, 6, 7)).astype(np.int16)
READ = """{{ const {{ geometry, channels, remarks }} = {0};
    return {{ geometry, channels: channels.map((values) => [...values]), remarks }}; }}"""
READERS = {
    ".nii": "await readNifti(fileOf(given[0]))",
    ".nrrd": "await readNrrd(fileOf(given[0]))",
    ".dcm": """readSeries("series", [...(await findSeries(given.map(fileOf))).values()][0])""",
}


def direction(seed: int) -> tuple[float, ...]:
    """A rotation, every second one with a mirrored axis."""
    matrix, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return tuple((matrix * np.sign(np.linalg.det(matrix)) * (1 if seed % 2 else -1)).ravel())


def as_read(scripts: Any, *files: Path) -> dict[str, Any]:
    kind = files[0].name.removesuffix(".gz")
    reader = READERS[kind[kind.rindex(".") :]]
    found: dict[str, Any] = scripts.call(READ.format(reader), *map(scripts.file, files))
    return found


def assert_same(scripts: Any, source: Path) -> None:
    """The page reads what `read_image` reads, and remarks on it alike."""
    files = sorted(source.iterdir()) if source.is_dir() else [source]
    remarks: list[str] = []
    images = read_image([source], on_remark=remarks.append)
    found = as_read(scripts, *files)
    mine = Geometry.of(images[0])
    assert found["geometry"]["size"] == list(mine.size)
    assert found["geometry"]["spacing"] == pytest.approx(mine.spacing_mm, rel=1e-12)
    assert found["geometry"]["origin"] == pytest.approx(mine.origin_mm, abs=1e-9)
    assert found["geometry"]["direction"] == pytest.approx(mine.direction, abs=1e-12)
    voxels = np.array([sitk.GetArrayFromImage(image).ravel() for image in images], np.float64)
    np.testing.assert_array_equal(np.array(found["channels"], np.float64), voxels)
    assert len(found["remarks"]) == len(remarks)


@pytest.mark.parametrize("orientation", [None, "LPS", "RAS", "PIR", "SAL"])
def test_grids_are_turned_as_itk_turns_them(scripts: Any, orientation: str | None) -> None:
    cases = [direction(seed) for seed in range(12)]
    cases += [tuple(np.eye(3)[list(order)].ravel()) for order in itertools.permutations(range(3))]
    half = 0.5**0.5  # by 45 degrees, where two axes are as near
    cases += [(half, -half, 0, half, half, 0, 0, 0, 1), (1, 0, 0, 0, half, -half, 0, half, half)]
    for index, axes in enumerate(cases):
        spacing = None if index % 2 else (1.25, 0.9, 2.0)
        stored = Geometry((11, 22, 33), (2.5, 0.7, 1.1), (1.0, 2.0, 3.0), axes)
        mine = place(stored, orientation, spacing)
        given = {"size": stored.size, "spacing": stored.spacing_mm, "direction": axes}
        found = scripts.call("{ return place(...given) }", given, orientation, spacing)
        assert tuple(found["axes"]) == mine.axes, axes
        assert tuple(found["mirrored"]) == mine.mirrored
        assert tuple(found["grid"]["size"]) == mine.grid.size
        assert tuple(found["orientedSize"]) == mine.oriented_size
        assert found["isResampled"] == mine.is_resampled


def test_windows_lie_where_predict_puts_them(scripts: Any) -> None:
    pairs = [(size, edge) for edge in (1, 7, 16, 33, 64) for size in range(1, 300, 7)]
    found = scripts.call("{ return given[0].map((pair) => windowStarts(...pair)) }", pairs)
    assert found == [window_starts(size, edge, 0.5) for size, edge in pairs]
    weights = scripts.call("{ return [...importanceOf(given[0])] }", [7, 4, 5])
    mine = _importance((7, 4, 5), "cpu").ravel()  # type: ignore[arg-type]
    np.testing.assert_allclose(weights, mine, rtol=1e-6)


@pytest.mark.parametrize("kind", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "f4", "f8"])
def test_numbers_of_every_type(scripts: Any, write_volume: Any, tmp_path: Path, kind: str) -> None:
    array = RNG.integers(0, 100, (3, 4, 5)).astype(kind)
    for suffix in (".nii", ".nii.gz", ".nrrd"):
        path = write_volume(tmp_path / f"a{suffix}", array, spacing=(0.5, 2.0, 3.25))
        assert_same(scripts, path)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_oblique_grids(scripts: Any, write_volume: Any, tmp_path: Path, suffix: str) -> None:
    for seed in range(4):
        name = tmp_path / f"a{seed}{suffix}"
        place = {"spacing": (0.7, 1.3, 4.0), "origin": (-12.5, 30.25, -100.0)}
        assert_same(scripts, write_volume(name, ARRAY, direction=direction(seed), **place))


@pytest.mark.parametrize("spacing", [None, (1.0, 0.9, 2.2)])
@pytest.mark.parametrize("kind", ["zscore", "minmax", "ct_window", "none"])
def test_input_of_the_network(
    scripts: Any, write_volume: Any, tmp_path: Path, kind: Any, spacing: Any
) -> None:
    place_in_file = {"spacing": (0.7, 1.3, 4.0), "direction": direction(3)}
    for number in ("i2", "f8"):
        array = (ARRAY * 1.37).astype(number)
        path = write_volume(tmp_path / f"{number}.nii.gz", array, **place_in_file)
        normalization = Normalization(kind, 40.0, 400.0)
        image, placement = Preprocessing("RAS", spacing, normalization).apply(read_image([path]))
        script = """{
            const [file, spacing, normalization] = given;
            const { geometry, channels } = await readNifti(fileOf(file));
            const placement = place(geometry, "RAS", spacing), { size } = placement.grid;
            const channel = networkChannel("a", channels[0], placement, normalization);
            return [size, [...cropOf([channel], [0, 0, 0], size, [0, 0, 0])]];
        }"""
        size, values = scripts.call(
            script, scripts.file(path), spacing, dataclasses.asdict(normalization)
        )
        assert tuple(size) == placement.grid.size
        found = np.array(values, np.float32).reshape(size)
        np.testing.assert_allclose(found, image.whole()[0], rtol=3e-7, atol=3e-7)


def change_header(path: Path, target: Path, *fields: tuple[str, int, tuple[float, ...]]) -> Path:
    content = bytearray(path.read_bytes())
    for kind, start, values in fields:
        struct.pack_into(kind, content, start, *values)
    target.write_bytes(content)
    return target


def test_odd_headers_of_nifti(
    scripts: Any, write_volume: Any, make_big_endian: Any, tmp_path: Path
) -> None:
    plain = write_volume(tmp_path / "a.nii", ARRAY, spacing=(0.7, 1.3, 4.0), direction=direction(3))
    changes: dict[str, list[tuple[str, int, tuple[float, ...]]]] = {
        "only a qform": [("<h", 254, (0,))],
        "only a sform": [("<h", 252, (0,))],
        "neither": [("<2h", 252, (0, 0))],
        "two places": [("<f", 268, (55.0,))],
        "micrometres": [("<B", 123, (3,))],
        "other pixdim": [("<h", 252, (0,)), ("<f", 80, (0.75,))],
        "scaled": [("<2f", 112, (0.5, -10.25))],
        "slope 0": [("<2f", 112, (0.0, 7.0))],
        "slope NaN": [("<2f", 112, (float("nan"), 7.0))],
        "seven axes": [("<8h", 40, (7, 7, 6, 5, 1, 1, 1, 1))],
    }
    for name, fields in changes.items():
        assert_same(scripts, change_header(plain, tmp_path / f"{name}.nii", *fields))
    make_big_endian(plain)
    assert_same(scripts, plain)


def test_channels(scripts: Any, tmp_path: Path) -> None:
    stacked = sitk.JoinSeries([sitk.GetImageFromArray(ARRAY + index) for index in range(3)])
    sitk.WriteImage(stacked, str(tmp_path / "stacked.nii.gz"))
    mixed = sitk.GetImageFromArray(RNG.integers(0, 255, (3, 4, 5, 2)).astype(np.int16), True)
    sitk.WriteImage(mixed, str(tmp_path / "mixed.nrrd"))
    colours = sitk.GetImageFromArray(RNG.integers(0, 255, (3, 4, 5, 3)).astype(np.uint8), True)
    sitk.WriteImage(colours, str(tmp_path / "colours.nii"))
    for path in tmp_path.iterdir():
        assert_same(scripts, path)


def test_nrrd_of_other_writers(scripts: Any, tmp_path: Path) -> None:
    array = ARRAY.astype(">i2")
    head = "NRRD0004\n# by hand\ntype: short\ndimension: 3\nsizes: 7 6 5\nendian: big\n"
    turned = "space: RAS\nspace directions: (0,2,0) (-1.5,0,0) (0,0,3)\n"
    space = f"{turned}space origin: (1,2,3)\n"
    files = {
        "raw": f"{head}{space}encoding: raw\n\n".encode() + array.tobytes(),
        "gzip": f"{head}{space}encoding: gz\n\n".encode() + gzip.compress(array.tobytes()),
        "no place": f"{head}spacings: 2 NaN 3\nencoding: raw\n\n".encode() + array.tobytes(),
        "no origin": f"{head}{turned}encoding: raw\n\n".encode() + array.tobytes(),
        "at end": f"{head}{space}encoding: raw\nbyte skip: -1\n\nxyz".encode() + array.tobytes(),
        "lines": f"{head}{space}encoding: raw\nline skip: 2\nbyte skip: 1\n\na\nb\n-".encode()
        + array.tobytes(),
    }
    for name, content in files.items():
        path = tmp_path / f"{name}.nrrd"
        path.write_bytes(content)
        assert_same(scripts, path)


def rewrite(folder: Path, change: Any) -> Path:
    for index, path in enumerate(sorted(folder.iterdir(), reverse=True)):
        dataset = pydicom.dcmread(path)
        change(dataset, index)
        dataset.save_as(path)
    return folder


def make_series(write_series: Any, folder: Path) -> Path:
    place = {"spacing": (0.7, 0.8, 2.5), "origin": (-10.5, 20.25, 30.0)}
    return Path(write_series(folder, ARRAY, direction=direction(3), **place))


def test_dicom_series(scripts: Any, write_series: Any, tmp_path: Path) -> None:
    def scale(dataset: Dataset, index: int) -> None:
        dataset.RescaleSlope, dataset.RescaleIntercept = 0.5 * (index + 1), -1024

    def pack(dataset: Dataset, _: int) -> None:
        dataset.compress(RLELossless, generate_instance_uid=False)

    def cut_bits(dataset: Dataset, _: int) -> None:
        stored = np.frombuffer(dataset.PixelData, "<u2") & 0x0FFF | 0x8000
        dataset.PixelData = stored.astype("<u2").tobytes()
        dataset.BitsStored, dataset.HighBit = 12, 11

    def renumber(dataset: Dataset, index: int) -> None:
        dataset.InstanceNumber = index + 3

    assert_same(scripts, make_series(write_series, tmp_path / "plain"))
    for change in (scale, pack, cut_bits, renumber):
        folder = make_series(write_series, tmp_path / change.__name__)
        assert_same(scripts, rewrite(folder, change))


def test_dicom_of_other_forms(scripts: Any, write_series: Any, tmp_path: Path) -> None:
    implicit = make_series(write_series, tmp_path / "implicit")
    for path in implicit.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
        dataset.save_as(path, implicit_vr=True, little_endian=True)
    assert_same(scripts, implicit)
    assert_same(scripts, make_enhanced(make_series(write_series, tmp_path / "many"), tmp_path))


def make_enhanced(folder: Path, target: Path) -> Path:
    """One file of several frames from a series."""
    slices = [pydicom.dcmread(path) for path in sorted(folder.iterdir())]
    whole = slices[0]
    groups = []
    for one in slices:
        position, scale, group = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = one.ImagePositionPatient
        scale.RescaleSlope, scale.RescaleIntercept = 2, -5
        group.PlanePositionSequence, group.PixelValueTransformationSequence = [position], [scale]
        groups.append(group)
    turn, measures, shared = Dataset(), Dataset(), Dataset()
    turn.ImageOrientationPatient = whole.ImageOrientationPatient
    measures.PixelSpacing = whole.PixelSpacing
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [turn], [measures]
    whole.SharedFunctionalGroupsSequence = [shared]
    whole.PerFrameFunctionalGroupsSequence = groups
    whole.NumberOfFrames = len(slices)
    whole.PixelData = b"".join(one.PixelData for one in slices)
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(whole, name)
    path = target / "frames" / "all.dcm"
    path.parent.mkdir()
    whole.save_as(path)
    return path.parent


def test_dicom_that_is_refused(scripts: Any, write_series: Any, tmp_path: Path) -> None:
    def pack(dataset: Dataset, _: int) -> None:
        dataset.compress(JPEGLSLossless, generate_instance_uid=False)

    def gap(dataset: Dataset, index: int) -> None:
        if index == 4:
            dataset.ImagePositionPatient = [float(v) * 3 for v in dataset.ImagePositionPatient]

    def twice(dataset: Dataset, index: int) -> None:
        if index:
            dataset.ImagePositionPatient = [0, 0, index // 3]

    def cut(dataset: Dataset, index: int) -> None:
        if index == 2:
            dataset.PixelData = dataset.PixelData[:-20]

    expected = {
        pack: "compressed (1.2.840.10008.1.2.4.80)",
        gap: "mm",
        twice: "same place",
        cut: "ends before its last voxel",
    }
    for change, words in expected.items():
        folder = rewrite(make_series(write_series, tmp_path / change.__name__), change)
        with pytest.raises(AssertionError, match=words.replace("(", r"\(").replace(")", r"\)")):
            as_read(scripts, *sorted(folder.iterdir()))


def test_broken_files_are_refused_where_python_refuses_them(
    scripts: Any, write_volume: Any, tmp_path: Path
) -> None:
    plain = write_volume(tmp_path / "a.nii", ARRAY)
    content = plain.read_bytes()
    packed = gzip.compress(content)
    nrrd = write_volume(tmp_path / "a.nrrd", ARRAY).read_bytes()
    nan = np.full((3, 4, 5), np.nan, np.float32)
    broken = {
        "short.nii": content[:-9],
        "empty.nii": b"",
        "header.nii": content[:100],
        "short.nii.gz": packed[: len(packed) // 2],
        "noise.nii.gz": b"\x1f\x8b" + packed[20:],
        "nan.nii": write_volume(tmp_path / "n.nii", nan).read_bytes(),
        "short.nrrd": nrrd[:-9],
        "no.nrrd": b"NRRD0004\nnonsense\n\n",
        "type.nrrd": nrrd.replace(b"type: short", b"type: block"),
        "space.nrrd": nrrd.replace(b"left-posterior-superior", b"scanner-xyz"),
    }
    for name, bad in broken.items():
        path = tmp_path / name
        path.write_bytes(bad)
        with pytest.raises(DataError):
            read_image([path])
        with pytest.raises(AssertionError, match=path.name):
            as_read(scripts, path)


def test_label_maps_are_written_where_they_belong(scripts: Any, tmp_path: Path) -> None:
    labels = RNG.integers(0, 3, 2 * 3 * 4).tolist()
    for seed in range(16):
        geometry = {
            "size": (2, 3, 4),
            "spacing": (2.5, 0.7, 1.1),
            "origin": (-10.5, 20.25, 3.0),
            "direction": direction(seed),
        }
        kind = "Uint8Array" if seed % 3 else "Uint16Array"
        script = f"{{ return [...niftiBytes({kind}.from(given[0]), given[1])] }}"
        path = tmp_path / f"{seed}.nii"
        path.write_bytes(bytes(scripts.call(script, labels, geometry)))
        mine = Geometry((2, 3, 4), (2.5, 0.7, 1.1), (-10.5, 20.25, 3.0), direction(seed))
        volume = open_nifti(path)
        assert volume.geometry.differences(mine) == []
        assert volume.remarks == (), "both forms say the same"
        assert volume.read().ravel().tolist() == labels
        # By the qform alone, which ITK reads where it is asked for.
        alone = change_header(path, tmp_path / f"{seed}q.nii", ("<h", 254, (0,)))
        assert open_nifti(alone).geometry.differences(mine) == []

"""Attacks with damaged and hostile volumes: none ends a batch, is slow, or is read wrong unsaid."""

from __future__ import annotations

import gzip
import io
import json
import os
import socket
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless

from lunet_cli.results.words import visible

SHAPE = (5, 6, 7)
ARRAY = np.random.default_rng(1).integers(0, 200, SHAPE).astype(np.int16)
LABEL = (ARRAY > 100).astype(np.uint8)
MEMORY_MIB = 1024
# refused: must not be read. told: refused, or read with a remark. calm: may be read, for what it
# says is possible.
Expectation = Literal["refused", "told", "calm"]
ONLY_READ = """
import json, sys, time
from pathlib import Path
import numpy as np
import SimpleITK as sitk
from lunet_cli.engine.data.reading import read_image
from lunet_cli.errors import LunetError
for line in sys.stdin:
    path, remarks, start = Path(json.loads(line)), [], time.perf_counter()
    try:
        images = read_image([path], on_remark=remarks.append)
        error = None
        for image in images:
            array = sitk.GetArrayViewFromImage(image)
            assert np.isfinite(array).all() and min(image.GetSpacing()) > 0, path
            assert array.shape == image.GetSize()[::-1], path
            turn = np.reshape(image.GetDirection(), (3, 3))
            assert abs(abs(np.linalg.det(turn)) - 1) < 0.01, path
    except LunetError as raised:
        error = raised.message
    # getrusage tells the peak of the process that started this one, too.
    with open("/proc/self/status") as status:
        (row,) = [row for row in status if row.startswith("VmHWM")]
    peak = int(row.split()[1]) // 1024
    print(json.dumps([error, remarks, time.perf_counter() - start, peak]), flush=True)
"""


@dataclass(frozen=True)
class Attack:
    """A damaged volume.

    Args:
        name: What is done to it, in words.
        main: The name of the file or folder that is read.
        files: Content by name.
        expectation: What must happen.
    """

    name: str
    main: str
    files: dict[str, bytes]
    expectation: Expectation = "calm"

    def write(self, folder: Path) -> Path:
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return folder / self.main


def _image(array: np.ndarray[Any, Any] = ARRAY) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((0.75, 0.75, 2.5))
    image.SetOrigin((-10.0, 20.0, 30.0))
    return image


def _stored(folder: Path, suffix: str, array: np.ndarray[Any, Any] = ARRAY) -> dict[str, bytes]:
    """Content of the files of a good volume, by suffix."""
    folder.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(_image(array), str(folder / f"v{suffix}"))
    return {path.name[1:]: path.read_bytes() for path in folder.iterdir()}


# --- NIfTI

NAN, INF = float("nan"), float("inf")
NIFTI_FIELDS: list[tuple[str, str, int, list[float], Expectation]] = [
    ("dim[0]", "<h", 40, [0, 1, 2, 8, 100, -1, 32767], "refused"),
    *(
        (f"dim[{axis}]", "<h", 40 + 2 * axis, [0, -1, -32768, 1, 4, 8, 32767], "refused")
        for axis in (1, 2, 3)
    ),
    ("datatype", "<h", 70, [0, 1, 2, 8, 32, 128, 1536, 1792, 9999, -4], "refused"),
    ("bitpix", "<h", 72, [0, 1, 7, 8, 32, -16], "refused"),
    *(
        (f"pixdim[{a}]", "<f", 76 + 4 * a, [NAN, INF, 0, -1, 1e-30, 1e30, 2], "told")
        for a in (1, 2, 3)
    ),
    ("vox_offset", "<f", 108, [NAN, INF, -1, 0, 348, 380, 1e9, -1e30], "refused"),
    ("sform_code", "<h", 254, [0, -1], "calm"),
    *(
        (f"srow[{i}]", "<f", 280 + 4 * i, [NAN, INF, -INF, 1e30, 0.5], "told")
        for i in (0, 1, 4, 5, 9, 10)
    ),
    *((f"srow offset[{i}]", "<f", 280 + 4 * i, [NAN, INF, 1e30, 5.0], "told") for i in (3, 7, 11)),
    *((f"quatern[{i}]", "<f", 256 + 4 * i, [NAN, INF, 5.0, 0.5], "told") for i in (0, 1)),
    ("intent_code", "<h", 68, [1005, 1006, 1007, 2003, -1], "calm"),
    ("slope", "<f", 112, [NAN, INF, 1e38, -1], "calm"),
    ("intercept", "<f", 116, [NAN, INF, 3e38], "calm"),
    ("units", "<B", 123, [255, 7, 1, 3], "calm"),
    ("magic", "<I", 344, [0, 0x0031696E, 0xFFFFFFFF], "refused"),
    ("sizeof_hdr", "<i", 0, [0, -1, 540, 347], "refused"),
]


def nifti_attacks(folder: Path) -> Iterator[Attack]:
    plain = _stored(folder / "nii", ".nii")[".nii"]
    for suffix in (".nii", ".nii.gz"):
        pack = gzip.compress if suffix == ".nii.gz" else bytes
        for field, kind, start, values, expectation in NIFTI_FIELDS:
            for value in values:
                content = bytearray(plain)
                number = value if kind[-1] == "f" else int(value)
                struct.pack_into(kind, content, start, number)
                yield Attack(
                    f"{suffix} {field}={value}",
                    f"v{suffix}",
                    {f"v{suffix}": pack(content)},
                    expectation,
                )
        for axes in ((0, 0, 0), (32767, 32767, 32767), (7, 6, 32767)):
            content = bytearray(plain)
            struct.pack_into("<3h", content, 42, *axes)
            yield Attack(
                f"{suffix} dim={axes}", f"v{suffix}", {f"v{suffix}": pack(content)}, "refused"
            )
        yield Attack(
            f"{suffix} surplus", f"v{suffix}", {f"v{suffix}": pack(plain + b"x" * 100)}, "refused"
        )
    for size in (2**16, 2**28):
        zeros = zlib.compressobj(1, zlib.DEFLATED, 31)
        bomb = b"".join(
            [zeros.compress(plain), *(zeros.compress(bytes(2**20)) for _ in range(size >> 20 or 1))]
        )
        yield Attack(f"bomb of {size}", "v.nii.gz", {"v.nii.gz": bomb + zeros.flush()}, "refused")
    content = bytearray(plain)
    struct.pack_into("<3h", content, 42, 1000, 1000, 1000)
    yield Attack(
        "too little for its sizes",
        "v.nii.gz",
        {"v.nii.gz": gzip.compress(bytes(content))},
        "refused",
    )
    two = gzip.compress(plain[:400]) + gzip.compress(plain[400:])
    yield Attack("two gzip members", "v.nii.gz", {"v.nii.gz": two})


# --- NRRD and MetaImage

WRONG_EVERYWHERE = [
    "",
    "-1",
    "abc",
    "99999999999999999999999",
    "%s%n%x",
    "x" * 5000,
    "nan",
    "\x1b[31m",
    "1e400",
]
WRONG_VECTORS = [
    "0 0 0",
    "1 1",
    "1 1 1 1 1",
    "nan nan nan",
    "inf 1 1",
    "1e-300 1 1",
    "1e300 1 1",
    "-1 1 1",
    "1,1",
]
WRONG_DIRECTIONS = [
    *(
        "0 0 0 0 0 0 0 0 0",
        "1 0 0 1 0 0 0 0 1",
        "1 0.5 0 0 1 0 0 0 1",
        "2 0 0 0 1 0 0 0 1",
        "1 0 0 0 1 0 0 0 nan",
    ),
    *("1 0 0 0 1 0", "1e300 0 0 0 1 0 0 0 1"),
]
META_FIELDS: dict[str, list[str]] = {
    "NDims": [*WRONG_EVERYWHERE, "0", "1", "2", "4", "100", "2147483648"],
    "DimSize": [
        *WRONG_EVERYWHERE,
        *WRONG_VECTORS,
        "7 6 4",
        "7 6 6",
        "-7 -6 5",
        "2147483647 2147483647 2147483647",
    ],
    "ElementSpacing": [*WRONG_EVERYWHERE, *WRONG_VECTORS],
    "Offset": [*WRONG_EVERYWHERE, *("1 1", "nan nan nan", "inf 1 1", "1e300 1 1")],
    "TransformMatrix": [*WRONG_EVERYWHERE, *WRONG_DIRECTIONS],
    "ElementType": [
        *WRONG_EVERYWHERE,
        "MET_NONE",
        "MET_FLOAT",
        "MET_STRING",
        "MET_OTHER",
        "MET_UCHAR",
    ],
    "ElementDataFile": [
        *WRONG_EVERYWHERE,
        *("LIST", "LIST 2", "LIST 9", "%d.raw 1 9 1", "/dev/zero", "../../v.raw", "."),
    ],
    "BinaryData": ["maybe", "False"],
    "BinaryDataByteOrderMSB": ["maybe", ""],
    "CompressedData": ["maybe", "True"],
    "HeaderSize": ["-5", "abc", "99999", "100"],
    "ElementNumberOfChannels": [*WRONG_EVERYWHERE, "0", "2", "1000000"],
}
NRRD_FIELDS: dict[str, list[str]] = {
    "dimension": [*WRONG_EVERYWHERE, "0", "1", "2", "4", "16", "100"],
    "sizes": [
        *WRONG_EVERYWHERE,
        *WRONG_VECTORS,
        "7 6 4",
        "7 6 6",
        "2147483647 2147483647 2147483647",
    ],
    "type": [*WRONG_EVERYWHERE, "block", "double", "uchar", "complex"],
    "encoding": [*WRONG_EVERYWHERE, "gzip", "bzip2", "text", "hex"],
    "endian": ["", "middle"],
    "space directions": [
        *WRONG_EVERYWHERE,
        *(
            "(0,0,0) (0,1,0) (0,0,1)",
            "(1,0,0) (1,0,0) (0,0,1)",
            "(nan,0,0) (0,1,0) (0,0,1)",
            "none none none",
        ),
        *(
            "(1,0,0) (0.5,1,0) (0,0,1)",
            "(1e-300,0,0) (0,1,0) (0,0,1)",
            "(1,0) (0,1) (1,1)",
            "(((",
            "(1,0,0)",
        ),
        *("(inf,0,0) (0,1,0) (0,0,1)", "(1e9,0,0) (0,1,0) (0,0,1)"),
    ],
    "space origin": [*WRONG_EVERYWHERE, "(nan,0,0)", "(1,2)", "(inf,0,0)", "none", "(1e300,0,0)"],
    "space": ["scanner-xyz", "3D-left-handed", "abc"],
    "byte skip": ["-2", "5", "999999", "abc"],
    "line skip": ["-1", "5", "abc"],
    "data file": [
        "/dev/zero",
        "LIST",
        "LIST 9",
        "v%d.raw 1 9 1",
        "v%s.raw 1 3 1",
        "missing.raw",
        ".",
        "x" * 300,
    ],
}


def _replace(header: bytes, separator: str, field: str, value: str) -> bytes:
    """The header with another value of a field, which is put in where it is absent."""
    lines = header.decode("latin-1").split("\n")
    wanted = f"{field}{separator}{value}"
    for index, line in enumerate(lines):
        if line.split(separator.strip())[0].strip() == field:
            lines[index] = wanted
            return "\n".join(lines).encode("latin-1")
    return "\n".join([lines[0], wanted, *lines[1:]]).encode("latin-1")


def _of_text(suffix: str, field: str, value: str) -> Expectation:
    """What must happen to a text header with this value: most cannot be; some leave a volume."""
    is_empty_name = field == "data file" and value == ""  # The voxels follow the header then.
    is_without_use = field == "HeaderSize" and suffix == ".mha"
    return "calm" if is_empty_name or is_without_use else "refused"


def text_attacks(folder: Path) -> Iterator[Attack]:
    for suffix, fields, separator in (
        (".mha", META_FIELDS, " = "),
        (".mhd", META_FIELDS, " = "),
        (".nrrd", NRRD_FIELDS, ": "),
        (".nhdr", NRRD_FIELDS, ": "),
    ):
        files = _stored(folder / suffix[1:], suffix)
        content = files[suffix]
        end = content.index(b"\n\n") + 2 if suffix == ".nrrd" else len(content)
        end = content.index(b"LOCAL\n") + 6 if suffix == ".mha" else end
        others = {f"v{name}": stored for name, stored in files.items() if name != suffix}
        for field, values in fields.items():
            for value in values:
                changed = _replace(content[:end], separator, field, value) + content[end:]
                name = f"{suffix} {field}={value[:30]!r}"
                yield Attack(
                    name,
                    f"v{suffix}",
                    {f"v{suffix}": changed, **others},
                    _of_text(suffix, field, value),
                )
        yield Attack(f"{suffix} size 0", f"v{suffix}", {f"v{suffix}": b"", **others}, "refused")
        surplus = {
            name: stored + bytes(50) for name, stored in ({f"v{suffix}": content, **others}).items()
        }
        yield Attack(f"{suffix} surplus", f"v{suffix}", surplus, "calm" if others else "refused")


def list_attacks(folder: Path) -> Iterator[Attack]:
    header = _stored(folder / "list", ".mhd")[".mhd"].decode()
    head = header[: header.index("ElementDataFile")]
    slices = {f"s{index}.raw": ARRAY[index].tobytes() for index in range(len(ARRAY))}
    names = [*slices]
    for what, listed, expectation in (
        ("whole", names, "calm"),
        ("without names", [], "refused"),
        ("too few names", names[:3], "refused"),
        ("too many names", [*names, "s0.raw"], "refused"),
        ("a missing file", [*names[:4], "s9.raw"], "refused"),
        ("a folder", [*names[:4], "."], "refused"),
        ("a device", [*names[:4], "/dev/zero"], "refused"),
    ):
        text = f"{head}ElementDataFile = LIST\n" + "".join(f"{name}\n" for name in listed)
        yield Attack(f"LIST {what}", "v.mhd", {"v.mhd": text.encode(), **slices}, expectation)  # type: ignore[arg-type]
    short = {**slices, "s2.raw": slices["s2.raw"][:10]}
    text = f"{head}ElementDataFile = LIST\n" + "\n".join(names)
    yield Attack("LIST of a short file", "v.mhd", {"v.mhd": text.encode(), **short}, "refused")
    for pattern, expected in (
        ("s%d.raw 0 4 1", "calm"),
        ("s%d.raw 0 3 1", "refused"),
        ("s%d.raw 0 4 0", "refused"),
    ):
        text = f"{head}ElementDataFile = {pattern}\n"
        yield Attack(f"pattern {pattern}", "v.mhd", {"v.mhd": text.encode(), **slices}, expected)  # type: ignore[arg-type]


# --- DICOM


def _dicom(index: int | None) -> Dataset:
    """A slice of a series; or, for None, an enhanced image of all slices."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2" + (
        ".1" if index is None else ""
    )
    dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{index or 0}"
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID, dataset.SeriesInstanceUID = f"1.2.3.{index or 0}", "1.2.3"
    dataset.Modality, dataset.SeriesNumber = "CT", 1
    dataset.Rows, dataset.Columns = SHAPE[1:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = (
        16,
        16,
        15,
        1,
    )
    turn, measures = [1, 0, 0, 0, 1, 0], [0.75, 0.75]
    if index is not None:
        dataset.InstanceNumber = index + 1
        dataset.ImagePositionPatient, dataset.ImageOrientationPatient = (
            [-10, 20, 30 + 2.5 * index],
            turn,
        )
        dataset.PixelSpacing, dataset.SliceThickness = measures, 2.5
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0
        dataset.PixelData = ARRAY[index].tobytes()
        return dataset
    dataset.NumberOfFrames = len(ARRAY)
    orientation, pixels, shared = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = turn
    pixels.PixelSpacing, pixels.SliceThickness, pixels.SpacingBetweenSlices = measures, 2.5, -2.5
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [pixels]
    dataset.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for place in range(len(ARRAY)):
        position, scale, group = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = [-10, 20, 30 + 2.5 * place]
        scale.RescaleSlope, scale.RescaleIntercept = 1, 0
        group.PlanePositionSequence, group.PixelValueTransformationSequence = [position], [scale]
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = groups
    dataset.PixelData = ARRAY.tobytes()
    return dataset


def _bytes(dataset: Dataset) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


DICOM_TAGS = {
    "position": b"\x20\x00\x32\x00",
    "orientation": b"\x20\x00\x37\x00",
    "pixel spacing": b"\x28\x00\x30\x00",
    "slope": b"\x28\x00\x53\x10",
    "rows": b"\x28\x00\x10\x00",
    "columns": b"\x28\x00\x11\x00",
    "bits allocated": b"\x28\x00\x00\x01",
    "bits stored": b"\x28\x00\x01\x01",
    "representation": b"\x28\x00\x03\x01",
    "frames": b"\x28\x00\x08\x00",
    "pixels": b"\xe0\x7f\x10\x00",
}
DICOM_VALUES = [b"abcd", b"\xff\xff", b"\0\0", b"nan ", b"-1\\1", b"1e99", b"\x1b[3m"]


def dicom_attacks() -> Iterator[Attack]:
    series = {f"s/{index}.dcm": _bytes(_dicom(index)) for index in range(len(ARRAY))}
    enhanced = _bytes(_dicom(None))
    yield Attack("series", "s", series)
    yield Attack("enhanced", "e.dcm", {"e.dcm": enhanced})
    yield from _elements(series, enhanced)
    yield from _incomplete(series, enhanced)
    yield from _misplaced(series)


def _elements(series: dict[str, bytes], enhanced: bytes) -> Iterator[Attack]:
    """Other bytes where a value or its length should be."""
    for what, tag in DICOM_TAGS.items():
        for value in DICOM_VALUES:
            for name, content in (("s/2.dcm", series["s/2.dcm"]), ("e.dcm", enhanced)):
                start = content.find(tag)
                if start < 0:
                    continue
                changed = content[: start + 8] + value + content[start + 8 + len(value) :]
                files = {**series, name: changed} if name != "e.dcm" else {name: changed}
                # A slope of text is refused; a count of bits or a position may happen to be
                # possible.
                yield Attack(f"DICOM {name} {what}={value!r}", name.split("/")[0], files)
            if (start := enhanced.find(tag)) >= 0:
                length = enhanced[: start + 6] + struct.pack("<H", 65535) + enhanced[start + 8 :]
                yield Attack(f"DICOM length of {what}", "e.dcm", {"e.dcm": length})


def _incomplete(series: dict[str, bytes], enhanced: bytes) -> Iterator[Attack]:
    for number in (0, 2, 4):
        content = series[f"s/{number}.dcm"]
        for part in (0.0, 0.3, 0.6, 0.95):
            cut = {**series, f"s/{number}.dcm": content[: int(part * len(content))]}
            yield Attack(f"DICOM slice {number} cut to {part}", "s", cut, "refused")
    for part in (0.1, 0.4, 0.8, 0.99):
        yield Attack(
            f"enhanced cut to {part}",
            "e.dcm",
            {"e.dcm": enhanced[: int(part * len(enhanced))]},
            "refused",
        )
    for gone in (1, 2, 3):
        left = {name: content for name, content in series.items() if name != f"s/{gone}.dcm"}
        yield Attack(f"slice {gone} is missing", "s", left, "refused")
    yield Attack(
        "first slices are missing", "s", {name: series[name] for name in [*series][2:]}, "told"
    )


def _misplaced(series: dict[str, bytes]) -> Iterator[Attack]:
    yield Attack(
        "a slice is there twice", "s", {**series, "s/copy.dcm": series["s/1.dcm"]}, "refused"
    )
    tilted = {}
    for index in range(len(ARRAY)):
        dataset = _dicom(index)
        dataset.ImagePositionPatient = [-10, 20 + 0.7 * index, 30 + 2.5 * index]
        tilted[f"s/{index}.dcm"] = _bytes(dataset)
    yield Attack("tilted gantry", "s", tilted, "refused")
    nested = Dataset()
    for _ in range(60):
        outer = Dataset()
        outer.ReferencedImageSequence = [nested]
        nested = outer
    deep = _dicom(0)
    deep.ReferencedImageSequence = [nested]
    yield Attack("deeply nested", "s", {**series, "s/0.dcm": _bytes(deep)})


# --- all formats


def cut_and_flipped(folder: Path, num: int) -> Iterator[Attack]:
    """Files that end early, and files with a single bit turned in their header or anywhere."""
    rng = np.random.default_rng(2)
    for suffix in (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd"):
        files = _stored(folder / f"cut{suffix}", suffix)
        data = max(files, key=lambda name: len(files[name]) if name != suffix else 1)
        for _ in range(num):
            length = int(rng.integers(0, len(files[data]) - 1))
            cut = {f"v{name}": content for name, content in files.items()} | {
                f"v{data}": files[data][:length]
            }
            yield Attack(f"{suffix} cut to {length}", f"v{suffix}", cut, "refused")
            content = bytearray(files[suffix])
            bit = int(rng.integers(0, 8 * min(len(content), 400)))
            content[bit // 8] ^= 1 << bit % 8
            flipped = {f"v{name}": stored for name, stored in files.items()} | {
                f"v{suffix}": bytes(content)
            }
            yield Attack(f"{suffix} bit {bit}", f"v{suffix}", flipped)


def attacks_on_itk(folder: Path, num: int) -> Iterator[Attack]:
    """Files that ITK reads in a process of its own, and compressed DICOM, with bytes turned."""
    rng = np.random.default_rng(4)
    packed = _dicom(None)
    packed.compress(JPEGLSLossless, generate_instance_uid=False)
    files = {
        ".vtk": _stored(folder / "vtk", ".vtk")[".vtk"],
        ".gipl": _stored(folder / "gipl", ".gipl")[".gipl"],
    }
    files[".dcm"] = _bytes(packed)
    for suffix, stored in files.items():
        yield Attack(f"{suffix} as it is", f"v{suffix}", {f"v{suffix}": stored})
        for _ in range(num):
            content = bytearray(stored)
            start = 0 if suffix != ".dcm" else stored.index(DICOM_TAGS["pixels"])
            for index in rng.integers(start, min(len(stored), start + 400), 3):
                content[index] = int(rng.integers(256))
            yield Attack(f"{suffix} bytes turned", f"v{suffix}", {f"v{suffix}": bytes(content)})
        yield Attack(
            f"{suffix} cut", f"v{suffix}", {f"v{suffix}": stored[: len(stored) * 3 // 4]}, "refused"
        )


def all_attacks(folder: Path, num_random: int) -> list[Attack]:
    return [
        *nifti_attacks(folder),
        *text_attacks(folder),
        *list_attacks(folder),
        *dicom_attacks(),
        *cut_and_flipped(folder, num_random),
        *attacks_on_itk(folder, num_random),
    ]


def _chosen(attacks: list[Attack], num: int) -> list[Attack]:
    """Some of all attacks, spread over all kinds."""
    if num >= len(attacks):
        return attacks
    return [attacks[index] for index in np.linspace(0, len(attacks) - 1, num).astype(int)]


@pytest.fixture(scope="module")
def attacks(
    tmp_path_factory: pytest.TempPathFactory, num_attacks: Callable[[int, int], int]
) -> list[Attack]:
    """The attacks of this run; all of them are 900 and more."""
    found = all_attacks(tmp_path_factory.mktemp("good"), num_random=num_attacks(4, 15))
    return _chosen(found, num_attacks(150, 10_000))


def test_no_volume_ends_the_reader_or_is_read_wrong_in_silence(
    attacks: list[Attack], tmp_path: Path
) -> None:
    paths = [attack.write(tmp_path / str(index)) for index, attack in enumerate(attacks)]
    lines = "".join(json.dumps(str(path)) + "\n" for path in paths)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", ONLY_READ],
        input=lines,
        capture_output=True,
        encoding="utf-8",
        timeout=900,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"{attacks[len(answers)].name}\n{done.stderr[-2000:]}"
    wrong = []
    for attack, path, (error, remarks, seconds, peak_mib) in zip(
        attacks, paths, answers, strict=True
    ):
        is_told = error is not None or (remarks and attack.expectation == "told")
        if attack.expectation != "calm" and not is_told:
            wrong.append(f"{attack.name}: read in silence")
        if error is not None and ("\n" in error or str(path.parent) not in error):
            wrong.append(f"{attack.name}: {error!r}")
        if seconds > 10 or peak_mib > MEMORY_MIB:
            wrong.append(f"{attack.name}: {seconds:.1f} s, {peak_mib} MiB")
    assert wrong == []


def _odd_paths(folder: Path) -> tuple[list[str], list[str]]:
    """Stems of things that only look like volumes, and of good volumes with odd names."""
    good = gzip.compress(_stored(folder.with_name("odd"), ".nii")[".nii"])
    os.mkfifo(folder / "pipe.nii.gz")
    (folder / "gone.nii.gz").symlink_to(folder / "nowhere")
    (folder / "round.nii.gz").symlink_to(folder / "round.nii.gz")
    (folder / "device.nii.gz").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(folder / "socket.nii"))
    (folder / "empty.nrrd").touch()
    (folder / "text.mha").write_text("no image")
    names = [
        "größe",
        "患者",
        "two words",
        "x" * 200,
        os.fsdecode(b"\xff\xfe"),
        "a\nb",
        "%s%n",
        "-o",
    ]
    for name in names:
        (folder / f"{name}.nii.gz").write_bytes(good)
    return ["pipe", "gone", "round", "device", "socket", "empty", "text"], names


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, make_threshold_model: Any) -> Path:
    path: Path = make_threshold_model(tmp_path_factory.mktemp("model") / "model.pt")
    return path


def test_a_batch_goes_on_whatever_lies_in_it(
    attacks: list[Attack],
    num_attacks: Any,
    model: Path,
    tmp_path: Path,
    call_lunet: Any,
    require_calm: Any,
) -> None:
    folder = tmp_path / "in"
    single = [attack for attack in attacks if len(attack.files) == 1 and "." in attack.main]
    single = _chosen(single, num_attacks(40, 10_000))
    for index, attack in enumerate(single):
        (path,) = attack.files
        folder.mkdir(exist_ok=True)
        (folder / f"attack{index:04d}{path[path.index('.') :]}").write_bytes(attack.files[path])
    for name in ("good1", "good2", "zgood"):
        sitk.WriteImage(_image(), str(folder / f"{name}.nii.gz"))
    unlisted = sorted(path for path in folder.iterdir() if path.suffix in (".dcm", ".vtk", ".gipl"))
    start = time.process_time()
    answer = call_lunet(
        *("predict", model, folder, *unlisted, "-o", tmp_path / "out", "--precision", "fp32"),
        cwd=tmp_path,
    )
    require_calm(
        answer, seconds=(time.process_time() - start) / len(single), attack="a batch of attacks"
    )
    assert answer.returncode == 1
    for name in ("good1", "good2", "zgood"):
        found = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"out/{name}.nii.gz")))
        np.testing.assert_array_equal(found, ARRAY > 100.5)
    lines = [line for line in answer.stderr.splitlines() if line.startswith("error: ")]
    segmented = {path.name.split(".")[0] for path in (tmp_path / "out").iterdir()}
    for index, attack in enumerate(single):
        name = f"attack{index:04d}"
        is_refused = any(name in line for line in lines)
        assert is_refused != (name in segmented), f"{attack.name}\n{answer.stderr[-3000:]}"


def test_a_batch_of_series_goes_on(
    num_attacks: Any, model: Path, tmp_path: Path, call_lunet: Any, require_calm: Any
) -> None:
    folder = tmp_path / "in"
    attacks = _chosen(
        [attack for attack in dicom_attacks() if attack.main == "s"], num_attacks(15, 10_000)
    )
    good, *bad = attacks
    for index, attack in enumerate(bad):
        attack.write(folder / f"attack{index:04d}")
    good.write(folder / "good")
    start = time.process_time()
    answer = call_lunet(
        "predict", model, folder, "-o", tmp_path / "out", "--precision", "fp32", cwd=tmp_path
    )
    require_calm(
        answer, seconds=(time.process_time() - start) / len(attacks), attack="a batch of series"
    )
    assert answer.returncode == 1
    found = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out/good.nii.gz")))
    np.testing.assert_array_equal(found, ARRAY > 100.5)
    lines = [line for line in answer.stderr.splitlines() if line.startswith("error: ")]
    segmented = {path.name.split(".")[0] for path in (tmp_path / "out").iterdir()}
    for index, attack in enumerate(bad):
        is_refused = any(f"attack{index:04d}" in line for line in lines)
        assert is_refused != (f"attack{index:04d}" in segmented), (
            f"{attack.name}\n{answer.stderr[-3000:]}"
        )


@pytest.mark.parametrize("locale", [{"LC_ALL": "C", "PYTHONUTF8": "0"}, {"LC_ALL": "C"}, {}])
def test_odd_paths_in_a_batch(
    locale: dict[str, str], model: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if not (request.config.getoption("--fuzz-full") or "PYTHONUTF8" in locale):
        pytest.skip("the worst locale only; --fuzz-full runs all")
    folder = tmp_path / "in"
    folder.mkdir()
    bad, good = _odd_paths(folder)
    environment = {
        key: value
        for key, value in os.environ.items()
        if key not in ("LANG", "LC_ALL", "PYTHONUTF8")
    }
    program = [
        str(Path(sys.executable).with_name("lunet")),
        "predict",
        str(model),
        str(folder),
        "-o",
        "out",
    ]
    answer = subprocess.run(
        program,
        cwd=tmp_path,
        env=environment | locale | {"NO_COLOR": "1"},
        capture_output=True,
        timeout=120,
    )
    stderr = answer.stderr.decode("utf-8", "replace")
    encoding = "ascii" if "PYTHONUTF8" in locale else "utf-8"
    assert answer.returncode == 1, stderr[-2000:]
    assert "Traceback" not in stderr
    for name in bad:
        assert any(
            line.startswith("error: ") and f"{name}." in line for line in stderr.splitlines()
        ), (name, stderr)
    assert {path.name.removesuffix(".nii.gz") for path in (tmp_path / "out").glob("*.nii.gz")} == {
        visible(name.encode("utf-8", "surrogateescape").decode(encoding, "surrogateescape"))
        for name in good
    }


def test_damaged_predictions_do_not_end_an_evaluation(
    num_attacks: Any, tmp_path: Path, call_lunet: Any, require_calm: Any
) -> None:
    rng = np.random.default_rng(3)
    good = _stored(tmp_path / "good", ".nii.gz", LABEL)[".nii.gz"]
    plain = gzip.decompress(good)
    num = num_attacks(10, 60)
    for folder in ("predictions", "references"):
        (tmp_path / folder).mkdir()
    for index in range(num):
        (tmp_path / f"references/c{index:03d}.nii.gz").write_bytes(good)
        content = bytearray(plain)
        bit = int(rng.integers(0, 8 * 348))
        content[bit // 8] ^= 1 << bit % 8
        kinds = [
            gzip.compress(bytes(content)),
            good[: int(rng.integers(0, len(good)))],
            good,
            bytes(content),
        ]
        (tmp_path / f"predictions/c{index:03d}.nii.gz").write_bytes(kinds[index % 4])
    (tmp_path / "predictions/c001.nii.gz").unlink()
    os.mkfifo(tmp_path / "predictions/c001.nii.gz")
    for name in ("größe", os.fsdecode(b"\xff\xfe"), "a\nb"):
        for folder in ("predictions", "references"):
            (tmp_path / folder / f"{name}.nii.gz").write_bytes(good)
    start = time.process_time()
    answer = call_lunet("score", "predictions", "references", cwd=tmp_path)
    require_calm(answer, seconds=time.process_time() - start, attack="predictions")
    assert answer.returncode == 1
    assert f"{Path('predictions/c001.nii.gz')}: is a pipe, not a file" in answer.stderr
    rows = (tmp_path / "predictions/metrics.csv").read_text(encoding="utf-8").splitlines()
    assert any(row.startswith("größe,") for row in rows)
    assert any(row.startswith("\\xff\\xfe,") for row in rows)
    for index in range(2, num, 4):
        assert any(row.startswith(f"c{index:03d},") for row in rows)


def test_enhanced_and_series_are_what_they_were_made_of(tmp_path: Path) -> None:
    """The attacks on DICOM start from files that are read right."""
    from lunet_cli.engine.data.reading import read_image

    for attack in list(dicom_attacks())[:2]:
        (image,) = read_image([attack.write(tmp_path / attack.name)])
        np.testing.assert_array_equal(sitk.GetArrayFromImage(image), ARRAY)
        assert image.GetSpacing() == (0.75, 0.75, 2.5)

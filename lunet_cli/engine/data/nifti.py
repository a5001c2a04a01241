"""NIfTI: what its header says, and its voxels.

Geometry follows the standard (https://nifti.nimh.nih.gov/nifti-1): the sform is a whole matrix, of
    which `pixdim` takes
no part; the qform is a rotation with `pixdim` as its spacing. Between the two, this chooses as ITK
does.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lunet_cli.engine.data.stored_bytes import Packing, Part, read_head, read_parts
from lunet_cli.engine.data.volume_file import (
    VolumeFile,
    Voxels,
    axes_of,
    checked_geometry,
    checked_sizes,
    damaged,
    not_an_image,
    not_three_dimensional,
)
from lunet_cli.errors import DataError

SUFFIXES = (".nii", ".nii.gz")
_Matrix = npt.NDArray[np.float64]
_NUMBERS = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
}  # fmt: skip
_COLOURS = {128: 3, 2304: 4}  # RGB and RGBA: bytes side by side
_MM_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
_SCANNER = 1  # NIFTI_XFORM_SCANNER_ANAT
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])
# Headers are float32; quaternions lose some more digits.
_SAME_SPACING = 1e-3
_SAME_MM, _SAME_COSINE = 0.01, 1e-3


@dataclass(frozen=True)
class _Header:
    """The fields of either version that matter here, as they are stored."""

    order: str
    dim: tuple[int, ...]
    datatype: int
    bits: int
    pixdim: tuple[float, ...]
    offset: int
    slope: float
    intercept: float
    units: int
    qform: int
    sform: int
    quaternion: tuple[float, ...]
    qoffset: tuple[float, ...]
    srow: tuple[float, ...]


def open_nifti(path: Path) -> VolumeFile:
    """Read and check the header of a NIfTI file.

    Raises:
        DataError: It is not a NIfTI file, is damaged, or is not a volume.
    """
    content, packing = read_head(path, 544)
    header = _parse(path, content)
    number, num_colours = _number(path, header)
    sizes, num_channels = _sizes(path, header)
    matrix, remarks = _matrix(path, header)
    spacing, direction = axes_of(path, matrix[:, :3])
    spacing = _as_in_pixdim(header, spacing)
    geometry = checked_geometry(path, sizes, spacing, matrix[:, 3].tolist(), direction)

    def read() -> Voxels:
        return _read(path, header, packing, number, (num_channels, *geometry.size), num_colours)

    return VolumeFile(geometry, num_channels * num_colours, number, read, remarks)


def _parse(path: Path, content: bytes) -> _Header:
    if len(content) < 348:
        raise not_an_image(path)
    for order in "<>":
        size = struct.unpack(f"{order}i", content[:4])[0]
        if size == 348 and content[344:348] == b"n+1\0":
            return _parse_first_version(path, content, order)
        if size == 540 and content[4:8] == b"n+2\0" and len(content) >= 540:
            return _parse_second_version(path, content, order)
    if content[344:348] == b"ni1\0" or content[4:8] == b"ni2\0":
        raise damaged(path, "it is the header of a pair .hdr and .img")
    raise not_an_image(path)


def _parse_first_version(path: Path, content: bytes, order: str) -> _Header:
    def field(kind: str, start: int) -> tuple[Any, ...]:
        return struct.unpack_from(order + kind, content, start)

    offset = field("f", 108)[0]
    if not (math.isfinite(offset) and offset >= 352):
        raise damaged(path, f"its voxels would begin at byte {offset:g}, within its header")
    datatype, bits = field("2h", 70)
    slope, intercept = field("2f", 112)
    qform, sform = field("2h", 252)
    return _Header(
        order,
        field("8h", 40),
        datatype,
        bits,
        field("8f", 76),
        int(offset),
        slope,
        intercept,
        content[123],
        qform,
        sform,
        field("3f", 256),
        field("3f", 268),
        field("12f", 280),
    )


def _parse_second_version(path: Path, content: bytes, order: str) -> _Header:
    def field(kind: str, start: int) -> tuple[Any, ...]:
        return struct.unpack_from(order + kind, content, start)

    datatype, bits = field("2h", 12)
    slope, intercept = field("2d", 176)
    qform, sform = field("2i", 344)
    offset = field("q", 168)[0]
    if offset < 544:
        raise damaged(path, f"its voxels would begin at byte {offset}, within its header")
    return _Header(
        order,
        field("8q", 16),
        datatype,
        bits,
        field("8d", 104),
        offset,
        slope,
        intercept,
        field("i", 500)[0],
        qform,
        sform,
        field("3d", 352),
        field("3d", 376),
        field("12d", 400),
    )


def _number(path: Path, header: _Header) -> tuple[np.dtype[Any], int]:
    """Type of a stored number, and how many stand side by side."""
    num_colours = _COLOURS.get(header.datatype, 1)
    code = "u1" if num_colours > 1 else _NUMBERS.get(header.datatype)
    if code is None:
        raise DataError(
            f"{path}: cannot be read: its data type {header.datatype} is not one of whole or real numbers",
            hint="Complex numbers and single bits must be converted first.",
        )
    number = np.dtype(header.order + code)
    if header.bits != 8 * number.itemsize * num_colours:
        raise damaged(
            path, f"its header says {header.bits} bits per voxel, and data type {header.datatype}"
        )
    return number, num_colours


def _sizes(path: Path, header: _Header) -> tuple[tuple[int, ...], int]:
    """Voxels along x, y, z; and values per voxel, which stand along the axis of time or behind it."""
    num_axes = header.dim[0]
    if not 1 <= num_axes <= 7:
        raise damaged(path, f"its header says {num_axes} dimensions")
    sizes = checked_sizes(path, header.dim[1 : num_axes + 1])
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes = sizes[:-1]
    num_channels = math.prod(sizes[3:])
    if len(sizes) < 3 or num_channels != max(sizes[3:], default=1):
        raise not_three_dimensional(path, sizes)
    return sizes[:3], num_channels


def _matrix(path: Path, header: _Header) -> tuple[_Matrix, tuple[str, ...]]:
    """The 3x4 matrix from voxels (x, y, z) to mm in LPS, and what is odd about it."""
    qform = _qform(path, header) if header.qform > 0 else None
    sform = np.array(header.srow, np.float64).reshape(3, 4) if header.sform > 0 else None
    scale = _MM_PER_UNIT.get(header.units & 7, 1.0)
    remarks: list[str] = []
    if sform is None and qform is None:
        remarks.append(
            f"{path}: does not say how its axes lie in the patient (neither sform nor qform); taken as left, "
            "posterior, superior"
        )
        return np.hstack([np.diag(_pixdim(path, header)), np.zeros((3, 1))]) * scale, tuple(remarks)
    if sform is None or qform is None:
        chosen = qform if sform is None else sform
    else:
        chosen = _choose(path, header, sform, qform, remarks)
    if chosen is sform:
        remarks += _remarks_on_spacing(path, header)
    assert chosen is not None
    if not np.isfinite(chosen).all():
        raise damaged(
            path, f"its {'sform' if chosen is sform else 'qform'} holds numbers that are not finite"
        )
    return _RAS_TO_LPS @ chosen * scale, tuple(remarks)


def _choose(
    path: Path, header: _Header, sform: _Matrix, qform: _Matrix, remarks: list[str]
) -> _Matrix:
    """Of two matrices, the one that ITK takes."""
    if _are_alike(sform, qform):
        return sform
    is_skewed = _is_skewed(sform)
    takes_sform = header.sform == _SCANNER and not is_skewed
    why = ", whose axes are not at right angles" if is_skewed else ""
    remarks.append(
        f"{path}: its sform{why} (code {header.sform}) and its qform (code {header.qform}) place it differently; "
        f"taken from the {'sform' if takes_sform else 'qform'}"
    )
    return sform if takes_sform else qform


def _qform(path: Path, header: _Header) -> _Matrix:
    """The matrix of a quaternion, as nifti1_io computes it."""
    b, c, d = (float(value) for value in header.quaternion)
    squares = b * b + c * c + d * d
    if not math.isfinite(squares) or squares > 1 + 1e-3:
        raise damaged(path, f"its qform is not a rotation (quaternion {b:g}, {c:g}, {d:g})")
    a = math.sqrt(max(0.0, 1 - squares))
    norm = math.sqrt(a * a + squares)
    a, b, c, d = a / norm, b / norm, c / norm, d / norm
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - c * c - b * b],
        ]
    )
    qfac = -1.0 if header.pixdim[0] < 0 else 1.0
    spacing = _pixdim(path, header) * [1, 1, qfac]
    return np.column_stack([rotation * spacing, header.qoffset])


def _pixdim(path: Path, header: _Header) -> _Matrix:
    spacing = np.array(header.pixdim[1:4], np.float64)
    if not (np.isfinite(spacing).all() and (spacing > 0).all()):
        raise damaged(
            path, f"its voxel spacing (pixdim) is {', '.join(f'{value:g}' for value in spacing)}"
        )
    return spacing


def _remarks_on_spacing(path: Path, header: _Header) -> list[str]:
    """The sform is the whole truth, but other tools (ITK among them) take the spacing from `pixdim`."""
    columns = np.array(header.srow, np.float64).reshape(3, 4)[:, :3]
    with np.errstate(all="ignore"):
        spacing = np.linalg.norm(columns, axis=0)
    if np.allclose(spacing, header.pixdim[1:4], rtol=_SAME_SPACING, atol=0):
        return []
    of_sform = ", ".join(f"{value:g}" for value in spacing)
    of_pixdim = ", ".join(f"{value:g}" for value in header.pixdim[1:4])
    return [
        f"{path}: its sform says a spacing of {of_sform} mm (x, y, z), its pixdim {of_pixdim}; taken from the sform, "
        "as the standard asks, while other tools may take pixdim"
    ]


def _as_in_pixdim(header: _Header, spacing: list[float]) -> list[float]:
    """The spacing with the digits of `pixdim` where both say the same: a norm adds rounding, and ITK takes these."""
    scale = _MM_PER_UNIT.get(header.units & 7, 1.0)
    stored = [value * scale for value in header.pixdim[1:4]]
    return stored if np.allclose(spacing, stored, rtol=_SAME_SPACING, atol=0) else spacing


def _are_alike(one: _Matrix, other: _Matrix) -> bool:
    with np.errstate(all="ignore"):
        scale = np.maximum(np.linalg.norm(other[:, :3], axis=0), 1e-9)
        differences = np.abs(one[:, :3] - other[:, :3]) / scale
    return bool(
        np.all(differences < _SAME_COSINE)
        and np.allclose(one[:, 3], other[:, 3], rtol=0, atol=_SAME_MM)
    )


def _is_skewed(matrix: _Matrix) -> bool:
    with np.errstate(all="ignore"):
        axes = matrix[:, :3] / np.linalg.norm(matrix[:, :3], axis=0)
    return not np.allclose(axes.T @ axes, np.eye(3), rtol=0, atol=_SAME_COSINE)


def _read(
    path: Path,
    header: _Header,
    packing: Packing,
    number: np.dtype[Any],
    shape: tuple[int, ...],
    num_colours: int,
) -> Voxels:
    num_bytes = math.prod(shape) * num_colours * number.itemsize
    start = header.offset
    part = (
        Part(path, start, num_bytes) if packing == "raw" else Part(path, 0, num_bytes, skip=start)
    )
    flat = read_parts(path, [part], packing, number)
    if num_colours > 1:
        return np.moveaxis(flat.reshape(*shape[1:], num_colours), -1, 0)
    return _rescaled(flat.reshape(shape), header)


def _rescaled(voxels: Voxels, header: _Header) -> Voxels:
    """Apply slope and intercept; a slope of 0 or of no number stands for none."""
    slope = header.slope if math.isfinite(header.slope) and header.slope != 0 else 1.0
    intercept = (
        header.intercept if math.isfinite(header.intercept) and math.isfinite(header.slope) else 0.0
    )
    if slope == 1 and intercept == 0:
        return voxels
    with np.errstate(over="ignore"):
        rescaled = voxels * np.float64(slope) + np.float64(intercept)
        return rescaled if voxels.dtype == np.float64 else rescaled.astype(np.float32)

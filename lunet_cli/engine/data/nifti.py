"""NIfTI: what its header says, and its voxels.

Geometry follows the standard (https://nifti.nimh.nih.gov/nifti-1): the sform is a whole matrix, in
which `pixdim` has no part; the qform is a rotation with `pixdim` as its spacing. Between the two,
this chooses as ITK does.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lunet_cli.engine.data.stored_bytes import Part, read_head
from lunet_cli.engine.data.volume import in_words
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
from lunet_cli.engine.data.voxel_layout import VoxelLayout, unchanged
from lunet_cli.errors import DataError

SUFFIXES = (".nii", ".nii.gz")
_Matrix = npt.NDArray[np.float64]
_NUMBERS = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
_COLOURS = {128: 3, 2304: 4}  # RGB and RGBA: bytes side by side
_MM_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
_SCANNER = 1  # NIFTI_XFORM_SCANNER_ANAT
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])
# Headers are float32; quaternions lose some more digits.
_SAME_SPACING = 1e-3
_SAME_MM, _SAME_COSINE = 0.01, 1e-3


# Struct format and first byte of each field, in either version of the format.
_FIELDS_1 = {
    "dim": ("8h", 40),
    "datatype": ("h", 70),
    "bitpix": ("h", 72),
    "pixdim": ("8f", 76),
    "vox_offset": ("f", 108),
    "scl_slope": ("f", 112),
    "scl_inter": ("f", 116),
    "xyzt_units": ("B", 123),
    "qform_code": ("h", 252),
    "sform_code": ("h", 254),
    "quatern": ("3f", 256),
    "qoffset": ("3f", 268),
    "srow": ("12f", 280),
}
_FIELDS_2 = {
    "datatype": ("h", 12),
    "bitpix": ("h", 14),
    "dim": ("8q", 16),
    "pixdim": ("8d", 104),
    "vox_offset": ("q", 168),
    "scl_slope": ("d", 176),
    "scl_inter": ("d", 184),
    "qform_code": ("i", 344),
    "sform_code": ("i", 348),
    "quatern": ("3d", 352),
    "qoffset": ("3d", 376),
    "srow": ("12d", 400),
    "xyzt_units": ("i", 500),
}
# Length of the header with the four bytes behind it that announce extensions.
_FIRST_OFFSET_1, _FIRST_OFFSET_2 = 352, 544


@dataclass(frozen=True, kw_only=True)
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

    @property
    def mm_per_unit(self) -> float:
        """What lengths are multiplied by; the upper bits are the unit of time."""
        return _MM_PER_UNIT.get(self.units & 7, 1.0)


def open_nifti(path: Path) -> VolumeFile:
    """Read and check the header of a NIfTI file.

    Raises:
        DataError: It is not a NIfTI file, is damaged, or is not a volume.
    """
    content, packing = read_head(path, _FIRST_OFFSET_2)
    header = _parse(path, content)
    number, num_colours = _number(path, header)
    sizes, num_stacked = _sizes(path, header)
    matrix, remarks = _matrix(path, header)
    spacing, direction = axes_of(path, matrix[:, :3])
    spacing = _as_in_pixdim(header, spacing)
    geometry = checked_geometry(
        path,
        sizes=sizes,
        spacing_mm=spacing,
        origin_mm=matrix[:, 3].tolist(),
        direction=direction,
    )

    num_bytes = math.prod(sizes) * num_stacked * num_colours * number.itemsize
    # The place of the voxels counts bytes of the file as it was before packing.
    start, skip = (header.offset, 0) if packing == "raw" else (0, header.offset)
    layout = VoxelLayout(
        source=path,
        parts=[Part(path=path, start=start, num_bytes=num_bytes, skip=skip)],
        packing=packing,
        number=number,
        size=geometry.size,
        num_stacked=num_stacked,
        num_beside=num_colours,
        # Colours are not intensities.
        rescale=partial(_rescaled, header=header) if num_colours == 1 else unchanged,
    )
    return VolumeFile(
        geometry=geometry,
        num_channels=num_stacked * num_colours,
        number=number,
        read=layout.read,
        remarks=remarks,
        open_planes=layout.open,
        can_go_back=layout.can_go_back,
    )


def _parse(path: Path, content: bytes) -> _Header:
    if len(content) < 348:
        raise not_an_image(path)
    for order in "<>":
        size = struct.unpack(f"{order}i", content[:4])[0]
        if size == 348 and content[344:348] == b"n+1\0":
            return _parse_fields(path, content, order, _FIELDS_1, _FIRST_OFFSET_1)
        if size == 540 and content[4:8] == b"n+2\0" and len(content) >= 540:
            return _parse_fields(path, content, order, _FIELDS_2, _FIRST_OFFSET_2)
    if content[344:348] == b"ni1\0" or content[4:8] == b"ni2\0":
        raise damaged(path, "it is the header of a pair .hdr and .img")
    raise not_an_image(path)


def _parse_fields(
    path: Path, content: bytes, order: str, fields: dict[str, tuple[str, int]], first_offset: int
) -> _Header:
    def several(name: str) -> tuple[Any, ...]:
        kind, start = fields[name]
        return struct.unpack_from(order + kind, content, start)

    def one(name: str) -> Any:
        return several(name)[0]

    offset = one("vox_offset")  # a float in the first version, which may be NaN
    if not (math.isfinite(offset) and offset >= first_offset):
        raise damaged(path, f"its voxels would begin at byte {offset:g}, within its header")
    return _Header(
        order=order,
        dim=several("dim"),
        datatype=one("datatype"),
        bits=one("bitpix"),
        pixdim=several("pixdim"),
        offset=int(offset),
        slope=one("scl_slope"),
        intercept=one("scl_inter"),
        units=one("xyzt_units"),
        qform=one("qform_code"),
        sform=one("sform_code"),
        quaternion=several("quatern"),
        qoffset=several("qoffset"),
        srow=several("srow"),
    )


def _number(path: Path, header: _Header) -> tuple[np.dtype[Any], int]:
    """Type of a stored number, and how many stand side by side."""
    num_colours = _COLOURS.get(header.datatype, 1)
    code = "u1" if num_colours > 1 else _NUMBERS.get(header.datatype)
    if code is None:
        raise DataError(
            f"{path}: cannot be read: its data type {header.datatype} is not one of whole or real "
            "numbers",
            hint="Complex numbers and single bits must be converted first.",
        )
    number = np.dtype(header.order + code)
    if header.bits != 8 * number.itemsize * num_colours:
        raise damaged(
            path, f"its header says {header.bits} bits per voxel, and data type {header.datatype}"
        )
    return number, num_colours


def _sizes(path: Path, header: _Header) -> tuple[tuple[int, ...], int]:
    """Voxels along x, y, z; and values per voxel, which stand along one axis behind these."""
    num_axes = header.dim[0]
    if not 1 <= num_axes <= 7:
        raise damaged(path, f"its header says {num_axes} dimensions")
    sizes = checked_sizes(path, header.dim[1 : num_axes + 1])
    # Some writers state all seven axes, the last of length 1.
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes = sizes[:-1]
    num_channels = math.prod(sizes[3:])
    if len(sizes) < 3 or num_channels != max(sizes[3:], default=1):
        raise not_three_dimensional(path, sizes)
    return sizes[:3], num_channels


def _matrix(path: Path, header: _Header) -> tuple[_Matrix, tuple[str, ...]]:
    """The 3x4 matrix from voxels (x, y, z) to mm in LPS, and what is odd about it."""
    if header.sform <= 0 and header.qform <= 0:
        remark = (
            f"{path}: does not say how its axes lie in the patient (neither sform nor qform); "
            "taken as left, posterior, superior"
        )
        matrix = np.hstack([np.diag(_pixdim(path, header)), np.zeros((3, 1))])
        return matrix * header.mm_per_unit, (remark,)
    matrix, name, remarks = _chosen_matrix(path, header)
    if not np.isfinite(matrix).all():
        raise damaged(path, f"its {name} holds numbers that are not finite")
    return _RAS_TO_LPS @ matrix * header.mm_per_unit, tuple(remarks)


def _chosen_matrix(path: Path, header: _Header) -> tuple[_Matrix, str, list[str]]:
    """Of sform and qform, the one that ITK takes; its name; and what is odd about it."""
    if header.sform <= 0:
        return _qform(path, header), "qform", []
    sform = np.array(header.srow, np.float64).reshape(3, 4)
    if header.qform <= 0:
        return sform, "sform", _remarks_on_spacing(path, header)
    qform = _qform(path, header)
    if _are_alike(sform, qform):
        return sform, "sform", _remarks_on_spacing(path, header)
    is_skewed = _is_skewed(sform)
    chosen = "sform" if header.sform == _SCANNER and not is_skewed else "qform"
    why = ", whose axes are not at right angles" if is_skewed else ""
    remark = (
        f"{path}: its sform{why} (code {header.sform}) and its qform (code {header.qform}) place "
        f"it differently; taken from the {chosen}"
    )
    if chosen == "qform":
        return qform, chosen, [remark]
    return sform, chosen, [remark, *_remarks_on_spacing(path, header)]


def _qform(path: Path, header: _Header) -> _Matrix:
    """The matrix of a quaternion, as nifti1_io computes it."""
    b, c, d = header.quaternion
    squares = b * b + c * c + d * d
    # Rounding to float32 leaves a rotation by half a turn slightly above 1; more is no rotation.
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
    # A quaternion cannot mirror; the sign of the otherwise unused pixdim[0] does.
    qfac = -1.0 if header.pixdim[0] < 0 else 1.0
    spacing = _pixdim(path, header) * [1, 1, qfac]
    return np.column_stack([rotation * spacing, header.qoffset])


def _pixdim(path: Path, header: _Header) -> _Matrix:
    spacing = np.array(header.pixdim[1:4], np.float64)
    if not (np.isfinite(spacing).all() and (spacing > 0).all()):
        raise damaged(path, f"its voxel spacing (pixdim) is {in_words(spacing)}")
    return spacing


def _remarks_on_spacing(path: Path, header: _Header) -> list[str]:
    """The sform says all of it, but other tools (ITK is one) take the spacing from `pixdim`."""
    columns = np.array(header.srow, np.float64).reshape(3, 4)[:, :3]
    with np.errstate(all="ignore"):
        spacing = np.linalg.norm(columns, axis=0)
    if np.allclose(spacing, header.pixdim[1:4], rtol=_SAME_SPACING, atol=0):
        return []
    return [
        f"{path}: its sform says a spacing of {in_words(spacing)} mm (x, y, z), its pixdim "
        f"{in_words(header.pixdim[1:4])}; taken from the sform, as the standard asks, while other "
        "tools may take pixdim"
    ]


def _as_in_pixdim(header: _Header, spacing: list[float]) -> list[float]:
    """The spacing with the digits of `pixdim`, where both say the same."""
    # A norm adds rounding, and ITK takes these digits.
    stored = [value * header.mm_per_unit for value in header.pixdim[1:4]]
    return stored if np.allclose(spacing, stored, rtol=_SAME_SPACING, atol=0) else spacing


def _are_alike(one: _Matrix, other: _Matrix) -> bool:
    with np.errstate(all="ignore"):
        scale = np.maximum(np.linalg.norm(other[:, :3], axis=0), 1e-9)
        differences = np.abs(one[:, :3] - other[:, :3]) / scale
    if not np.all(differences < _SAME_COSINE):
        return False
    return np.allclose(one[:, 3], other[:, 3], rtol=0, atol=_SAME_MM)


def _is_skewed(matrix: _Matrix) -> bool:
    with np.errstate(all="ignore"):
        axes = matrix[:, :3] / np.linalg.norm(matrix[:, :3], axis=0)
    return not np.allclose(axes.T @ axes, np.eye(3), rtol=0, atol=_SAME_COSINE)


def _rescaled(voxels: Voxels, *, header: _Header) -> Voxels:
    """Apply slope and intercept; a slope that is 0 or not finite stands for none."""
    slope, intercept = header.slope, header.intercept
    if not math.isfinite(slope):
        slope, intercept = 1.0, 0.0
    if slope == 0:
        slope = 1.0
    if not math.isfinite(intercept):
        intercept = 0.0
    if slope == 1 and intercept == 0:
        return voxels
    with np.errstate(over="ignore"):
        rescaled = voxels * np.float64(slope) + np.float64(intercept)
        if voxels.dtype == np.float64:
            return rescaled
        return rescaled.astype(np.float32)

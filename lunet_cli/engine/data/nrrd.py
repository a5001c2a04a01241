"""NRRD (.nrrd, .nhdr): what its header says, and its voxels.

The format: https://teem.sourceforge.net/nrrd/format.html
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lunet_cli.engine.data.disk import open_file
from lunet_cli.engine.data.header_text import (
    LARGEST_HEADER,
    data_files,
    one_whole_number,
    real_numbers,
    whole_numbers,
)
from lunet_cli.engine.data.stored_bytes import Packing, Part, read_start
from lunet_cli.engine.data.volume_file import (
    VolumeFile,
    axes_of,
    checked_geometry,
    checked_sizes,
    damaged,
    not_an_image,
    not_three_dimensional,
)
from lunet_cli.engine.data.voxel_layout import VoxelLayout
from lunet_cli.errors import DataError

SUFFIXES = (".nrrd", ".nhdr")
_NUMBERS = {
    "signed char": "i1",
    "int8": "i1",
    "int8_t": "i1",
    "uchar": "u1",
    "unsigned char": "u1",
    "uint8": "u1",
    "uint8_t": "u1",
    "short": "i2",
    "short int": "i2",
    "signed short": "i2",
    "signed short int": "i2",
    "int16": "i2",
    "int16_t": "i2",
    "ushort": "u2",
    "unsigned short": "u2",
    "unsigned short int": "u2",
    "uint16": "u2",
    "uint16_t": "u2",
    "int": "i4",
    "signed int": "i4",
    "int32": "i4",
    "int32_t": "i4",
    "uint": "u4",
    "unsigned int": "u4",
    "uint32": "u4",
    "uint32_t": "u4",
    "longlong": "i8",
    "long long": "i8",
    "long long int": "i8",
    "signed long long": "i8",
    "signed long long int": "i8",
    "int64": "i8",
    "int64_t": "i8",
    "ulonglong": "u8",
    "unsigned long long": "u8",
    "unsigned long long int": "u8",
    "uint64": "u8",
    "uint64_t": "u8",
    "float": "f4",
    "double": "f8",
}
_BYTE_ORDERS = {"little": "<", "big": ">"}
_PACKINGS: dict[str, Packing] = {"raw": "raw", "gz": "gzip", "gzip": "gzip"}
_SPACES = {  # signs of its axes in LPS
    "right-anterior-superior": (-1, -1, 1),
    "ras": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1),
    "las": (1, -1, 1),
    "left-posterior-superior": (1, 1, 1),
    "lps": (1, 1, 1),
    "": (1, 1, 1),  # `space dimension: 3` names none; ITK takes it as LPS.
}
_DOMAIN_KINDS = ("domain", "space", "time", "???")  # The last stands for an unknown kind.
_VECTOR = re.compile(r"none|\(([^()]*)\)")


@dataclass(frozen=True, kw_only=True)
class _Header:
    """The fields, and where they end.

    Args:
        path: The file.
        fields: Text by name, in small letters.
        names: Lines behind a list of data files.
        end: The first byte behind the header.
    """

    path: Path
    fields: dict[str, str]
    names: list[str]
    end: int

    def whole(self, *names: str) -> int:
        """The whole number of a field that has several spellings; 0 where it is absent."""
        for name in names:
            if name in self.fields:
                return one_whole_number(self.path, name, self.fields[name])
        return 0

    def vectors(self, name: str) -> list[list[float] | None]:
        """The vectors of a field; None for `none`."""
        text = self.fields[name]
        if _VECTOR.sub("", text).strip():
            raise damaged(self.path, f"'{name}' is '{text[:60]}', not vectors")
        found: list[list[float] | None] = []
        for match in _VECTOR.finditer(text):
            inside = match[1]
            if inside is None:
                found.append(None)
            else:
                found.append(real_numbers(self.path, name, inside, count=inside.count(",") + 1))
        return found


def open_nrrd(path: Path) -> VolumeFile:
    """Read and check the header of a NRRD file.

    Raises:
        DataError: It is not a NRRD file, is damaged, or is not a volume.
    """
    header = _parse(path)
    sizes = checked_sizes(path, whole_numbers(path, "sizes", header.fields.get("sizes", "")))
    num_axes = header.whole("dimension")
    if num_axes != len(sizes):
        raise damaged(path, f"'dimension' is {num_axes}, and 'sizes' has {len(sizes)} numbers")
    channel_axis = _channel_axis(header, sizes)
    domain = slice(1, 4) if channel_axis == 0 else slice(0, 3)
    spacing, direction, origin = _grid(header, sizes, domain)
    geometry = checked_geometry(
        path, sizes=sizes[domain], spacing_mm=spacing, origin_mm=origin, direction=direction
    )
    number, packing = _number(header), _packing(header)
    parts = _parts(header, sizes, number.itemsize, packing)

    num_channels = math.prod(sizes) // math.prod(geometry.size)
    # Axes run from the fastest to the slowest in the file.
    is_beside = channel_axis == 0
    layout = VoxelLayout(
        source=path,
        parts=parts,
        packing=packing,
        number=number,
        size=geometry.size,
        num_stacked=1 if is_beside else num_channels,
        num_beside=num_channels if is_beside else 1,
    )
    return VolumeFile(
        geometry=geometry,
        num_channels=num_channels,
        number=number,
        read=layout.read,
        remarks=_remarks(header),
        open_planes=layout.open,
        can_go_back=layout.can_go_back,
    )


def _parse(path: Path) -> _Header:
    content = read_start(path, LARGEST_HEADER)
    if not re.match(rb"NRRD000[1-5]\r?\n", content):
        raise not_an_image(path)
    fields: dict[str, str] = {}
    position = content.index(b"\n") + 1
    while True:
        line_end = content.find(b"\n", position)
        if line_end < 0:
            line_end = len(content)  # The header of a detached file may end with the file.
        line = content[position:line_end].decode("utf-8", "surrogateescape").strip()
        position = min(line_end + 1, len(content))
        _add_field(path, fields, line)
        is_list = _data_file(fields).split()[:1] == ["LIST"]
        if not line or is_list or position == len(content):
            break
    names: list[str] = []
    if is_list:
        names = content[position:].decode("utf-8", "surrogateescape").splitlines()
    return _Header(path=path, fields=fields, names=names, end=position)


def _add_field(path: Path, fields: dict[str, str], line: str) -> None:
    if not line or line.startswith("#") or ":=" in line:
        return  # a comment, or a key with a value for others
    name, is_field, value = line.partition(":")
    if not is_field:
        raise damaged(path, f"its header has the line '{line[:60]}', which is not a field")
    fields[name.strip().lower()] = value.strip()


def _data_file(fields: dict[str, str]) -> str:
    return fields.get("data file", fields.get("datafile", ""))


def _channel_axis(header: _Header, sizes: tuple[int, ...]) -> int | None:
    """The axis along which channels lie; None where there is none."""
    if len(sizes) == 3:
        return None
    if len(sizes) != 4:
        raise not_three_dimensional(header.path, sizes)
    found = _axes_without_direction(header) or _axes_of_another_kind(header)
    if not found:
        return 3  # as writers do that say nothing of kinds
    if len(found) > 1 or found[0] not in (0, 3):
        listed = ", ".join(map(str, found))
        raise damaged(
            header.path,
            f"its axes {listed} are not axes of space; only one such axis can be read, "
            "the first or the last",
        )
    return found[0]


def _axes_without_direction(header: _Header) -> list[int]:
    if "space directions" not in header.fields:
        return []
    vectors = header.vectors("space directions")
    return [axis for axis, vector in enumerate(vectors) if vector is None]


def _axes_of_another_kind(header: _Header) -> list[int]:
    kinds = header.fields.get("kinds", "").lower().split()
    return [axis for axis, kind in enumerate(kinds) if kind not in _DOMAIN_KINDS]


def _grid(
    header: _Header, sizes: tuple[int, ...], domain: slice
) -> tuple[list[float], npt.NDArray[np.float64], list[float]]:
    """Spacing, direction and origin along the axes of space."""
    if "space directions" in header.fields:
        return _grid_in_space(header, sizes, domain)
    spacing, origin = [1.0] * 3, [0.0] * 3
    if "spacings" in header.fields:
        # NaN stands for an axis without a spacing.
        words = header.fields["spacings"].lower().replace("nan", "1").split()
        stored = real_numbers(header.path, "spacings", " ".join(words), count=len(sizes))
        spacing = stored[domain]
    if "axis mins" in header.fields and "nan" not in header.fields["axis mins"].lower():
        text = header.fields["axis mins"]
        stored = real_numbers(header.path, "axis mins", text, count=len(sizes))
        origin = stored[domain]
    return spacing, np.eye(3), origin


def _remarks(header: _Header) -> tuple[str, ...]:
    """What the header leaves open."""
    if "space directions" not in header.fields:
        return (
            f"{header.path}: does not say how its axes lie in the patient; "
            "taken as left, posterior, superior",
        )
    if "space origin" not in header.fields:
        return (f"{header.path}: does not say its origin; taken as 0",)
    return ()


def _grid_in_space(
    header: _Header, sizes: tuple[int, ...], domain: slice
) -> tuple[list[float], npt.NDArray[np.float64], list[float]]:
    vectors = header.vectors("space directions")
    if len(vectors) != len(sizes):
        raise damaged(
            header.path, f"'space directions' has {len(vectors)} vectors for {len(sizes)} axes"
        )
    signs = _signs(header)
    # Behind the three of space may stand a fourth number, of time.
    columns = [(vector or [])[:3] for vector in vectors[domain]]
    if any(len(column) != 3 for column in columns):
        raise damaged(header.path, "'space directions' are not three vectors of three numbers")
    spacing, direction = axes_of(header.path, signs[:, None] * np.array(columns, np.float64).T)
    origin = [0.0] * 3
    if "space origin" in header.fields:
        found = header.vectors("space origin")
        if len(found) != 1 or found[0] is None or len(found[0]) < 3:
            raise damaged(header.path, "'space origin' is not a vector of three numbers")
        origin = (signs * np.array(found[0][:3])).tolist()
    return spacing, direction, origin


def _signs(header: _Header) -> npt.NDArray[np.float64]:
    name = header.fields.get("space", "").lower().removesuffix("-time").removesuffix("t")
    if name not in _SPACES:
        raise DataError(
            f"{header.path}: cannot be read: its space '{header.fields['space'][:60]}' is not "
            "that of a patient",
            hint="Known are left-posterior-superior, right-anterior-superior and "
            "left-anterior-superior.",
        )
    return np.array(_SPACES[name], np.float64)


def _number(header: _Header) -> np.dtype[Any]:
    name = header.fields.get("type", "").lower()
    code = _NUMBERS.get(name)
    if code is None:
        raise damaged(header.path, f"its type '{name[:60]}' is not one of whole or real numbers")
    endian = header.fields.get("endian", "").lower()
    if endian == "" and code in ("i1", "u1"):
        return np.dtype(code)
    if endian not in _BYTE_ORDERS:
        raise damaged(header.path, f"its endian '{endian[:60]}' is neither little nor big")
    return np.dtype(_BYTE_ORDERS[endian] + code)


def _packing(header: _Header) -> Packing:
    encoding = header.fields.get("encoding", "").lower()
    if encoding not in _PACKINGS:
        raise DataError(
            f"{header.path}: cannot be read: its encoding '{encoding[:60]}' is neither raw nor "
            "gzip",
            hint="Convert it, for instance with 3D Slicer.",
        )
    return _PACKINGS[encoding]


def _parts(
    header: _Header, sizes: tuple[int, ...], bytes_per_number: int, packing: Packing
) -> list[Part]:
    path, text = header.path, _data_file(header.fields)
    num_lines, skip = header.whole("line skip", "lineskip"), header.whole("byte skip", "byteskip")
    if num_lines < 0 or skip < -1 or (skip == -1 and packing != "raw"):
        raise damaged(path, f"'line skip' is {num_lines}, and 'byte skip' is {skip}")
    files, start = [path], header.end
    if text:
        files = data_files(path, "data file", text, names=header.names, sizes=sizes)
        start = 0
    num_bytes = math.prod(sizes) * bytes_per_number // len(files)
    parts = []
    for file in files:
        if skip == -1:  # The voxels end with the file.
            parts.append(Part(path=file, start=-1, num_bytes=num_bytes))
            continue
        begin = start
        if num_lines:
            begin = _skip_lines(header, file, start, num_lines)
        # Lines are skipped in the file as it is stored, bytes once it is unpacked.
        if packing == "raw":
            parts.append(Part(path=file, start=begin + skip, num_bytes=num_bytes))
        else:
            parts.append(Part(path=file, start=begin, num_bytes=num_bytes, skip=skip))
    return parts


def _skip_lines(header: _Header, file: Path, start: int, num_lines: int) -> int:
    with open_file(file) as stream:
        stream.seek(start)
        content = stream.read(LARGEST_HEADER)
    position = 0
    for _ in range(num_lines):
        position = content.find(b"\n", position) + 1
        if position == 0:
            raise damaged(
                header.path, f"'line skip' is {num_lines}, and {file.name} has fewer lines"
            )
    return start + position

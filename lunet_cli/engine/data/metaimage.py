"""MetaImage (.mha, .mhd): what its header says, and its voxels.

The format: https://itk.org/Wiki/ITK/MetaIO/Documentation
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lunet_cli.engine.data.header_text import (
    LARGEST_HEADER,
    data_files,
    one_whole_number,
    real_numbers,
    whole_numbers,
)
from lunet_cli.engine.data.stored_bytes import Packing, Part, read_start
from lunet_cli.engine.data.volume import Geometry
from lunet_cli.engine.data.volume_file import (
    VolumeFile,
    checked_geometry,
    checked_sizes,
    damaged,
    not_an_image,
    not_three_dimensional,
)
from lunet_cli.engine.data.voxel_layout import VoxelLayout
from lunet_cli.errors import DataError

SUFFIXES = (".mha", ".mhd")
_NUMBERS = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    # MetaIO stores a long in 4 bytes on every machine.
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
_DATA = "ElementDataFile"
# What MetaIO calls one and the same thing.
_SPACING = ("ElementSpacing", "ElementSize")
_ORIGIN = ("Offset", "Origin", "Position")
_DIRECTION = ("TransformMatrix", "Rotation", "Orientation")
_BYTE_ORDER = ("BinaryDataByteOrderMSB", "ElementByteOrderMSB")


@dataclass(frozen=True, kw_only=True)
class _Header:
    """The fields, and where they end.

    Args:
        path: The file.
        fields: Text by name.
        names: Lines behind the last field.
        end: The first byte behind the last field.
    """

    path: Path
    fields: dict[str, str]
    names: list[str]
    end: int

    def first(self, names: tuple[str, ...]) -> tuple[str, str | None]:
        """Name and text of the first of several fields that is there."""
        for name in names:
            if name in self.fields:
                return name, self.fields[name]
        return names[0], None

    def reals(self, names: tuple[str, ...], default: list[float]) -> list[float]:
        """As many finite numbers as `default` has."""
        name, text = self.first(names)
        if text is None:
            return default
        return real_numbers(self.path, name, text, count=len(default))

    def is_true(self, names: tuple[str, ...], *, default: bool) -> bool:
        name, text = self.first(names)
        if text is None:
            return default
        if text.lower() not in ("true", "false", "1", "0"):
            raise damaged(self.path, f"'{name}' is '{text[:60]}', neither True nor False")
        return text.lower() in ("true", "1")

    def whole(self, name: str, default: int) -> int:
        if name not in self.fields:
            return default
        return one_whole_number(self.path, name, self.fields[name])


def open_metaimage(path: Path) -> VolumeFile:
    """Read and check the header of a MetaImage file.

    Raises:
        DataError: It is not a MetaImage file, is damaged, or is not a volume.
    """
    header = _parse(path)
    sizes, components = _sizes(header)
    number = _number(header)
    geometry = _geometry(header, sizes)
    num_stacked = math.prod(sizes[3:])
    parts = _parts(header, sizes, components * number.itemsize)
    packing: Packing = "raw"
    if header.is_true(("CompressedData",), default=False):
        packing = "gzip"
    if packing == "gzip" and len(parts) > 1:
        raise damaged(
            path, "its voxels are compressed and in several files, which MetaImage does not allow"
        )

    layout = VoxelLayout(
        source=path,
        parts=parts,
        packing=packing,
        number=number,
        size=geometry.size,
        num_stacked=num_stacked,
        num_beside=components,
    )
    return VolumeFile(
        geometry=geometry,
        num_channels=num_stacked * components,
        number=number,
        read=layout.read,
        remarks=_remarks(header),
        open_planes=layout.open,
        can_go_back=layout.can_go_back,
    )


def _sizes(header: _Header) -> tuple[tuple[int, ...], int]:
    """Voxels along each of three or four axes, and values per voxel."""
    path, num_axes = header.path, header.whole("NDims", 0)
    # MetaIO has room for ten; ITK aborts on more.
    if num_axes not in range(1, 11):
        raise damaged(path, f"'NDims' is {num_axes}")
    sizes = checked_sizes(path, whole_numbers(path, "DimSize", header.fields.get("DimSize", "")))
    if len(sizes) != num_axes:
        raise damaged(path, f"'NDims' is {num_axes}, and 'DimSize' has {len(sizes)} numbers")
    components = header.whole("ElementNumberOfChannels", 1)
    # Far beyond diffusion directions or echoes; a larger number is a damaged one.
    if not 1 <= components <= 1024:
        raise damaged(path, f"'ElementNumberOfChannels' is {components}")
    if num_axes not in (3, 4) or (num_axes == 4 and components > 1):
        raise not_three_dimensional(path, sizes)
    return sizes, components


def _geometry(header: _Header, sizes: tuple[int, ...]) -> Geometry:
    num_axes = len(sizes)
    spacing = header.reals(_SPACING, [1.0] * num_axes)
    origin = header.reals(_ORIGIN, [0.0] * num_axes)
    rows = header.reals(_DIRECTION, np.eye(num_axes).ravel().tolist())
    matrix = np.array(rows).reshape(num_axes, num_axes)
    # MetaIO writes an axis as a row, ITK as a column.
    return checked_geometry(
        header.path,
        sizes=sizes[:3],
        spacing_mm=spacing[:3],
        origin_mm=origin[:3],
        direction=matrix[:3, :3].T,
    )


def _remarks(header: _Header) -> tuple[str, ...]:
    """What the header leaves open; ITK and this take it as 1 mm, at 0, along the patient."""
    fields = {"voxel spacing": _SPACING, "origin": _ORIGIN, "direction": _DIRECTION}
    absent = [words for words, names in fields.items() if header.first(names)[1] is None]
    if not absent:
        return ()
    return (
        f"{header.path}: does not say its {' and its '.join(absent)}; taken as 1 mm, from 0, "
        "along the patient",
    )


def _parse(path: Path) -> _Header:
    content = read_start(path, LARGEST_HEADER)
    fields: dict[str, str] = {}
    position = 0
    while _DATA not in fields:
        line_end = content.find(b"\n", position)
        if line_end < 0:
            break
        line = content[position:line_end].decode("utf-8", "surrogateescape")
        key, is_field, value = line.partition("=")
        if not is_field:
            break
        fields[key.strip()] = value.strip()
        position = line_end + 1
    if "NDims" not in fields and "DimSize" not in fields:
        raise not_an_image(path)
    if _DATA not in fields:
        raise damaged(path, f"its header ends without '{_DATA}'")
    names: list[str] = []
    if fields[_DATA].split()[:1] == ["LIST"]:
        names = content[position:].decode("utf-8", "surrogateescape").splitlines()
    return _Header(path=path, fields=fields, names=names, end=position)


def _number(header: _Header) -> np.dtype[Any]:
    name = header.fields.get("ElementType", "")
    code = _NUMBERS.get(name.removesuffix("_ARRAY"))
    if code is None:
        raise damaged(
            header.path, f"its ElementType '{name[:60]}' is not one of whole or real numbers"
        )
    if not header.is_true(("BinaryData",), default=True):
        raise DataError(
            f"{header.path}: cannot be read: its voxels are written as text",
            hint="Convert it to binary data, for instance with SimpleITK.",
        )
    order = ">" if header.is_true(_BYTE_ORDER, default=False) else "<"
    return np.dtype(order + code)


def _parts(header: _Header, sizes: tuple[int, ...], bytes_per_voxel: int) -> list[Part]:
    num_bytes = math.prod(sizes) * bytes_per_voxel
    text, start = header.fields[_DATA], header.whole("HeaderSize", 0)
    if start < -1:
        raise damaged(header.path, f"'HeaderSize' is {start}")
    if text.upper() in ("LOCAL", "LOCALFILE"):
        return [Part(path=header.path, start=header.end, num_bytes=num_bytes)]
    files = data_files(header.path, _DATA, text, names=header.names, sizes=sizes)
    # A start of -1 says that the voxels end with the file.
    return [Part(path=file, start=start, num_bytes=num_bytes // len(files)) for file in files]

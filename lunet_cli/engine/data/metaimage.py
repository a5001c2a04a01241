"""MetaImage (.mha, .mhd): what its header says, and its voxels.

The format: https://itk.org/Wiki/ITK/MetaIO/Documentation
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lunet_cli.engine.data.disk import open_file, reason_of
from lunet_cli.engine.data.header_text import (
    LARGEST_HEADER,
    data_files,
    one_whole_number,
    real_numbers,
    whole_numbers,
)
from lunet_cli.engine.data.stored_bytes import Part, read_parts
from lunet_cli.engine.data.volume_file import (
    VolumeFile,
    Voxels,
    checked_geometry,
    checked_sizes,
    damaged,
    not_an_image,
    not_three_dimensional,
)
from lunet_cli.errors import DataError

SUFFIXES = (".mha", ".mhd")
_NUMBERS = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",  # MetaIO stores a long in 4 bytes on every machine.
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


@dataclass(frozen=True)
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
        return next(
            ((name, self.fields[name]) for name in names if name in self.fields), (names[0], None)
        )

    def reals(self, names: tuple[str, ...], default: list[float]) -> list[float]:
        """As many finite numbers as `default` has."""
        name, text = self.first(names)
        return default if text is None else real_numbers(self.path, name, text, len(default))

    def is_true(self, names: tuple[str, ...], *, default: bool) -> bool:
        name, text = self.first(names)
        if text is None:
            return default
        if text.lower() not in ("true", "false", "1", "0"):
            raise damaged(self.path, f"'{name}' is '{text[:60]}', neither True nor False")
        return text.lower() in ("true", "1")

    def whole(self, name: str, default: int) -> int:
        return (
            one_whole_number(self.path, name, self.fields[name]) if name in self.fields else default
        )


def open_metaimage(path: Path) -> VolumeFile:
    """Read and check the header of a MetaImage file.

    Raises:
        DataError: It is not a MetaImage file, is damaged, or is not a volume.
    """
    header = _parse(path)
    num_axes = header.whole("NDims", 0)
    if num_axes not in range(1, 11):
        raise damaged(path, f"'NDims' is {num_axes}")
    sizes = checked_sizes(path, whole_numbers(path, "DimSize", header.fields.get("DimSize", "")))
    if len(sizes) != num_axes:
        raise damaged(path, f"'NDims' is {num_axes}, and 'DimSize' has {len(sizes)} numbers")
    components = header.whole("ElementNumberOfChannels", 1)
    if not 1 <= components <= 1024:
        raise damaged(path, f"'ElementNumberOfChannels' is {components}")
    if num_axes not in (3, 4) or (num_axes == 4 and components > 1):
        raise not_three_dimensional(path, sizes)
    number = _number(header)
    spacing = header.reals(_SPACING, [1.0] * num_axes)
    origin = header.reals(_ORIGIN, [0.0] * num_axes)
    matrix = np.array(header.reals(_DIRECTION, np.eye(num_axes).ravel().tolist())).reshape(
        num_axes, num_axes
    )
    # MetaIO writes an axis as a row, ITK as a column.
    geometry = checked_geometry(path, sizes[:3], spacing[:3], origin[:3], matrix[:3, :3].T)
    num_stacked = math.prod(sizes[3:])
    parts = _parts(header, sizes, components * number.itemsize)
    packing = "gzip" if header.is_true(("CompressedData",), default=False) else "raw"
    if packing == "gzip" and len(parts) > 1:
        raise damaged(
            path, "its voxels are compressed and in several files, which MetaImage does not know"
        )

    def read() -> Voxels:
        flat = read_parts(path, parts, packing, number)  # type: ignore[arg-type]
        if components == 1:
            return flat.reshape(num_stacked, *geometry.size)
        return np.moveaxis(flat.reshape(*geometry.size, components), -1, 0)

    return VolumeFile(geometry, num_stacked * components, number, read, _remarks(header))


def _remarks(header: _Header) -> tuple[str, ...]:
    """What the header leaves open; ITK and this take it as 1 mm, at 0, along the patient."""
    fields = {"voxel spacing": _SPACING, "origin": _ORIGIN, "direction": _DIRECTION}
    absent = [words for words, names in fields.items() if header.first(names)[1] is None]
    if not absent:
        return ()
    return (
        f"{header.path}: does not say its {' and its '.join(absent)}; taken as 1 mm, from 0, along the patient",
    )


def _parse(path: Path) -> _Header:
    with open_file(path) as file:
        try:
            content = file.read(LARGEST_HEADER)
        except OSError as error:
            raise damaged(path, reason_of(error)) from None
    fields: dict[str, str] = {}
    position = 0
    while _DATA not in fields:
        line_end = content.find(b"\n", position)
        if line_end < 0:
            break
        key, is_field, value = (
            content[position:line_end].decode("utf-8", "surrogateescape").partition("=")
        )
        if not is_field:
            break
        fields[key.strip()] = value.strip()
        position = line_end + 1
    if "NDims" not in fields and "DimSize" not in fields:
        raise not_an_image(path)
    if _DATA not in fields:
        raise damaged(path, f"its header ends without '{_DATA}'")
    is_list = fields[_DATA].split()[:1] == ["LIST"]
    names = content[position:].decode("utf-8", "surrogateescape").splitlines() if is_list else []
    return _Header(path, fields, names, position)


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
    return np.dtype((">" if header.is_true(_BYTE_ORDER, default=False) else "<") + code)


def _parts(header: _Header, sizes: tuple[int, ...], bytes_per_voxel: int) -> list[Part]:
    num_bytes = math.prod(sizes) * bytes_per_voxel
    text, start = header.fields[_DATA], header.whole("HeaderSize", 0)
    if start < -1:
        raise damaged(header.path, f"'HeaderSize' is {start}")
    if text.upper() in ("LOCAL", "LOCALFILE"):
        return [Part(header.path, header.end, num_bytes)]
    words = text.split()
    is_several = words[:1] == ["LIST"] or "%" in text
    files = data_files(header.path, _DATA, words if is_several else [text], header.names)
    if is_several:
        num_axes = _axes_per_file(header, words, len(sizes))
        expected = math.prod(sizes[num_axes:])
        if len(files) != expected:
            raise damaged(
                header.path, f"'{_DATA}' names {len(files)} files, and its sizes ask for {expected}"
            )
        num_bytes //= expected
    return [Part(file, start, num_bytes) for file in files]


def _axes_per_file(header: _Header, words: list[str], num_axes: int) -> int:
    """Axes that lie within one file: those in front of the last, or as many as a list says behind `LIST`."""
    if words[0] != "LIST" or len(words) == 1:
        return num_axes - 1
    found = one_whole_number(header.path, _DATA, " ".join(words[1:]))
    if not 1 <= found < num_axes:
        raise damaged(header.path, f"'{_DATA}' is '{' '.join(words)[:60]}' for {num_axes} axes")
    return found

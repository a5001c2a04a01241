"""Files of volumes as ITK writes them, of which the planes come one after the other."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813

from lunet_cli.engine.data.plain_path import plain_path
from lunet_cli.engine.data.volume import Geometry

_GZIP, _ZLIB = 31, 15  # for zlib: which header it writes
# Between the 2 that ITK has for MetaImage and the 6 that it has for NIfTI: label maps become a
# fourth larger than with 6, in half of its time, and in a fourth where they are noisy.
_LEVEL = 4
# Header of the first version of NIfTI, with the four bytes that announce no extensions; and where
# the number of planes stands in it.
_NIFTI_HEADER, _NIFTI_DEPTH = 352, slice(46, 48)
_MOST_NIFTI_PLANES = 2**15 - 1
# Room for the number of bytes, which is known when all are written.
_SIZE = b"CompressedDataSize = %020d\n"


@dataclass(frozen=True)
class _Form:
    """How a file is made of the header that ITK writes.

    Args:
        header: What comes before the voxels.
        is_packed: Whether the header is packed with them.
        bits: How voxels are packed, for zlib; None where they are not.
        size_at: Where `_SIZE` stands in the header; None where it does not.
    """

    header: bytes
    is_packed: bool = False
    bits: int | None = None
    size_at: int | None = None


class PlaneFile:
    """A file that is written plane by plane.

    Args:
        path: The file; its ending says the format: `.nii.gz`, `.nii`, `.nrrd` or `.mha`.
        geometry: Where the voxels lie.
        dtype: Their type.

    Raises:
        OSError: It cannot be written.
        RuntimeError: ITK cannot write it.
    """

    def __init__(self, path: Path, geometry: Geometry, dtype: np.dtype[Any]) -> None:
        self.path = path
        form = _form(path, geometry, dtype)
        self._size_at = form.size_at
        self._packer: zlib._Compress | None = None
        if form.bits is not None:
            self._packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, form.bits)
        self._file: BinaryIO = path.open("wb")
        self._num_bytes = 0
        if form.is_packed:
            self._put(form.header)
        else:
            self._file.write(form.header)

    def write(self, planes: npt.NDArray[Any]) -> None:
        """Write the next planes (n, H, W)."""
        self._put(np.ascontiguousarray(planes).data.cast("B"))

    def finish(self) -> None:
        """Write what is left, and close the file."""
        if self._packer is not None:
            self._count(self._packer.flush())
        if self._size_at is not None:
            self._file.seek(self._size_at)
            self._file.write(_SIZE % self._num_bytes)
        self._file.close()

    def close(self) -> None:
        """Let go of a file that has not become whole."""
        self._file.close()

    def _put(self, content: bytes | memoryview) -> None:
        if self._packer is not None:
            content = self._packer.compress(content)
        self._count(content)

    def _count(self, content: bytes | memoryview) -> None:
        self._file.write(content)
        self._num_bytes += len(content)


def _form(path: Path, geometry: Geometry, dtype: np.dtype[Any]) -> _Form:
    name, header = path.name.lower(), _header_of_itk(path, geometry, dtype)
    depth, height, width = geometry.size
    if name.endswith((".nii", ".nii.gz")):
        if depth > _MOST_NIFTI_PLANES:
            raise OSError(f"NIfTI has room for {_MOST_NIFTI_PLANES:,} planes, not for {depth:,}")
        content = bytearray(header[:_NIFTI_HEADER])
        content[_NIFTI_DEPTH] = np.array([depth], np.int16).tobytes()
        if name.endswith(".gz"):
            return _Form(bytes(content), is_packed=True, bits=_GZIP)
        return _Form(bytes(content))
    sizes = f"{width} {height} {depth}\n".encode()
    if name.endswith(".nrrd"):
        text = header[: header.index(b"\n\n") + 2]
        text = _replaced(text, b"sizes: ", sizes)
        return _Form(_replaced(text, b"encoding: ", b"gzip\n"), bits=_GZIP)
    end = b"ElementDataFile = LOCAL\n"
    text = header[: header.index(end) + len(end)]
    text = _replaced(text, b"DimSize = ", sizes)
    text = _replaced(text, b"CompressedData = ", b"True\n" + _SIZE % 0)
    return _Form(text, bits=_ZLIB, size_at=text.index(_SIZE[:18]))


def _header_of_itk(path: Path, geometry: Geometry, dtype: np.dtype[Any]) -> bytes:
    """A file of one plane, as ITK writes it: no other program knows its headers as well."""
    _, height, width = geometry.size
    image = sitk.GetImageFromArray(np.zeros((1, height, width), dtype))
    image.SetSpacing(geometry.spacing_mm[::-1])
    image.SetOrigin(geometry.origin_mm)
    image.SetDirection(geometry.direction)
    # Not packed, so that its header can be read as it is.
    suffix = path.suffix.lower().replace(".gz", ".nii")
    plane = path.with_name(f"{path.name}.plane{suffix}")
    try:
        with plain_path(plane) as plain:
            sitk.WriteImage(image, str(plain), useCompression=False)
        return plane.read_bytes()
    finally:
        plane.unlink(missing_ok=True)


def _replaced(text: bytes, field: bytes, value: bytes) -> bytes:
    """A header with another value of a field."""
    return re.sub(rb"(?m)^" + field + rb"[^\n]*\n", field + value, text, count=1)

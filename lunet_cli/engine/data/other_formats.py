"""Volumes in formats that only ITK reads, such as VTK, MINC or Analyze."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from lunet_cli.engine.data.itk_process import (
    ItkError,
    read_header_with_itk,
    read_voxels_with_itk,
)
from lunet_cli.engine.data.stored_bytes import read_start
from lunet_cli.engine.data.volume_file import (
    VolumeFile,
    Voxels,
    checked_geometry,
    damaged,
    not_three_dimensional,
)

# A file packs its voxels to no less than a hundredth, as far as real images go.
_LARGEST_RATIO = 100
_BASE_MIB = 64
_LONGEST_TEXT = 1024  # bytes of the text at the start of a VTK file, which has ten short lines
_GIPL_HEADER = 256  # bytes
_SHORTEST_TEXT = 2  # bytes: a digit and a space


def open_with_itk(path: Path) -> VolumeFile:
    """Read and check the header of a file of any format that ITK knows.

    Raises:
        DataError: ITK does not know it, it is damaged, or it is not a volume.
    """
    head, num_bytes = read_start(path, _LONGEST_TEXT), path.stat().st_size
    limit_mib = _BASE_MIB + _LARGEST_RATIO * num_bytes // 2**20
    try:
        header = read_header_with_itk(path, limit_mib=limit_mib)
    except ItkError as error:
        raise damaged(path, str(error)) from None
    sizes, num_axes, components = header.size, len(header.size), header.components
    if num_axes not in (3, 4) or (num_axes == 4 and components > 1):
        raise not_three_dimensional(path, sizes)
    number = np.dtype(header.number)
    num_values = math.prod(sizes) * components
    _require_whole(path, head, num_bytes=num_bytes, num_values=num_values, number=number)
    direction = np.array(header.direction).reshape(num_axes, num_axes)[:3, :3]
    geometry = checked_geometry(
        path,
        sizes=sizes[:3],
        spacing_mm=header.spacing[:3],
        origin_mm=header.origin[:3],
        direction=direction,
    )

    def read() -> Voxels:
        try:
            voxels = read_voxels_with_itk(path, limit_mib=limit_mib)
        except ItkError as error:
            raise damaged(path, str(error)) from None
        if components > 1:
            return np.moveaxis(voxels, -1, 0)
        return voxels.reshape(-1, *geometry.size)

    num_channels = components * math.prod(sizes[3:])
    return VolumeFile(geometry=geometry, num_channels=num_channels, number=number, read=read)


def _require_whole(
    path: Path, head: bytes, *, num_bytes: int, num_values: int, number: np.dtype[Any]
) -> None:
    """Refuse files in two formats without compression that end early, which ITK does not notice."""
    suffix = path.suffix.lower()
    if suffix == ".gipl":
        start = _GIPL_HEADER
    elif suffix == ".vtk":
        start = head.find(b"\n", max(head.find(b"LOOKUP_TABLE"), 0)) + 1
    else:
        return
    bytes_per_value = _SHORTEST_TEXT if b"ASCII" in head else number.itemsize
    wanted = num_values * bytes_per_value
    if num_bytes - start < wanted:
        raise damaged(path, f"it is incomplete ({num_bytes - start} bytes of {wanted})")

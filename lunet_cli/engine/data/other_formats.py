"""Volumes in formats that only ITK reads, such as VTK, MINC or Analyze."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lunet_cli.engine.data.disk import open_file
from lunet_cli.engine.data.itk_process import ItkError, read_with_itk
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


def open_with_itk(path: Path) -> VolumeFile:
    """Read and check the header of a file of any format that ITK knows.

    Raises:
        DataError: ITK does not know it, it is damaged, or it is not a volume.
    """
    with open_file(path) as file:
        limit_mib = _BASE_MIB + _LARGEST_RATIO * file.seek(0, 2) // 2**20
    try:
        header, _ = read_with_itk(path, with_voxels=False, limit_mib=limit_mib)
    except ItkError as error:
        raise damaged(path, str(error)) from None
    sizes, num_axes, components = header["size"], len(header["size"]), header["components"]
    if num_axes not in (3, 4) or (num_axes == 4 and components > 1):
        raise not_three_dimensional(path, sizes)
    direction = np.array(header["direction"]).reshape(num_axes, num_axes)[:3, :3]
    geometry = checked_geometry(path, sizes[:3], header["spacing"][:3], header["origin"][:3], direction)

    def read() -> Voxels:
        try:
            _, voxels = read_with_itk(path, with_voxels=True, limit_mib=limit_mib)
        except ItkError as error:
            raise damaged(path, str(error)) from None
        assert voxels is not None
        if components > 1:
            return np.moveaxis(voxels, -1, 0)
        return voxels.reshape(-1, *geometry.size)

    num_channels = components if num_axes == 3 else sizes[3]
    return VolumeFile(geometry, num_channels, np.dtype(header["number"]), read)

"""Probabilities as nnU-Net exports them: an archive of numpy, and a pickle of their properties."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from lunet_cli.engine.data.volume import Geometry
from lunet_cli.errors import DataError
from lunet_cli.records.files import read_bytes

Properties = Mapping[str, Any]
# nnU-Net 2 and 1.
_NAMES = ("probabilities.npy", "softmax.npy")
_MOST_CHANNELS = 1000
_HINT = "Write it again: nnUNetv2_predict with save_probabilities"
# What a pickle of numbers, texts and arrays needs; anything else could run a program.
_ALLOWED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy._core.numeric", "_frombuffer"),
    ("numpy.core.numeric", "_frombuffer"),
    ("collections", "OrderedDict"),
}


def read_channels(path: Path, grid: Geometry) -> npt.NDArray[np.floating]:
    """Probabilities (C, D, H, W) on the grid of an image, whose axes they have already.

    nnU-Net 2 undoes its cropping before it writes. nnU-Net 1 does not, and its pickle says where
    the part lies: around it is background.

    Args:
        path: The archive.
        grid: That of the image.

    Raises:
        DataError: It is damaged, something else, or of another size.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            found = [name for name in _NAMES if name in archive.namelist()]
            if not found:
                names = ", ".join(archive.namelist()[:5])
                raise DataError(f"{path}: holds no array 'probabilities' (but {names})", hint=_HINT)
            with archive.open(found[0]) as stream:
                return _read_array(stream, path, grid)  # type: ignore[arg-type]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zipfile.zlib.error) as error:  # type: ignore[attr-defined]
        raise DataError(f"{path}: cannot be read as probabilities ({error})", hint=_HINT) from None


def _read_array(stream: BinaryIO, path: Path, grid: Geometry) -> npt.NDArray[np.floating]:
    shape, dtype = _header(stream)
    if len(shape) != 4 or dtype.kind != "f" or not 1 <= shape[0] <= _MOST_CHANNELS:
        raise DataError(
            f"{path}: expected probabilities (classes, z, y, x), found {dtype} of {shape}",
            hint=_HINT,
        )
    # Looked at before it is unpacked: a few bytes could become as many gigabytes as they say.
    start = None
    if shape[1:] != grid.size:
        start = _start_of_part(path, shape[1:], grid)
    num_bytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    content = stream.read(num_bytes)
    if len(content) < num_bytes:
        raise ValueError(f"it ends after {len(content)} of {num_bytes} bytes")
    array = np.frombuffer(content, dtype).reshape(shape)
    if start is None:
        return array
    whole = np.zeros((shape[0], *grid.size), dtype)
    whole[0] = 1
    z, y, x = (slice(low, low + edge) for low, edge in zip(start, shape[1:], strict=True))
    whole[:, z, y, x] = array
    return whole


def _header(stream: BinaryIO) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0
    if version > (1, 0):
        read = np.lib.format.read_array_header_2_0
    shape, is_fortran, dtype = read(stream)
    if is_fortran:
        raise ValueError("its axes lie in Fortran's order")
    return shape, dtype


def _start_of_part(path: Path, shape: tuple[int, ...], grid: Geometry) -> list[int]:
    """First voxel (z, y, x) of the part of an image that an archive of nnU-Net 1 holds."""
    sizes = " x ".join(map(str, shape)), " x ".join(map(str, grid.size))
    problem = f"{path}: has {sizes[0]} voxels (z, y, x), and its image has {sizes[1]}"
    pickled = path.with_suffix(".pkl")
    if not pickled.is_file():
        raise DataError(problem, hint="Name maps of the same images, on their own grid.")
    box = _properties(pickled).get("crop_bbox")
    try:
        edges = [(int(low), int(high)) for low, high in np.asarray(box).tolist()]
    except (TypeError, ValueError):
        raise DataError(problem, hint="Name maps of the same images, on their own grid.") from None
    inside = [
        low >= 0 and high <= edge for (low, high), edge in zip(edges, grid.size, strict=False)
    ]
    if tuple(high - low for low, high in edges) != shape or not all(inside):
        raise DataError(f"{problem}; the box of {pickled.name}, {edges}, does not explain it")
    return [low for low, _ in edges]


def require_same_place(pickled: Path, grid: Geometry) -> None:
    """Raise if the properties beside probabilities say that their image lay elsewhere.

    Args:
        pickled: The file of properties.
        grid: That of the image.

    Raises:
        DataError: It did, or the file cannot be read.
    """
    properties = _properties(pickled)
    try:
        found = _geometry(properties, grid.size)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{pickled}: cannot read the place of the image ({error!r})") from None
    differences = [] if found is None else found.differences(grid)
    if differences:
        raise DataError(
            f"{pickled}: its image lay elsewhere: {'; '.join(differences)}",
            hint="Let nnU-Net predict these very images; its NibabelIOWithReorient turns them, and "
            "SimpleITKIO does not.",
        )


def _geometry(properties: Properties, size: tuple[int, int, int]) -> Geometry | None:
    """Where the array of nnU-Net lies; None where the properties do not say."""
    if "sitk_stuff" in properties:
        stuff = properties["sitk_stuff"]
        spacing, origin = (np.asarray(stuff[name], float) for name in ("spacing", "origin"))
        # A file with all channels has a fourth axis.
        direction = np.asarray(stuff["direction"], float).reshape(len(spacing), -1)[:3, :3]
        return _geometry_of(size, spacing[:3], origin[:3], direction)
    if "itk_spacing" in properties:  # nnU-Net 1
        names = ("itk_spacing", "itk_origin", "itk_direction")
        spacing, origin, direction = (np.asarray(properties[name], float) for name in names)
        return _geometry_of(size, spacing[:3], origin[:3], direction.reshape(len(spacing), -1))
    if "nibabel_stuff" in properties:
        stuff = properties["nibabel_stuff"]
        affine = np.asarray(stuff.get("reoriented_affine", stuff["original_affine"]), float)
        # From RAS to LPS.
        affine = np.diag([-1, -1, 1, 1]) @ affine
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        return _geometry_of(size, spacing, affine[:3, 3], affine[:3, :3] / spacing)
    return None


def _geometry_of(
    size: tuple[int, int, int],
    spacing: npt.NDArray[np.float64],
    origin: npt.NDArray[np.float64],
    direction: npt.NDArray[np.float64],
) -> Geometry:
    """A geometry of numbers in the order x, y, z."""
    z, y, x = spacing[::-1].tolist()
    return Geometry(size, (z, y, x), tuple(origin.tolist()), tuple(direction.ravel().tolist()))


class _PlainUnpickler(pickle.Unpickler):
    """Reads numbers, texts, lists, dictionaries and arrays, and nothing that could run."""

    def find_class(self, module: str, name: str) -> Any:
        """The few names that arrays need."""
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module, name)


def _properties(path: Path) -> Properties:
    """The values of a pickle.

    Raises:
        DataError: It is damaged, or asks for more than plain values.
    """
    try:
        found = _PlainUnpickler(io.BytesIO(read_bytes(path))).load()
    # On damaged files it raises anything, from IndexError to MemoryError.
    except Exception as error:
        raise DataError(f"{path}: is not a pickle of plain values ({error})", hint=_HINT) from None
    if not isinstance(found, dict):
        raise DataError(f"{path}: holds no properties of an image", hint=_HINT)
    return found

"""Writing volumes so that a file is there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813

from lunet_cli.engine.data.plain_path import plain_path
from lunet_cli.engine.data.volume import Geometry
from lunet_cli.errors import DataError

PARTIAL = ".partial"
_ATTEMPTS = 1000  # a second in all: others need the folder for less


def write_volume(array: npt.NDArray[Any], geometry: Geometry, path: Path) -> None:
    """Write an array (D, H, W) with its place in the patient, compressed where the format can.

    The file is written in the folder `.partial` beside its place, read again, compared and only
    then moved: ITK does not notice a full disk while it writes NIfTI.

    Raises:
        DataError: It cannot be written; nothing is left at `path`.
    """
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(geometry.spacing_mm[::-1])
    image.SetOrigin(geometry.origin_mm)
    image.SetDirection(geometry.direction)
    with placed_whole(path) as partial:
        with plain_path(partial) as plain:
            sitk.WriteImage(image, str(plain), useCompression=True)
            del image
            stored = sitk.ReadImage(str(plain))
        if not np.array_equal(sitk.GetArrayViewFromImage(stored), array):
            raise OSError("what was written differs from what was to be written")


@contextlib.contextmanager
def placed_whole(path: Path) -> Iterator[Path]:
    """Yield an empty file in the folder `.partial`; it is moved to `path` if all goes well.

    Raises:
        DataError: It cannot be written; nothing is left at `path`.
    """
    partial = path.parent / PARTIAL / path.name
    try:
        _reserve(partial)
        yield partial
        os.replace(partial, path)
    except (OSError, RuntimeError) as error:
        raise DataError(f"{path}: cannot be written ({_reason(error, path.parent)})") from None
    finally:  # Of a file that was moved, nothing is left; an interrupted one goes.
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def remove_partial_folder(folder: Path) -> None:
    """Remove the folder of unfinished files, unless another process has some there."""
    try:
        (folder / PARTIAL).rmdir()
    except OSError:
        return


def _reserve(partial: Path) -> None:
    """Make an empty file in its folder, which another process may just have removed."""
    for attempt in range(_ATTEMPTS):
        try:
            partial.parent.mkdir(parents=True, exist_ok=True)
            partial.touch()
        except (FileExistsError, FileNotFoundError):
            if attempt == _ATTEMPTS - 1:
                raise
            time.sleep(0.001)
        else:
            return


def _reason(error: Exception, folder: Path) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    # ITK does not say why it failed; less than a MiB that is free is the reason in all likelihood.
    if folder.is_dir() and shutil.disk_usage(folder).free < 2**20:
        return "No space left on device"
    return str(error).strip().splitlines()[-1]

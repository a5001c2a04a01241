"""ITK and GDCM in a process of its own: damaged bytes can end it, and then only it (docs/adr/0017).

Run as `python -m lunet_cli.engine.data.itk_process JOB.json`; the job names what to read and where
the answer goes.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lunet_cli.engine.data.plain_path import plain_path

_MODULE = "lunet_cli.engine.data.itk_process"
_SLOWEST_SECONDS = 300
_BASE_MIB = 2048  # for Python, ITK and its tables, which are mapped rather than used
_EXIT_UNREADABLE = 3


class ItkError(Exception):
    """ITK could not read a file, or its process has ended; the text says which."""


def read_with_itk(
    path: Path, *, with_voxels: bool, limit_mib: int
) -> tuple[dict[str, Any], npt.NDArray[Any] | None]:
    """Read a file of any format that ITK knows.

    Args:
        path: The file.
        with_voxels: Whether voxels are read; otherwise, only the header is.
        limit_mib: Memory that may be taken for them.

    Returns:
        `size`, `spacing`, `origin`, `direction` and `components` as ITK gives them, with `number`,
        the type as numpy spells it; and the voxels, the components last.

    Raises:
        ItkError: It cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="lunet-") as scratch, plain_path(path) as plain:
        job = {"kind": "volume", "file": str(plain), "with_voxels": with_voxels}
        answer = _run(job, Path(scratch), limit_mib)
        voxels = np.load(Path(scratch, "0.npy")) if with_voxels else None
    return answer, voxels


def decode_dicom(files: Sequence[bytes], *, limit_mib: int) -> list[npt.NDArray[Any]]:
    """Decompress DICOM files that hold nothing but their pixels.

    Args:
        files: Whole files.
        limit_mib: Memory that may be taken for one.

    Returns:
        Stored values (frames, rows, columns) of each.

    Raises:
        ItkError: One of them cannot be decompressed.
    """
    with tempfile.TemporaryDirectory(prefix="lunet-") as scratch:
        names = [str(Path(scratch, f"{index}.dcm")) for index in range(len(files))]
        for name, content in zip(names, files, strict=True):
            Path(name).write_bytes(content)
        _run({"kind": "dicom", "files": names}, Path(scratch), limit_mib)
        return [np.load(Path(scratch, f"{index}.npy")) for index in range(len(files))]


def _run(job: dict[str, Any], scratch: Path, limit_mib: int) -> dict[str, Any]:
    job_file, answer_file = scratch / "job.json", scratch / "answer.json"
    job_file.write_text(json.dumps({**job, "limit_mib": _BASE_MIB + limit_mib}), encoding="utf-8")
    command = [sys.executable, "-m", _MODULE, str(job_file)]
    try:
        ended = subprocess.run(command, capture_output=True, timeout=_SLOWEST_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise ItkError(f"reading it took longer than {_SLOWEST_SECONDS} s") from None
    if ended.returncode == _EXIT_UNREADABLE:
        raise ItkError(answer_file.read_text(encoding="utf-8"))
    if ended.returncode != 0:
        raise ItkError("it is damaged (the process that read it has ended)")
    answer: dict[str, Any] = json.loads(answer_file.read_text(encoding="utf-8"))
    return answer


def _serve(job_file: Path) -> int:
    """What the process does: read, write the answer beside the job, and say by the exit code how it went."""
    import SimpleITK as sitk  # noqa: N813

    job = json.loads(job_file.read_text(encoding="utf-8"))
    answer_file = job_file.with_name("answer.json")
    _limit_memory(job["limit_mib"])
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        answer = (
            _read_volume(job, job_file.parent)
            if job["kind"] == "volume"
            else _read_dicom(job, job_file.parent)
        )
    except (RuntimeError, MemoryError) as error:
        answer_file.write_text(_reason(str(error)), encoding="utf-8")
        return _EXIT_UNREADABLE
    answer_file.write_text(json.dumps(answer), encoding="utf-8")
    return 0


def _limit_memory(limit_mib: int) -> None:
    try:
        import resource
    except ImportError:  # Windows has no such limit.
        return
    limit = limit_mib * 2**20
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard != resource.RLIM_INFINITY:  # A lower limit of the machine's cannot be raised.
        limit = min(limit, hard)
    with contextlib.suppress(ValueError, OSError):  # macOS knows the limit and does not take it.
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _read_volume(job: dict[str, Any], scratch: Path) -> dict[str, Any]:
    import SimpleITK as sitk  # noqa: N813

    reader = sitk.ImageFileReader()
    reader.SetFileName(job["file"])
    reader.ReadImageInformation()
    number = sitk.GetArrayFromImage(sitk.Image([1, 1], _scalar_of(reader.GetPixelID()))).dtype.str
    if job["with_voxels"]:
        image = reader.Execute()  # A view does not keep its image alive.
        np.save(scratch / "0.npy", sitk.GetArrayViewFromImage(image))
    return {
        "size": reader.GetSize(),
        "spacing": reader.GetSpacing(),
        "origin": reader.GetOrigin(),
        "direction": reader.GetDirection(),
        "components": reader.GetNumberOfComponents(),
        "number": number,
    }


def _scalar_of(pixel_id: int) -> int:
    """The type of one component."""
    import SimpleITK as sitk  # noqa: N813

    name = sitk.GetPixelIDValueAsString(pixel_id)
    known = (
        *(
            sitk.sitkUInt8,
            sitk.sitkInt8,
            sitk.sitkUInt16,
            sitk.sitkInt16,
            sitk.sitkUInt32,
            sitk.sitkInt32,
        ),
        *(sitk.sitkUInt64, sitk.sitkInt64, sitk.sitkFloat32, sitk.sitkFloat64),
    )
    for one in known:
        if name.removeprefix("vector of ") == sitk.GetPixelIDValueAsString(one):
            return int(one)
    raise RuntimeError(f"its voxels are {name}")


def _read_dicom(job: dict[str, Any], scratch: Path) -> dict[str, Any]:
    import SimpleITK as sitk  # noqa: N813

    for index, name in enumerate(job["files"]):
        array = sitk.GetArrayFromImage(sitk.ReadImage(name, imageIO="GDCMImageIO"))
        np.save(scratch / f"{index}.npy", array.reshape(-1, *array.shape[-2:]))
    return {}


def _reason(text: str) -> str:
    """Say in words why ITK could not read a file."""
    reasons = {
        "Unable to determine ImageIO": "it is not an image, or its format is unknown",
        "orthonormal": "its axes are not at right angles, which ITK refuses",
        "nondecreasing": "its axes are not at right angles, which ITK refuses",
    }
    if reason := next((words for key, words in reasons.items() if key in text), None):
        return reason
    # The last line that carries words is the reason; the lines before name the source files of ITK.
    text = re.sub(r"\w+\(0x[0-9a-f]+\): ", "", text)  # the address of an object
    lines = [line.split("ERROR:")[-1].strip() for line in text.splitlines() if line.strip()]
    return f"it is damaged or incomplete ({lines[-1] if lines else text})"


if __name__ == "__main__":
    sys.exit(_serve(Path(sys.argv[1])))

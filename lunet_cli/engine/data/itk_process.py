"""ITK and GDCM in a process of its own: damaged bytes can end it, and then only it (docs/adr/0017).

Run as `python -m lunet_cli.engine.data.itk_process JOB.json`; the job names what to read and where
the answer goes. A pool of the standard library would not do: it cannot end a worker that hangs
(`kill_workers` comes with Python 3.14), a worker that dies takes the jobs of the others with it,
and starting one imports the script of the user once more.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813

from lunet_cli.engine.data.plain_path import plain_path

_MODULE = "lunet_cli.engine.data.itk_process"
# Far longer than any volume takes that fits into memory; what is not there by then hangs.
_SLOWEST_SECONDS = 300
_BASE_MIB = 2048  # for Python, ITK and its tables, which are mapped rather than used
_EXIT_UNREADABLE = 3
_NUMBERS = {  # the names that ITK gives to types, as numpy spells them
    "8-bit unsigned integer": "u1",
    "8-bit signed integer": "i1",
    "16-bit unsigned integer": "u2",
    "16-bit signed integer": "i2",
    "32-bit unsigned integer": "u4",
    "32-bit signed integer": "i4",
    "64-bit unsigned integer": "u8",
    "64-bit signed integer": "i8",
    "32-bit float": "f4",
    "64-bit float": "f8",
}
_REASONS = {  # what stands in an error of ITK, and what it means
    "Unable to determine ImageIO": "it is not an image, or its format is unknown",
    "orthonormal": "its axes are not at right angles, which ITK refuses",
    "nondecreasing": "its axes are not at right angles, which ITK refuses",
}


class ItkError(Exception):
    """ITK could not read a file, or its process has ended; the text says which."""


@dataclass(frozen=True, kw_only=True)
class ItkHeader:
    """What a file says about its volume.

    Args:
        size: Voxels along each axis, x first.
        spacing: Distance of voxels along each axis.
        origin: Place of the first voxel.
        direction: Square matrix of the axes, row by row.
        components: Values per voxel.
        number: Type of a value, as numpy spells it.
    """

    size: list[int]
    spacing: list[float]
    origin: list[float]
    direction: list[float]
    components: int
    number: str


@dataclass(frozen=True, kw_only=True)
class _Job:
    """What the process does.

    Args:
        kind: Read a header, read voxels, or decompress DICOM files.
        files: From where.
        limit_mib: Memory that it may take.
    """

    kind: Literal["header", "voxels", "dicom"]
    files: list[str]
    limit_mib: int


def read_header_with_itk(path: Path, *, limit_mib: int) -> ItkHeader:
    """Read the header of a file of any format that ITK knows, in at most `limit_mib` of memory.

    Raises:
        ItkError: It cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="lunet-") as scratch, plain_path(path) as plain:
        answer = _run(Path(scratch), _Job(kind="header", files=[str(plain)], limit_mib=limit_mib))
    return ItkHeader(**json.loads(answer))


def read_voxels_with_itk(path: Path, *, limit_mib: int) -> npt.NDArray[Any]:
    """Read the voxels of a file, the components last; see `read_header_with_itk`.

    Raises:
        ItkError: They cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="lunet-") as scratch, plain_path(path) as plain:
        _run(Path(scratch), _Job(kind="voxels", files=[str(plain)], limit_mib=limit_mib))
        voxels: npt.NDArray[Any] = np.load(Path(scratch, "0.npy"))
    return voxels


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
        names = []
        for index, content in enumerate(files):
            path = Path(scratch, f"{index}.dcm")
            path.write_bytes(content)
            names.append(str(path))
        _run(Path(scratch), _Job(kind="dicom", files=names, limit_mib=limit_mib))
        return [np.load(Path(scratch, f"{index}.npy")) for index in range(len(files))]


def _run(scratch: Path, job: _Job) -> str:
    """Let the process do a job in a folder, and give back what it answers."""
    job_file, answer_file = scratch / "job.json", scratch / "answer.json"
    job_file.write_text(json.dumps(asdict(job)), encoding="utf-8")
    command = [sys.executable, "-m", _MODULE, str(job_file)]
    try:
        ended = subprocess.run(command, capture_output=True, timeout=_SLOWEST_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise ItkError(f"reading it took longer than {_SLOWEST_SECONDS} s") from None
    if ended.returncode == _EXIT_UNREADABLE:
        raise ItkError(answer_file.read_text(encoding="utf-8"))
    if ended.returncode != 0:
        raise ItkError("it is damaged (the process that read it has crashed)")
    return answer_file.read_text(encoding="utf-8")


def _serve(job_file: Path) -> int:
    """What the process does: read, write the answer beside the job, and say how it went."""
    job = _Job(**json.loads(job_file.read_text(encoding="utf-8")))
    answer_file = job_file.with_name("answer.json")
    _limit_memory(_BASE_MIB + job.limit_mib)
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        answer = _answer(job, job_file.parent)
    except (RuntimeError, MemoryError) as error:  # All errors of SimpleITK are RuntimeErrors.
        answer_file.write_text(_reason(str(error)), encoding="utf-8")
        return _EXIT_UNREADABLE
    answer_file.write_text(answer, encoding="utf-8")
    return 0


def _answer(job: _Job, scratch: Path) -> str:
    if job.kind == "header":
        return json.dumps(asdict(_header(job.files[0])))
    if job.kind == "voxels":
        image = sitk.ReadImage(job.files[0])  # A view does not keep its image alive.
        np.save(scratch / "0.npy", sitk.GetArrayViewFromImage(image))
    else:
        for index, name in enumerate(job.files):
            array = sitk.GetArrayFromImage(sitk.ReadImage(name, imageIO="GDCMImageIO"))
            np.save(scratch / f"{index}.npy", array.reshape(-1, *array.shape[-2:]))
    return ""


def _header(name: str) -> ItkHeader:
    reader = sitk.ImageFileReader()
    reader.SetFileName(name)
    reader.ReadImageInformation()
    kind = sitk.GetPixelIDValueAsString(reader.GetPixelID())
    number = _NUMBERS.get(kind.removeprefix("vector of "))
    if number is None:
        raise RuntimeError(f"its voxels are {kind}")
    return ItkHeader(
        size=list(reader.GetSize()),
        spacing=list(reader.GetSpacing()),
        origin=list(reader.GetOrigin()),
        direction=list(reader.GetDirection()),
        components=reader.GetNumberOfComponents(),
        number=number,
    )


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


def _reason(text: str) -> str:
    """Say in words why ITK could not read a file."""
    for key, reason in _REASONS.items():
        if key in text:
            return reason
    # The last line that carries words is the reason; lines before it name source files of ITK.
    reason = re.sub(r"\w+\(0x[0-9a-f]+\): ", "", text)  # the address of an object
    for line in reason.splitlines():
        if line.strip():
            reason = line.split("ERROR:")[-1].strip()
    return f"it is damaged or incomplete ({reason})"


if __name__ == "__main__":
    sys.exit(_serve(Path(sys.argv[1])))

"""One preprocessed case as a folder of files that appears whole, and is mapped, never read."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter

from lunet_cli.engine.data.foreground import Foreground
from lunet_cli.engine.data.store import PreparedCase
from lunet_cli.errors import DataError
from lunet_cli.records.record import json_text
from lunet_cli.results.cache import Origin
from lunet_cli.results.check import CaseFindings

_ARRAYS = ("image.npy", "label.npy", "foreground.npy")
_SOFT = "soft.npy"  # only of a case that has it
_FACTS = "facts.json"
_FINDINGS, _ORIGIN = "findings.json", "origin.json"
_PART = ".part-"
_ABANDONED_S = 3600.0  # No array takes as long to be written.


@dataclass(frozen=True)
class Facts:
    """What is known of a kept case without its voxels.

    Args:
        shape: Of the image (C, D, H, W).
        spacing_mm: Voxel size (z, y, x).
        values: Label values that occur, see `Foreground`.
        ends: See `Foreground`.
        sizes: Bytes of each file, by which half a copy is recognised.
    """

    shape: tuple[int, ...]
    spacing_mm: tuple[float, float, float]
    values: tuple[int, ...]
    ends: tuple[int, ...]
    sizes: dict[str, int]


def read_facts(entry: Path) -> Facts | None:
    """The facts of an entry; None where there is none that is whole."""
    try:
        stored = json.loads((entry / _FACTS).read_text(encoding="utf-8"))
        z, y, x = stored["spacing_mm"]
        facts = Facts(
            shape=tuple(stored["shape"]),
            spacing_mm=(z, y, x),
            values=tuple(stored["values"]),
            ends=tuple(stored["ends"]),
            sizes=dict(stored["sizes"]),
        )
        names = [*_ARRAYS, *({_SOFT} & facts.sizes.keys())]
        is_whole = all((entry / name).stat().st_size == facts.sizes[name] for name in names)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return facts if is_whole else None


def open_entry(entry: Path) -> PreparedCase | None:
    """The case of an entry, its arrays memory-mapped; None where there is none that is whole."""
    facts = read_facts(entry)
    if facts is None:
        return None
    try:
        image, label, positions = (np.load(entry / name, mmap_mode="r") for name in _ARRAYS)
        soft = np.load(entry / _SOFT, mmap_mode="r") if _SOFT in facts.sizes else None
    except (OSError, ValueError):  # Cleared in this moment, or not ours.
        return None
    foreground = Foreground(facts.values, facts.ends, positions)
    return PreparedCase(image, label, facts.spacing_mm, foreground, soft)


def read_findings(entry: Path) -> CaseFindings | None:
    """What was found in the files of an entry's case; None where there is no entry."""
    try:
        return TypeAdapter(CaseFindings).validate_json((entry / _FINDINGS).read_bytes())
    except (OSError, ValueError):
        return None


def read_origin(entry: Path) -> Origin | None:
    """What an entry was made of; None where there is no entry."""
    try:
        return TypeAdapter(Origin).validate_json((entry / _ORIGIN).read_bytes())
    except (OSError, ValueError):
        return None


def write_entry(
    entry: Path, prepared: PreparedCase, findings: CaseFindings, origin: Origin
) -> None:
    """Keep a case. Of several that write the same entry at once, the first one stays.

    Raises:
        DataError: The folder cannot be written, or the disk is full; nothing is left of it.
    """
    part: Path | None = None
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=_PART, dir=entry.parent))
        part.chmod(0o755)
        arrays = dict(
            zip(
                _ARRAYS,
                (prepared.image, prepared.label, prepared.foreground.positions),
                strict=True,
            )
        )
        if prepared.soft is not None:
            arrays[_SOFT] = prepared.soft
        for name, array in arrays.items():
            _save(part / name, array)
        (part / _FINDINGS).write_text(json_text(findings), encoding="utf-8")
        (part / _ORIGIN).write_text(json_text(origin), encoding="utf-8")
        facts = {
            "shape": prepared.image.shape,
            "spacing_mm": prepared.spacing_mm,
            "values": prepared.foreground.values,
            "ends": prepared.foreground.ends,
            "sizes": {name: (part / name).stat().st_size for name in arrays},
        }
        (part / _FACTS).write_text(json.dumps(facts), encoding="utf-8")
        if entry.exists() and read_facts(entry) is None:
            remove_folder(entry)
        with contextlib.suppress(FileExistsError):
            _rename(part, entry)
    except OSError as error:
        raise DataError(
            f"{entry.parent}: cannot keep preprocessed volumes there ({error})",
            hint="Make room there, set another data.cache_dir, or set data.cache=none.",
        ) from None
    finally:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)


def remove_folder(folder: Path) -> None:
    """Remove a folder that others may be reading: it vanishes at once, then its files go."""
    with contextlib.suppress(FileNotFoundError):
        grave = Path(tempfile.mkdtemp(prefix=_PART, dir=folder.parent))
        os.replace(folder, grave)
        shutil.rmtree(grave, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove what killed processes have left half written."""
    for part in abandoned(folder):
        shutil.rmtree(part, ignore_errors=True)


def abandoned(folder: Path, older_than_s: float = 0.0) -> list[Path]:
    """What killed processes have left half written; a part under an hour old may be in work."""
    found = []
    for part in sorted(folder.glob(f"{_PART}*/")):
        with contextlib.suppress(OSError):  # Completed in this moment.
            if time.time() - part.stat().st_mtime > max(_ABANDONED_S, older_than_s):
                found.append(part)
    return found


def _save(path: Path, array: npt.NDArray[np.generic]) -> None:
    with path.open("wb") as stream:
        np.save(stream, np.ascontiguousarray(array))
        stream.flush()
        os.fsync(stream.fileno())  # Else a crash may leave a name with nothing behind it.


def _rename(part: Path, entry: Path) -> None:
    """Rename a folder unless another process was first, which raises FileExistsError."""
    try:
        os.rename(part, entry)
    except OSError:
        if read_facts(entry) is None:
            raise
        raise FileExistsError(str(entry)) from None

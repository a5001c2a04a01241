"""The job `mend_data`: a copy of a data set in which is mended what can be mended safely."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np
import SimpleITK as sitk  # noqa: N813

from lunet_cli.config.vocabulary import VolumeSuffix
from lunet_cli.engine.data.cases import Case
from lunet_cli.engine.data.check import check_data
from lunet_cli.engine.data.disk import is_file, reason_of
from lunet_cli.engine.data.layouts import find_cases
from lunet_cli.engine.data.mistakes import Mistakes
from lunet_cli.engine.data.reading import open_volume
from lunet_cli.engine.data.survey import survey
from lunet_cli.engine.data.volume import Geometry
from lunet_cli.engine.data.volume_file import VolumeFile, Voxels, taking_slight_skew
from lunet_cli.engine.data.writing import remove_partial_folder, write_volume
from lunet_cli.errors import DataError, LunetError, OutputError
from lunet_cli.records.check import DataMending
from lunet_cli.records.files import require_makeable
from lunet_cli.results.check import Change
from lunet_cli.results.events import CaseRead, Event, Notice

_RECORD = "mended.json"
# Half a voxel, and as much of a turn as moves the far end of a volume by about one voxel: what
# rounding and sloppy writers do, and what the same voxels were surely meant by.
_MOST_VOXELS, _MOST_SPACING, _MOST_COSINE = 0.5, 0.01, 0.01
# What interpolation in single precision leaves; a linear one between labels leaves far more.
_MOST_FRACTION = 0.01


def _ignore(_: Event) -> None:
    """Do nothing with an event."""


def mend_data(
    folder: Path | str,
    out: Path | str,
    *,
    resample: bool = False,
    on_event: Callable[[Event], None] = _ignore,
) -> DataMending:
    """Copy a data set, mend files of the copy, and check it. The data set itself stays as it is.

    A label map that lies less than half a voxel beside its image gets the header of the image; axes
    that are slightly out of square are squared; label values that are whole but for rounding become
    integers.

    Args:
        folder: The data set.
        out: The copy, which is not there yet; `mended.json` in it has each change.
        resample: Whether label maps on another grid are resampled onto their image, each voxel
            taking the label of the nearest.
        on_event: Called with what happens.

    Raises:
        DataError: There is no data set.
        OutputError: The copy cannot be made; nothing is left of it.
    """
    folder, out = Path(folder), Path(out)
    _require_free(folder, out)
    cases = find_cases(folder, "auto", Mistakes()).cases
    with _copied(folder, out, on_event) as copy:
        changes: list[Change] = []

        def look(case: Case) -> list[Change]:
            return _mend(_moved(case, folder, copy), resample)

        for number, found in enumerate(survey(cases, look), start=1):
            if not isinstance(found, LunetError):  # The check below tells what is left.
                changes += found
            on_event(CaseRead(number, len(cases)))
        for parent in {path.parent for path in copy.rglob("*")}:
            remove_partial_folder(parent)
        check = check_data(copy, on_event=on_event)
        shown = [replace(one, file=one.file.replace(f"{copy}/", "")) for one in changes]
        left = [replace(one, text=one.text.replace(str(copy), str(out))) for one in check.problems]
        record = DataMending(
            source=str(folder), place=str(out), changes=tuple(shown), problems=tuple(left)
        )
        record.write(copy / _RECORD)
    return record


def _require_free(folder: Path, out: Path) -> None:
    require_makeable(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out}: is there already", hint="Name a new folder.")
    inner, outer = out.resolve(), folder.resolve()
    if inner.is_relative_to(outer) or outer.is_relative_to(inner):
        raise OutputError(
            f"{out}: lies in the data set, or the data set in it",
            hint="Name a folder beside the data set, which itself is never changed.",
        )


@contextlib.contextmanager
def _copied(folder: Path, out: Path, on_event: Callable[[Event], None]) -> Iterator[Path]:
    """A copy of all files, which gets its name at the end of the block.

    Raises:
        OutputError: It cannot be made.
    """
    on_event(Notice(f"copying {folder}"))
    copy: Path | None = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        copy = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        shutil.copytree(folder, copy, dirs_exist_ok=True)
        copy.chmod(0o755)
        yield copy
        if out.exists():
            out.rmdir()
        copy.rename(out)
    except (OSError, shutil.Error) as error:
        reason = reason_of(error) if isinstance(error, OSError) else str(error)
        raise OutputError(f"{out}: cannot be written: {reason}") from None
    finally:
        if copy is not None:
            shutil.rmtree(copy, ignore_errors=True)


def _moved(case: Case, folder: Path, copy: Path) -> Case:
    """The same case in the copy."""
    images = tuple(copy / image.relative_to(folder) for image in case.images)
    label = None if case.label is None else copy / case.label.relative_to(folder)
    return Case(case.case_id, images, label)


@dataclass
class _Draft:
    """One volume of one channel, and what has been changed in it."""

    path: Path
    voxels: Voxels
    geometry: Geometry
    changes: list[Change]

    def note(self, what: str) -> None:
        """Remember a change."""
        self.changes.append(Change(file=str(self.path), text=what))


def _mend(case: Case, resample: bool) -> list[Change]:
    """Mend the files of a case; return what was changed."""
    changes: list[Change] = []
    grid: Geometry | None = None
    for path in filter(is_file, case.images):
        opened, is_skewed = _open(path)
        grid = grid or opened.geometry
        if is_skewed and opened.num_channels == 1 and _is_writable(path):
            changes += _write(_Draft(path, opened.read()[0], opened.geometry, [_squared(path)]))
    if case.label is not None and is_file(case.label) and _is_writable(case.label):
        changes += _mend_label(case.label, grid, resample)
    return changes


def _mend_label(path: Path, grid: Geometry | None, resample: bool) -> list[Change]:
    opened, is_skewed = _open(path)
    draft = _Draft(path, opened.read()[0], opened.geometry, [])
    if is_skewed:
        draft.changes.append(_squared(path))
    _make_whole(draft)
    if grid is not None:
        _bring_onto(draft, grid, resample)
    return _write(draft)


def _squared(path: Path) -> Change:
    return Change(file=str(path), text="its axes were slightly out of square, and are squared")


def _write(draft: _Draft) -> list[Change]:
    """Write what has changed."""
    if draft.changes:
        write_volume(draft.voxels, draft.geometry, draft.path)
    return draft.changes


def _is_writable(path: Path) -> bool:
    """Whether a file can be replaced by itself; headers with voxels in other files cannot."""
    return path.name.lower().endswith(get_args(VolumeSuffix))


def _open(path: Path) -> tuple[VolumeFile, bool]:
    """A volume, and whether its axes had to be squared."""
    try:
        return open_volume(path), False
    except DataError:
        with taking_slight_skew():
            return open_volume(path), True


def _make_whole(draft: _Draft) -> None:
    """Turn numbers that are whole but for rounding into integers."""
    if draft.voxels.dtype.kind in "iu":
        return
    whole = np.round(draft.voxels)
    off = float(np.abs(draft.voxels - whole).max(initial=0))
    # NaN is not small, and is left for the check to tell.
    if 0 < off <= _MOST_FRACTION and whole.min() >= 0 and whole.max() <= 65535:
        draft.voxels = whole.astype(np.uint8 if whole.max() < 256 else np.uint16)
        draft.note(f"label values were off whole numbers by up to {off:.2g}, and are integers")


def _bring_onto(draft: _Draft, grid: Geometry, resample: bool) -> None:
    """Give a label map the grid of its image, where that is safe or asked for."""
    differences = draft.geometry.differences(grid)
    if not differences:
        return
    if _is_near(draft.geometry, grid):
        draft.note(f"has the header of its image: {'; '.join(differences)}")
        draft.geometry = grid
    elif resample and draft.voxels.dtype.kind in "iu":
        before = int(np.count_nonzero(draft.voxels))
        draft.voxels = _resampled(draft, grid)
        after = int(np.count_nonzero(draft.voxels))
        draft.geometry = grid
        text = f"is resampled onto its image: {'; '.join(differences)}"
        draft.note(f"{text}; {before} voxels were labelled, {after} are")


def _is_near(one: Geometry, other: Geometry) -> bool:
    if one.size != other.size:
        return False
    step = _MOST_VOXELS * min(other.spacing_mm)
    return (
        np.allclose(one.spacing_mm, other.spacing_mm, rtol=_MOST_SPACING, atol=0)
        and np.allclose(one.origin_mm, other.origin_mm, rtol=0, atol=step)
        and np.allclose(one.direction, other.direction, rtol=0, atol=_MOST_COSINE)
    )


def _resampled(draft: _Draft, grid: Geometry) -> Voxels:
    image = sitk.GetImageFromArray(draft.voxels.astype(np.uint16))
    _place(image, draft.geometry)
    depth, height, width = grid.size
    reference = sitk.Image((width, height, depth), sitk.sitkUInt8)
    _place(reference, grid)
    found = sitk.Resample(image, reference, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    return sitk.GetArrayFromImage(found).astype(draft.voxels.dtype)


def _place(image: sitk.Image, geometry: Geometry) -> None:
    image.SetSpacing(geometry.spacing_mm[::-1])
    image.SetOrigin(geometry.origin_mm)
    image.SetDirection(geometry.direction)

"""Which volumes are meant by the files and folders that a user names."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lunet_cli.engine.data.dicom import DicomSeries, choose_series, find_series
from lunet_cli.engine.data.volume import has_volume_suffix, stem
from lunet_cli.errors import DataError, LunetError
from lunet_cli.results import CaseFailed

_CHANNEL = re.compile(r"(?P<id>.+)_(?P<channel>\d{4})")
_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")  # Single files; what comes in two files is written as one.
_ONE_FILE = {".nhdr": ".nrrd", ".mhd": ".mha"}
_DEFAULT_SUFFIX = ".nii.gz"
_Found = tuple[Path | DicomSeries, Path]  # a volume, and the file or folder that names it


@dataclass(frozen=True)
class InputCase:
    """One volume to segment.

    Args:
        name: What its output is called, without suffix; may hold folders.
        images: One file or DICOM series per channel, or one file with all.
        suffix: Format of the input, where it can be written; `.nii.gz` for others.
    """

    name: str
    images: tuple[Path | DicomSeries, ...]
    suffix: str


def find_inputs(
    inputs: Sequence[Path], *, num_channels: int, series: str | None = None
) -> tuple[list[InputCase], list[CaseFailed]]:
    """Find the volumes to segment.

    Args:
        inputs: Files, folders of files, DICOM series folders, or folders of those.
        num_channels: Image channels of the network: where it takes several, files NAME_0000, NAME_0001, ... are one
            case.
        series: Number, description or UID of the DICOM series to take where a folder has several.

    Returns:
        Cases in a stable order, and what could not be used.
    """
    found: list[_Found] = []
    failures: list[CaseFailed] = []
    for path in inputs:
        try:
            if not path.exists():
                raise DataError(f"{path}: there is no such file or folder")
            found += _in_folder(path, series, failures) if path.is_dir() else [(path, path)]
        except LunetError as error:
            failures.append(CaseFailed(str(path), error.message, error.hint))
    return _to_cases(found, num_channels), failures


def output_suffix(path: Path) -> str | None:
    """The suffix of a file name that can be written; None if it has none of those."""
    return next((suffix for suffix in _SUFFIXES if path.name.lower().endswith(suffix)), None)


def _in_folder(folder: Path, series: str | None, failures: list[CaseFailed]) -> list[_Found]:
    """Volumes of a folder, or its DICOM series, or those below its sub-folders, which name them."""
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    files = [path for path in entries if path.is_file() and has_volume_suffix(path)]
    with_prefix = [path for path in files if stem(path).startswith("ct_")]
    if any(stem(path).startswith("label_") for path in files) and with_prefix:
        files = with_prefix  # The layout harp keeps label maps beside the images.
    if not files and any(path.is_file() for path in entries) and find_series(folder):
        return [(choose_series(folder, series), folder)]
    sources: list[_Found] = [(path, path) for path in files]
    num_failures = len(failures)
    for path in entries:
        if path.is_dir() and not any(has_volume_suffix(entry) for entry in path.iterdir()):
            try:
                sources += [(one, path) for one in _series_below(path, series)]
            except LunetError as error:
                failures.append(CaseFailed(str(path), error.message, error.hint))
    if not sources and len(failures) == num_failures:
        inner = [path.name for path in entries if path.is_dir() and any(map(has_volume_suffix, path.iterdir()))]
        hint = f"Volumes lie in its sub-folder{'s' if len(inner) > 1 else ''} {', '.join(inner[:4])}." if inner else ""
        raise DataError(f"{folder}: holds no volume and no DICOM series", hint=hint)
    return sources


def _series_below(folder: Path, series: str | None) -> list[DicomSeries]:
    """The DICOM series of a patient's folder, at whatever depth it lies; none if there is no DICOM at all."""
    folders = [folder, *sorted(path for path in folder.rglob("*") if path.is_dir())]
    found = [one for place in folders for one in find_series(place)]
    fitting = [one for one in found if series is None or one.matches(series)]
    if len(fitting) == 1:
        return fitting
    if not found:
        return []
    listed = "; ".join(one.summary() for one in fitting or found)
    if not fitting:
        raise DataError(f"{folder}: no DICOM series is called '{series}'; there are {listed}")
    raise DataError(
        f"{folder}: holds {len(fitting)} DICOM series ({listed})",
        hint="Name one by its number, description or UID (--series).",
    )


def _to_cases(found: list[_Found], num_channels: int) -> list[InputCase]:
    """Bring channels together, and give each case a name of its own."""
    stems = {stem(place) for _, place in found}
    groups: dict[str, list[Path | DicomSeries]] = {}
    for source, place in found:
        name = stem(Path(os.path.abspath(place)))
        match = _CHANNEL.fullmatch(name)
        # A network of one channel knows nnU-Net's _0000, but not every number of four digits is a channel.
        alone = match is not None and match["channel"] == "0000" and f"{match['id']}_0001" not in stems
        short = match["id"] if match is not None and (num_channels > 1 or alone) else name
        groups.setdefault(os.path.join(os.path.dirname(os.path.abspath(place)), short), []).append(source)
    names = [os.path.basename(path) for path in groups]
    if len(set(names)) < len(names):
        common = os.path.commonpath([os.path.dirname(path) for path in groups])
        names = [os.path.relpath(path, common) for path in groups]
    return [
        InputCase(name, tuple(sources), _suffix_of(sources[0]))
        for name, sources in zip(names, groups.values(), strict=True)
    ]


def _suffix_of(source: Path | DicomSeries) -> str:
    if isinstance(source, DicomSeries):
        return _DEFAULT_SUFFIX
    return output_suffix(source) or _ONE_FILE.get(source.suffix.lower(), _DEFAULT_SUFFIX)

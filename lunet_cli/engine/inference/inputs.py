"""Which volumes are meant by the files and folders that a user names."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lunet_cli.engine.data.dicom import SUFFIXES as DICOM_SUFFIXES
from lunet_cli.engine.data.dicom import DicomSeries, choose_among, find_series
from lunet_cli.engine.data.disk import (
    is_file,
    is_folder,
    list_folder,
    require_file,
    require_present,
)
from lunet_cli.engine.data.reading import read_header
from lunet_cli.engine.data.volume import has_volume_suffix, stem
from lunet_cli.errors import DataError, LunetError
from lunet_cli.results.events import CaseFailed, Event, WarningIssued
from lunet_cli.results.words import visible

_CHANNEL = re.compile(r"(?P<id>.+)_(?P<channel>\d{4})")
_SUFFIXES = (
    ".nii.gz",
    ".nii",
    ".nrrd",
    ".mha",
)  # Single files; what comes in two files is written as one.
_ONE_FILE = {".nhdr": ".nrrd", ".mhd": ".mha"}
_DEFAULT_SUFFIX = ".nii.gz"
_Source = Path | DicomSeries
_Found = tuple[_Source, Path]  # a volume, and the file or folder that names it


@dataclass(frozen=True)
class InputCase:
    """One volume to segment.

    Args:
        name: What its output is called, without suffix; may hold folders.
        images: One file or DICOM series per channel, or one file with all.
        suffix: Format of the input, where it can be written; `.nii.gz` for others.
    """

    name: str
    images: tuple[_Source, ...]
    suffix: str


def find_inputs(
    inputs: Sequence[Path],
    *,
    num_channels: int,
    series: str | None = None,
    on_event: Callable[[Event], None] = lambda event: None,
) -> tuple[list[InputCase], list[CaseFailed]]:
    """Find the volumes to segment.

    Args:
        inputs: Files, folders of files, DICOM series folders, or folders of those.
        num_channels: Image channels of the network: where it takes several, files NAME_0000,
            NAME_0001, ... are one case.
        series: Number, description or UID of the DICOM series to take where a folder has several.
        on_event: Called with what could not be used, and with what was left out.

    Returns:
        Cases in a stable order, and what could not be used.
    """
    search = _Search(series, on_event)
    found: dict[str, _Found] = {}
    for path in inputs:
        try:
            require_present(path)
            if is_folder(path):
                volumes = search.in_folder(path)
            else:
                _require_more_than_a_slice(path)
                volumes = [(path, path)]
        except LunetError as error:
            search.fail(str(path), error)
            continue
        for source, place in volumes:  # A file that is named twice is one volume.
            found.setdefault(os.path.abspath(place), (source, place))
    return _to_cases(list(found.values()), num_channels, search), search.failures


def _require_more_than_a_slice(path: Path) -> None:
    require_file(path)
    if path.suffix.lower() in DICOM_SUFFIXES and read_header(path)[0].size[0] == 1:
        raise DataError(
            f"{path}: is one slice of a DICOM series", hint="Name the folder of the series."
        )


def output_suffix(path: Path) -> str | None:
    """The suffix of a file name that can be written; None if it has none of those."""
    return next((suffix for suffix in _SUFFIXES if path.name.lower().endswith(suffix)), None)


class _Search:
    """A search through folders that goes on where something cannot be used."""

    def __init__(self, series: str | None, on_event: Callable[[Event], None]) -> None:
        self._series, self._on_event = series, on_event
        self.failures: list[CaseFailed] = []

    def fail(self, case: str, error: LunetError) -> None:
        self.failures.append(CaseFailed(case, error.message, error.hint))
        self._on_event(self.failures[-1])

    def in_folder(self, folder: Path) -> list[_Found]:
        """Volumes of a folder, or its DICOM series, or those below its sub-folders, which name them."""
        entries = list_folder(folder)
        num_failures = len(self.failures)
        files = self._files_among(entries)
        if not files and any(map(is_file, entries)) and (series := find_series(folder)):
            return [(choose_among(series, folder, self._series), folder)]
        found: list[_Found] = [(path, path) for path in files]
        passed_over: list[str] = []
        for path in filter(is_folder, entries):
            try:
                if any(map(has_volume_suffix, list_folder(path))):
                    passed_over.append(path.name)
                else:
                    found += [(one, path) for one in self._series_below(path)]
            except LunetError as error:
                self.fail(str(path), error)
        below = f"Volumes lie in its sub-folder{'s' if len(passed_over) > 1 else ''} {', '.join(passed_over[:4])}."
        if not found and len(self.failures) == num_failures:
            raise DataError(
                f"{folder}: holds no volume and no DICOM series", hint=below if passed_over else ""
            )
        if passed_over:
            self._on_event(
                WarningIssued(
                    f"{folder}: {below} They are left out; to segment them, name them too."
                )
            )
        return found

    def _files_among(self, entries: list[Path]) -> list[Path]:
        """Volume files; what only has the name of one (a pipe, a link without an end) is told."""
        files = [path for path in entries if has_volume_suffix(path) and not is_folder(path)]
        with_prefix = [path for path in files if stem(path).startswith("ct_")]
        if any(stem(path).startswith("label_") for path in files) and with_prefix:
            files = with_prefix  # The layout harp keeps label maps beside the images.
        usable = []
        for path in files:
            try:
                require_file(path)
            except LunetError as error:
                self.fail(str(path), error)
            else:
                usable.append(path)
        return usable

    def _series_below(self, folder: Path) -> list[DicomSeries]:
        """The DICOM series of a patient's folder, at whatever depth it lies; none if there is no DICOM at all."""
        found: list[DicomSeries] = []
        folders = [folder]
        while folders:
            place = folders.pop(0)
            found += find_series(place)
            folders += [
                path for path in list_folder(place) if is_folder(path) and not path.is_symlink()
            ]
        return [choose_among(found, folder, self._series)] if found else []


def _to_cases(found: list[_Found], num_channels: int, search: _Search) -> list[InputCase]:
    """Bring channels together, and give each case a name of its own."""
    groups: dict[str, list[_Source]] = {}
    stems = {stem(place) for _, place in found}
    for source, place in (
        sorted(found, key=lambda item: stem(item[1])) if num_channels > 1 else found
    ):
        groups.setdefault(_case_path(place, num_channels, stems), []).append(source)
    usable = {}
    for path, sources in groups.items():
        try:
            _require_channels(sources)
        except DataError as error:
            search.fail(path, error)
        else:
            usable[path] = sources
    names = [os.path.basename(path) for path in usable]
    if len(set(names)) < len(names):
        common = os.path.commonpath([os.path.dirname(path) for path in usable])
        names = [os.path.relpath(path, common) for path in usable]
    return [
        InputCase(visible(name), tuple(sources), _suffix_of(sources[0]))
        for name, sources in zip(names, usable.values(), strict=True)
    ]


def _case_path(place: Path, num_channels: int, stems: set[str]) -> str:
    """Absolute path of the case that a volume belongs to, without suffix and channel number."""
    path = Path(os.path.abspath(place))
    name = stem(path) if has_volume_suffix(path) or is_folder(path) else path.stem
    match = _CHANNEL.fullmatch(name)
    # A network of one channel knows nnU-Net's _0000, but not every number of four digits is a
    # channel.
    alone = match is not None and match["channel"] == "0000" and f"{match['id']}_0001" not in stems
    return os.path.join(
        path.parent, match["id"] if match is not None and (num_channels > 1 or alone) else name
    )


def _require_channels(sources: list[_Source]) -> None:
    """Several files are one case if they are its channels 0, 1, 2, ..."""
    if len(sources) == 1:
        return
    matches = [_CHANNEL.fullmatch(stem(Path(str(source)))) for source in sources]
    numbers = [int(match["channel"]) if match is not None else -1 for match in matches]
    if -1 in numbers:
        raise DataError(
            f"{sources[0]}: {sources[1].name} beside it has the same name; keep one of them"
        )
    if numbers != list(range(len(numbers))):
        raise DataError(
            f"{sources[0]}: its case has the channels {', '.join(f'{number:04d}' for number in numbers)}",
            hint="Channels are numbered 0000, 0001, ... without a gap.",
        )


def _suffix_of(source: _Source) -> str:
    if isinstance(source, DicomSeries):
        return _DEFAULT_SUFFIX
    return output_suffix(source) or _ONE_FILE.get(source.suffix.lower(), _DEFAULT_SUFFIX)

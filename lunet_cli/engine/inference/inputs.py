"""Which volumes are meant by the files and folders that a user names."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from lunet_cli.config.vocabulary import VOLUME_SUFFIXES, VolumeSuffix
from lunet_cli.engine.data.bids import find_bids_images, has_bids_images
from lunet_cli.engine.data.dicom import SUFFIXES as DICOM_SUFFIXES
from lunet_cli.engine.data.dicom import (
    DicomSeries,
    choose_among,
    find_series,
    merge_series,
    scans_among,
)
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
# What comes in two files is written as one.
_ONE_FILE: dict[str, VolumeSuffix] = {".nhdr": ".nrrd", ".mhd": ".mha"}
_DEFAULT_SUFFIX: VolumeSuffix = ".nii.gz"
_MOST_NAMES = 4
_LONGEST_WORDS = 60
ALL_SERIES = "all"
_Source = Path | DicomSeries


class _Found(NamedTuple):
    """A volume, and the file or folder that names it."""

    source: _Source
    place: Path


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
    suffix: VolumeSuffix


def find_inputs(
    inputs: Sequence[Path],
    *,
    num_channels: int,
    series: str | None = None,
    on_event: Callable[[Event], None] = lambda event: None,
) -> tuple[list[InputCase], list[CaseFailed]]:
    """Find the volumes to segment.

    Args:
        inputs: Files, folders of files, DICOM series folders, or folders of those; or data sets of
            BIDS.
        num_channels: Image channels of the network: where it takes several, files NAME_0000,
            NAME_0001, ... are one case.
        series: Number, description or UID of the DICOM series to take where a folder has several;
            `all` takes every scan of each folder.
        on_event: Called with what could not be used, and with what was left out.

    Returns:
        Cases in a stable order, and what could not be used.
    """
    search = _Search(series, on_event)
    found: dict[str, _Found] = {}
    sessions: dict[str, list[_Source]] = {}
    for path in inputs:
        volumes: list[_Found] = []
        try:
            require_present(path)
            if is_folder(path) and has_bids_images(path):
                sessions |= search.sessions_of(path, num_channels)
            elif is_folder(path):
                volumes = search.in_folder(path)
            else:
                _require_more_than_a_slice(path)
                volumes = [_Found(path, path)]
        except LunetError as error:
            search.fail(str(path), error)
            continue
        # A file that is named twice is one volume.
        for volume in volumes:
            found.setdefault(os.path.abspath(volume.place), volume)
    return _to_cases(list(found.values()), sessions, num_channels, search), search.failures


def _require_more_than_a_slice(path: Path) -> None:
    require_file(path)
    if path.suffix.lower() not in DICOM_SUFFIXES:
        return
    geometry, _ = read_header(path)
    if geometry.size[0] == 1:
        raise DataError(
            f"{path}: is one slice of a DICOM series", hint="Name the folder of the series."
        )


def output_suffix(path: Path) -> VolumeSuffix | None:
    """The suffix of a file name that can be written; None if it has none of those."""
    for suffix in VOLUME_SUFFIXES:
        if path.name.lower().endswith(suffix):
            return suffix
    return None


class _Search:
    """A search through folders that goes on where something cannot be used."""

    def __init__(self, series: str | None, on_event: Callable[[Event], None]) -> None:
        self._series, self._on_event = series, on_event
        self.failures: list[CaseFailed] = []

    @property
    def _is_named(self) -> bool:
        """Whether a certain series is asked for."""
        return self._series not in (None, ALL_SERIES)

    def fail(self, case: str, error: LunetError) -> None:
        self.failures.append(CaseFailed(case, error.message, error.hint))
        self._on_event(self.failures[-1])

    def sessions_of(self, folder: Path, num_channels: int) -> dict[str, list[_Source]]:
        """Images of a data set of BIDS, by the absolute path of their case without suffix."""
        sessions: dict[str, list[_Source]] = {}
        for case, images in find_bids_images(folder, num_channels).items():
            if images:
                sessions[os.path.abspath(case)] = list(images)
            else:
                text = f"{case.parent}: {case.name} does not have all contrasts"
                self.fail(str(case), DataError(text))
        return sessions

    def in_folder(self, folder: Path) -> list[_Found]:
        """Volumes of a folder, or its DICOM series, or those below its sub-folders.

        A series is called like the folder that it lies in, or like the sub-folder above it.
        """
        entries = list_folder(folder)
        num_failures = len(self.failures)
        found = [_Found(path, path) for path in self._files_among(entries)]
        if not found and any(map(is_file, entries)):
            series = find_series(folder)
            if series:
                return self._chosen(series, folder)
        below = self._series_of_sub_folders(entries, found)
        if not found and len(self.failures) == num_failures:
            raise DataError(f"{folder}: holds no volume and no DICOM series", hint=below)
        if below:
            text = f"{folder}: {below} They are left out; to segment them, name them too."
            self._on_event(WarningIssued(text))
        return found

    def _series_of_sub_folders(self, entries: list[Path], found: list[_Found]) -> str:
        """Add the DICOM series of sub-folders; return in words which hold other volumes."""
        passed_over: list[str] = []
        beside: list[_Found] = []
        for path in filter(is_folder, entries):
            try:
                if any(map(has_volume_suffix, list_folder(path))):
                    passed_over.append(path.name)
                    continue
                for series in self._series_below(path):
                    is_wanted = self._is_named or _is_scan(series)
                    (found if is_wanted else beside).append(series)
            except LunetError as error:
                self.fail(str(path), error)
        self._tell_beside(beside, found)
        if not passed_over:
            return ""
        noun = "sub-folder" if len(passed_over) == 1 else "sub-folders"
        return f"Volumes lie in its {noun} {', '.join(passed_over[:_MOST_NAMES])}."

    def _tell_beside(self, beside: list[_Found], found: list[_Found]) -> None:
        """Leave out scouts, pictures and results, unless there is nothing else to tell of."""
        if not found:
            found += beside
        elif beside:
            names = ", ".join(str(one.place) for one in beside[:_MOST_NAMES])
            text = f"{names}: no scan (a scout, a picture, or a result), and left out"
            self._on_event(WarningIssued(text))

    def _files_among(self, entries: list[Path]) -> list[Path]:
        """Volume files; what only has the name of one (a pipe, a link without an end) is told."""
        files = [path for path in entries if has_volume_suffix(path) and not is_folder(path)]
        usable = []
        for path in _without_label_maps(files):
            try:
                require_file(path)
            except LunetError as error:
                self.fail(str(path), error)
            else:
                usable.append(path)
        return usable

    def _series_below(self, folder: Path) -> list[_Found]:
        """The DICOM series of a patient's folder, at whatever depth it lies; none without DICOM."""
        series: list[DicomSeries] = []
        folders = [folder]
        while folders:
            place = folders.pop(0)
            series += find_series(place)
            for path in list_folder(place):
                # A link may lead upwards, and the search would not end.
                if is_folder(path) and not path.is_symlink():
                    folders.append(path)
        return self._chosen(merge_series(series, folder), folder) if series else []

    def _chosen(self, series: Sequence[DicomSeries], folder: Path) -> list[_Found]:
        """The series of a folder that is asked for, or each scan, called by number and words."""
        if self._series != ALL_SERIES:
            return [_Found(choose_among(series, folder, self._series), folder)]
        scans = scans_among(series)
        if len(scans) == 1:
            return [_Found(scans[0], folder)]
        names = list(map(_name_of_series, scans))
        found = []
        for name, one in zip(names, scans, strict=True):
            # Where two are called alike, the end of the UID tells them apart.
            ending = f"_{one.uid.rsplit('.', 1)[-1]}" if names.count(name) > 1 else ""
            found.append(_Found(one, folder / f"{name}{ending}"))
        return found


def _is_scan(found: _Found) -> bool:
    return not isinstance(found.source, DicomSeries) or found.source.is_scan


def _name_of_series(series: DicomSeries) -> str:
    """A file name of number and description, such as `4_Thorax_1_5_mm`."""
    words = re.sub(r"[^\w+-]+", "_", series.description).strip("_")
    parts = [part for part in (series.number, words[:_LONGEST_WORDS]) if part]
    return "_".join(parts) or "series"


def _without_label_maps(files: list[Path]) -> list[Path]:
    """Files without those that the layout harp keeps beside the images: `label_1` of `ct_1`."""
    images = [path for path in files if stem(path).startswith("ct_")]
    has_label_maps = any(stem(path).startswith("label_") for path in files)
    if images and has_label_maps:
        return images
    return files


def _to_cases(
    found: list[_Found],
    sessions: dict[str, list[_Source]],
    num_channels: int,
    search: _Search,
) -> list[InputCase]:
    """Bring channels together, and give each case a name of its own."""
    if num_channels > 1:
        found = sorted(found, key=lambda volume: stem(volume.place))
    stems = {stem(volume.place) for volume in found}
    groups: dict[str, list[_Source]] = {}
    for source, place in found:
        groups.setdefault(_case_path(place, num_channels, stems), []).append(source)
    usable = dict(sessions)
    for path, sources in groups.items():
        try:
            _require_channels(sources)
        except DataError as error:
            search.fail(path, error)
        else:
            usable[path] = sources
    cases: list[InputCase] = []
    for name, sources in zip(_names_of(list(usable)), usable.values(), strict=True):
        cases.append(InputCase(visible(name), tuple(sources), _suffix_of(sources[0])))
    return cases


def _names_of(paths: list[str]) -> list[str]:
    """The last part of each path, or as many as tell all of them apart."""
    names = list(map(os.path.basename, paths))
    if len(set(names)) == len(names):
        return names
    common = os.path.commonpath(list(map(os.path.dirname, paths)))
    return [os.path.relpath(path, common) for path in paths]


def _case_path(place: Path, num_channels: int, stems: set[str]) -> str:
    """Absolute path of the case that a volume belongs to, without suffix and channel number."""
    # Not resolved: a link is called as it is named.
    path = Path(os.path.abspath(place))
    name = path.stem
    if has_volume_suffix(path) or is_folder(path):
        name = stem(path)
    match = _CHANNEL.fullmatch(name)
    if match is not None:
        # A network of one channel knows nnU-Net's _0000, but not every number of four digits is a
        # channel.
        is_alone = match["channel"] == "0000" and f"{match['id']}_0001" not in stems
        if num_channels > 1 or is_alone:
            name = match["id"]
    return os.path.join(path.parent, name)


def _require_channels(sources: list[_Source]) -> None:
    """Several files are one case if they are its channels 0, 1, 2, ..."""
    if len(sources) == 1:
        return
    found: list[str] = []
    for source in sources:
        match = _CHANNEL.fullmatch(stem(Path(str(source))))
        if match is None:
            raise DataError(
                f"{sources[0]}: {sources[1].name} beside it has the same name; keep one of them"
            )
        found.append(match["channel"])
    expected = [f"{number:04d}" for number in range(len(sources))]
    if found != expected:
        raise DataError(
            f"{sources[0]}: its case has the channels {', '.join(found)}",
            hint="Channels are numbered 0000, 0001, ... without a gap.",
        )


def _suffix_of(source: _Source) -> VolumeSuffix:
    if isinstance(source, DicomSeries):
        return _DEFAULT_SUFFIX
    return output_suffix(source) or _ONE_FILE.get(source.suffix.lower(), _DEFAULT_SUFFIX)

"""The layout of BIDS: raw images by subject and session, label maps as derivatives of them.

Brain Imaging Data Structure, https://bids-specification.readthedocs.io: names are made of entities
(`sub-01_ses-2_run-1_T1w.nii.gz`), and label maps are `_dseg` or `_mask` below `derivatives`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lunet_cli.config.labels import Regions
from lunet_cli.engine.data.cases import Case
from lunet_cli.engine.data.disk import is_folder, list_folder
from lunet_cli.engine.data.mistakes import Mistakes
from lunet_cli.engine.data.volume import has_volume_suffix, stem
from lunet_cli.errors import DataError
from lunet_cli.records.files import read_text
from lunet_cli.results.words import plural

SUBJECT_PATTERN = r"^(sub-[^_]+)"
"""Finds the subject in a case id; its sessions stay on one side of a split."""
EXPECTED = (
    "bids: sub-*/[ses-*/]anat/*_T1w.nii.gz, and label maps derivatives/*/sub-*/.../*_dseg.nii.gz."
)
# A map of several labels says more than a mask of one.
_LABEL_SUFFIXES = ("dseg", "mask")
# What a derivative may add to the entities of its image.
_OF_DERIVATIVES = frozenset({"space", "desc", "label", "res", "den", "atlas", "seg"})


@dataclass(frozen=True)
class _Name:
    """A file name, taken apart.

    Args:
        path: The file.
        entities: Such as `{"sub": "01", "run": "1"}`.
        suffix: What the file is, such as `T1w` or `dseg`.
    """

    path: Path
    entities: dict[str, str]
    suffix: str

    @classmethod
    def of(cls, path: Path) -> _Name:
        """The parts of a name; what is no entity is left out."""
        *pairs, suffix = stem(path).split("_")
        entities = {}
        for pair in pairs:
            key, dash, value = pair.partition("-")
            if dash:
                entities[key] = value
        return cls(path, entities, suffix)

    def is_of(self, label: _Name) -> bool:
        """Whether an image may be the one that a label map was made of."""
        theirs = {k: v for k, v in label.entities.items() if k not in _OF_DERIVATIVES}
        return all(theirs.get(key, value) == value for key, value in self.entities.items())


def is_bids(folder: Path) -> bool:
    """Whether a folder has subjects, and derivatives to take labels from."""
    return any(_subjects(folder)) and is_folder(folder / "derivatives")


def is_derivative(folder: Path) -> bool:
    """Whether a folder is one of the derivatives of such a data set."""
    return folder.resolve().parent.name == "derivatives" and any(_subjects(folder))


def find_bids_cases(
    folder: Path, mistakes: Mistakes
) -> tuple[list[Case], Regions | None, list[str]]:
    """The sessions that have a label map, with the contrasts that all of them have.

    Args:
        folder: The data set: the raw one, or one of its derivatives, whose label maps are then
            taken.
        mistakes: Gathers what is wrong with single cases.

    Returns:
        Cases, the labels of a `dseg.tsv` if there is one, and what a person should know.
    """
    raw, derivatives = _places(folder)
    labels = _labels_by_session(derivatives, mistakes)
    images = _images_by_session(raw, labels, mistakes)
    contrasts = _common_contrasts(images.values())
    cases = []
    for session, names in images.items():
        with mistakes.gathering():
            paths = tuple(_the_image(names, contrast) for contrast in contrasts)
            cases.append(Case(session, paths, labels[session].path))
    remarks: list[str] = []
    num_sessions = sum(1 for _ in _sessions(raw))
    if num_sessions > len(labels):
        remarks.append(
            f"{folder}: {len(labels)} of {plural(num_sessions, 'session')} have a label map; the "
            "others are not used"
        )
    left_out = {name.suffix for names in images.values() for name in names} - set(contrasts)
    if left_out:
        listed = ", ".join(sorted(left_out))
        remarks.append(f"{folder}: not every case has {listed}; only {', '.join(contrasts)} used")
    return cases, _label_names(derivatives), remarks


def _images_by_session(
    raw: Path, labels: Mapping[str, _Name], mistakes: Mistakes
) -> dict[str, list[_Name]]:
    """The images that the label map of each session may have been made of."""
    images: dict[str, list[_Name]] = {}
    for session, label in labels.items():
        place = raw.joinpath(*session.split("_"), label.path.parent.name)
        found = [name for name in _volumes(place) if name.is_of(label)]
        if found:
            images[session] = found
        else:
            text = f"{label.path}: there is no image of it in {place}"
            mistakes.add(DataError(text, hint=EXPECTED))
    return images


def _places(folder: Path) -> tuple[Path, list[Path]]:
    """The raw data set, and the derivatives whose label maps count."""
    if is_folder(folder / "derivatives"):
        return folder, [path for path in list_folder(folder / "derivatives") if is_folder(path)]
    return folder.resolve().parent.parent, [folder]


def _subjects(folder: Path) -> Iterator[Path]:
    for path in list_folder(folder):
        if path.name.startswith("sub-") and is_folder(path):
            yield path


def _sessions(folder: Path) -> Iterator[tuple[str, Path]]:
    """Name and folder of each session; a subject without sessions is one itself."""
    for subject in _subjects(folder):
        inner = [path for path in list_folder(subject) if path.name.startswith("ses-")]
        for session in filter(is_folder, inner):
            yield f"{subject.name}_{session.name}", session
        if not inner:
            yield subject.name, subject


def _volumes(folder: Path) -> list[_Name]:
    if not is_folder(folder):
        return []
    return [_Name.of(path) for path in list_folder(folder) if has_volume_suffix(path)]


def _labels_by_session(derivatives: Sequence[Path], mistakes: Mistakes) -> dict[str, _Name]:
    """The label map of each session that has one."""
    found: dict[str, list[_Name]] = {}
    for derivative in derivatives:
        for session, folder in _sessions(derivative):
            for place in filter(is_folder, list_folder(folder)):
                names = [name for name in _volumes(place) if name.suffix in _LABEL_SUFFIXES]
                found.setdefault(session, []).extend(names)
    chosen: dict[str, _Name] = {}
    for session, names in sorted(found.items()):
        fitting = _best_maps(names)
        if len(fitting) > 1:
            listed = " and ".join(str(name.path) for name in fitting[:2])
            mistakes.add(
                DataError(
                    f"case {session}: has several label maps: {listed}",
                    hint="Keep one, or name the folder of one of the derivatives as the data set.",
                )
            )
        if fitting:
            chosen[session] = fitting[0]
    return chosen


def _best_maps(names: Sequence[_Name]) -> list[_Name]:
    """Those of the kind that says most."""
    for suffix in _LABEL_SUFFIXES:
        fitting = [name for name in names if name.suffix == suffix]
        if fitting:
            return fitting
    return []


def _common_contrasts(images: Collection[Sequence[_Name]]) -> list[str]:
    """Suffixes that every case has, sorted: the channels."""
    found: set[str] | None = None
    for names in images:
        suffixes = {name.suffix for name in names}
        found = suffixes if found is None else found & suffixes
    if found is not None and not found:
        raise DataError("the labelled cases have no contrast in common", hint=EXPECTED)
    return sorted(found or ())


def _the_image(names: Sequence[_Name], contrast: str) -> Path:
    fitting = [name.path for name in names if name.suffix == contrast]
    if len(fitting) > 1:
        raise DataError(
            f"{fitting[0]}: {fitting[1].name} beside it may be the image of the label map too",
            hint="Give the label map the entities of its image, such as run-1 or acq-fast.",
        )
    return fitting[0]


def _label_names(derivatives: Sequence[Path]) -> Regions | None:
    """Names and values of the first table of labels (columns index and name)."""
    for derivative in derivatives:
        for path in sorted(derivative.rglob("*dseg.tsv")):
            rows = list(csv.DictReader(io.StringIO(read_text(path)), delimiter="\t"))
            try:
                named = {row["name"]: (int(row["index"]),) for row in rows}
            except (KeyError, TypeError, ValueError):
                raise DataError(
                    f"{path}: is not a table of labels",
                    hint="It has the columns index and name, divided by tabs.",
                ) from None
            return {name: values for name, values in named.items() if values[0] > 0} or None
    return None

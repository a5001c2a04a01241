"""The layout of BIDS: raw images by subject and session, label maps as derivatives of them.

Brain Imaging Data Structure, https://bids-specification.readthedocs.io: names are made of entities
(`sub-01_ses-2_run-1_T1w.nii.gz`), and label maps are `_dseg` or `_mask` below `derivatives`.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
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
# Entities, of which the first is the subject, and what the file is.
_BIDS_NAME = re.compile(r"sub-[A-Za-z0-9]+(_[a-z]+-[A-Za-z0-9+]+)*_[A-Za-z0-9]+")
# A map of several labels says more than a mask of one.
_LABEL_SUFFIXES = ("dseg", "mask")
# What a derivative may add to the entities of its image.
_OF_DERIVATIVES = frozenset({"space", "desc", "label", "res", "den", "atlas", "seg"})
# Those of a subject; any other one is a template.
_OWN_SPACES = frozenset({"", "orig", "native", "individual", "scanner"})
# All other entities tell images of one case from each other.
_OF_CASES = ("sub", "ses", "run")
# Beside images, and none of them.
_NO_CONTRASTS = frozenset({*_LABEL_SUFFIXES, "defacemask", "probseg"})


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
        *pairs, suffix = stem(path).removesuffix(".tsv").split("_")
        entities = {}
        for pair in pairs:
            key, dash, value = pair.partition("-")
            if dash:
                entities[key] = value
        return cls(path, entities, suffix)

    @property
    def template(self) -> str:
        """The template onto whose grid it was brought; empty where it lies as it was scanned."""
        space = self.entities.get("space", "")
        # `space-T1w`: on the grid of that image.
        is_own = space in _OWN_SPACES or (space.startswith("T") and space.endswith("w"))
        return "" if is_own else space

    @property
    def raw_entities(self) -> dict[str, str]:
        """Those that its image has too."""
        return {k: v for k, v in self.entities.items() if k not in _OF_DERIVATIVES}

    def is_of(self, label: _Name) -> bool:
        """Whether an image may be the one that a label map was made of."""
        theirs = label.raw_entities
        is_image = self.suffix not in _NO_CONTRASTS and self.template == label.template
        return is_image and all(theirs.get(k, v) == v for k, v in self.raw_entities.items())


@dataclass(frozen=True)
class _LabelMap:
    """A label map and what it is of.

    Args:
        name: Its file.
        derivative: Folder of the derivative.
        session: Folder of the session in the raw data set.
    """

    name: _Name
    derivative: Path
    session: Path

    @property
    def case_id(self) -> str:
        """Subject and session of its folder, and what else tells it from others, such as a run."""
        others = {k: v for k, v in self.name.raw_entities.items() if k not in ("sub", "ses")}
        parts = [part for part in self.session.parts[-2:] if part.startswith(("sub-", "ses-"))]
        return "_".join([*parts, *(f"{key}-{value}" for key, value in others.items())])

    def images_in(self, folder: Path) -> list[_Name]:
        """Images in a folder that it may have been made of."""
        return [name for name in _volumes(folder) if name.is_of(self.name)]

    @property
    def names(self) -> Regions | None:
        """Names and values of its labels: of a table, or of a mask that is called by its label."""
        label = self.name.entities.get("label")
        if self.name.suffix == "mask":
            return None if label is None else {label: (1,)}
        # The table nearest to it, as BIDS inherits descriptions from folders above.
        for place in self.name.path.parents:
            table = self._table_in(place)
            if table is not None:
                return _read_table(table)
            if place == self.derivative:
                break
        return None

    def _table_in(self, folder: Path) -> Path | None:
        """The table of labels in a folder that has no entity that the label map lacks."""
        mine = self.name.entities.items()
        found = []
        for table in map(_Name.of, folder.glob("*dseg.tsv")):
            if table.suffix == "dseg" and table.entities.items() <= mine:
                found.append(table)
        return max(found, key=lambda table: len(table.entities)).path if found else None


@dataclass(frozen=True)
class SourceName:
    """What derivatives of images are called after.

    Args:
        root: The data set.
        folder: Place of the images within it, such as `sub-01/ses-2/anat`.
        entities: Those that all images have, such as `sub-01_ses-2_run-1`.
        images: The images.
    """

    root: Path
    folder: Path
    entities: str
    images: tuple[Path, ...]


def source_name(images: Sequence[Path]) -> SourceName:
    """What a derivative of the images of one case is called after.

    Raises:
        DataError: An image is not named, or does not lie, as BIDS asks.
    """
    # Not resolved: data sets are often made of links.
    paths = [Path(os.path.abspath(image)) for image in images]
    for path in paths:
        if _BIDS_NAME.fullmatch(stem(path)) is None or not has_volume_suffix(path):
            raise DataError(
                f"{path}: is not named as BIDS asks, such as sub-01_ses-2_T1w.nii.gz",
                hint="Leave out `bids`, or bring the images into the layout first.",
            )
    names = [_Name.of(path) for path in paths]
    shared = dict(names[0].entities)
    for name in names[1:]:
        shared = {k: v for k, v in shared.items() if name.entities.get(k) == v}
    shared.pop("desc", None)
    root, folder = _place_in_data_set(paths[0], names[0])
    parts = [f"{key}-{value}" for key, value in shared.items()]
    return SourceName(root, folder, "_".join(parts), tuple(paths))


def _place_in_data_set(path: Path, name: _Name) -> tuple[Path, Path]:
    """The data set that an image lies in, and its folder there.

    Raises:
        DataError: It does not lie below the folder of its subject.
    """
    subject = f"sub-{name.entities['sub']}"
    for place in path.parents:
        if place.name == subject:
            return place.parent, path.parent.relative_to(place.parent)
    raise DataError(
        f"{path}: does not lie in a folder {subject}, as BIDS asks",
        hint="Leave out `bids`, or bring the images into the layout first.",
    )


def subject_of(case_id: str) -> str:
    """The subject in a case id."""
    return case_id.split("_")[0]


def is_bids(folder: Path) -> bool:
    """Whether a folder has subjects, and derivatives to take labels from."""
    return any(_subjects(folder)) and is_folder(folder / "derivatives")


def is_derivative(folder: Path) -> bool:
    """Whether a folder is one of the derivatives of such a data set."""
    return folder.resolve().parent.name == "derivatives" and any(_subjects(folder))


def find_bids_cases(
    folder: Path, mistakes: Mistakes
) -> tuple[list[Case], Regions | None, list[str]]:
    """The label maps, with the contrasts that all of them have.

    Args:
        folder: The data set: the raw one, or one of its derivatives, whose label maps are then
            taken.
        mistakes: Gathers what is wrong with single cases.

    Returns:
        Cases, the labels as the data set names them, and what a person should know.
    """
    raw, derivatives = _places(folder)
    labels = _label_maps(raw, derivatives, mistakes)
    images = _images(labels, mistakes)
    contrasts = _common_contrasts(images)
    cases = []
    for case_id, names in images.items():
        with mistakes.gathering():
            paths = tuple(_the_image(names, contrast) for contrast in contrasts)
            cases.append(Case(case_id, paths, labels[case_id].name.path))
    named = next(filter(None, (label.names for label in labels.values())), None)
    return cases, named, list(_remarks(folder, raw, labels, images, contrasts))


def has_bids_images(folder: Path) -> bool:
    """Whether a folder has subjects with images."""
    return any(_image_groups(folder))


def find_bids_images(folder: Path, num_channels: int) -> dict[Path, list[Path]]:
    """The images of each session and run, one for each contrast, in the order of a training.

    Args:
        folder: The raw data set, or a derivative.
        num_channels: Contrasts that a network takes.

    Returns:
        Images by the place and name of their case; empty where a case lacks some of them.

    Raises:
        DataError: There is no telling which contrasts are meant.
    """
    groups: dict[Path, list[_Name]] = {}
    for case, name in _image_groups(folder):
        groups.setdefault(case, []).append(name)
    by_contrast = {case: _single_contrasts(names) for case, names in groups.items()}
    sets = {tuple(sorted(found)) for found in by_contrast.values()}
    fitting = [contrasts for contrasts in sets if len(contrasts) == num_channels]
    if len(fitting) != 1:
        listed = ", ".join(sorted({name.suffix for names in groups.values() for name in names}))
        raise DataError(
            f"{folder}: has {listed}, and the network takes {plural(num_channels, 'channel')}",
            hint=f"Name the files: {folder}/sub-*/anat/*_T1w.nii.gz, for instance; those of "
            "several channels as NAME_0000, NAME_0001.",
        )
    images: dict[Path, list[Path]] = {}
    for case, found in by_contrast.items():
        is_whole = found.keys() >= set(fitting[0])
        images[case] = [found[contrast] for contrast in fitting[0]] if is_whole else []
    return images


def _single_contrasts(names: Sequence[_Name]) -> dict[str, Path]:
    """Contrasts of which there is one image, and not several echoes, for instance."""
    counts = Counter(name.suffix for name in names)
    return {name.suffix: name.path for name in names if counts[name.suffix] == 1}


def _image_groups(folder: Path) -> Iterator[tuple[Path, _Name]]:
    """Images, with the place and name of the case that each belongs to."""
    for session in _sessions(folder):
        for place in filter(is_folder, list_folder(session)):
            for name in _volumes(place):
                parts = [f"{k}-{v}" for k, v in name.entities.items() if k in _OF_CASES]
                if "sub" in name.entities and name.suffix not in _NO_CONTRASTS:
                    yield place / "_".join(parts), name


def _remarks(
    folder: Path,
    raw: Path,
    labels: Mapping[str, _LabelMap],
    images: Mapping[str, Sequence[_Name]],
    contrasts: Sequence[str],
) -> Iterator[str]:
    """What is there and not used."""
    num_sessions = sum(1 for _ in _sessions(raw))
    num_labelled = len({label.session for label in labels.values()})
    if num_sessions > num_labelled:
        yield (
            f"{folder}: {num_labelled} of {plural(num_sessions, 'session')} have a label map; the "
            "others are not used"
        )
    left_out = {name.suffix for names in images.values() for name in names} - set(contrasts)
    if left_out:
        listed = ", ".join(sorted(left_out))
        yield f"{folder}: not every case has a single {listed}; only {', '.join(contrasts)} used"


def _images(labels: Mapping[str, _LabelMap], mistakes: Mistakes) -> dict[str, list[_Name]]:
    """The images that each label map may have been made of.

    Those beside it come first: a derivative that has images has them on the grid of its maps.
    """
    images: dict[str, list[_Name]] = {}
    for case_id, label in labels.items():
        place = label.session / label.name.path.parent.name
        found = label.images_in(label.name.path.parent)
        if not found and not label.name.template:
            found = label.images_in(place)
        if found:
            images[case_id] = found
        else:
            text = f"{label.name.path}: there is no image of it beside it or in {place}"
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


def _sessions(folder: Path) -> Iterator[Path]:
    """The folder of each session; a subject without sessions is one itself."""
    for subject in _subjects(folder):
        inner = [path for path in list_folder(subject) if path.name.startswith("ses-")]
        yield from filter(is_folder, inner)
        if not inner:
            yield subject


def _volumes(folder: Path) -> list[_Name]:
    if not is_folder(folder):
        return []
    return [_Name.of(path) for path in list_folder(folder) if has_volume_suffix(path)]


def _label_maps(raw: Path, derivatives: Sequence[Path], mistakes: Mistakes) -> dict[str, _LabelMap]:
    """The label map of each image that has one, by the name of the case."""
    found: dict[str, list[_LabelMap]] = {}
    for derivative in derivatives:
        of_derivative: dict[str, list[_LabelMap]] = {}
        for label in _maps_of(raw, derivative):
            of_derivative.setdefault(label.case_id, []).append(label)
        for case_id, labels in of_derivative.items():
            found.setdefault(case_id, []).extend(_best_maps(labels))
    chosen: dict[str, _LabelMap] = {}
    for case_id, labels in sorted(found.items()):
        if len(labels) > 1:
            listed = " and ".join(str(label.name.path) for label in labels[:2])
            mistakes.add(
                DataError(
                    f"case {case_id}: has several label maps: {listed}",
                    hint="Keep one, or name the folder of one of the derivatives as the data set.",
                )
            )
        chosen[case_id] = labels[0]
    return chosen


def _maps_of(raw: Path, derivative: Path) -> Iterator[_LabelMap]:
    """All label maps of a derivative."""
    for session in _sessions(derivative):
        for place in filter(is_folder, list_folder(session)):
            for name in _volumes(place):
                if name.suffix in _LABEL_SUFFIXES:
                    yield _LabelMap(name, derivative, raw / session.relative_to(derivative))


def _best_maps(labels: Sequence[_LabelMap]) -> list[_LabelMap]:
    """Those as they were scanned, if there are any, and of these the kind that says most."""
    as_scanned = [label for label in labels if not label.name.template]
    for suffix in _LABEL_SUFFIXES:
        fitting = [label for label in as_scanned or labels if label.name.suffix == suffix]
        if fitting:
            return fitting
    return []


def _common_contrasts(images: Mapping[str, Sequence[_Name]]) -> list[str]:
    """Suffixes that every case has, sorted: the channels.

    One of which no case has a single image is left out: echoes or inversions, for instance.
    """
    counts = [Counter(name.suffix for name in names) for names in images.values()]
    if not counts:
        return []
    common = sorted(set.intersection(*map(set, counts)))
    if not common:
        raise DataError("the labelled cases have no contrast in common", hint=EXPECTED)
    single = [suffix for suffix in common if min(count[suffix] for count in counts) == 1]
    return single or common


def _the_image(names: Sequence[_Name], contrast: str) -> Path:
    fitting = [name.path for name in names if name.suffix == contrast]
    if len(fitting) > 1:
        raise DataError(
            f"{fitting[0]}: {fitting[1].name} beside it may be the image of the label map too",
            hint="Give the label map the entities of its image, such as run-1 or acq-fast.",
        )
    return fitting[0]


def _read_table(path: Path) -> Regions | None:
    """Names and values of a table of labels (columns index and name)."""
    rows = list(csv.DictReader(io.StringIO(read_text(path)), delimiter="\t"))
    try:
        named = {row["name"]: (int(row["index"]),) for row in rows}
    except (KeyError, TypeError, ValueError):
        raise DataError(
            f"{path}: is not a table of labels",
            hint="It has the columns index and name, divided by tabs.",
        ) from None
    return {name: values for name, values in named.items() if values[0] > 0} or None

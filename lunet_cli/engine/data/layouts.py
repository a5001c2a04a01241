"""The folder layouts that data sets come in, and how their cases are found."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lunet_cli.config.data import DataConfig
from lunet_cli.config.description import require_folder
from lunet_cli.config.labels import Regions
from lunet_cli.engine.data.bids import EXPECTED as EXPECTED_OF_BIDS
from lunet_cli.engine.data.bids import find_bids_cases, is_bids, is_derivative
from lunet_cli.engine.data.cases import Case, CaseSet, read_case_files
from lunet_cli.engine.data.dataset_json import (
    DatasetJson,
    has_dataset_json,
    read_dataset_json,
)
from lunet_cli.engine.data.disk import is_folder, list_folder
from lunet_cli.engine.data.mistakes import Mistakes
from lunet_cli.engine.data.phantom import PhantomReader, phantom_case_set
from lunet_cli.engine.data.volume import has_volume_suffix, stem
from lunet_cli.errors import DataError
from lunet_cli.results.words import plural

_HARP_IMAGE = re.compile(r"ct_(?P<id>.+)")
_HARP_LABEL = re.compile(r"label_.+")
_SAME_NAME = "A label map has the name of its image."
_MOST_LOOKED_AT = 100  # Sub-folders; more of them are cases rather than data sets.
_CHANNEL = re.compile(r"(?P<id>.+)_(?P<channel>\d{4})")


@dataclass(frozen=True)
class _Found:
    """What a layout finds: what `CaseSet` says of it."""

    cases: list[Case]
    labels: Regions | None = None
    ignored: int | None = None
    remarks: tuple[str, ...] = ()


def find_cases(folder: Path, layout: str, mistakes: Mistakes | None = None) -> CaseSet:
    """Find the labelled cases of a folder.

    Args:
        folder: The data set.
        layout: `harp`, `paired`, `msd`, `nnunet`, `bids`, or `auto` to tell from what the folder
            holds.
        mistakes: Gathers what is wrong with single cases, which are then left out; None raises all
            of it.

    Raises:
        DataError: The folder is missing, is not of the layout, holds no case, or images lack their
            labels.
    """
    require_folder(folder)
    found = Mistakes() if mistakes is None else mistakes
    try:
        name = detect_layout(folder) if layout == "auto" else layout
        content = LAYOUTS[name](folder, found)
    except OSError as error:  # A folder that may not be looked into.
        raise DataError(
            f"{error.filename or folder}: cannot be read ({error.strerror or error})"
        ) from None
    if mistakes is None or not content.cases:
        found.require_none()
    if not content.cases:
        raise DataError(f"{folder}: holds no case in the layout '{name}'", hint=EXPECTATIONS[name])
    _require_unique(content.cases)
    return _case_set(content, name, folder)


def _case_set(found: _Found, layout: str, folder: Path) -> CaseSet:
    return CaseSet(
        cases=tuple(found.cases),
        reader=read_case_files,
        labels=found.labels,
        layout=layout,
        root=folder,
        remarks=found.remarks,
        ignored=found.ignored,
    )


def _require_unique(cases: list[Case]) -> None:
    seen: set[str] = set()
    for case in cases:
        if case.case_id in seen:
            raise DataError(
                f"two cases are called '{case.case_id}'",
                hint="Case ids are file names without ending.",
            )
        seen.add(case.case_id)


def find_description(*places: Path) -> DatasetJson | None:
    """The first `dataset.json` that names labels, in these folders or in those above.

    Raises:
        DataError: One of these files cannot be read.
    """
    for place in places:
        for folder in (place, place.parent):
            if has_dataset_json(folder):
                description = read_dataset_json(folder)
                if description.labels is not None:
                    return description
    return None


def find_phantom_cases(data: DataConfig) -> CaseSet:
    """The built-in cases."""
    config = data.phantom
    return phantom_case_set(config.num_cases, PhantomReader(config.size, config.noise, config.seed))


def detect_layout(folder: Path) -> str:
    """Tell the layout of a folder from its content.

    Raises:
        DataError: It looks like none.
    """
    # The surest sign first: file names that look like another layout lie in many folders.
    if has_dataset_json(folder) and not _is_foreign(folder):
        return "msd" if _names_existing_images(folder) else "nnunet"
    if (folder / "images").is_dir():
        return "paired"
    names = list(_entries(folder, Mistakes()))
    # An image alone may as well be a folder that is called so.
    if any(map(_HARP_IMAGE.fullmatch, names)) and any(map(_HARP_LABEL.fullmatch, names)):
        return "harp"
    if is_bids(folder) or is_derivative(folder):
        return "bids"
    if (folder / "imagesTr").is_dir():
        raise DataError(
            f"{folder}: has a folder imagesTr, but no dataset.json", hint=EXPECTATIONS["nnunet"]
        )
    below = ", ".join(map(str, _data_sets_below(folder)))
    if below:
        raise DataError(f"{folder}: is not a data set itself", hint=f"Did you mean {below}?")
    raise DataError(
        f"{folder}: looks like none of the known layouts", hint=" ".join(EXPECTATIONS.values())
    )


def _is_foreign(folder: Path) -> bool:
    """Whether the `dataset.json` is another program's and the layout `paired` lies beside it."""
    if not (folder / "images").is_dir() or (folder / "imagesTr").is_dir():
        return False
    return not read_dataset_json(folder).has_training


def _data_sets_below(folder: Path) -> list[Path]:
    """Up to three sub-folders that are data sets, as the one that an archive unpacks to."""
    folders = [path for path in list_folder(folder) if is_folder(path)]
    found = []
    for path in folders[:_MOST_LOOKED_AT]:
        if has_dataset_json(path) or (path / "images").is_dir():
            found.append(path)
    return found[:3]


def _names_existing_images(folder: Path) -> bool:
    """Whether `training` lists files as they are, not without their channel number."""
    description = read_dataset_json(folder)
    if not description.has_training:
        return False
    first = description.training[:1]
    if not first or not isinstance(first[0], dict) or not (folder / "imagesTr").is_dir():
        return True
    # nnU-Net 1 lists NAME.nii.gz where NAME_0000.nii.gz lies.
    return (folder / str(first[0].get("image"))).exists()


def _find_harp(folder: Path, mistakes: Mistakes) -> _Found:
    entries = _entries(folder, mistakes)
    cases = []
    for name, path in entries.items():
        match = _HARP_IMAGE.fullmatch(name)
        if match is None:
            continue
        label = f"label_{match['id']}"
        with mistakes.gathering():
            if label not in entries:
                raise _missing_label(path, folder / f"{label}.*")
            cases.append(Case(match["id"], (path,), entries[label]))
    return _Found(cases)


def _find_paired(folder: Path, mistakes: Mistakes) -> _Found:
    _require_folders(folder, ("images", "labels"), "paired")
    files = _images(folder / "images", mistakes)
    return _Found(_pairs(files, folder / "labels", mistakes))


def _find_msd(folder: Path, mistakes: Mistakes) -> _Found:
    description = read_dataset_json(folder)
    if not isinstance(description.values.get("training"), list):
        raise DataError(f"{description.path}: has no list 'training'", hint=EXPECTATIONS["msd"])
    cases = []
    for number, entry in enumerate(description.training):
        with mistakes.gathering():
            cases.append(_msd_case(folder, number, entry))
    return _Found(cases, description.labels, description.ignored)


def _msd_case(folder: Path, number: int, entry: object) -> Case:
    """The case that one entry of the list `training` names."""
    image_name = label_name = None
    if isinstance(entry, dict):
        image_name, label_name = entry.get("image"), entry.get("label")
    if not (isinstance(image_name, str) and isinstance(label_name, str)):
        raise DataError(
            f"{folder / 'dataset.json'}: training[{number}] needs an 'image' and a 'label'"
        )
    image, label = folder / image_name, folder / label_name
    if not image.exists():
        raise DataError(f"{image}: named in dataset.json, but there is no such file")
    if not label.exists():
        raise _missing_label(image, label)
    return Case(stem(image), (image,), label)


def find_test_folders(folder: Path) -> CaseSet | None:
    """The cases of `imagesTs` and `labelsTs`; None where one of them is missing."""
    if not (has_dataset_json(folder) and (folder / "imagesTs").is_dir()):
        return None
    if not (folder / "labelsTs").is_dir():
        return None
    mistakes = Mistakes()
    found = _find_nnunet(folder, mistakes, "Ts")
    mistakes.require_none()
    return _case_set(found, "nnunet", folder)


def _find_nnunet(folder: Path, mistakes: Mistakes, side: str = "Tr") -> _Found:
    description = read_dataset_json(folder)
    images, labels = folder / f"images{side}", folder / f"labels{side}"
    _require_folders(folder, (images.name, labels.name), "nnunet")
    ending = description.file_ending
    files = [path for path in _images(images, mistakes) if path.name.endswith(ending)]
    num_channels = description.num_channels
    cases = _pairs(files, labels, mistakes, ending=ending, num_channels=num_channels)
    return _Found(cases, description.labels, description.ignored)


def _find_bids(folder: Path, mistakes: Mistakes) -> _Found:
    cases, labels, remarks = find_bids_cases(folder, mistakes)
    return _Found(cases, labels, remarks=tuple(remarks))


def _require_folders(folder: Path, names: tuple[str, ...], layout: str) -> None:
    for name in names:
        if not (folder / name).is_dir():
            raise DataError(f"{folder}: has no folder '{name}'", hint=EXPECTATIONS[layout])


def _pairs(
    images: list[Path],
    folder: Path,
    mistakes: Mistakes,
    *,
    ending: str = ".*",
    num_channels: int = 0,
) -> list[Case]:
    """The cases of images and of the label maps in a folder that have the same names."""
    labels = _entries(folder, mistakes)
    if images and not labels:
        raise DataError(f"{folder}: holds no label map", hint=_SAME_NAME)
    cases = []
    for name, paths in _group_channels(images, set(labels)).items():
        with mistakes.gathering():
            _require_channels(name, paths, num_channels)
            if name not in labels:
                raise _missing_label(paths[0], folder / f"{name}{ending}")
            cases.append(Case(name, tuple(paths), labels[name]))
    return cases


def _require_channels(name: str, paths: list[Path], expected: int) -> None:
    if expected not in (0, len(paths)):  # 0 where the data set does not say
        raise DataError(
            f"{paths[0]}: case {name} has {plural(len(paths), 'channel file')}, dataset.json names "
            f"{plural(expected, 'channel')}",
            hint="Each case needs one file per channel: NAME_0000, NAME_0001, ...",
        )


LAYOUTS: dict[str, Callable[[Path, Mistakes], _Found]] = {
    "harp": _find_harp,
    "paired": _find_paired,
    "msd": _find_msd,
    "nnunet": _find_nnunet,
    "bids": _find_bids,
}
EXPECTATIONS = {
    "harp": "harp: files ct_<id> beside label_<id>.",
    "paired": "paired: folders images/ and labels/ with equal file names.",
    "msd": "msd: dataset.json with a list 'training' of image and label.",
    "nnunet": "nnunet: dataset.json, imagesTr/ with NAME_0000 files, labelsTr/ with NAME files.",
    "bids": EXPECTED_OF_BIDS,
}


def volumes_in(folder: Path) -> list[Path]:
    """Volume files of a folder, sorted by name; hidden ones left out."""
    mistakes = Mistakes()
    entries = _entries(folder, mistakes)
    mistakes.require_none()
    return [path for path in entries.values() if not is_folder(path)]


def _images(folder: Path, mistakes: Mistakes) -> list[Path]:
    """Image files and DICOM series of a folder; files within folders are told."""
    found = []
    for path in _entries(folder, mistakes).values():
        if path.is_dir() and any(map(has_volume_suffix, path.iterdir())):
            mistakes.add(
                DataError(
                    f"{path}: is a folder of volume files, where a file or a DICOM series was "
                    "expected",
                    hint="Move the files up, and name them after their folder.",
                )
            )
        else:
            found.append(path)
    return found


def _entries(folder: Path, mistakes: Mistakes) -> dict[str, Path]:
    """Volume files and sub-folders (DICOM series) by name, sorted; hidden ones left out."""
    by_name: dict[str, Path] = {}
    for path in list_folder(folder):
        if not (has_volume_suffix(path) or is_folder(path)):
            continue
        other = by_name.setdefault(stem(path), path)
        if other is not path:
            mistakes.add(
                DataError(f"{path}: {other.name} beside it has the same name; keep one of them")
            )
    return by_name


def _group_channels(paths: list[Path], label_names: set[str]) -> dict[str, list[Path]]:
    """Bring NAME_0000, NAME_0001, ... together; a name that has its own label map stays whole."""
    groups: dict[str, list[Path]] = {}
    for path in paths:
        name = stem(path)
        match = _CHANNEL.fullmatch(name)
        if match is not None and name not in label_names:
            name = match["id"]
        groups.setdefault(name, []).append(path)
    return groups


def _missing_label(image: Path, expected: Path) -> DataError:
    return DataError(f"{image}: this image has no label map, expected {expected}", hint=_SAME_NAME)

"""The folder layouts that data sets come in, and how their cases are found."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lunet_cli.config.data import DataConfig
from lunet_cli.config.description import read_description, require_folder
from lunet_cli.engine.data.cases import Case, CaseSet, read_case_files
from lunet_cli.engine.data.disk import is_folder, list_folder
from lunet_cli.engine.data.mistakes import Mistakes
from lunet_cli.engine.data.phantom import PhantomReader, phantom_case_set
from lunet_cli.engine.data.volume import has_volume_suffix, stem
from lunet_cli.errors import DataError
from lunet_cli.results.words import plural

Labels = dict[str, tuple[int, ...]]
_HARP_IMAGE = re.compile(r"ct_(?P<id>.+)")
_SAME_NAME = "A label map has the name of its image."
_MOST_LOOKED_AT = 100  # Sub-folders; more of them are cases rather than data sets.
_CHANNEL = re.compile(r"(?P<id>.+)_(?P<channel>\d{4})")


def find_cases(folder: Path, layout: str, mistakes: Mistakes | None = None) -> CaseSet:
    """Find the labelled cases of a folder.

    Args:
        folder: The data set.
        layout: `harp`, `paired`, `msd`, `nnunet`, or `auto` to tell from what the folder holds.
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
        cases, labels = LAYOUTS[name](folder, found)
    except OSError as error:  # A folder that may not be looked into.
        raise DataError(
            f"{error.filename or folder}: cannot be read ({error.strerror or error})"
        ) from None
    if mistakes is None or not cases:
        found.require_none()
    if not cases:
        raise DataError(f"{folder}: holds no case in the layout '{name}'", hint=EXPECTATIONS[name])
    _require_unique(cases)
    return CaseSet(tuple(cases), read_case_files, labels, name, folder)


def _require_unique(cases: list[Case]) -> None:
    seen: set[str] = set()
    for case in cases:
        if case.case_id in seen:
            raise DataError(
                f"two cases are called '{case.case_id}'",
                hint="Case ids are file names without ending.",
            )
        seen.add(case.case_id)


def find_labels(*places: Path) -> Labels | None:
    """Labels of the first `dataset.json` in one of these folders or in the folder above; None if there is none."""
    for place in places:
        for folder in (place, place.parent):
            if (folder / "dataset.json").is_file() and (
                labels := _read_labels(_read_dataset_json(folder), folder)
            ):
                return labels
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
    if (folder / "dataset.json").is_file() and not _is_foreign(folder):
        return "msd" if _names_existing_images(_read_dataset_json(folder), folder) else "nnunet"
    if (folder / "images").is_dir():
        return "paired"
    if any(_HARP_IMAGE.fullmatch(stem(path)) for path in _entries(folder, Mistakes())):
        return "harp"
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
    return "training" not in _read_dataset_json(folder)


def _data_sets_below(folder: Path) -> list[Path]:
    """Up to three sub-folders that are data sets, as the one that an archive unpacks to."""
    folders = sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )
    found = []
    for path in folders[:_MOST_LOOKED_AT]:
        if (path / "dataset.json").is_file() or (path / "images").is_dir():
            found.append(path)
    return found[:3]


def _names_existing_images(description: dict[str, Any], folder: Path) -> bool:
    """Whether `training` lists files as they are; nnU-Net 1 lists them without the channel number."""
    if "training" not in description:
        return False
    entries = description["training"] if isinstance(description["training"], list) else []
    images = [str(entry.get("image")) for entry in entries[:1] if isinstance(entry, dict)]
    return not images or (folder / images[0]).exists() or not (folder / "imagesTr").is_dir()


def _find_harp(folder: Path, mistakes: Mistakes) -> tuple[list[Case], Labels | None]:
    entries = {stem(path): path for path in _entries(folder, mistakes)}
    cases = []
    for name, path in entries.items():
        match = _HARP_IMAGE.fullmatch(name)
        if match is None:
            continue
        with mistakes.gathering():
            label = _require_label(
                entries.get(f"label_{match['id']}"), path, folder / f"label_{match['id']}.*"
            )
            cases.append(Case(match["id"], (path,), label))
    return cases, None


def _find_paired(folder: Path, mistakes: Mistakes) -> tuple[list[Case], Labels | None]:
    for name in ("images", "labels"):
        if not (folder / name).is_dir():
            raise DataError(f"{folder}: has no folder '{name}'", hint=EXPECTATIONS["paired"])
    files = _images(folder / "images", mistakes)
    labels = _label_maps(folder / "labels", files, mistakes)
    cases = []
    for name, paths in _group_channels(files, set(labels)).items():
        with mistakes.gathering():
            label = _require_label(labels.get(name), paths[0], folder / "labels" / f"{name}.*")
            cases.append(Case(name, tuple(paths), label))
    return cases, None


def _find_msd(folder: Path, mistakes: Mistakes) -> tuple[list[Case], Labels | None]:
    description = _read_dataset_json(folder)
    entries = description.get("training")
    if not isinstance(entries, list):
        raise DataError(
            f"{folder / 'dataset.json'}: has no list 'training'", hint=EXPECTATIONS["msd"]
        )
    cases = []
    for number, entry in enumerate(entries):
        with mistakes.gathering():
            cases.append(_msd_case(folder, number, entry))
    return cases, _read_labels(description, folder)


def _msd_case(folder: Path, number: int, entry: object) -> Case:
    """The case that one entry of the list `training` names."""
    named = entry if isinstance(entry, dict) else {}
    if not (isinstance(named.get("image"), str) and isinstance(named.get("label"), str)):
        raise DataError(
            f"{folder / 'dataset.json'}: training[{number}] needs an 'image' and a 'label'"
        )
    image, label = folder / named["image"], folder / named["label"]
    if not image.exists():
        raise DataError(f"{image}: named in dataset.json, but there is no such file")
    return Case(
        stem(image), (image,), _require_label(label if label.exists() else None, image, label)
    )


def find_test_folders(folder: Path) -> CaseSet | None:
    """The cases of `imagesTs` and `labelsTs`; None where one of them is missing."""
    if not (
        (folder / "dataset.json").is_file()
        and all((folder / name).is_dir() for name in ("imagesTs", "labelsTs"))
    ):
        return None
    mistakes = Mistakes()
    cases, labels = _find_nnunet(folder, mistakes, "Ts")
    mistakes.require_none()
    return CaseSet(tuple(cases), read_case_files, labels, "nnunet", folder)


def _find_nnunet(
    folder: Path, mistakes: Mistakes, side: str = "Tr"
) -> tuple[list[Case], Labels | None]:
    description = _read_dataset_json(folder)
    images_name, labels_name = f"images{side}", f"labels{side}"
    for name in (images_name, labels_name):
        if not (folder / name).is_dir():
            raise DataError(f"{folder}: has no folder '{name}'", hint=EXPECTATIONS["nnunet"])
    ending = description.get("file_ending", "")
    channels = description.get("channel_names", description.get("modality", {}))
    files = [path for path in _images(folder / images_name, mistakes) if path.name.endswith(ending)]
    labels = _label_maps(folder / labels_name, files, mistakes)
    cases = []
    for name, paths in _group_channels(files, set(labels)).items():
        with mistakes.gathering():
            if channels and len(paths) != len(channels):
                raise DataError(
                    f"{paths[0]}: case {name} has {plural(len(paths), 'channel file')}, dataset.json names "
                    f"{plural(len(channels), 'channel')}",
                    hint="Each case needs one file per channel: NAME_0000, NAME_0001, ...",
                )
            label = _require_label(
                labels.get(name), paths[0], folder / labels_name / f"{name}{ending}"
            )
            cases.append(Case(name, tuple(paths), label))
    return cases, _read_labels(description, folder)


LAYOUTS: dict[str, Callable[[Path, Mistakes], tuple[list[Case], Labels | None]]] = {
    "harp": _find_harp,
    "paired": _find_paired,
    "msd": _find_msd,
    "nnunet": _find_nnunet,
}
EXPECTATIONS = {
    "harp": "harp: files ct_<id> beside label_<id>.",
    "paired": "paired: folders images/ and labels/ with equal file names.",
    "msd": "msd: dataset.json with a list 'training' of image and label.",
    "nnunet": "nnunet: dataset.json, imagesTr/ with NAME_0000 files, labelsTr/ with NAME files.",
}


def _label_maps(folder: Path, images: list[Path], mistakes: Mistakes) -> dict[str, Path]:
    """The label maps of a folder by their names.

    Raises:
        DataError: There is none for all the images.
    """
    found = {stem(path): path for path in _entries(folder, mistakes)}
    if images and not found:
        raise DataError(f"{folder}: holds no label map", hint=_SAME_NAME)
    return found


def volumes_in(folder: Path) -> list[Path]:
    """Volume files of a folder, sorted by name; hidden ones left out."""
    mistakes = Mistakes()
    entries = _entries(folder, mistakes)
    mistakes.require_none()
    return [path for path in entries if not is_folder(path)]


def _images(folder: Path, mistakes: Mistakes) -> list[Path]:
    """Image files and DICOM series of a folder; files within folders are told."""
    found = []
    for path in _entries(folder, mistakes):
        if path.is_dir() and any(has_volume_suffix(inside) for inside in path.iterdir()):
            mistakes.add(
                DataError(
                    f"{path}: is a folder of volume files, where a file or a DICOM series was expected",
                    hint="Move the files up, and name them after their folder.",
                )
            )
        else:
            found.append(path)
    return found


def _entries(folder: Path, mistakes: Mistakes) -> list[Path]:
    """Volume files and sub-folders (DICOM series), sorted by name; hidden ones left out."""
    found = [path for path in list_folder(folder) if has_volume_suffix(path) or is_folder(path)]
    by_name: dict[str, Path] = {}
    for path in found:
        other = by_name.setdefault(stem(path), path)
        if other is not path:
            mistakes.add(
                DataError(f"{path}: {other.name} beside it has the same name; keep one of them")
            )
    return list(by_name.values())


def _group_channels(paths: list[Path], label_names: set[str]) -> dict[str, list[Path]]:
    """Bring NAME_0000, NAME_0001, ... together; a name that has its own label map stays whole."""
    groups: dict[str, list[Path]] = {}
    for path in paths:
        name = stem(path)
        match = None if name in label_names else _CHANNEL.fullmatch(name)
        groups.setdefault(match["id"] if match else name, []).append(path)
    return groups


def _require_label(label: Path | None, image: Path, expected: Path) -> Path:
    if label is None:
        raise DataError(
            f"{image}: this image has no label map, expected {expected}", hint=_SAME_NAME
        )
    return label


def _read_dataset_json(folder: Path) -> dict[str, Any]:
    path = folder / "dataset.json"
    description = read_description(path)
    if not isinstance(description, dict):
        raise DataError(f"{path}: expected an object with labels and cases")
    return description


def _read_labels(description: dict[str, Any], folder: Path) -> Labels | None:
    """Labels as MSD writes them, {"1": "name"}, or as nnU-Net does, {"name": 1} and {"name": [1, 2]}."""
    labels = description.get("labels")
    if not isinstance(labels, dict):
        return None
    found: Labels = {}
    try:
        for key, value in labels.items():
            name, values = (str(value), [int(key)]) if str(key).isdigit() else (str(key), value)
            listed = values if isinstance(values, list) else [values]
            numbers = tuple(int(number) for number in listed if int(number) != 0)
            if numbers and name != "ignore":
                found[name] = numbers
    except (TypeError, ValueError):
        raise DataError(f"{folder / 'dataset.json'}: cannot read the labels {labels!r}") from None
    return found or None

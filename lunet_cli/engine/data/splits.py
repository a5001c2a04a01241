"""Which cases train and which validate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from lunet_cli.config.data import DataConfig, SplitConfig
from lunet_cli.config.description import read_description, require_apart
from lunet_cli.config.fit import DEFAULT_VAL_FRACTION, count_validation, unit_of
from lunet_cli.config.grouping import group_names
from lunet_cli.engine.data.bids import SUBJECT_PATTERN
from lunet_cli.engine.data.cases import Case, CaseSet
from lunet_cli.engine.data.layouts import find_cases, find_phantom_cases, find_test_folders
from lunet_cli.engine.data.mistakes import Mistakes
from lunet_cli.errors import ConfigError, DataError, LunetError
from lunet_cli.results.words import plural

SPLIT_FILES = ("splits.json", "splits_final.json")


@dataclass(frozen=True)
class Split:
    """The two sides.

    Args:
        train: Cases to learn from.
        val: Cases to validate on.
        origin: Where the division comes from, in words.
    """

    train: tuple[Case, ...]
    val: tuple[Case, ...]
    origin: str


def load_cases(
    data: DataConfig, *, seed: int, mistakes: Mistakes | None = None
) -> tuple[CaseSet, Split]:
    """Find all cases and divide them.

    Args:
        data: The section `data`.
        seed: Seed of a random division.
        mistakes: Gathers what is wrong with single cases, which are then left out, and with the
            file that divides them; None raises all of it. Where they cannot be divided, all of them
            come back as training cases, to be looked at.

    Raises:
        DataError: Folders or files are missing or inconsistent.
        ConfigError: The division asked for does not fit the cases.
    """
    if data.train_dir is not None and data.val_dir is not None:
        return _from_folders(data, data.train_dir, data.val_dir, mistakes)
    if data.is_missing:
        raise ConfigError(
            f"data.root is not set. {data.source}", hint="Then add `data.root=FOLDER`"
        )
    if data.root is None:
        case_set = find_phantom_cases(data)
    else:
        case_set = find_cases(data.root, data.dataset, mistakes)
    try:
        return case_set, divide(case_set, data.split, seed=seed)
    except LunetError as error:
        # Where cases are left out, a split that names them is no mistake of its own.
        if not mistakes:
            if mistakes is None or not isinstance(error, DataError):
                raise
            mistakes.add(error)
        return case_set, Split(case_set.cases, (), "not divided")


def find_test_cases(data: DataConfig) -> CaseSet:
    """The labelled test cases of a data set.

    They are a list `test` in its splits file, or else lie in `imagesTs` and `labelsTs`.

    Raises:
        DataError: It names none.
    """
    if data.root is not None:
        found = _listed_test_cases(data.root, data) or find_test_folders(data.root)
        if found is not None:
            return found
    raise DataError(
        f"{data.root or 'the data'}: names no labelled test cases",
        hint="They are listed as 'test' in splits.json, or are in the folders imagesTs and "
        "labelsTs. Or name a folder: `data=FOLDER`",
    )


def _listed_test_cases(root: Path, data: DataConfig) -> CaseSet | None:
    path = _splits_file(data.split, root)
    if path is None:
        return None
    entry = _read_entry(path, data.split.fold or 0)
    if "test" not in entry.lists:
        return None
    case_set = find_cases(root, data.dataset)
    return replace(case_set, cases=entry.named("test", case_set.cases))


def find_folds_file(data: DataConfig) -> Path | None:
    """The file that says which case is in which fold; None where they are drawn.

    It is the configured one, or one of several folds that lies with the data, as nnU-Net writes it.

    Raises:
        DataError: It is not such a file.
    """
    if data.split.file is not None:
        return data.split.path_below(data.root)
    if data.root is not None:
        for name in SPLIT_FILES:
            path = data.root / name
            if path.is_file() and count_folds(path) > 1:
                return path
    return None


def count_folds(path: Path) -> int:
    """How many divisions a splits file has.

    Raises:
        DataError: It is not such a file.
    """
    return len(_read_entries(path))


def divide(case_set: CaseSet, split: SplitConfig, *, seed: int) -> Split:
    """Divide the cases of one folder as `split` asks; `SplitConfig` has the order of its ways."""
    if case_set.layout == "bids" and split.group_pattern is None:
        split = split.model_copy(update={"group_pattern": SUBJECT_PATTERN})
    path = _splits_file(split, case_set.root)
    if path is not None:
        found = _from_file(case_set.cases, _read_entry(path, split.fold or 0))
        if split.group_pattern is not None:
            _require_groups_apart(found, split.group_pattern)
        return found
    groups = _groups(case_set.cases, split.group_pattern)
    if split.seed is not None:
        seed = split.seed
    order = np.random.default_rng(seed).permutation(len(groups))
    num_val = count_validation(split, len(groups))
    if split.fold is not None:
        chosen = set(order[split.fold :: split.num_folds].tolist())
        origin = f"fold {split.fold} of {split.num_folds}, seed {seed}"
    else:
        chosen = set(order[:num_val].tolist())
        fraction = DEFAULT_VAL_FRACTION if split.val_fraction is None else split.val_fraction
        origin = f"random {fraction:.0%} of {plural(len(groups), unit_of(split))}, seed {seed}"
    # Both sides keep the order of the cases: what training draws depends on it.
    train: list[Case] = []
    val: list[Case] = []
    for index, group in enumerate(groups):
        side = val if index in chosen else train
        side.extend(group)
    return Split(tuple(train), tuple(val), origin)


def _from_folders(
    data: DataConfig, train_dir: Path, val_dir: Path, mistakes: Mistakes | None
) -> tuple[CaseSet, Split]:
    train = find_cases(train_dir, data.dataset, mistakes)
    val = find_cases(val_dir, data.dataset, mistakes)
    require_apart(train_dir, val_dir)
    together = replace(train, cases=train.cases + val.cases, root=None)
    return together, Split(train.cases, val.cases, f"folders {train_dir} and {val_dir}")


def _from_file(cases: Sequence[Case], entry: _Entry) -> Split:
    train, val = entry.named("train", cases), entry.named("val", cases)
    both = set(_ids(train)) & set(_ids(val))
    if both:
        raise DataError(
            f"{entry.path}: '{min(both)}' is in train and in val of entry {entry.fold}",
            hint="Keep each case on one side.",
        )
    return Split(train, val, f"{entry.path}, entry {entry.fold}")


def _splits_file(split: SplitConfig, root: Path | None) -> Path | None:
    """The file that divides the cases: the configured one, or else one that lies with the data."""
    if split.file is not None:
        return split.path_below(root)
    if split.val_fraction is None and split.fold is None and root is not None:
        for name in SPLIT_FILES:
            if (root / name).is_file():
                return root / name
    return None


@dataclass(frozen=True)
class _Entry:
    """One division of a splits file.

    Args:
        path: The file.
        fold: Which of its entries this is.
        lists: What stands in it; `train`, `val` and `test` should be lists of case ids.
    """

    path: Path
    fold: int
    lists: dict[str, object]

    def named(self, side: str, cases: Sequence[Case]) -> tuple[Case, ...]:
        """Those of `cases` that the list `side` names, in its order.

        Raises:
            DataError: There is no such list, or it names a case that there is not.
        """
        listed = self.lists.get(side)
        if not isinstance(listed, list) or not listed:
            raise DataError(f"{self.path}: entry {self.fold} has no list '{side}'")
        by_id = {case.case_id: case for case in cases}
        names = [str(name) for name in listed]
        unknown = [name for name in names if name not in by_id]
        if unknown:
            close = get_close_matches(unknown[0], list(by_id), n=1)
            hint = "Case ids are file names without their ending."
            if close:
                hint = f"Did you mean '{close[0]}'?"
            raise DataError(
                f"{self.path}: {len(unknown)} case ids of '{side}' are not in the data, such as "
                f"'{unknown[0]}'",
                hint=hint,
            )
        return tuple(by_id[name] for name in names)


def _read_entries(path: Path) -> list[dict[str, object]]:
    """Read a splits file; an object stands for a list of one.

    Raises:
        DataError: The file is something else.
    """
    entries = read_description(path)
    if isinstance(entries, dict):
        entries = [entries]
    # nnU-Net writes a list of folds; one division by hand is often just the object.
    is_list = isinstance(entries, list) and len(entries) > 0
    if not is_list or not all(isinstance(entry, dict) for entry in entries):
        raise DataError(f"{path}: expected a list of objects with 'train' and 'val'")
    return list(entries)


def _read_entry(path: Path, fold: int) -> _Entry:
    """Read one entry of a splits file.

    Raises:
        DataError: The file is something else.
        ConfigError: It has no such entry.
    """
    entries = _read_entries(path)
    if fold >= len(entries):
        raise ConfigError(
            f"data.split.fold: {fold} is out of range: {path} has {len(entries)} "
            f"(0 to {len(entries) - 1})"
        )
    return _Entry(path, fold, entries[fold])


def _groups(cases: Sequence[Case], pattern: str | None) -> list[list[Case]]:
    """Cases that must stay on one side, in order of their first appearance."""
    if pattern is None:
        return [[case] for case in cases]
    groups: dict[str, list[Case]] = {}
    for case, name in zip(cases, group_names(pattern, _ids(cases)), strict=True):
        groups.setdefault(name, []).append(case)
    return list(groups.values())


def _require_groups_apart(split: Split, pattern: str) -> None:
    names = group_names(pattern, _ids(split.train + split.val))
    train, val = set(names[: len(split.train)]), set(names[len(split.train) :])
    if train & val:
        raise DataError(
            f"{split.origin}: cases of '{min(train & val)}' are in train and in val",
            hint="Correct the file, or change data.split.group_pattern.",
        )


def _ids(cases: Sequence[Case]) -> list[str]:
    return [case.case_id for case in cases]

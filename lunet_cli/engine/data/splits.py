"""Which cases train and which validate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from lunet_cli.config.data import DataConfig, SplitConfig
from lunet_cli.config.description import read_description, require_apart
from lunet_cli.config.fit import DEFAULT_VAL_FRACTION, count_validation, unit_of
from lunet_cli.config.grouping import group_names
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
        mistakes: Gathers what is wrong with single cases, which are then left out; None raises all
            of it. Where the others cannot be divided, all of them come back as training cases, to
            be looked at.

    Raises:
        DataError: Folders or files are missing or inconsistent.
        ConfigError: The division asked for does not fit the cases.
    """
    if data.train_dir is not None and data.val_dir is not None:
        return _from_folders(data, data.train_dir, data.val_dir, mistakes)
    if data.is_missing:
        raise ConfigError(
            f"data.root is not set. {data.source}", hint="Then add --set data.root=FOLDER"
        )
    case_set = (
        find_phantom_cases(data)
        if data.root is None
        else find_cases(data.root, data.dataset, mistakes)
    )
    try:
        return case_set, divide(case_set, data.split, seed=seed)
    except LunetError:
        if not mistakes:
            raise
        return case_set, Split(case_set.cases, (), "not divided, since cases are missing")


def find_test_cases(data: DataConfig) -> CaseSet:
    """The labelled test cases of a data set: a list `test` in its splits file, or `imagesTs` with `labelsTs`.

    Raises:
        DataError: It names none.
    """
    if data.root is not None:
        path, fold = _splits_file(data.split, data.root), data.split.fold or 0
        if path is not None and "test" in (entry := _read_fold(path, fold)):
            case_set = find_cases(data.root, data.dataset)
            return replace(case_set, cases=_named_cases(case_set.cases, path, entry, fold, "test"))
        if (found := find_test_folders(data.root)) is not None:
            return found
    raise DataError(
        f"{data.root or 'the data'}: names no labelled test cases",
        hint="They stand as 'test' in splits.json, or lie in imagesTs and labelsTs. Or name a folder: --data FOLDER",
    )


def divide(case_set: CaseSet, split: SplitConfig, *, seed: int) -> Split:
    """Divide the cases of one folder as `split` asks; see `SplitConfig` for the order of its ways."""
    path = _splits_file(split, case_set.root)
    if path is not None:
        found = _from_file(case_set.cases, path, split.fold or 0)
        if split.group_pattern is not None:
            _require_groups_apart(found, split.group_pattern)
        return found
    groups = _groups(case_set.cases, split.group_pattern)
    order = np.random.default_rng(seed).permutation(len(groups))
    num_val = count_validation(split, len(groups))
    if split.fold is not None:
        chosen = {int(i) for i in order[split.fold :: split.num_folds]}
        origin = f"fold {split.fold} of {split.num_folds}, seed {seed}"
    else:
        chosen = {int(i) for i in order[:num_val]}
        fraction = DEFAULT_VAL_FRACTION if split.val_fraction is None else split.val_fraction
        origin = f"random {fraction:.0%} of {plural(len(groups), unit_of(split))}, seed {seed}"
    train = tuple(case for i, group in enumerate(groups) if i not in chosen for case in group)
    val = tuple(case for i, group in enumerate(groups) if i in chosen for case in group)
    return Split(train, val, origin)


def _from_folders(
    data: DataConfig, train_dir: Path, val_dir: Path, mistakes: Mistakes | None
) -> tuple[CaseSet, Split]:
    train, val = (find_cases(folder, data.dataset, mistakes) for folder in (train_dir, val_dir))
    require_apart(train_dir, val_dir)
    together = CaseSet(train.cases + val.cases, train.reader, train.labels, train.layout, None)
    return together, Split(train.cases, val.cases, f"folders {train_dir} and {val_dir}")


def _from_file(cases: Sequence[Case], path: Path, fold: int) -> Split:
    entry = _read_fold(path, fold)
    sides = {side: _named_cases(cases, path, entry, fold, side) for side in ("train", "val")}
    both = {case.case_id for case in sides["train"]} & {case.case_id for case in sides["val"]}
    if both:
        raise DataError(f"{path}: '{min(both)}' stands in train and in val of entry {fold}")
    return Split(sides["train"], sides["val"], f"{path}, entry {fold}")


def _splits_file(split: SplitConfig, root: Path | None) -> Path | None:
    """The file that divides the cases: the configured one, or else one that lies with the data."""
    if split.file is not None:
        return split.path_below(root)
    if split.val_fraction is None and split.fold is None and root is not None:
        return next((root / name for name in SPLIT_FILES if (root / name).is_file()), None)
    return None


def _named_cases(
    cases: Sequence[Case], path: Path, entry: dict[str, Any], fold: int, side: str
) -> tuple[Case, ...]:
    """The cases that the list `side` of one entry of a splits file names."""
    by_id = {case.case_id: case for case in cases}
    names = entry.get(side)
    if not isinstance(names, list) or not names:
        raise DataError(f"{path}: entry {fold} has no list '{side}'")
    names = [str(name) for name in names]
    unknown = [name for name in names if name not in by_id]
    if unknown:
        close = get_close_matches(unknown[0], list(by_id), n=1)
        raise DataError(
            f"{path}: {len(unknown)} case ids of '{side}' are not in the data, such as '{unknown[0]}'",
            hint=f"Did you mean '{close[0]}'?"
            if close
            else "Case ids are file names without their ending.",
        )
    return tuple(by_id[name] for name in names)


def _read_fold(path: Path, fold: int) -> dict[str, Any]:
    folds = read_description(path)
    folds = [folds] if isinstance(folds, dict) else folds
    if (
        not isinstance(folds, list)
        or not folds
        or not all(isinstance(fold, dict) for fold in folds)
    ):
        raise DataError(f"{path}: expected a list of objects with 'train' and 'val'")
    if fold >= len(folds):
        raise ConfigError(
            f"data.split.fold: {fold} is out of range: {path} has {len(folds)} (0 to {len(folds) - 1})"
        )
    entry: dict[str, Any] = folds[fold]
    return entry


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
            f"{split.origin}: cases of '{min(train & val)}' stand in train and in val",
            hint="Correct the file, or change data.split.group_pattern.",
        )


def _ids(cases: Sequence[Case]) -> list[str]:
    return [case.case_id for case in cases]

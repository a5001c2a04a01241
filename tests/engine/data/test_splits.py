from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lunet_cli.config.data import DataConfig, SplitConfig
from lunet_cli.engine.data.cases import Case, CaseSet, read_case_files
from lunet_cli.engine.data.splits import Split, divide, load_cases
from lunet_cli.errors import ConfigError, DataError, LunetError


def _case_set(*names: str, root: Path | None = None) -> CaseSet:
    cases = tuple(Case(name) for name in names)
    return CaseSet(cases=cases, reader=read_case_files, labels=None, layout="harp", root=root)


def _divide(case_set: CaseSet, *, seed: int = 0, **options: Any) -> Split:
    return divide(case_set, SplitConfig.model_validate(options), seed=seed)


def _sides(split: Split) -> tuple[list[str], list[str]]:
    return [case.case_id for case in split.train], [case.case_id for case in split.val]


def _refusal(kind: type[LunetError], case_set: CaseSet, **options: Any) -> LunetError:
    with pytest.raises(kind) as caught:
        _divide(case_set, **options)
    assert "\n" not in caught.value.message
    return caught.value


TWENTY = _case_set(*(f"case_{number:02d}" for number in range(20)))
# Ten patients with two visits each.
VISITS = _case_set(
    *(f"sub-{patient:02d}_visit{visit}" for visit in (1, 2) for patient in range(10))
)


@pytest.mark.parametrize(
    ("options", "num_val"),
    [
        ({}, 4),
        ({"val_fraction": 0.25}, 5),
        ({"val_fraction": 0.001}, 1),
        ({"val_fraction": 0.999}, 19),
    ],
)
def test_fraction_divides_all_cases(options: dict[str, float], num_val: int) -> None:
    train, val = _sides(_divide(TWENTY, **options))
    assert len(val) == num_val
    assert sorted(train + val) == [case.case_id for case in TWENTY.cases]


def test_fraction_depends_on_the_seed_alone() -> None:
    assert _divide(TWENTY, seed=3) == _divide(TWENTY, seed=3)
    assert {case.case_id for case in _divide(TWENTY, seed=3).val} != {
        case.case_id for case in _divide(TWENTY, seed=4).val
    }


def test_sides_keep_the_order_of_the_cases() -> None:
    train, val = _sides(_divide(TWENTY))
    assert train == sorted(train)
    assert val == sorted(val)


@pytest.mark.parametrize("num_folds", [2, 3, 5, 20])
def test_folds_are_disjoint_and_cover_everything(num_folds: int) -> None:
    vals = []
    for fold in range(num_folds):
        train, val = _sides(_divide(TWENTY, seed=1, fold=fold, num_folds=num_folds))
        assert not set(train) & set(val)
        assert len(train) + len(val) == 20
        vals += val
    assert sorted(vals) == [case.case_id for case in TWENTY.cases]


def test_folds_are_stable_for_a_seed_and_change_with_it() -> None:
    assert _divide(TWENTY, seed=1, fold=2) == _divide(TWENTY, seed=1, fold=2)
    assert _sides(_divide(TWENTY, seed=1, fold=2)) != _sides(_divide(TWENTY, seed=2, fold=2))


@pytest.mark.parametrize("options", [{"val_fraction": 0.3}, {"fold": 1, "num_folds": 5}])
def test_group_pattern_keeps_patients_together(options: dict[str, Any]) -> None:
    train, val = _sides(_divide(VISITS, group_pattern=r"^(sub-\d+)", **options))
    patients = [{name[:6] for name in side} for side in (train, val)]
    assert not patients[0] & patients[1]
    assert len(val) == 2 * len(patients[1])
    assert len(patients[1]) == (3 if "val_fraction" in options else 2)


def test_without_the_pattern_a_patient_is_torn_apart() -> None:
    train, val = _sides(_divide(VISITS, val_fraction=0.3))
    assert {name[:6] for name in train} & {name[:6] for name in val}


def test_group_pattern_that_does_not_match_is_refused() -> None:
    message = _refusal(ConfigError, TWENTY, group_pattern=r"^(sub-\d+)").message
    assert message.startswith("data.split.group_pattern:")
    assert "'case_00'" in message


def test_more_folds_than_groups_are_refused() -> None:
    message = _refusal(ConfigError, _case_set("a", "b"), fold=0, num_folds=3).message
    assert message == "data.split.num_folds: 3 folds of 2 cases, and each fold needs one"
    message = _refusal(
        ConfigError, VISITS, fold=0, num_folds=11, group_pattern=r"^(sub-\d+)"
    ).message
    assert message == "data.split.num_folds: 11 folds of 10 groups, and each fold needs one"


def test_a_single_case_cannot_be_divided() -> None:
    assert "1 case cannot be divided" in _refusal(DataError, _case_set("a")).message


FOLDS = [{"train": ["a", "b"], "val": ["c"]}, {"train": ["c", "b"], "val": ["a"]}]


def _with_file(root: Path, content: object, name: str = "mine.json") -> CaseSet:
    (root / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return _case_set("a", "b", "c", root=root)


def test_splits_file_is_relative_to_the_root_and_fold_picks_the_entry(tmp_path: Path) -> None:
    case_set = _with_file(tmp_path, FOLDS)
    assert _sides(_divide(case_set, file="mine.json")) == (["a", "b"], ["c"])
    assert _sides(_divide(case_set, file="mine.json", fold=1)) == (["c", "b"], ["a"])
    assert _sides(_divide(case_set, file=str(tmp_path / "mine.json"), fold=1)) == (
        ["c", "b"],
        ["a"],
    )


def test_splits_file_may_be_a_single_entry(tmp_path: Path) -> None:
    assert _sides(_divide(_with_file(tmp_path, FOLDS[1]), file="mine.json")) == (["c", "b"], ["a"])


def test_splits_file_may_name_cases_by_number(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text('{"train": [1, 2], "val": [3]}')
    assert _sides(_divide(_case_set("1", "2", "3", root=tmp_path), file="mine.json")) == (
        ["1", "2"],
        ["3"],
    )


@pytest.mark.parametrize("name", ["splits.json", "splits_final.json"])
def test_splits_file_is_found_by_itself(name: str, tmp_path: Path) -> None:
    split = _divide(_with_file(tmp_path, FOLDS, name))
    assert _sides(split) == (["a", "b"], ["c"])
    assert name in split.origin


@pytest.mark.parametrize("options", [{"val_fraction": 0.6}, {"fold": 0, "num_folds": 3}])
def test_a_way_that_is_asked_for_goes_before_splits_json(
    options: dict[str, Any], tmp_path: Path
) -> None:
    assert (
        "splits.json" not in _divide(_with_file(tmp_path, FOLDS, "splits.json"), **options).origin
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{broken", "not valid JSON"),
        ([], "expected a list of objects"),
        ([["a"]], "expected a list of objects"),
        ({"train": ["a"]}, "entry 0 has no list 'val'"),
        ({"train": ["a"], "val": []}, "entry 0 has no list 'val'"),
        (
            {"train": ["a", "d", "e"], "val": ["b"]},
            "2 case ids of 'train' are not in the data, such as 'd'",
        ),
        ({"train": ["a"], "val": [{"image": "b"}]}, "1 case ids of 'val' are not in the data"),
        ({"train": ["a", "b"], "val": ["b", "c"]}, "'b' is in train and in val of entry 0"),
    ],
)
def test_wrong_splits_file_is_named(content: object, words: str, tmp_path: Path) -> None:
    message = _refusal(DataError, _with_file(tmp_path, content), file="mine.json").message
    assert message.startswith(f"{tmp_path / 'mine.json'}: ")
    assert words in message


def test_unknown_case_id_suggests_a_close_one(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text(json.dumps({"train": ["case_03.nii.gz"], "val": ["case_01"]}))
    case_set = _case_set("case_01", "case_03", root=tmp_path)
    assert _refusal(DataError, case_set, file="s.json").hint == "Did you mean 'case_03'?"


def test_missing_splits_file_is_named(tmp_path: Path) -> None:
    message = _refusal(DataError, _case_set("a", "b", root=tmp_path), file="none.json").message
    assert message == f"{tmp_path / 'none.json'}: there is no such file"


def test_fold_beyond_the_file_is_refused(tmp_path: Path) -> None:
    message = _refusal(ConfigError, _with_file(tmp_path, FOLDS), file="mine.json", fold=2).message
    assert message.startswith("data.split.fold: 2 is out of range")
    assert message.endswith("has 2 (0 to 1)")


def test_splits_file_must_keep_groups_apart(tmp_path: Path) -> None:
    names = ["p1_a", "p1_b", "p2_a"]
    case_set = _case_set(*names, root=tmp_path)
    (tmp_path / "torn.json").write_text(json.dumps({"train": ["p1_a", "p2_a"], "val": ["p1_b"]}))
    (tmp_path / "whole.json").write_text(json.dumps({"train": ["p1_a", "p1_b"], "val": ["p2_a"]}))
    assert len(_divide(case_set, file="whole.json", group_pattern="^(p.)").train) == 2
    message = _refusal(DataError, case_set, file="torn.json", group_pattern="^(p.)").message
    assert str(tmp_path / "torn.json") in message
    assert "'p1'" in message


def _write_harp(folder: Path, write_volume: Any, *names: str) -> Path:
    for name in names:
        write_volume(folder / f"ct_{name}.nrrd", np.zeros((2, 2, 2), np.int16))
        write_volume(folder / f"label_{name}.nrrd", np.zeros((2, 2, 2), np.uint8))
    return folder


def test_folders_are_the_two_sides(tmp_path: Path, write_volume: Any) -> None:
    train = _write_harp(tmp_path / "train", write_volume, "a", "b")
    val = _write_harp(tmp_path / "val", write_volume, "c")
    case_set, split = load_cases(DataConfig(train_dir=train, val_dir=val), seed=0)
    assert _sides(split) == (["a", "b"], ["c"])
    assert case_set.layout == "harp"
    assert str(train) in split.origin


def test_the_same_folder_twice_is_refused(tmp_path: Path, write_volume: Any) -> None:
    folder = _write_harp(tmp_path / "train", write_volume, "a", "b")
    with pytest.raises(ConfigError, match=r"data\.val_dir: .* is data\.train_dir too"):
        load_cases(
            DataConfig(train_dir=folder, val_dir=tmp_path / "train" / ".." / "train"), seed=0
        )


def test_root_is_found_and_divided(tmp_path: Path, write_volume: Any) -> None:
    _write_harp(tmp_path, write_volume, "a", "b", "c")
    (tmp_path / "splits.json").write_text(json.dumps(FOLDS))
    _, split = load_cases(DataConfig(root=tmp_path), seed=0)
    assert _sides(split) == (["a", "b"], ["c"])


def test_without_a_folder_the_phantom_is_divided() -> None:
    case_set, split = load_cases(DataConfig(), seed=0)
    assert case_set.layout == "phantom"
    assert (len(split.train), len(split.val)) == (32, 8)


def test_two_cases_of_one_name_are_refused(tmp_path: Path, write_volume: Any) -> None:
    for part in ("one", "two"):
        write_volume(tmp_path / part / "a.nrrd", np.zeros((2, 2, 2), np.uint8))
    entries = [{"image": f"{part}/a.nrrd", "label": f"{part}/a.nrrd"} for part in ("one", "two")]
    (tmp_path / "dataset.json").write_text(json.dumps({"training": entries}))
    with pytest.raises(DataError, match="two cases are called 'a'"):
        load_cases(DataConfig(root=tmp_path), seed=0)

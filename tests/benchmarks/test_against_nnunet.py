from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

Load = Callable[[str], ModuleType]


@pytest.fixture
def duel(load: Load) -> ModuleType:
    return load("against_nnunet")


def test_the_learning_rate_of_nnunet_ends_with_the_time(load: Load) -> None:
    rate = load("nnunet_side").learning_rate
    assert rate(0.01, 0.0) == 0.01
    # 0.01 * 0.5 ** 0.9
    assert rate(0.01, 0.5) == pytest.approx(0.005358867)
    assert rate(0.01, 1.0) == 0.0


def _record(
    entrant: str, dice: dict[str, dict[str, float]], minutes: float = 10, **more: Any
) -> dict[str, Any]:
    prediction = {
        "variant": entrant,
        "dice": dice,
        "seconds_per_case": 0.25,
        "peak": {"resident_mib": 500.0},
    }
    training = {"seconds": 600.0, "peak": {"resident_mib": 1500.0}}
    return {
        "minutes": minutes,
        "training": {**training, "found": {"parameters": 9939}},
        "model_bytes": 51200,
        "predictions": [prediction],
        **more,
    }


def test_table_pairs_cases_and_averages_seeds(duel: ModuleType) -> None:
    theirs = {"a": {"front": 0.8, "back": 0.6}, "b": {"front": 0.8, "back": 0.6}}
    first = {"a": {"front": 0.9, "back": 0.7}, "b": {"front": 0.9, "back": 0.7}}
    second = {"a": {"front": 0.9, "back": 0.9}, "b": {"front": 0.9, "back": 0.9}}
    records = [_record("4f", first), _record("nnunet", theirs), _record("4f", second)]
    records.append(_record("4f", first, minutes=30))

    lines = duel.table(records).splitlines()

    assert lines[2] == (
        "| 10 | nnU-Net | 9,939 | 50 KiB | 1 | 0.7000 (0.7000 to 0.7000) | 0.8000 | 0.6000 |  | "
        "1,500 MiB | 500 MiB | 0.25 | 600 |"
    )
    assert lines[3].startswith(
        "| 10 | lunet, 4f | 9,939 | 50 KiB | 2 | 0.8500 (0.8500 to 0.8500) | 0.9000 | 0.8000 | "
        "0.1500 (0.1500 to 0.1500) |"
    )
    # No nnU-Net of 30 minutes.
    assert lines[4].startswith("| 30 | lunet, 4f | 9,939 | 50 KiB | 1 | 0.8000")
    assert " |  | 1,500 MiB |" in lines[4]
    assert duel.table([]) == "nothing has been measured"


def test_cases_are_divided_for_both_tools(duel: ModuleType, tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    for folder in ("imagesTr", "labelsTr"):
        (data / folder).mkdir(parents=True)
        for case in ("a", "b", "c"):
            (data / folder / f"{case}.nii.gz").write_text(f"{folder} {case}")
    description = {
        "modality": {"0": "MRI"},
        "labels": {"0": "background", "1": "front", "2": "back"},
    }
    (data / "dataset.json").write_text(json.dumps(description))
    (data / "splits.json").write_text(json.dumps([{"train": ["a", "c"], "val": ["b"]}]))

    duel.split_cases(data, out)
    duel.split_cases(data, out)  # Once more over it.

    raw = out / "raw" / duel.NAME
    names = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.nii.gz"))
    assert names == [
        "held_out/imagesTs/b_0000.nii.gz",
        "held_out/labelsTs/b.nii.gz",
        f"raw/{duel.NAME}/imagesTr/a_0000.nii.gz",
        f"raw/{duel.NAME}/imagesTr/c_0000.nii.gz",
        f"raw/{duel.NAME}/labelsTr/a.nii.gz",
        f"raw/{duel.NAME}/labelsTr/c.nii.gz",
    ]
    assert (raw / "imagesTr" / "c_0000.nii.gz").read_text() == "imagesTr c"
    assert json.loads((raw / "dataset.json").read_text()) == {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "front": 1, "back": 2},
        "numTraining": 2,
        "file_ending": ".nii.gz",
    }


def test_several_channels_are_refused(duel: ModuleType) -> None:
    description = {"channel_names": {"0": "T1", "1": "T2"}, "labels": {"background": 0}}
    with pytest.raises(SystemExit, match="2 channels"):
        duel.as_nnunet_describes(description, 3)

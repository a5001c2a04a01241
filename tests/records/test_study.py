"""`study.csv` and `validation_cases.csv`."""

from __future__ import annotations

from pathlib import Path

import pytest

from lunet_cli.engine.run_folder import RunFolder
from lunet_cli.errors import DataError
from lunet_cli.records.study import study_text
from lunet_cli.results.studies import StudyRow


def test_a_study_is_a_line_per_network() -> None:
    row = StudyRow("stamp_seed1", "pruning", "stamp", 1, 2, 800, 1_600_000, 0.875, 1.5)
    assert study_text([row]).splitlines() == [
        "trial,kind,strategy,seed,step,parameters,flops,dice,width_ratio",
        "stamp_seed1,pruning,stamp,1,2,800,1600000,0.875,1.5",
    ]


def test_cases_are_of_the_epoch_that_was_measured(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.read_validation_cases(3) is None
    folder.write_validation_cases(3, {"a": 0.5, "b, with a comma": 0.25})
    assert folder.read_validation_cases(3) == {"a": 0.5, "b, with a comma": 0.25}
    # A training that went on has another best model.
    assert folder.read_validation_cases(4) is None


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("epoch,case,dice\n", "holds no case"),
        ("epoch,case,dice\n1,a,nan\n", "line 2: dice is not a number"),
        ("epoch,case,dice\n1,a,1.5\n", "line 2: dice is '1.5', outside of 0 to 1"),
        ("epoch,case\n1,a\n", "is not a table of validation cases: it has no column dice"),
    ],
)
def test_damaged_cases_are_told(tmp_path: Path, text: str, mistake: str) -> None:
    folder = RunFolder(tmp_path)
    folder.validation_cases.write_text(text)
    with pytest.raises(DataError, match=mistake):
        folder.read_validation_cases(1)

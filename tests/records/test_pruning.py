"""The steps of a pruning as tables."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from lunet_cli.engine.run_folder import RunFolder
from lunet_cli.errors import DataError
from lunet_cli.records.channels import channels_text
from lunet_cli.records.pruning import pruning_cases_text, pruning_text
from lunet_cli.results.pruning import PruningStep, RemovedChannel

UNPRUNED = PruningStep(
    step=0,
    removed=(),
    parameters=353_949,
    flops=204_214_370_304,
    val_loss_before=1 / 3,
    val_dice_before=0.75,
    val_loss=1 / 3,
    val_dice=0.75,
    seconds=1.5,
    dice_per_case={"one": 0.5, "a, b": 1.0},
    widths={"encoders.0.0": 4, "upsamples.0": 64},
)
FIRST = replace(
    UNPRUNED,
    step=1,
    removed=(RemovedChannel("upsamples.0", 63, 1e-5), RemovedChannel("encoders.0.0", 0, 0.25)),
    parameters=353_000,
    val_dice_before=0.5,
    val_loss=0.1 + 0.2,
    dice_per_case={"one": 0.25, "a, b": 2 / 3},
    widths={"encoders.0.0": 3, "upsamples.0": 63},
)
STEPS = [UNPRUNED, FIRST]
HEADER = (
    "step,layers,channels,scores,parameters,flops,val_loss_before,val_dice_before,val_loss,"
    "val_dice,seconds"
)
LINES = [
    f"0,,,,353949,204214370304,{1 / 3},0.75,{1 / 3},0.75,1.500",
    "1,upsamples.0;encoders.0.0,63;0,1e-05;0.25,353000,204214370304,"
    f"{1 / 3},0.5,0.30000000000000004,0.75,1.500",
]


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run folder with two steps."""
    found = RunFolder(tmp_path)
    found.write_pruning(STEPS)
    return found


def test_a_step_is_a_line_and_so_is_each_case_of_it() -> None:
    assert pruning_text(STEPS).splitlines() == [HEADER, *LINES]
    assert pruning_cases_text(STEPS).splitlines() == [
        "step,case,dice",
        "0,one,0.5",
        '0,"a, b",1.0',
        "1,one,0.25",
        f'1,"a, b",{2 / 3}',
    ]
    assert channels_text(STEPS) == "step,encoders.0.0,upsamples.0\n0,4,64\n1,3,63\n"
    assert channels_text([]) == ""


def test_what_was_written_is_read_back_to_the_last_digit(folder: RunFolder) -> None:
    assert folder.read_pruning() == STEPS


def test_a_choice_without_scores_and_a_loss_without_bound_come_back(folder: RunFolder) -> None:
    removed = (RemovedChannel("encoders.0.0", 2, math.nan),)
    folder.write_pruning([UNPRUNED, replace(FIRST, removed=removed, val_loss_before=math.inf)])
    found = folder.read_pruning()[1]
    assert math.isnan(found.removed[0].score)
    assert math.isnan(found.val_loss_before)


def test_the_other_tables_may_be_a_step_ahead(folder: RunFolder) -> None:
    folder.pruning.write_text(pruning_text(STEPS[:1]), encoding="utf-8")
    assert folder.read_pruning() == STEPS[:1]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("0,,,,", "5,,,,", "line 2: is of step 5 and not of step 0"),
        ("0,,,,", "x,,,,", "line 2: step is 'x', not a whole number from 0 on"),
        ("63;0", "63", "line 3: has not as many layers as channels and scores"),
        ("63;0", "63;-1", "line 3: channels is '-1', not a whole number from 0 on"),
        ("1e-05;", "low;", "line 3: scores is 'low', which is not a number"),
        ("upsamples.0;", ";", "line 3: layers is empty"),
        ("upsamples.0;", "head.0;", "line 3: head.0 is not a layer of the network"),
        ("353000", "0", "line 3: parameters is '0', not a whole number from 1 on"),
        ("204214370304", "9" * 5000, "line 2: flops is '9999"),
        (",0.75,", ",1.75,", "line 2: val_dice_before is '1.75', outside of 0 to 1"),
        ("1.500", "nan", "line 2: seconds is not a number"),
        (LINES[1], "1,2", "line 3: has 2 columns instead of 11"),
        ("val_dice,", "dice,", "is not the table of a pruning: it has no column val_dice$"),
        ("\n".join(["", *LINES]), "", "holds no step yet"),
    ],
    ids=range(14),
)
def test_a_damaged_line_is_named(folder: RunFolder, old: str, new: str, message: str) -> None:
    text = folder.pruning.read_text(encoding="utf-8")
    folder.pruning.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(DataError, match=message) as caught:
        folder.read_pruning()
    assert len(caught.value.message) < 400


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("pruning_cases.csv", "1,one", "1,two", "step 1 does not have the cases of step 0"),
        ("pruning_cases.csv", "1,one", "0,one", "line 4: one is there twice in step 0"),
        ("pruning_cases.csv", "0.25", "nan", "line 4: dice is not a number"),
        ("pruning_cases.csv", "case", "name", "it has no column case"),
        ("channels.csv", "1,3,63", "2,3,63", "does not have every step from 0 to 1"),
        ("channels.csv", "1,3,63\n", "", "does not have every step from 0 to 1"),
    ],
    ids=range(6),
)
def test_the_other_tables_hold_the_same_steps(
    folder: RunFolder, file: str, old: str, new: str, message: str
) -> None:
    path = folder.path / file
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    with pytest.raises(DataError, match=f"{file}: .*{message}"):
        folder.read_pruning()


def test_a_run_that_was_not_pruned_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"was not pruned: it has no pruning\.csv") as caught:
        RunFolder(tmp_path).read_pruning()
    assert "`prune(RUN)`" in caught.value.hint

"""What a training reports: its lines, and its best epoch."""

from __future__ import annotations

import math
from pathlib import Path

from lunet_cli.results.training import (
    EpochDone,
    EpochRecord,
    PlanChosen,
    TrainingHistory,
    TrainingStarted,
    best_of,
)


def record(epoch: int, dice: float, loss: float = 1.0) -> EpochRecord:
    return EpochRecord(epoch, 1.0, loss, dice, {"a": dice}, 0.01, 1.0)


def test_the_best_is_the_first_of_equals_and_has_a_finite_loss() -> None:
    records = [
        record(1, 0.5),
        record(2, 0.7),
        record(3, 0.7),
        record(4, 0.9, math.nan),
        record(5, 0.8, math.inf),
    ]
    assert best_of(records) == records[1]
    assert best_of(records[3:]) is None
    assert best_of([None, records[0]]) == records[0]


def test_the_best_of_a_history_is_that_whose_model_is_kept() -> None:
    """A Dice beside a loss that is not finite is of no model."""
    records = (record(1, 0.5), record(2, 0.9, math.inf), record(3, 0.6))
    assert TrainingHistory("run", records, is_finished=True).best == records[2]
    assert TrainingHistory("run", records[1:2], is_finished=False).best == records[1]


def test_an_epoch_is_one_line() -> None:
    event = EpochDone(record(2, 0.75), num_epochs=4, is_best=True, seconds_left=65.4)
    assert str(event) == (
        "epoch 2/4 train loss 1.0000 val loss 1.0000 val Dice 0.7500 lr 0.01 1.0 s, "
        "1 min 05 s left *best"
    )


def test_a_plan_says_how_to_pin_it_where_it_was_left_open() -> None:
    assert str(PlanChosen("bf16 on cpu", "as configured")) == (
        "computing in bf16 on cpu: as configured"
    )
    pins = ("training.precision=bf16", "training.compile=false")
    assert str(PlanChosen("bf16 on cpu", "fast", pins)).endswith(
        "fast (to pin it: training.precision=bf16 training.compile=false)"
    )


def test_a_start_says_what_is_trained_on_what() -> None:
    event = TrainingStarted(
        run_dir=Path("runs/a"),
        architecture="lunet_small_4f",
        num_parameters=9944,
        num_train=32,
        num_val=1,
        labels=("anterior", "posterior"),
        first_epoch=1,
        num_epochs=48,
        num_steps=16,
        patch_size=(48, 40, 32),
    )
    assert str(event) == (
        "lunet_small_4f (9,944 parameters), 32 training and 1 validation case, "
        "labels anterior, posterior, window 48 x 40 x 32, epochs 1 to 48 of 16 steps, in runs/a"
    )

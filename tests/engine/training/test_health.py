"""What a training that learns nothing says of itself."""

from __future__ import annotations

import math

from lunet_cli.config.training import TrainingConfig
from lunet_cli.engine.training.health import Health
from lunet_cli.engine.training.loop import Validation
from lunet_cli.results.training import EpochRecord


def record(
    epoch: int, dice: float, *, train_loss: float = 1.0, val_loss: float = 1.0
) -> EpochRecord:
    return EpochRecord(epoch, train_loss, val_loss, dice, {"a": dice}, 0.01, 1.0)


def warnings_of(
    records: list[EpochRecord], epochs: int, plain: float | None = None
) -> tuple[list[str], list[int]]:
    """All warnings of a run, and the epochs in which the plain weights were validated."""
    config = TrainingConfig.model_validate(
        {"epochs": epochs, "ema_decay": 0.99 if plain is not None else None}
    )
    health, compared, found = Health(config, 8), [], []
    for index in range(len(records)):

        def validate_plain(epoch: int = index + 1) -> Validation:
            compared.append(epoch)
            assert plain is not None
            return Validation(1.0, {"case": {"a": plain}})

        comparison = None if plain is None else validate_plain
        found += list(health.warnings(records[: index + 1], comparison))
    return found, compared


def test_a_sound_training_says_nothing_and_compares_rarely() -> None:
    found, compared = warnings_of([record(i, 0.1 * i) for i in range(1, 21)], epochs=20, plain=0.15)
    assert found == []
    assert compared == [4, 8, 16, 20]


def test_a_dice_of_zero_is_said_once_with_what_to_do() -> None:
    (text,), _ = warnings_of([record(i, 0.0) for i in range(1, 21)], epochs=20)
    assert text.startswith(
        "validation Dice has not left 0 in 5 epochs (40 steps), and the training loss does not fall"
    )
    assert "training.learning_rate (0.01)" in text


def test_a_loss_that_falls_asks_for_more_steps() -> None:
    (text,), _ = warnings_of(
        [record(i, 0.0, train_loss=2 - 0.1 * i) for i in range(1, 7)], epochs=20
    )
    assert "The training loss falls, from 1.9000 to 1.5000" in text
    assert "training.epochs" in text


def test_a_late_start_is_waited_for_as_long_as_the_run_is() -> None:
    assert warnings_of([record(i, 0.0) for i in range(1, 10)], epochs=100)[0] == []
    assert len(warnings_of([record(i, 0.0) for i in range(1, 11)], epochs=100)[0]) == 1
    assert len(warnings_of([record(i, 0.0) for i in range(1, 21)], epochs=10_000)[0]) == 1
    assert len(warnings_of([record(1, 0.0)], epochs=1)[0]) == 1
    assert warnings_of([record(1, 0.3), *(record(i, 0.0) for i in range(2, 10))], epochs=9)[0] == []


def test_an_average_far_behind_is_said_instead_of_its_zero() -> None:
    (text,), compared = warnings_of([record(i, 0.0) for i in range(1, 21)], epochs=20, plain=0.7)
    assert (
        "far behind the plain ones: in epoch 4 their validation Dice is 0.0000, and 0.7000 without"
        in text
    )
    assert "training.ema_decay (0.99)" in text
    assert compared == [4]


def test_a_plain_network_that_finds_nothing_either_is_not_the_average_s_fault() -> None:
    (text,), compared = warnings_of([record(i, 0.0) for i in range(1, 8)], epochs=20, plain=0.0)
    assert "has not left 0 in 5 epochs" in text
    assert compared == [4, 5]


def test_a_loss_that_is_not_a_number_is_said_once() -> None:
    records = [record(i, 0.0, val_loss=math.nan) for i in range(1, 8)]
    (text,), compared = warnings_of(records, epochs=20, plain=0.5)
    assert "validation loss of epoch 1 is nan" in text
    assert compared == []


def test_an_average_that_only_follows_a_leap_is_not_told() -> None:
    leap = [record(i, 0.25 if i < 5 else 0.8) for i in range(1, 21)]
    found, compared = warnings_of(leap, epochs=20, plain=0.4)
    assert found == []
    assert compared == [4, 8, 16, 20]


def test_an_average_that_stays_behind_is_told_at_the_second_look() -> None:
    (text,), compared = warnings_of([record(i, 0.25) for i in range(1, 21)], epochs=20, plain=0.4)
    assert "in epoch 8 their validation Dice is 0.2500, and 0.4000 without" in text
    assert compared == [4, 8]

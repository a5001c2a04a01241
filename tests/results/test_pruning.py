"""What a pruning reports."""

from __future__ import annotations

from dataclasses import replace

from lunet_cli.results.pruning import (
    ChannelsRemoved,
    PruningStep,
    PruningStepDone,
    RemovedChannel,
)


def test_removed_channels_are_told_layer_by_layer() -> None:
    removed = (
        RemovedChannel("encoders.4.0", 12, 0.1),
        RemovedChannel("bottleneck.1", 3, 0.2),
        RemovedChannel("encoders.4.0", 40, 0.3),
    )
    widths = {"encoders.4.0": 62, "bottleneck.1": 1, "head.0": 4}
    event = ChannelsRemoved(7, 100, removed, widths, parameters=341_020, val_dice=0.8123)
    assert str(event) == (
        "step 7/100 removed channels 12, 40 of encoders.4.0 (62 left), "
        "channel 3 of bottleneck.1 (1 left): 341,020 parameters, val Dice 0.8123"
    )


def test_a_step_is_one_line_and_the_first_recovers_from_nothing() -> None:
    record = PruningStep(
        step=7,
        removed=(RemovedChannel("a", 0, 0.1),),
        parameters=341_020,
        flops=1,
        val_loss_before=0.5,
        val_dice_before=0.75,
        val_loss=0.25,
        val_dice=0.875,
        seconds=12.34,
        dice_per_case={"a": 0.875},
        widths={"a": 1},
    )
    event = PruningStepDone(record, num_steps=100, is_chosen=True, seconds_left=65.4)
    assert str(event) == (
        "step 7/100 341,020 parameters val loss 0.2500 val Dice 0.8750 (0.7500 before recovery) "
        "12.3 s, 1 min 05 s left *chosen"
    )
    unpruned = replace(event, record=replace(record, step=0, removed=()), is_chosen=False)
    assert str(unpruned) == (
        "step 0/100 341,020 parameters val loss 0.2500 val Dice 0.8750 12.3 s, 1 min 05 s left"
    )

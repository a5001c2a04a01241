"""Prunings read from run folders."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from lunet_cli.config.load import load_config
from lunet_cli.engine.run_folder import RunFolder
from lunet_cli.engine.viewing.prunings import view_pruning
from lunet_cli.errors import DataError


def test_a_pruning_is_read_while_it_runs(tmp_path: Path, pruning_steps) -> None:
    steps = pruning_steps(0.01, 0.005, -0.05)
    folder = RunFolder(tmp_path)
    folder.write_pruning(steps)
    folder.write_config(load_config(None, ["pruning.margin=0.002", "pruning.strategy=none"]))
    view = view_pruning(tmp_path)
    assert (view.name, view.strategy, view.margin) == (tmp_path.name, "none", 0.002)
    assert not view.is_finished
    assert (view.best, view.chosen.step.step, view.last.step.step) == (1, 1, 3)
    assert view.chosen.from_unpruned.mean == pytest.approx(0.01)
    assert view.last.from_best.mean == pytest.approx(-0.06)
    assert view_pruning(tmp_path, 0.01).chosen.step.step == 2
    folder.summary.touch()
    assert view_pruning(tmp_path).is_finished


def test_widths_are_counted_and_compared(tmp_path: Path, pruning_steps) -> None:
    RunFolder(tmp_path).write_pruning(pruning_steps(0.0, 0.0))
    view = view_pruning(tmp_path)  # Without a configuration, with the usual margin.
    assert (view.strategy, view.margin) == ("", 0.01)
    assert (view.unpruned.num_channels, view.unpruned.width_ratio) == (12, 2.0)
    assert (view.last.num_channels, view.last.width_ratio) == (10, 1.5)
    assert view.channels.layers == {"encoders.0.0": (4, 4, 4), "encoders.1.0": (8, 7, 6)}


def test_a_run_that_was_not_pruned_or_never_validated_is_told(
    tmp_path: Path, pruning_steps
) -> None:
    with pytest.raises(DataError, match=r"was not pruned: it has no pruning.csv$"):
        view_pruning(tmp_path)
    RunFolder(tmp_path).write_pruning(
        [replace(step, val_dice=math.nan) for step in pruning_steps(0.0)]
    )
    with pytest.raises(
        DataError, match=r"no step of the pruning can be chosen by a validation Dice$"
    ):
        view_pruning(tmp_path)

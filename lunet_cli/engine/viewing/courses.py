"""How trainings and prunings went, from the tables in their run folders; loads no PyTorch."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from lunet_cli.engine.run_folder import HISTORY, RunFolder, names_of
from lunet_cli.errors import DataError
from lunet_cli.results.training import TrainingCourse
from lunet_cli.results.views import ChannelCourse
from lunet_cli.results.words import visible

CHANNELS = "channels.csv"


def read_course(run: Path) -> TrainingCourse:
    """Read how a training went so far.

    Raises:
        DataError: The folder has no history.
    """
    folder = RunFolder(run)
    records = folder.read_history()
    return TrainingCourse(visible(run.resolve().name), tuple(records), _has_ended(run, len(records)))


def _has_ended(run: Path, num_epochs: int) -> bool:
    """Whether the training has written its end, and was not resumed for more epochs since."""
    try:
        return bool(json.loads((run / "summary.json").read_text(encoding="utf-8"))["num_epochs"] == num_epochs)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def seconds_since_epoch(run: Path) -> float:
    """How long ago the last epoch of a run was written."""
    return max(0.0, time.time() - (run / HISTORY).stat().st_mtime)


def without_epochs(runs: Sequence[Path]) -> dict[Path, str]:
    """The runs that have no epoch yet, or none that can be read, each with the reason."""
    found = {}
    for run in runs:
        try:
            read_course(run)
        except DataError as error:
            found[run] = error.message
    return found


def read_courses(runs: Sequence[Path]) -> list[TrainingCourse]:
    """Read several, under names that differ.

    Raises:
        DataError: A folder has no history.
    """
    return [replace(read_course(run), name=name) for run, name in zip(runs, names_of(runs), strict=True)]


def read_channels(run: Path) -> ChannelCourse:
    """Read `channels.csv` of a pruned run: a column `step`, and one with the channels of each layer.

    Raises:
        DataError: There is none, or it is damaged.
    """
    path = run / CHANNELS
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = [line for line in csv.reader(file) if line]
    except (FileNotFoundError, NotADirectoryError):
        what = "is no run folder" if run.is_file() else "there is no such folder"
        what = f"was not pruned: it has no {CHANNELS}" if run.is_dir() else what
        raise DataError(f"{run}: {what}", hint="lunet viz network CHECKPOINT shows a network as it is.") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from None
    problem = _problem_of_channels(lines)
    if problem:
        raise DataError(
            f"{path}: is no table of channels: {problem}", hint="A column step, one per layer, a row per step."
        )
    header, *rows = lines
    steps, *columns = zip(*[[int(value) for value in row] for row in rows], strict=True)
    layers = dict(zip(map(visible, header[1:]), columns, strict=True))
    return ChannelCourse(visible(run.resolve().name), steps, layers)


def _problem_of_channels(lines: Sequence[Sequence[str]]) -> str:
    """What is wrong with a table of channels, in words; empty if nothing is."""
    if len(lines) < 2 or lines[0][0] != "step" or len(lines[0]) < 2:
        return "it has no step, or no layer"
    if len(set(lines[0])) < len(lines[0]):
        return "a layer is there twice"
    for number, line in enumerate(lines[1:], start=2):
        if len(line) != len(lines[0]):
            return f"line {number} has {len(line)} columns instead of {len(lines[0])}"
        odd = next((value for value in line if not value.isdecimal()), None)
        if odd is not None:
            return f"line {number} holds '{odd}', which is no number of channels"
        if "0" in line[1:]:
            return f"line {number} has a layer without channels"
    steps = [int(line[0]) for line in lines[1:]]
    return "" if all(first < second for first, second in pairwise(steps)) else "its steps do not ascend"

"""How trainings and prunings went, from the tables in their run folders; loads no PyTorch."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lunet_cli.engine.run_folder import RunFolder
from lunet_cli.errors import DataError
from lunet_cli.results.views import ChannelCourse, TrainingCourse

CHANNELS = "channels.csv"


def read_course(run: Path) -> TrainingCourse:
    """Read how a training went so far.

    Raises:
        DataError: The folder has no history.
    """
    folder = RunFolder(run)
    records = folder.read_history()
    history, summary = run / "history.csv", run / "summary.json"
    is_finished = summary.exists() and summary.stat().st_mtime >= history.stat().st_mtime
    return TrainingCourse(run.resolve().name, tuple(records), is_finished)


def read_courses(runs: Sequence[Path]) -> list[TrainingCourse]:
    """Read several; runs of the same name are called by their whole paths.

    Raises:
        DataError: A folder has no history.
    """
    courses = [read_course(run) for run in runs]
    names = [course.name for course in courses]
    if len(set(names)) == len(names):
        return courses
    return [replace(course, name=str(run)) for course, run in zip(courses, runs, strict=True)]


def read_channels(run: Path) -> ChannelCourse:
    """Read `channels.csv` of a pruned run: a column `step`, and one with the channels of each layer.

    Raises:
        DataError: There is none, or it is damaged.
    """
    path = run / CHANNELS
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *rows = [row for row in csv.reader(file) if row]
        steps = tuple(int(row[0]) for row in rows)
        columns = list(zip(*[[int(value) for value in row] for row in rows], strict=True))
        layers = dict(zip(header[1:], columns[1:], strict=True))
    except (FileNotFoundError, NotADirectoryError):
        what = "is no run folder" if run.is_file() else "there is no such folder"
        what = f"was not pruned: it has no {CHANNELS}" if run.is_dir() else what
        raise DataError(f"{run}: {what}", hint="lunet viz network CHECKPOINT shows a network as it is.") from None
    except (OSError, ValueError, IndexError) as error:
        raise DataError(f"{path}: is no table of channels ({error})") from None
    if header[0] != "step" or not layers or not steps:
        raise DataError(f"{path}: is no table of channels, which has a column step, one per layer, and a row per step")
    return ChannelCourse(run.resolve().name, steps, layers)

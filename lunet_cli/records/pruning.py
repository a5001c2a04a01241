"""`pruning.csv` and `pruning_cases.csv`: the steps of a pruning, and each case at each of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from lunet_cli.errors import DataError
from lunet_cli.records.channels import read_channels_table
from lunet_cli.records.record import Record
from lunet_cli.records.table import Row, read_table, table_text
from lunet_cli.results.pruning import PruningStep, RemovedChannel

_WHAT = "the table of a pruning"
_HINT = "`prune(RUN)` writes it."
_OF_CHANNELS = ("layers", "channels", "scores")
_COLUMNS = (
    "step",
    *_OF_CHANNELS,
    "parameters",
    "flops",
    "val_loss_before",
    "val_dice_before",
    "val_loss",
    "val_dice",
    "seconds",
)
_CASE_COLUMNS = ("step", "case", "dice")
# Between the channels of a step; no layer has it in its name.
_SEPARATOR = ";"
# Well above a large network on 64 x 64 x 64 voxels, and exact as a float for charts.
_MOST_FLOPS = 10**15
_MOST_SECONDS = 1e9


class PruningState(Record):
    """How far a pruning is, in the checkpoint that it goes on from.

    Args:
        steps: Those that have ended.
        current: The step whose network recovers, without the values after recovery; None before
            the first step, and between two.
    """

    what: ClassVar[str] = "the state of a pruning"

    steps: tuple[PruningStep, ...]
    current: PruningStep | None


def pruning_text(steps: Sequence[PruningStep]) -> str:
    """`pruning.csv`: a line per step."""
    return table_text(_COLUMNS, map(_values, steps))


def pruning_cases_text(steps: Sequence[PruningStep]) -> str:
    """`pruning_cases.csv`: a line per step and validation case."""
    rows: list[tuple[int, str, float]] = []
    for step in steps:
        for case, dice in step.dice_per_case.items():
            rows.append((step.step, case, dice))
    return table_text(_CASE_COLUMNS, rows)


def read_pruning(path: Path, cases: Path, channels: Path) -> list[PruningStep]:
    """Read the steps of a pruning back.

    The other two files may be a step ahead: they are written first.

    Args:
        path: `pruning.csv`.
        cases: `pruning_cases.csv`.
        channels: `channels.csv`.

    Raises:
        DataError: One is missing, damaged or behind `path`, or there is no step yet.
    """
    table = read_table(path)
    table.require(_COLUMNS, what=_WHAT, hint=_HINT)
    rows = list(table.rows())
    if not rows:
        raise DataError(f"{path}: holds no step yet", hint="The first line is the whole network.")
    dice = _read_cases(cases, len(rows))
    widths = _read_widths(channels, len(rows))
    steps: list[PruningStep] = []
    for number, row in enumerate(rows):
        if row.count("step", lowest=0) != number:
            raise DataError(f"{row.place}: is of step {row.text('step')} and not of step {number}")
        steps.append(_step(row, number, dice[number], widths[number]))
    return steps


def _read_cases(path: Path, num_steps: int) -> list[dict[str, float]]:
    """Dice of every case at each of the first steps."""
    table = read_table(path)
    table.require(_CASE_COLUMNS, what="the table of the cases of a pruning", hint=_HINT)
    found: list[dict[str, float]] = [{} for _ in range(num_steps)]
    for row in table.rows():
        step, case = row.count("step", lowest=0), row.text("case")
        if step >= num_steps:
            continue
        if case in found[step]:
            raise DataError(f"{row.place}: {case} is there twice in step {step}", hint=_HINT)
        found[step][case] = _defined(row, "dice", highest=1)
    for step, dice in enumerate(found):
        # Steps are compared case by case.
        if not dice or dice.keys() != found[0].keys():
            raise DataError(f"{path}: step {step} does not have the cases of step 0", hint=_HINT)
    return found


def _read_widths(path: Path, num_steps: int) -> list[dict[str, int]]:
    """Channels of each layer at each of the first steps."""
    history = read_channels_table(path, path.parent.name)
    if history.steps[:num_steps] != tuple(range(num_steps)):
        raise DataError(f"{path}: does not have every step from 0 to {num_steps - 1}", hint=_HINT)
    widths: list[dict[str, int]] = []
    for step in range(num_steps):
        widths.append({layer: values[step] for layer, values in history.layers.items()})
    return widths


def _step(
    row: Row, number: int, dice_per_case: dict[str, float], widths: dict[str, int]
) -> PruningStep:
    return PruningStep(
        step=number,
        removed=_removed(row, widths),
        parameters=row.count("parameters", lowest=1),
        flops=row.count("flops", lowest=1, highest=_MOST_FLOPS),
        val_loss_before=row.number("val_loss_before", lowest=-math.inf, highest=math.inf),
        val_dice_before=row.number("val_dice_before", lowest=0, highest=1),
        val_loss=row.number("val_loss", lowest=-math.inf, highest=math.inf),
        val_dice=row.number("val_dice", lowest=0, highest=1),
        seconds=_defined(row, "seconds", highest=_MOST_SECONDS),
        dice_per_case=dice_per_case,
        widths=widths,
    )


def _defined(row: Row, column: str, *, highest: float) -> float:
    value = row.number(column, lowest=0, highest=highest)
    if math.isnan(value):
        raise DataError(f"{row.place}: {column} is not a number")
    return value


def _removed(row: Row, widths: dict[str, int]) -> tuple[RemovedChannel, ...]:
    fields = [_parts(row.values[column]) for column in _OF_CHANNELS]
    if len(set(map(len, fields))) > 1:
        raise DataError(f"{row.place}: has not as many layers as channels and scores")
    removed: list[RemovedChannel] = []
    for values in zip(*fields, strict=True):
        one = Row(row.place, dict(zip(_OF_CHANNELS, values, strict=True)))
        layer = one.text("layers")
        if layer not in widths:
            raise DataError(f"{row.place}: {layer} is not a layer of the network")
        score = one.number("scores", lowest=-math.inf, highest=math.inf)
        removed.append(RemovedChannel(layer, one.count("channels", lowest=0), score))
    return tuple(removed)


def _parts(text: str) -> list[str]:
    if not text:
        return []
    return text.split(_SEPARATOR)


def _values(step: PruningStep) -> list[float | int | str]:
    return [
        step.step,
        _SEPARATOR.join(channel.layer for channel in step.removed),
        _SEPARATOR.join(str(channel.channel) for channel in step.removed),
        _SEPARATOR.join(str(channel.score) for channel in step.removed),
        step.parameters,
        step.flops,
        step.val_loss_before,
        step.val_dice_before,
        step.val_loss,
        step.val_dice,
        # Milliseconds are enough; all else comes back bit by bit.
        f"{step.seconds:.3f}",
    ]

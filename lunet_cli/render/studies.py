"""What the picture of a study of prunings holds, whatever it is drawn with."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lunet_cli.render.curves import Floats, Line, Panel
from lunet_cli.results.studies import StudyCurve, StudyResult, TrainedNetwork
from lunet_cli.results.words import visible

# Of Dice: what lies farther below the best is cut off, unless it is to be compared.
_RANGE = 0.1


class Band(NamedTuple):
    """What lies between the lowest and the highest seed of a line."""

    x: Floats
    low: Floats
    high: Floats


def study_panel(result: StudyResult) -> Panel:
    """Dice against parameters: a line per strategy, and a point per network that was trained."""
    lines = [_line(curve, color) for color, curve in enumerate(result.curves)]
    for network in result.trained:
        place = np.array([float(network.parameters)])
        dice = np.array([network.dice.mean])
        color = len(lines)
        name = network_name(network)
        lines.append(Line(name=name, color=color, x=place, y=dice, raw=dice, is_point=True))
    title = "Validation Dice, mean over seeds"
    if any(line.raw.min() < lowest_shown(result) for line in lines):
        title += f" (below {lowest_shown(result):.2g} cut off)"
    return Panel(
        title=title,
        x_label="parameters",
        y_label="Dice",
        lines=tuple(lines),
        log_x=True,
    )


def bands(result: StudyResult) -> list[Band]:
    """From the lowest to the highest seed, for each line of the panel; points have one too."""
    found = []
    for curve in result.curves:
        x = np.array([float(parameters) for parameters, _ in curve.points])
        low = np.array([dice.low for _, dice in curve.points])
        high = np.array([dice.high for _, dice in curve.points])
        found.append(Band(x, low, high))
    for network in result.trained:
        dice = network.dice
        found.append(
            Band(np.array([float(network.parameters)]), np.array([dice.low]), np.array([dice.high]))
        )
    return found


def lowest_shown(result: StudyResult) -> float:
    """Dice below which nothing is drawn: pruned too far, networks collapse and hide all else."""
    compared = [network.dice for network in result.trained]
    compared += [strategy.dice for strategy in result.strategies]
    best = max(dice.high for dice in compared)
    return min(best - _RANGE, *(dice.low for dice in compared))


def network_name(network: TrainedNetwork) -> str:
    """What a network that was trained is called beside strategies."""
    if network.kind == "start":
        return visible(f"{network.name}, unpruned")
    return visible(f"{network.name}, from scratch")


def _line(curve: StudyCurve, color: int) -> Line:
    x = np.array([float(parameters) for parameters, _ in curve.points])
    y = np.array([dice.mean for _, dice in curve.points])
    # A control that removes nothing has only one number of parameters.
    is_point = len(curve.points) == 1
    return Line(name=visible(curve.strategy), color=color, x=x, y=y, raw=y, is_point=is_point)

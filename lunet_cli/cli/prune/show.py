"""`lunet prune show`: how a pruning went, and which of its networks to take."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lunet_cli.cli.helping import AsJson
from lunet_cli.cli.options import option
from lunet_cli.cli.viz.display import NoColor, Output, open_screen, require_output, save
from lunet_cli.config.pruning import PruningConfig
from lunet_cli.errors import ConfigError

if TYPE_CHECKING:
    from lunet_cli.results.evaluation import NonInferiority
    from lunet_cli.results.pruning import PruningStep
    from lunet_cli.results.views import PrunedNetwork, PruningView


def show(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Folder of a pruning; it may still be running.")
    ],
    output: Output = None,
    margin: Annotated[float | None, option(PruningConfig, "margin", metavar="DICE")] = None,
    as_json: AsJson = False,
    no_color: NoColor = False,
) -> None:
    """Show the channels of each layer over the steps, Dice against parameters, and what to take."""
    require_output(output, no_color=no_color)
    if as_json and output is not None:
        raise ConfigError("--json and -o: choose one")
    if margin is not None and not 0 <= margin <= 1:
        raise ConfigError(f"--margin {margin:g}: is not a difference of Dice, from 0 to 1")
    from lunet_cli.engine.viewing.prunings import view_pruning

    view = view_pruning(run, margin)
    if as_json:
        typer.echo(json.dumps(_plain(view), indent=2))
        return
    if output is not None:
        from lunet_cli.render.figures.pruning import pruning_figure

        save(pruning_figure(view), output)
        return
    from lunet_cli.render.pruning_tables import steps_table
    from lunet_cli.render.terminal.pruning import draw_pruning

    console, screen = open_screen(no_color=no_color)
    console.print(draw_pruning(view, screen))
    console.print(steps_table(view))


def _plain(view: PruningView) -> dict[str, object]:
    """A view as JSON has it; what is undefined is null."""
    return {
        "run": view.name,
        "strategy": view.strategy,
        "is_finished": view.is_finished,
        "margin": view.margin,
        "reference": view.reference,
        "best_step": view.best,
        "unpruned": _network(view.unpruned),
        "chosen": _network(view.chosen),
        "last": _network(view.last),
        "steps": [*map(_step, view.steps)],
    }


def _network(network: PrunedNetwork) -> dict[str, object]:
    return {
        **_step(network.step),
        "num_channels": network.num_channels,
        "width_ratio": network.width_ratio,
        "from_unpruned": _change(network.from_unpruned),
        "from_best": _change(network.from_best),
    }


def _step(step: PruningStep) -> dict[str, object]:
    found = asdict(step)
    for name, value in found.items():
        found[name] = _defined(value)
    for channel in found["removed"]:
        channel["score"] = _defined(channel["score"])
    return found


def _change(change: NonInferiority) -> dict[str, object]:
    return {"mean": change.mean, "interval": [*map(_defined, change.interval)]}


def _defined(value: object) -> object:
    """The value, or None where it is a number without a value: JSON does not know NaN."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value

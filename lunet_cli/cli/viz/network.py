"""`lunet viz network`: the drawing of a network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lunet_cli.cli.viz.display import NoColor, Output, open_screen, require_output, save
from lunet_cli.errors import ConfigError

if TYPE_CHECKING:
    from lunet_cli.config.network import NetworkSpec


def network(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME|MODEL", help="A preset, a model, a checkpoint, a run."),
    ],
    against: Annotated[
        str | None,
        typer.Option(metavar="NAME|MODEL", help="Another one, drawn at the same scale."),
    ] = None,
    output: Output = None,
    no_color: NoColor = False,
) -> None:
    """Draw a network: channels, resolution, parameters and FLOPs of each level."""
    require_output(output, no_color=no_color)
    from lunet_cli.render.networks import draw_levels

    drawings = [draw_levels(*_find(name))]
    if against is not None:
        drawings.append(draw_levels(*_find(against)))
    if output is not None:
        from lunet_cli.render.figures.network import networks_figure

        save(networks_figure(drawings), output)
        return
    from lunet_cli.render.terminal.network import draw_networks

    console, screen = open_screen(no_color=no_color)
    console.print(draw_networks(drawings, screen))


def _find(text: str) -> tuple[str, NetworkSpec]:
    """Name and description of a preset, a model, or the network in a file."""
    from lunet_cli.config.presets import parse_preset
    from lunet_cli.records.model_folder import find_model

    # A file wins over a name: whoever has one of that name means it.
    path = Path(text)
    if not path.exists():
        if len(path.parts) > 1 or path.suffix:
            raise ConfigError(
                f"{text}: there is no such file",
                hint="Name a checkpoint, a run folder, a model, or a preset.",
            )
        named = find_model(text)
        if named is not None:
            return named.page.name, named.page.network
        preset = parse_preset(text)
        return preset.name, preset.spec
    from lunet_cli.engine.checkpoints.models import load_model

    model = load_model(path)
    return f"{model.architecture} ({text})", model.card.network

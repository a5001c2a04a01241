"""`lunet viz channels`: what a pruning has left of each layer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lunet_cli.cli.viz.display import NoColor, Output, open_screen, require_output, save


def channels(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a pruned run.")],
    output: Output = None,
    no_color: NoColor = False,
) -> None:
    """Draw the channels of each layer over the steps of a pruning."""
    require_output(output, no_color=no_color)
    from lunet_cli.engine.viewing.histories import read_channels

    history = read_channels(run)
    if output is not None:
        from lunet_cli.render.figures.channels import channels_figure

        save(channels_figure(history), output)
        return
    from lunet_cli.render.terminal.channels import draw_channels

    console, screen = open_screen(no_color=no_color)
    console.print(draw_channels(history, screen))

"""A pruning: channels per layer over its steps, and Dice against parameters."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from lunet_cli.render.prunings import dice_panel
from lunet_cli.render.terminal.channels import draw_channels
from lunet_cli.render.terminal.charts import draw_panel
from lunet_cli.render.terminal.screen import Screen
from lunet_cli.results.views import PruningView

_MOST_COLUMNS, _ROWS = 100, 14


def draw_pruning(view: PruningView, screen: Screen) -> RenderableType:
    """The channels of each layer, and below them the curve of Dice with the chosen step."""
    width = min(screen.width, _MOST_COLUMNS)
    chart = draw_panel(dice_panel(view), width, _ROWS, colors=screen.colors)
    return Group(draw_channels(view.channels, screen), Text(), chart)

"""A study of prunings in a terminal: Dice against parameters."""

from __future__ import annotations

from rich.console import RenderableType

from lunet_cli.render.studies import study_panel
from lunet_cli.render.terminal.charts import draw_panel
from lunet_cli.render.terminal.screen import Screen
from lunet_cli.results.studies import StudyResult

_MOST_COLUMNS, _ROWS = 100, 20


def draw_study(result: StudyResult, screen: Screen) -> RenderableType:
    """A line per strategy, and a point per network that was trained."""
    width = min(screen.width, _MOST_COLUMNS)
    return draw_panel(study_panel(result), width, _ROWS, colors=screen.colors)

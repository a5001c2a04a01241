"""A study of prunings in a terminal: Dice against parameters."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from rich.console import RenderableType

from lunet_cli.render.studies import lowest_shown, study_panel
from lunet_cli.render.terminal.charts import draw_panel
from lunet_cli.render.terminal.screen import Screen
from lunet_cli.results.studies import StudyResult

_MOST_COLUMNS, _ROWS = 100, 20


def draw_study(result: StudyResult, screen: Screen) -> RenderableType:
    """A line per strategy, and a point per network that was trained."""
    width = min(screen.width, _MOST_COLUMNS)
    panel, lowest = study_panel(result), lowest_shown(result)
    lines = []
    for line in panel.lines:
        lines.append(replace(line, y=np.where(line.y < lowest, np.nan, line.y)))
    shown = replace(panel, lines=tuple(lines))
    return draw_panel(shown, width, _ROWS, colors=screen.colors)

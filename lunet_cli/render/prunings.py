"""What a picture of a pruning holds, whatever it is drawn with."""

from __future__ import annotations

import numpy as np

from lunet_cli.render.curves import Line, Panel
from lunet_cli.results.views import PruningView


def dice_panel(view: PruningView) -> Panel:
    """Validation Dice after recovery against parameters, and the Dice that may be lost."""
    parameters = np.array([float(step.parameters) for step in view.steps])
    dice = np.array([step.val_dice for step in view.steps])
    # From the smallest network on, as the axis runs.
    order = np.argsort(parameters, kind="stable")
    chosen = order.tolist().index(view.chosen.step.step)
    measured = Line(
        name="after recovery",
        color=0,
        x=parameters[order],
        y=dice[order],
        raw=dice[order],
        best=chosen,
    )
    ends = np.array([parameters.min(), parameters.max()])
    limit = np.full(2, view.steps[view.best].val_dice - view.margin)
    allowed = Line(
        name=f"best minus {view.margin:g}", color=1, x=ends, y=limit, raw=limit, is_faint=True
    )
    return Panel(
        title="Validation Dice",
        x_label="parameters",
        y_label="Dice",
        lines=(measured, allowed),
        log_x=True,
        mark=f"chosen: step {view.chosen.step.step}",
    )

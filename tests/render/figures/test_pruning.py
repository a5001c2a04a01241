"""A pruning as a picture."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lunet_cli.config.pruning import PruningConfig
from lunet_cli.engine.viewing.prunings import summarize_pruning
from lunet_cli.render.figures.pruning import pruning_figure
from lunet_cli.results.views import PruningView


def test_the_chosen_step_is_marked_in_both_halves(pruning: PruningView, texts) -> None:
    figure = pruning_figure(pruning)
    above, below, _ = figure.axes
    assert [line.get_xdata() for line in above.lines] == [[3, 3]]
    (diamond,) = [line for line in below.lines if line.get_marker() == "D"]
    assert (diamond.get_xdata(), diamond.get_ydata()) == ([700], pytest.approx([0.715]))
    assert below.get_xscale() == "log"
    for words in ("encoders.1.0 (4)", "best minus 0.01", "chosen: step 3", "parameters"):
        assert words in texts(figure)


def test_a_control_without_pruning_is_a_point_on_its_axis(pruning: PruningView, written) -> None:
    first = pruning.steps[0]
    steps = [replace(step, parameters=1000, widths=first.widths) for step in pruning.steps]
    view = summarize_pruning(steps, PruningConfig(strategy="none"), name="a", is_finished=True)
    figure = pruning_figure(view)
    assert written(figure, "a.png").startswith(b"\x89PNG")
    low, high = figure.axes[1].get_xlim()
    assert low < 1000 < high

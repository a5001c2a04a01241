"""Histories of trainings as pictures."""

from __future__ import annotations

from pathlib import Path

import pytest

from lunet_cli.engine.viewing.histories import read_history
from lunet_cli.render.curves import CurveOptions, curve_panels
from lunet_cli.render.figures.curves import curves_figure
from lunet_cli.results.training import EpochRecord, TrainingHistory


def test_the_best_epoch_is_marked_where_it_was_measured(trained_run: Path) -> None:
    history = read_history(trained_run)
    figure = curves_figure(
        curve_panels([history], CurveOptions(smoothing=0.9, quantities=("dice",)))
    )
    (axes,) = figure.axes
    (diamond,) = [line for line in axes.lines if line.get_marker() == "D"]
    assert diamond.get_ydata() == pytest.approx([history.best.val_dice])
    assert "smoothed, 0.9" in axes.get_title()


MANY = tuple(f"abdominal organ number {index}" for index in range(20))


def test_legends_of_many_lines_stand_below_the_curves(inside) -> None:
    records = [
        EpochRecord(i, 1 / i, 2 / i, 0.1, dict.fromkeys(MANY, 0.1 * i), 0.1, 1) for i in range(1, 5)
    ]
    figure = curves_figure(
        curve_panels([TrainingHistory("r", tuple(records), is_finished=True)], CurveOptions())
    )
    figure.draw_without_rendering()
    for axes in figure.axes:
        legend = axes.get_legend()
        assert legend is not None
        assert inside(figure, [text.get_window_extent() for text in legend.get_texts()])
        if len(legend.get_texts()) > 5:
            assert not legend.get_window_extent().overlaps(axes.get_window_extent())
            assert axes.get_window_extent().height > 1.0 * figure.get_dpi(), (
                "and leave room for these"
            )

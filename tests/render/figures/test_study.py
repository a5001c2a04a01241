"""A study of prunings as a picture."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lunet_cli.render.figures.study import study_figure
from lunet_cli.results.studies import OverSeeds, StudyResult


@pytest.mark.parametrize(
    ("name", "begin"), [("a.png", b"\x89PNG"), ("a.svg", b"<?xml"), ("a.pdf", b"%PDF")]
)
def test_every_format_can_be_written(study: StudyResult, written, name: str, begin: bytes) -> None:
    assert written(study_figure(study), name).startswith(begin)


def test_strategies_are_lines_with_bands_and_networks_are_named_points(
    study: StudyResult, texts
) -> None:
    figure = study_figure(study)
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    # Means of two strategies, three points, and the budget: 0.15 of 353,949.
    stamp, _, control, unpruned, beside, budget = axes.lines
    assert list(stamp.get_xdata()) == [50_000, 353_949]
    assert [line.get_linestyle() for line in (control, unpruned, beside)] == ["None"] * 3
    assert (beside.get_xdata()[0], beside.get_ydata()[0]) == (9_929, 0.875)
    assert budget.get_xdata()[0] == pytest.approx(53_092.35)
    band = axes.collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == pytest.approx((0.87, 0.89))
    found = texts(figure)
    for words in (
        "unet_small_4f, unpruned",
        "lunet_small_4f, from scratch",
        "none",
        "random-in-largest",
        "0.15 of the parameters",
    ):
        assert words in found


def test_networks_that_have_collapsed_are_cut_off(study: StudyResult, texts) -> None:
    collapsed = (9_000, OverSeeds(0.2, 0.1, 0.3, 2))
    first, *others = study.curves
    curve = replace(first, points=(collapsed, *first.points))
    figure = study_figure(replace(study, curves=(curve, *others)))
    (axes,) = figure.axes
    # The best is 0.89, and all that is compared lies above 0.79.
    assert axes.get_ylim() == pytest.approx((0.79, 0.9))
    assert "Validation Dice, mean over seeds (below 0.79 cut off)" in texts(figure)

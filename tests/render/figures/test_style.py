"""Every view as a file."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure

from lunet_cli.config.presets import parse_preset
from lunet_cli.engine.viewing.histories import read_history
from lunet_cli.render.curves import CurveOptions, curve_panels
from lunet_cli.render.figures.channels import channels_figure
from lunet_cli.render.figures.curves import curves_figure
from lunet_cli.render.figures.network import networks_figure
from lunet_cli.render.figures.pareto import pareto_figure
from lunet_cli.render.figures.slices import montage_figure, slices_figure
from lunet_cli.render.figures.style import FULL_WIDTH
from lunet_cli.render.networks import draw_levels
from lunet_cli.results.views import (
    ChannelHistory,
    LabeledVolume,
    Pareto,
    ParetoPoint,
)

Make = Callable[[Path, LabeledVolume], Figure]


def curves(run: Path, case: LabeledVolume) -> Figure:
    return curves_figure(curve_panels([read_history(run)], CurveOptions(smoothing=0.6)))


def runs(run: Path, case: LabeledVolume) -> Figure:
    return curves_figure(curve_panels([read_history(run)] * 2, CurveOptions("seconds", log=True)))


def slices(run: Path, case: LabeledVolume) -> Figure:
    return slices_figure([case.cut(axis, case.best_position(axis)) for axis in range(3)])


def montage(run: Path, case: LabeledVolume) -> Figure:
    return montage_figure([case.cut(1, position) for position in case.montage_positions(1, 12)])


def networks(run: Path, case: LabeledVolume) -> Figure:
    return networks_figure(
        [
            draw_levels(name, parse_preset(name).spec)
            for name in ("unetpp_small_4f", "lunet_small_4f")
        ]
    )


def pareto(run: Path, case: LabeledVolume) -> Figure:
    points = (ParetoPoint("lean", 0.88, 9_929, True), ParetoPoint("large", 0.87, 353_949, False))
    return pareto_figure(Pareto("mean Dice", "parameters", points))


def channels(run: Path, case: LabeledVolume) -> Figure:
    return channels_figure(
        ChannelHistory("pruned", (0, 1, 2), {"first": (4, 4, 3), "second": (64, 32, 8)})
    )


FIGURES: dict[str, tuple[Make, set[str]]] = {
    "curves": (curves, {"epoch", "loss", "Dice", "learning rate", "best epoch", "anterior"}),
    "runs": (runs, {"training time in s", "short validation"}),
    "slices": (
        slices,
        {
            "mm",
            "image",
            "reference",
            "prediction",
            "error",
            "anterior",
            "false negative",
            "false positive",
            "A",
            "R",
        },
    ),
    "montage": (
        montage,
        {"coronal slices", "slice", "anterior", "reference", "prediction", "10 mm"},
    ),
    "networks": (
        networks,
        {"parameters per level", "channels", "voxels", "64³", "of the parameters"},
    ),
    "pareto": (pareto, {"parameters", "mean Dice", "lean", "large"}),
    "channels": (
        channels,
        {"step of pruning", "layer (channels at the end)", "channels", "second (8)"},
    ),
}


@pytest.mark.parametrize("name", FIGURES)
def test_every_view_is_a_picture_with_its_words(
    name: str, trained_run: Path, case: LabeledVolume, written, texts
) -> None:
    make, words = FIGURES[name]
    found = texts(make(trained_run, case))
    assert [word for word in words if word not in found] == []
    pixels = matplotlib.image.imread(io.BytesIO(written(make(trained_run, case), "a.png")))
    # 200 dots per inch, at most two columns of a page.
    assert 0.4 * FULL_WIDTH * 200 < pixels.shape[1] <= FULL_WIDTH * 200 + 1
    # Four bytes as one number: to sort rows takes seconds.
    colors = np.ascontiguousarray((255 * pixels).astype(np.uint8)).view(np.uint32)
    assert pixels.shape[2] == 4
    assert len(np.unique(colors)) > 10
    pdf = written(make(trained_run, case), "a.pdf")
    assert pdf.startswith(b"%PDF")


def test_the_same_picture_gives_the_same_file(
    trained_run: Path, case: LabeledVolume, written
) -> None:
    first, second = (written(slices(trained_run, case), "a.svg") for _ in range(2))
    assert first == second


def test_names_that_look_like_formulas_stay_names(trained_run: Path, texts) -> None:
    history = read_history(trained_run)
    histories = [replace(history, name="$x_y$"), replace(history, name="_hidden")]
    found = texts(curves_figure(curve_panels(histories, CurveOptions(log=True))))
    assert "$x_y$ training" in found
    assert "_hidden training" in found

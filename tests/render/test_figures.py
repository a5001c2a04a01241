"""Pictures for papers, drawn from real results."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure

from lunet_cli.config.presets import parse_preset
from lunet_cli.engine.viewing.histories import read_history
from lunet_cli.engine.viewing.volumes import read_volume
from lunet_cli.render.curves import CurveOptions, curve_panels
from lunet_cli.render.figures.channels import channels_figure
from lunet_cli.render.figures.curves import curves_figure
from lunet_cli.render.figures.network import networks_figure
from lunet_cli.render.figures.pareto import pareto_figure
from lunet_cli.render.figures.slices import montage_figure, slices_figure
from lunet_cli.render.figures.style import FULL_WIDTH, write_figure
from lunet_cli.render.figures.volume import volume_figure
from lunet_cli.render.networks import draw_levels
from lunet_cli.render.palette import ERRORS, label_colors
from lunet_cli.results.training import EpochRecord, TrainingHistory
from lunet_cli.results.views import (
    FALSE_NEGATIVE,
    FALSE_POSITIVE,
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


def written(figure: Figure, name: str) -> bytes:
    file = io.BytesIO()
    write_figure(figure, file, Path(name))
    return file.getvalue()


def texts(figure: Figure) -> str:
    """All words of a figure, as they stand in its SVG."""
    svg = written(figure, "a.svg").decode()
    return " | ".join(re.findall(r">([^<>]+)</(?:text|tspan)>", svg))


@pytest.mark.parametrize("name", FIGURES)
def test_every_view_is_a_picture_with_its_words(
    name: str, trained_run: Path, case: LabeledVolume
) -> None:
    make, words = FIGURES[name]
    found = texts(make(trained_run, case))
    assert [word for word in words if word not in found] == []
    pixels = matplotlib.image.imread(io.BytesIO(written(make(trained_run, case), "a.png")))
    # 200 dots per inch, at most two columns of a page.
    assert 0.4 * FULL_WIDTH * 200 < pixels.shape[1] <= FULL_WIDTH * 200 + 1
    assert len(np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0)) > 10
    pdf = written(make(trained_run, case), "a.pdf")
    assert pdf.startswith(b"%PDF")


def test_the_same_picture_gives_the_same_file(trained_run: Path, case: LabeledVolume) -> None:
    first, second = (written(slices(trained_run, case), "a.svg") for _ in range(2))
    assert first == second


def test_thick_slices_keep_their_true_proportions() -> None:
    volume = LabeledVolume("c", np.zeros((20, 40, 40), np.float32), (5.0, 1.0, 1.0), ("a",))
    figure = slices_figure([volume.cut(1, 0)])
    figure.draw_without_rendering()
    (axes,) = figure.axes
    box = axes.get_window_extent()
    assert box.height / box.width == pytest.approx(100 / 40, rel=0.01)


@pytest.mark.parametrize(
    "names", [("lunetpp_small_4f",), ("unet_small_4f", "lunetpp_small_4f"), ("mednext_l",)]
)
def test_blocks_stand_side_by_side(names: tuple[str, ...]) -> None:
    figure = networks_figure([draw_levels(name, parse_preset(name).spec) for name in names])
    for axes in figure.axes[::3]:
        for level in {patch.get_y() for patch in axes.patches}:
            blocks = sorted(
                (p.get_x(), p.get_x() + p.get_width()) for p in axes.patches if p.get_y() == level
            )
            assert blocks[0][0] + 1e-9 >= 0
            assert blocks[-1][1] <= 1 + 1e-9
            assert all(before[1] + 0.05 < after[0] for before, after in pairwise(blocks))


def test_names_of_networks_do_not_cover_each_other() -> None:
    costs = (39_052, 40_000, 102_740, 300_000, 353_964)
    points = tuple(
        ParetoPoint(f"network_number_{i}", 0.9 - 0.01 * (i % 2), cost, False)
        for i, cost in enumerate(costs)
    )
    figure = pareto_figure(Pareto("mean Dice", "parameters", points))
    (axes,) = figure.axes
    boxes = [text.get_window_extent() for text in axes.texts]
    assert [text.get_text() for text in axes.texts] == [point.name for point in points]
    assert not any(first.overlaps(second) for first, second in combinations(boxes, 2))
    assert all(axes.get_window_extent().count_contains(box.corners()) == 4 for box in boxes)


def test_errors_have_their_colors(case: LabeledVolume) -> None:
    image = np.zeros((1, 8, 8), np.float32)
    reference, prediction = np.zeros((1, 8, 8), np.uint8), np.zeros((1, 8, 8), np.uint8)
    reference[0, 1:4, 1:4] = 1
    prediction[0, 5:7, 5:7] = 1
    cut = LabeledVolume("c", image, (1, 1, 1), ("a",), reference, prediction).cut(0, 0)
    pixels = matplotlib.image.imread(io.BytesIO(written(slices_figure([cut]), "a.png")))
    pixels = np.round(
        pixels[: int(0.8 * len(pixels)), int(0.75 * pixels.shape[1]) :, :3] * 255
    )  # the last panel
    for color in (ERRORS[FALSE_NEGATIVE].color, ERRORS[FALSE_POSITIVE].color):
        drawn = 0.9 * np.array(color) + 0.1 * 127.5  # over the middle grey of a constant image
        assert (np.abs(pixels - drawn).max(axis=-1) < 4).sum() > 100


def test_real_volume(hippocampus: Path) -> None:
    name = "hippocampus_001.nii.gz"
    volume, facts = read_volume(hippocampus / "imagesTr" / name, hippocampus / "labelsTr" / name)
    cuts = [volume.cut(axis, volume.best_position(axis)) for axis in range(3)]
    figure = volume_figure(volume, facts, cuts)
    found = texts(figure)
    for word in (
        "axial 13",
        "stored intensity",
        "voxels",
        "Anterior: 1.324 ml",
        "spacing x, y, z: 1 x 1 x 1 mm",
    ):
        assert word in found
    figure.draw_without_rendering()
    scales = [
        axes.get_window_extent().width / cut.extent_mm[1]
        for axes, cut in zip(figure.axes[:3], cuts, strict=True)
    ]
    assert scales == pytest.approx([scales[0]] * 3, rel=0.02), "the three slices have one scale"


def test_twenty_labels_have_a_legend_of_twenty_colors() -> None:
    labels = np.zeros((1, 40, 50), np.uint8)
    for index in range(20):
        labels[
            0, 10 * (index // 5) : 10 * (index // 5) + 9, 10 * (index % 5) : 10 * (index % 5) + 9
        ] = index + 1
    names = tuple(f"organ {index}" for index in range(20))
    cut = LabeledVolume("c", np.zeros((1, 40, 50), np.float32), (1, 1, 1), names, labels).cut(0, 0)
    figure = slices_figure([cut])
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(names)
    pixels = np.round(matplotlib.image.imread(io.BytesIO(written(figure, "a.png")))[..., :3] * 255)
    for color in label_colors(20):
        assert (np.abs(pixels - np.array(color)).max(axis=-1) < 2).sum() > 50


def test_names_that_look_like_formulas_stay_names(trained_run: Path) -> None:
    history = read_history(trained_run)
    histories = [replace(history, name="$x_y$"), replace(history, name="_hidden")]
    found = texts(curves_figure(curve_panels(histories, CurveOptions(log=True))))
    assert "$x_y$ training" in found
    assert "_hidden training" in found


def test_the_best_epoch_is_marked_where_it_was_measured(trained_run: Path) -> None:
    history = read_history(trained_run)
    figure = curves_figure(
        curve_panels([history], CurveOptions(smoothing=0.9, quantities=("dice",)))
    )
    (axes,) = figure.axes
    (diamond,) = [line for line in axes.lines if line.get_marker() == "D"]
    assert diamond.get_ydata() == pytest.approx([history.best.val_dice])
    assert "smoothed, 0.9" in axes.get_title()


def test_flat_slices_have_no_letters_above_each_other() -> None:
    volume = LabeledVolume("c", np.zeros((1, 40, 40), np.float32), (1.0, 1.0, 1.0))
    figure = slices_figure([volume.cut(1, 0)])
    (axes,) = figure.axes
    assert {text.get_text() for text in axes.texts} == {"R", "L"}


def test_headings_of_several_cases_stay_in_the_picture(case: LabeledVolume) -> None:
    flat = replace(case, spacing_mm=(0.3, 1.0, 1.0))
    figure = slices_figure([flat.cut(1, case.best_position(1))] * 3)
    figure.draw_without_rendering()
    for row in figure.subfigs:
        heading = row._suptitle  # type: ignore[attr-defined]  # there is no public way to it
        assert "Dice" in heading.get_text()
        box = heading.get_window_extent()
        assert box.y1 <= figure.bbox.y1
        assert not any(box.overlaps(axes.get_tightbbox()) for axes in row.axes)


MANY = tuple(f"abdominal organ number {index}" for index in range(20))


def inside(figure: Figure, boxes: list[Any]) -> bool:
    return all(
        figure.bbox.x0 <= box.x0
        and box.x1 <= figure.bbox.x1
        and figure.bbox.y0 <= box.y0
        and box.y1 <= figure.bbox.y1
        for box in boxes
    )


def test_legends_of_many_long_names_stay_in_the_picture(tmp_path: Path) -> None:
    labels = np.zeros((1, 40, 50), np.uint8)
    labels[0, 5, 5:25] = np.arange(1, 21)
    volume = LabeledVolume(
        "c",
        np.zeros((1, 40, 50), np.float32),
        (1, 1, 1),
        MANY,
        labels,
        labels,
        dict.fromkeys(MANY, 0.5),
    )
    for figure in (slices_figure([volume.cut(0, 0)]), montage_figure([volume.cut(0, 0)] * 4)):
        figure.draw_without_rendering()
        assert inside(
            figure,
            [text.get_window_extent() for legend in figure.legends for text in legend.get_texts()],
        )


def test_legends_of_many_lines_stand_below_the_curves() -> None:
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


def test_headings_are_folded(case: LabeledVolume) -> None:
    cut = replace(case.cut(0, 5), dice_words=", ".join(f"{name} 0.5000" for name in MANY[:6]))
    figure = slices_figure([cut])
    figure.draw_without_rendering()
    (row,) = figure.subfigs
    heading = row._suptitle  # type: ignore[attr-defined]  # there is no public way to it
    assert heading.get_text().count("\n") > 0
    assert inside(figure, [heading.get_window_extent()])

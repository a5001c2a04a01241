"""Views in terminals of several sizes, without colours, and in a pipe."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from rich.text import Text

from lunet_cli.config.presets import parse_preset
from lunet_cli.engine.viewing.histories import read_history
from lunet_cli.engine.viewing.volumes import read_volume
from lunet_cli.errors import ConfigError
from lunet_cli.render.curves import CurveOptions, curve_panels
from lunet_cli.render.networks import draw_levels
from lunet_cli.render.palette import label_colors
from lunet_cli.render.terminal.channels import draw_channels
from lunet_cli.render.terminal.charts import (
    best_lines,
    draw_followed,
    draw_panel,
    draw_panels,
    log_ticks,
    round_ticks,
    tick_labels,
)
from lunet_cli.render.terminal.network import draw_networks
from lunet_cli.render.terminal.pareto import draw_pareto
from lunet_cli.render.terminal.screen import Overlay, Screen, flow, picture, size_of
from lunet_cli.render.terminal.slices import (
    case_heading,
    draw_montage,
    draw_slice,
    legend,
    overlay_of,
)
from lunet_cli.render.terminal.volume import draw_orthogonal, draw_volume
from lunet_cli.results.training import EpochRecord, TrainingHistory
from lunet_cli.results.views import ChannelHistory, LabeledVolume, Pareto, ParetoPoint

Show = Callable[..., tuple[list[str], Screen]]
COLORS = Screen(80, 24, colors=True)
PLAIN = Screen(80, 24, colors=False)


def test_curves(show: Show, trained_run: Path) -> None:
    history = read_history(trained_run)
    lines, _ = show(lambda screen: draw_panels(curve_panels([history], CurveOptions()), screen))
    text = "\n".join(lines)
    for word in (
        "Loss",
        "training",
        "validation",
        "Validation Dice",
        "anterior",
        "Learning rate",
        "best epoch",
        "epoch",
    ):
        assert word in text
    assert "◆" in text
    drawn, _ = show(lambda screen: best_lines([history]))
    assert f"validation Dice {history.best.val_dice:.4f}" in " ".join(drawn)


def test_curves_of_several_runs_on_logarithmic_axes(show: Show, trained_run: Path) -> None:
    histories = [read_history(trained_run)] * 2
    options = CurveOptions("seconds", smoothing=0.5, log=True)
    lines, _ = show(lambda screen: draw_panels(curve_panels(histories, options), screen))
    assert "training time in s" in "\n".join(lines)


def test_three_slices_fit_whatever_their_titles(tmp_path: Path) -> None:
    import SimpleITK as sitk  # noqa: N813

    image = sitk.GetImageFromArray(
        np.random.default_rng(0).integers(0, 99, (35, 51, 35)).astype(np.int16)
    )
    sitk.WriteImage(image, str(tmp_path / "image.nii.gz"))
    volume, _ = read_volume(tmp_path / "image.nii.gz")
    cuts = [volume.cut(axis, 17) for axis in range(3)]
    console = Console(
        file=io.StringIO(),
        width=80,
        height=24,
        force_terminal=True,
        color_system="truecolor",
        _environ={},
    )
    with console.capture() as captured:
        console.print(draw_orthogonal(cuts, Screen.of(console)))
    lines = Text.from_ansi(captured.get()).plain.splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in "".join(lines)
    first = next(line for line in lines if "▀" in line)
    ratios = [len(part) / cut.extent_mm[1] for part, cut in zip(first.split(), cuts, strict=True)]
    assert max(ratios) - min(ratios) < 0.05, "one scale"


def test_a_followed_training_fits_the_screen(show: Show, trained_run: Path) -> None:
    history = read_history(trained_run)
    panels = curve_panels([history], CurveOptions())
    lines, screen = show(
        lambda screen: draw_followed(panels, [history], ["waiting: other"], screen)
    )
    assert len(lines) <= screen.height - 1
    text = "\n".join(lines)
    assert "Validation Dice" in text, "what matters most is there on every screen"
    assert "waiting: other" in text
    assert "Learning rate" in text, "drawn where there is room, and named where there is none"
    assert ("no room for: " in text) == (screen.height < 40 and screen.width < 110)
    assert lines[-1] == "q or Ctrl-C ends"


def test_dice_is_followed_where_only_one_panel_finds_room(trained_run: Path) -> None:
    history = read_history(trained_run)
    console = Console(file=io.StringIO(), width=60, _environ={})
    with console.capture() as captured:
        panels = curve_panels([history], CurveOptions())
        console.print(draw_followed(panels, [history], [], Screen(60, 16, colors=False)))
    assert captured.get().startswith("Validation Dice")
    assert "no room for: Loss, Learning rate" in captured.get()


@pytest.mark.parametrize(
    ("low", "high", "number", "least_step", "expected"),
    [
        (1, 48, 7, 1, [10, 20, 30, 40]),
        (1, 3, 9, 1, [1, 2, 3]),
        (0.07, 4.2, 5, 0, [1, 2, 3, 4]),
        (0.83, 0.91, 4, 0, [0.84, 0.86, 0.88, 0.9]),
        (-0.3, 0.3, 6, 0, [-0.3, -0.2, -0.1, 0, 0.1, 0.2, 0.3]),
    ],
)
def test_ticks_are_round(
    low: float, high: float, number: int, least_step: float, expected: list[float]
) -> None:
    assert round_ticks(low, high, number, least_step=least_step) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("low", "high", "number", "expected"),
    [
        (0.09, 4.2, 8, [0.1, 0.2, 0.5, 1, 2]),
        (686, 5_340_889, 8, [1e3, 3e3, 1e4, 3e4, 1e5, 3e5, 1e6, 3e6]),
        (9_929, 353_949, 3, [1e4, 1e5]),
        (21, 29, 9, [21, 29]),
        (15, 35, 9, [20, 30]),
    ],
)
def test_logarithmic_ticks_are_round(
    low: float, high: float, number: int, expected: list[float]
) -> None:
    assert log_ticks(low, high, number) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("ticks", "log", "labels"),
    [
        ([10, 20], False, ["10", "20"]),
        ([0, 0.05, 0.1], False, ["0.00", "0.05", "0.10"]),
        ([0.86735, 0.8674, 0.86745], False, ["0.86735", "0.86740", "0.86745"]),
        ([50_000, 100_000], False, ["50k", "100k"]),
        ([9_929, 350_000, 1.9e6, 2e9], True, ["9929", "350k", "1.9M", "2G"]),
        ([1e-6, 1e-5, 0.001], True, ["1e-06", "1e-05", "0.001"]),
    ],
)
def test_tick_labels_are_short_and_differ(ticks: list[float], log: bool, labels: list[str]) -> None:
    assert tick_labels(ticks, log=log) == labels


def test_entries_of_legends_are_not_broken() -> None:
    lines = flow([Text("■ left"), Text("■ right side"), Text("■ x")], 20).plain.split("\n")
    assert lines == ["■ left  ■ right side", "■ x"]


def test_a_broken_epoch_leaves_the_rest_of_a_curve_in_place() -> None:
    records = [
        EpochRecord(i, 1 / i, math.nan if i == 3 else 2 / i, 0.1 * i, {"a": 0.1 * i}, 0.1, 1)
        for i in range(1, 9)
    ]
    history = TrainingHistory("r", tuple(records), is_finished=True)
    (panel,) = curve_panels([history], CurveOptions(quantities=("loss",)))
    console = Console(file=io.StringIO(), width=60, _environ={})
    with console.capture() as captured:
        console.print(draw_panel(panel, 60, 16, colors=False))
    lines = captured.get().splitlines()
    assert lines[-2].split() == list("12345678")
    (top,) = [line for line in lines if "x" in line and line.startswith("2.0┤")]
    assert top.index("x") == top.index("┤") + 1, (
        "the highest loss, of the first epoch, is in the upper left corner"
    )


def test_slices(show: Show, case: LabeledVolume) -> None:
    cut = case.cut(0, case.best_position(0))
    lines, screen = show(lambda screen: draw_slice(cut, screen))
    text = "\n".join(lines)
    for word in ("image", "reference", "prediction", "error"):
        assert word in text
    if screen.colors:
        assert "▀" in text
    else:
        assert "1" in text
        assert set(text) & set("NPW") - set("image")
    words = " ".join(show(lambda screen: legend(cut.labels, screen, with_errors=True))[0])
    assert all(
        name in words for name in (*case.labels, "false negative", "false positive", "wrong label")
    )
    heading = " ".join(show(lambda screen: case_heading([cut]))[0])
    assert (
        f"{case.name}, axial slice {cut.position} (0 to 31); R left, A top; Dice anterior"
        in heading
    )


def test_slices_fit_rows_where_they_are_given(show: Show, case: LabeledVolume) -> None:
    cut = case.cut(1, case.best_position(1))
    lines, _ = show(lambda screen: draw_slice(cut, screen, rows=16))
    assert len(lines) <= 16


def test_montage(show: Show, case: LabeledVolume) -> None:
    cuts = [case.cut(2, position) for position in case.montage_positions(2, 6)]
    text = "\n".join(show(lambda screen: draw_montage(cuts, screen))[0])
    assert all(str(cut.position) in text for cut in cuts)
    heading = case_heading(cuts).plain
    assert f"sagittal slices {cuts[0].position} to {cuts[-1].position}; A left, S top" in heading


def test_a_montage_shows_labels_and_errors() -> None:
    reference, prediction = (
        np.array([[[1, 1, 0, 2]]], np.uint8),
        np.array([[[1, 0, 2, 1]]], np.uint8),
    )
    cut = LabeledVolume("c", np.zeros((1, 1, 4)), (1, 1, 1), ("a", "b"), reference, prediction).cut(
        0, 0
    )
    assert picture(cut.image, overlay_of(cut, "montage"), PLAIN, (1, 4)).plain == "1NPW"


def test_errors_are_those_of_every_voxel_however_small_the_picture() -> None:
    reference, prediction = np.zeros((1, 60, 60), np.uint8), np.zeros((1, 60, 60), np.uint8)
    reference[0, 10:50, 10:50] = 1
    prediction[0, 10:50, 10:50] = 1
    prediction[0, 10:50, 30] = (
        2  # Beside a label 1 in the same cell, which alone would hide or spread it.
    )
    cut = LabeledVolume(
        "c", np.zeros((1, 60, 60)), (1, 1, 1), ("a", "b"), reference, prediction
    ).cut(0, 0)
    drawn = picture(cut.image, overlay_of(cut, "error"), PLAIN, (10, 20)).plain
    assert drawn.count("W") == sum(line.count("W") > 0 for line in drawn.split("\n"))
    assert 6 <= drawn.count("W") <= 8
    assert "N" not in drawn
    assert "P" not in drawn


def test_volume(show: Show, hippocampus: Path) -> None:
    name = "hippocampus_001.nii.gz"
    volume, facts = read_volume(hippocampus / "imagesTr" / name, hippocampus / "labelsTr" / name)
    cuts = [volume.cut(axis, volume.best_position(axis)) for axis in range(3)]
    text = "\n".join(show(lambda screen: draw_volume(volume, facts, cuts, screen))[0])
    for word in (
        "axial 13",
        "coronal",
        "sagittal",
        "35 x 51 x 35 voxels",
        "RAS",
        "8-bit",
        "1.324",
        "1.624",
        "Anterior",
    ):
        assert word in text
    assert "█" in text
    assert "R left, A top" in text
    histogram = next(line for line in text.splitlines() if line.startswith("2  "))
    assert histogram.endswith(" 139"), "both ends of the histogram are told"


def test_planes_of_a_volume_have_one_scale() -> None:
    volume = LabeledVolume("c", np.zeros((35, 60, 50), np.float32), (6.0, 0.5, 0.7))
    console = Console(file=io.StringIO(), width=100, _environ={})
    with console.capture() as captured:
        console.print(
            draw_orthogonal(
                [volume.cut(axis, 0) for axis in range(3)], Screen(100, 40, colors=False)
            )
        )
    last = captured.get().splitlines()[-1]
    # Coronal and sagittal planes are both 210 mm high.
    assert len(last.split()) == 2


@pytest.mark.parametrize(
    "names", [("unet_small_4f", "lunet_small_4f"), ("unetpp_large_6f", "mednext_small")]
)
def test_networks(show: Show, names: tuple[str, str]) -> None:
    drawings = [draw_levels(name, parse_preset(name).spec) for name in names]
    lines, _ = show(lambda screen: draw_networks(drawings, screen))
    text = "\n".join(lines)
    for drawing in drawings:
        assert drawing.title in " ".join(lines)
        assert all(f"{level.parameters:,}" in text for level in drawing.levels)
    assert "…" not in text


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_every_network_alone_finds_room(preset_facts, width: int) -> None:
    drawing = draw_levels(preset_facts.name, parse_preset(preset_facts.name).spec)
    console = Console(file=io.StringIO(), width=width, _environ={})
    with console.capture() as captured:
        console.print(draw_networks([drawing], Screen(width, 24, colors=False)))
    assert "…" not in captured.get()
    rows = [line for line in captured.get().splitlines() if re.match(r" +\d+\^3 ", line)]
    assert len(rows) == len(drawing.levels)
    for row, level in zip(rows, drawing.levels, strict=True):
        assert f"{level.parameters:,}" in row
        assert row.count("▶") == (level.num_nodes - 1 if width >= 80 else 0)


def test_lean_networks_look_lean() -> None:
    drawings = [
        draw_levels(name, parse_preset(name).spec) for name in ("unet_small_4f", "lunet_small_4f")
    ]
    console = Console(file=io.StringIO(), width=120, _environ={})
    with console.capture() as captured:
        console.print(draw_networks(drawings, Screen(120, 40, colors=False)))
    lines = captured.get().splitlines()
    deepest = [line for line in lines if line.strip().startswith("4^3")]
    # The bottleneck of 64 channels is drawn nine blocks wide, that of 4 as one; its bar of
    # parameters is a sliver.
    assert deepest[0].count("█") > 30
    assert deepest[1].count("█") == 1
    assert "1/35.6 of the parameters" in captured.get()


def test_pareto(show: Show) -> None:
    points = (ParetoPoint("lean", 0.88, 9_929, True), ParetoPoint("large", 0.87, 353_949, False))
    lines, _ = show(lambda screen: draw_pareto(Pareto("mean Dice", "parameters", points), screen))
    text = "\n".join(lines)
    assert "9,929" in text
    worse_above = Pareto("mean HD95 in mm", "parameters", points, higher_is_better=False)
    assert "mean HD95 in mm (lower is better)" in "\n".join(
        show(lambda screen: draw_pareto(worse_above, screen))[0]
    )
    (front,) = [line for line in lines if "lean" in line]
    assert front.endswith("*")


def test_channels(show: Show) -> None:
    history = ChannelHistory(
        "pruned", (0, 1, 2), {"encoders.0.0": (4, 4, 3), "encoders.4.1": (64, 32, 8)}
    )
    lines, _ = show(lambda screen: draw_channels(history, screen))
    assert lines[0] == "pruned: 68 channels in 2 layers, 11 at the end"
    (row,) = [line for line in lines if line.startswith("encoders.4.1")]
    assert row.split() == ["encoders.4.1", "64", "█▄▁", "8"]


@pytest.mark.parametrize(("axis", "rows"), [(0, 20), (1, 50), (2, 50)])
def test_thick_slices_are_drawn_in_their_true_proportions(axis: int, rows: int) -> None:
    volume = LabeledVolume("c", np.zeros((20, 40, 40), np.float32), (5.0, 1.0, 1.0))
    cut = volume.cut(axis, 0)
    # 100 mm by 40 mm: 40 columns of half characters are 40 mm, so are 20 rows of whole ones.
    assert size_of(cut.extent_mm, 40) == (rows, 40)
    assert picture(cut.image, None, COLORS, (rows, 40)).plain.count("\n") == rows - 1


def test_labels_cover_the_image_in_their_colors() -> None:
    values = np.zeros((8, 8), np.uint8)
    values[2:6, 2:6] = 1
    drawn = picture(np.ones((8, 8), np.float32), Overlay(values, label_colors(1)), COLORS, (4, 8))
    styles = {str(span.style) for span in drawn.spans}
    assert any("#e69f00" in style for style in styles), "the contour is opaque"
    assert any("#f3d38c" in style or "#f3d4" in style for style in styles), (
        "the area lets the image through"
    )
    assert any(style == "#ffffff on #ffffff" for style in styles)


def test_an_empty_label_map_is_drawn_without_colors_too() -> None:
    volume = LabeledVolume("c", np.zeros((1, 4, 4)), (1, 1, 1), (), np.zeros((1, 4, 4), np.uint8))
    cut = volume.cut(0, 0, (0.0, 1.0))
    assert picture(cut.image, overlay_of(cut, "reference"), PLAIN, (2, 4)).plain.strip() == ""


def test_a_training_without_any_dice_marks_no_epoch() -> None:
    records = [EpochRecord(i, 1 / i, 2 / i, math.nan, {"a": math.nan}, 0.1, 1) for i in (1, 2, 3)]
    history = TrainingHistory("r", tuple(records), is_finished=True)
    assert best_lines([history]).plain == "r: no validation Dice in 3 epochs"
    assert all(
        line.best is None
        for panel in curve_panels([history], CurveOptions())
        for line in panel.lines
    )
    console = Console(file=io.StringIO(), width=60, _environ={})
    with console.capture() as captured:
        console.print(
            draw_panels(curve_panels([history], CurveOptions()), Screen(60, 24, colors=False))
        )
    assert "◆" not in captured.get()


def test_nothing_is_left_out_where_nothing_has_begun() -> None:
    console = Console(file=io.StringIO(), width=60, _environ={})
    with console.capture() as captured:
        console.print(draw_followed([], [], ["waiting: a"], Screen(60, 16, colors=False)))
    assert captured.get().splitlines() == ["waiting: a", "q or Ctrl-C ends"]


def test_characters_stand_for_labels_without_colors() -> None:
    values = np.array([[0, 1], [2, 0]], np.uint8)
    drawn = picture(
        np.array([[0.0, 0.0], [0.0, 1.0]], np.float32),
        Overlay(values, label_colors(2)),
        PLAIN,
        (2, 2),
    )
    assert drawn.plain == " 1\n2█"


def test_small_labels_survive_shrinking() -> None:
    reference = np.zeros((1, 200, 200), np.uint8)
    reference[0, 101, 57] = 1
    cut = LabeledVolume(
        "c", np.zeros((1, 200, 200), np.float32), (1, 1, 1), ("lesion",), reference
    ).cut(0, 0)
    assert picture(cut.image, overlay_of(cut, "reference"), PLAIN, (10, 20)).plain.count("1") == 1


def test_shrinking_averages_the_image() -> None:
    image = np.zeros((1, 4, 4), np.float32)
    image[0, :, ::2] = 1
    cut = LabeledVolume("c", image, (1, 1, 1)).cut(0, 0, (0.0, 1.0))
    assert picture(cut.image, None, PLAIN, (1, 2)).plain == "▒▒", "half of the brightness"


def test_twenty_labels_have_a_legend_of_twenty_colors() -> None:
    text = legend([f"organ {index}" for index in range(20)], COLORS, with_errors=False)
    colors = {str(span.style) for span in text.spans if "#" in str(span.style)}
    assert len(colors) == 20
    assert all(f"organ {index}" in text.plain for index in range(20))


def test_a_prediction_of_one_sigmoid_channel_shows_its_foreground(case: LabeledVolume) -> None:
    prediction = np.zeros((4, 6, 6), np.uint8)
    prediction[2, 2:4, 2:4] = 1
    cut = LabeledVolume("c", np.zeros((4, 6, 6)), (1, 1, 1), ("foreground",), None, prediction).cut(
        0, 2
    )
    assert cut.panels == ("image", "prediction")
    assert "#e69f00" in str(picture(cut.image, overlay_of(cut, "prediction"), COLORS, (3, 6)).spans)


@pytest.mark.parametrize(("width", "height"), [(39, 24), (80, 11), (10, 5)])
def test_terminals_that_are_too_small_are_refused(width: int, height: int) -> None:
    console = Console(
        file=io.StringIO(), width=width, height=height, force_terminal=True, _environ={}
    )
    with pytest.raises(ConfigError, match=f"{width} x {height} characters, too few") as caught:
        Screen.of(console)
    assert "`output=picture.png`" in caught.value.hint

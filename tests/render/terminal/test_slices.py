"""Cases and their errors in terminals."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lunet_cli.render.terminal.screen import Screen, picture
from lunet_cli.render.terminal.slices import (
    case_heading,
    draw_montage,
    draw_slice,
    legend,
    overlay_of,
)
from lunet_cli.results.views import LabeledVolume

Show = Callable[..., tuple[list[str], Screen]]
COLORS = Screen(80, 24, colors=True)
PLAIN = Screen(80, 24, colors=False)


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


def test_an_empty_label_map_is_drawn_without_colors_too() -> None:
    volume = LabeledVolume("c", np.zeros((1, 4, 4)), (1, 1, 1), (), np.zeros((1, 4, 4), np.uint8))
    cut = volume.cut(0, 0, (0.0, 1.0))
    assert picture(cut.image, overlay_of(cut, "reference"), PLAIN, (2, 4)).plain.strip() == ""


def test_small_labels_survive_shrinking() -> None:
    reference = np.zeros((1, 200, 200), np.uint8)
    reference[0, 101, 57] = 1
    cut = LabeledVolume(
        "c", np.zeros((1, 200, 200), np.float32), (1, 1, 1), ("lesion",), reference
    ).cut(0, 0)
    assert picture(cut.image, overlay_of(cut, "reference"), PLAIN, (10, 20)).plain.count("1") == 1


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

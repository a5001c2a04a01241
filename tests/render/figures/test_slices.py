"""Cases and their errors as pictures."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from lunet_cli.render.figures.slices import montage_figure, slices_figure
from lunet_cli.render.palette import ERRORS, label_colors
from lunet_cli.results.views import (
    FALSE_NEGATIVE,
    FALSE_POSITIVE,
    LabeledVolume,
)


def test_thick_slices_keep_their_true_proportions() -> None:
    volume = LabeledVolume("c", np.zeros((20, 40, 40), np.float32), (5.0, 1.0, 1.0), ("a",))
    figure = slices_figure([volume.cut(1, 0)])
    figure.draw_without_rendering()
    (axes,) = figure.axes
    box = axes.get_window_extent()
    assert box.height / box.width == pytest.approx(100 / 40, rel=0.01)


def test_errors_have_their_colors(case: LabeledVolume, written) -> None:
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


def test_twenty_labels_have_a_legend_of_twenty_colors(written) -> None:
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


def test_legends_of_many_long_names_stay_in_the_picture(tmp_path: Path, inside) -> None:
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


def test_headings_are_folded(case: LabeledVolume, inside) -> None:
    cut = replace(case.cut(0, 5), dice_words=", ".join(f"{name} 0.5000" for name in MANY[:6]))
    figure = slices_figure([cut])
    figure.draw_without_rendering()
    (row,) = figure.subfigs
    heading = row._suptitle  # type: ignore[attr-defined]  # there is no public way to it
    assert heading.get_text().count("\n") > 0
    assert inside(figure, [heading.get_window_extent()])

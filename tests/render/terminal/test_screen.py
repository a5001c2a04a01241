"""Pixels made of characters."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console
from rich.text import Text

from lunet_cli.errors import ConfigError
from lunet_cli.render.palette import label_colors
from lunet_cli.render.terminal.screen import Overlay, Screen, flow, picture, size_of
from lunet_cli.results.views import LabeledVolume

COLORS = Screen(80, 24, colors=True)
PLAIN = Screen(80, 24, colors=False)


def test_entries_of_legends_are_not_broken() -> None:
    lines = flow([Text("■ left"), Text("■ right side"), Text("■ x")], 20).plain.split("\n")
    assert lines == ["■ left  ■ right side", "■ x"]


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


def test_characters_stand_for_labels_without_colors() -> None:
    values = np.array([[0, 1], [2, 0]], np.uint8)
    drawn = picture(
        np.array([[0.0, 0.0], [0.0, 1.0]], np.float32),
        Overlay(values, label_colors(2)),
        PLAIN,
        (2, 2),
    )
    assert drawn.plain == " 1\n2█"


def test_shrinking_averages_the_image() -> None:
    image = np.zeros((1, 4, 4), np.float32)
    image[0, :, ::2] = 1
    cut = LabeledVolume("c", image, (1, 1, 1)).cut(0, 0, (0.0, 1.0))
    assert picture(cut.image, None, PLAIN, (1, 2)).plain == "▒▒", "half of the brightness"


@pytest.mark.parametrize(("width", "height"), [(39, 24), (80, 11), (10, 5)])
def test_terminals_that_are_too_small_are_refused(width: int, height: int) -> None:
    console = Console(
        file=io.StringIO(), width=width, height=height, force_terminal=True, _environ={}
    )
    with pytest.raises(ConfigError, match=f"{width} x {height} characters, too few") as caught:
        Screen.of(console)
    assert "`output=picture.png`" in caught.value.hint

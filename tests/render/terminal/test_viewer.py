"""Leafing through volumes: what each key changes."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from rich.console import Console

from lunet_cli.errors import DataError
from lunet_cli.render.terminal.screen import Screen
from lunet_cli.render.terminal.viewer import Viewer
from lunet_cli.results.views import LabeledVolume


@pytest.fixture
def viewer() -> Viewer:
    """Two cases of 30 x 40 x 50 voxels, with a label in axial slice 12."""
    reference = np.zeros((30, 40, 50), np.uint8)
    reference[12, 20, 25] = 1
    image = np.tile(np.linspace(0, 100, 50, dtype=np.float32), (30, 40, 1))
    volumes = [
        LabeledVolume(name, image + shift, (1, 1, 1), ("a",), reference)
        for name, shift in (("x", 0), ("y", 9))
    ]
    viewer = Viewer(["x", "y"], lambda index: volumes[index])
    viewer.open()
    return viewer


@pytest.mark.parametrize(
    ("keys", "position"),
    [
        (["right"], 13),
        (["left", "left"], 10),
        (["up"], 22),
        (["up", "up"], 29),
        (["page down", "down"], 0),
        ([" ", " ", "h"], 13),
        (["k", "j"], 12),
        (["up", "up", "b"], 12),
        (["\x1b[H", "z", "x", "v"], 12),
    ],
)
def test_slices(viewer: Viewer, keys: list[str], position: int) -> None:
    for key in keys:
        viewer.press(key)
    assert not viewer.is_over
    assert viewer.positions[0] == position


def test_axes_take_turns_and_keep_their_places(viewer: Viewer) -> None:
    viewer.press("right")
    seen = []
    for _ in range(3):
        viewer.press("a")
        seen.append((viewer.axis, viewer.positions[viewer.axis]))
    assert seen == [(1, 20), (2, 25), (0, 13)]


def test_window_level_and_opacity_and_back(viewer: Viewer) -> None:
    low, high = first = viewer.window
    viewer.press("W")
    assert viewer.window[1] - viewer.window[0] == pytest.approx(1.25 * (high - low))
    viewer.press("w")
    assert viewer.window == pytest.approx(first)
    viewer.press("L")
    assert sum(viewer.window) / 2 == pytest.approx((low + high) / 2 + 0.1 * (high - low))
    for _ in range(9):
        viewer.press("O")
    assert viewer.opacity == 1
    for _ in range(9):
        viewer.press("o")
    assert viewer.opacity == 0
    viewer.press("r")
    assert viewer.window == pytest.approx(first)
    assert viewer.opacity == pytest.approx(0.45)


def test_cases_follow_each_other_in_a_ring_each_with_its_window(viewer: Viewer) -> None:
    first = viewer.window
    viewer.press("n")
    viewer.open()
    assert viewer.volume is not None
    assert (viewer.case, viewer.volume.name) == (1, "y")
    assert viewer.window[0] == pytest.approx(first[0] + 9)
    viewer.press("n")
    assert viewer.case == 0
    viewer.press("p")
    assert viewer.case == 1


def test_a_case_is_named_before_it_is_read_and_those_passed_by_are_not_read(show) -> None:
    read: list[int] = []

    def load(index: int) -> LabeledVolume:
        read.append(index)
        return LabeledVolume(f"case {index}", np.zeros((4, 5, 6), np.float32), (1, 1, 1))

    viewer = Viewer(["u", "v", "w"], load)
    lines, _ = show(viewer.draw)
    assert (lines[0], lines[3]) == ("u", "reading ...")
    viewer.press("n")
    viewer.press("n")
    assert read == []
    viewer.press(" ")
    assert read == [2]
    assert viewer.positions[0] == 3, "a key after them is not lost"


def test_one_panel_alone(viewer: Viewer, show) -> None:
    viewer.press("v")
    viewer.press("v")
    lines, screen = show(viewer.draw)
    text = "\n".join(lines)
    assert "reference" in text
    assert "image" not in text
    assert len(lines) <= screen.height
    for _ in range(2):
        viewer.press("v")
    assert viewer.only == "image"


def test_keys_are_listed(viewer: Viewer, show) -> None:
    viewer.press("?")
    assert "opacity" in "\n".join(show(viewer.draw)[0])
    viewer.press("?")
    assert not viewer.shows_keys


def test_many_labels_leave_room_for_the_picture() -> None:
    reference = np.zeros((4, 30, 30), np.uint8)
    reference[2, 5:9, 5:9] = 77
    names = tuple(f"structure number {index}" for index in range(104))
    dice = dict.fromkeys(names, 0.5) | {"structure number 3": 0.1}
    volume = LabeledVolume(
        "c", np.zeros((4, 30, 30), np.float32), (1, 1, 1), names, reference, reference, dice
    )
    viewer = Viewer(["c"], lambda _: volume)
    viewer.open()
    console = Console(file=io.StringIO(), width=80, _environ={})
    with console.capture() as captured:
        console.print(viewer.draw(Screen(80, 24, colors=False)))
    lines = captured.get().splitlines()
    assert len(lines) <= 24
    assert sum("░" in line or "▒" in line for line in lines) >= 8
    assert "structure number 76" in captured.get(), "the label that is there has its entry"
    assert "structure number 75" not in captured.get()
    assert "worst structure number 3 0.1000" in " ".join(captured.get().split())


@pytest.mark.parametrize(
    ("where", "position"), [("best", 12), ("middle", 15), ("7", 7), ("99", 29)]
)
def test_where_it_begins(where: str, position: int) -> None:
    reference = np.zeros((30, 4, 5), np.uint8)
    reference[12, 2, 2] = 1
    volume = LabeledVolume("c", np.zeros((30, 4, 5)), (1, 1, 1), ("a",), reference)
    viewer = Viewer(["c"], lambda _: volume, where=where)
    viewer.open()
    assert viewer.positions[0] == position


def test_what_is_wrong_with_a_case_is_shown_and_the_others_can_still_be_reached(show) -> None:
    def load(index: int) -> LabeledVolume:
        if index == 1:
            raise DataError("b.nii: is broken", hint="Mend it, or set `label`.")
        return LabeledVolume("a", np.zeros((4, 5, 6), np.float32), (1, 1, 1))

    viewer = Viewer(["a", "b"], load, reword=lambda text: text.replace("`label`", "--label"))
    viewer.press("n")
    viewer.open()
    assert not viewer.is_waiting
    words = "\n".join(show(viewer.draw)[0])
    assert "b.nii: is broken\nMend it, or set --label." in words
    assert "case 2 of 2" in words
    viewer.press("a")
    viewer.press("n")
    viewer.open()
    assert viewer.volume is not None


@pytest.mark.parametrize("key", ["q", "escape", "\x03"])
def test_these_keys_end_it(viewer: Viewer, key: str) -> None:
    viewer.press(key)
    assert viewer.is_over


def test_it_fits_its_screen(viewer: Viewer, show) -> None:
    lines, screen = show(viewer.draw)
    assert len(lines) <= screen.height
    assert re.search("x, axial slice 12 \\(0 to 29\\)", lines[0])
    assert "q quit" in " ".join(lines[-3:])

"""Leafing through volumes with the keys of a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console, Group, RenderableType
from rich.text import Text

from lunet_cli.errors import LunetError
from lunet_cli.render.palette import LABEL_OPACITY
from lunet_cli.render.terminal.screen import Screen, flow
from lunet_cli.render.terminal.slices import case_heading, draw_slice, legend
from lunet_cli.results.views import AXES, LabeledVolume
from lunet_cli.results.words import visible

_HELP = (
    ("←/→", "slice"),
    ("↑/↓", "ten"),
    ("b", "best"),
    ("a", "axis"),
    ("v", "one view, all"),
    ("w/W", "window narrower, wider"),
    ("l/L", "level down, up"),
    ("o/O", "opacity"),
    ("r", "reset"),
    ("n/p", "next, previous case"),
    ("?", "keys"),
    ("q", "quit"),
)
_SHORT_HELP = ("←/→", "n/p", "v", "?", "q")
# Rows, below which only some keys are told, and only what is needed stands beside the picture.
_FULL_HELP, _SMALL = 30, 20
# With Ctrl-C and Ctrl-D, which are keys like others where a terminal sends them one by one.
_QUIT = ("q", "escape", "\x03", "\x04")
# Letters instead of arrows, as in vi, and the space bar as in a pager.
_INSTEAD = {"h": "left", "k": "up", "j": "down", " ": "right", "page up": "up", "page down": "down"}
_SLICES = {"left": -1, "right": 1, "up": 10, "down": -10}
_WINDOW_FACTORS = {"w": 0.8, "W": 1.25}
_LEVEL_STEPS = {"l": -0.1, "L": 0.1}  # of the width of the window
_OPACITY_STEPS = {"o": -0.15, "O": 0.15}


class Viewer:
    """What is shown, and what the keys change.

    A case is read by `open`, before which `draw` says which one it will be: reading may take a
    while.

    Args:
        names: The cases.
        load: Gives the volume at an index.
        axis: The axis to begin with.
        where: The slice to begin with: `best`, `middle` or a number.
        window: Intensities that become black and white; None takes those of each volume.
        reword: Applied to what is wrong with a case, before it is shown.
    """

    def __init__(
        self,
        names: Sequence[str],
        load: Callable[[int], LabeledVolume],
        *,
        axis: int = 0,
        where: str = "best",
        window: tuple[float, float] | None = None,
        reword: Callable[[str], str] = str,
    ) -> None:
        self._names, self._load, self._reword = names, load, reword
        self._window, self._where = window, where
        self.case, self.axis, self.opacity = 0, axis, LABEL_OPACITY
        self.volume: LabeledVolume | None = None
        self.problem = ""
        self.only: str | None = None
        self.shows_keys = False
        self.is_over = False
        self.positions = [0, 0, 0]
        self.window = (0.0, 1.0)

    @property
    def is_waiting(self) -> bool:
        """Whether the case is still to be read."""
        return self.volume is None and not self.problem

    def open(self) -> None:
        """Read the case; what is wrong with it is shown in its place."""
        try:
            self.volume = volume = self._load(self.case)
        except LunetError as error:
            told = error.reworded(self._reword)
            self.problem = "\n".join(map(visible, (*told.lines, told.hint))).strip()
            return
        self.positions = [volume.best_position(axis) for axis in range(3)]
        number = volume.image.shape[self.axis]
        if self._where == "middle":
            self.positions[self.axis] = number // 2
        elif self._where != "best":
            self.positions[self.axis] = min(int(self._where), number - 1)
        self.window = self._window or volume.intensity_range()

    def advance(self) -> bool:
        """Read the case if that is still to be done; whether it was."""
        if not self.is_waiting:
            return False
        self.open()
        return True

    def press(self, key: str) -> None:
        """Do what a key asks for. Keys without a meaning do nothing."""
        action = _INSTEAD.get(key, key)
        if action in _QUIT:
            self.is_over = True
        elif action == "?":
            self.shows_keys = not self.shows_keys
        elif action == "n":
            self._go_to(self.case + 1)
        elif action == "p":
            self._go_to(self.case - 1)
        else:
            self.advance()
            if self.volume is not None:
                self._change(action, self.volume)

    def draw(self, screen: Screen) -> RenderableType:
        """The current slice, as large as the screen allows."""
        if self.shows_keys:
            return Text("\n".join(f"{key:>5}  {what}" for key, what in _HELP))
        place = f"case {self.case + 1} of {len(self._names)}"
        hints = _hints(screen)
        if self.volume is not None:
            return self._draw_slice(self.volume, place, hints, screen)
        heading = Text(visible(self._names[self.case]), "bold")
        words = Text(self.problem or "reading ...")
        return Group(heading, Text(place, "dim"), Text(), words, Text(), hints)

    def _draw_slice(
        self, volume: LabeledVolume, place: str, hints: Text, screen: Screen
    ) -> RenderableType:
        cut = volume.cut(self.axis, self.positions[self.axis], self.window)
        heading = Text(cut.caption, "bold")
        if screen.height >= _SMALL:
            heading = case_heading([cut]).append(f"\n{self._state(place)}", "not bold dim")
        has_errors = cut.errors() is not None
        colors = legend(cut.labels, screen, with_errors=has_errors, only=cut.present())
        above = heading.wrap(Console(), screen.width)
        below = Text("\n").join([colors, hints]).wrap(Console(), screen.width)
        rows = max(3, screen.height - 1 - len(above) - len(below))
        # Not every case has all panels: some have no reference.
        only = self.only
        if only not in cut.panels:
            only = None
        picture = draw_slice(cut, screen, opacity=self.opacity, rows=rows, only=only)
        return Group(Text("\n").join(above), picture, Text("\n").join(below))

    def _state(self, place: str) -> str:
        low, high = self.window
        level, width = (low + high) / 2, high - low
        return f"{place}   level {level:.4g}   width {width:.4g}   opacity {self.opacity:.0%}"

    def _go_to(self, case: int) -> None:
        self.case = case % len(self._names)
        self.volume, self.problem = None, ""

    def _change(self, action: str, volume: LabeledVolume) -> None:
        if action in _SLICES:
            last = volume.image.shape[self.axis] - 1
            place = self.positions[self.axis] + _SLICES[action]
            self.positions[self.axis] = min(last, max(0, place))
        elif action == "b":
            self.positions[self.axis] = volume.best_position(self.axis)
        elif action == "a":
            self.axis = (self.axis + 1) % len(AXES)
        elif action == "v":
            self.only = self._next_view(volume)
        elif action in _OPACITY_STEPS:
            opacity = round(self.opacity + _OPACITY_STEPS[action], 2)
            self.opacity = min(1.0, max(0.0, opacity))
        elif action == "r":
            self.opacity, self.window = LABEL_OPACITY, self._window or volume.intensity_range()
        elif action in (*_WINDOW_FACTORS, *_LEVEL_STEPS):
            self._rewindow(action)

    def _next_view(self, volume: LabeledVolume) -> str | None:
        """The panel after the one that is shown alone; None for all, also after the last."""
        views = (None, *volume.cut(self.axis, 0).panels)
        if self.only not in views:
            return None
        return views[(views.index(self.only) + 1) % len(views)]

    def _rewindow(self, action: str) -> None:
        low, high = self.window
        width, level = high - low, (low + high) / 2
        level += width * _LEVEL_STEPS.get(action, 0.0)
        width *= _WINDOW_FACTORS.get(action, 1.0)
        self.window = (level - width / 2, level + width / 2)


def _hints(screen: Screen) -> Text:
    """What the keys do, or of few rows, what some of them do."""
    hints = []
    for key, what in _HELP:
        if screen.height >= _FULL_HELP or key in _SHORT_HELP:
            hints.append(Text(f"{key} {what}", "dim"))
    return flow(hints, screen.width)

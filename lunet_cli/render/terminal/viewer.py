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
_FULL_HELP = 30  # rows, below which only some keys are told
_SMALL = 20  # rows, below which only what is needed stands beside the picture
_KEYS = {
    "\x1b[D": "left",
    "\x1bOD": "left",
    "\x1b[C": "right",
    "\x1bOC": "right",
    "\x1b[A": "up",
    "\x1bOA": "up",
    "\x1b[B": "down",
    "\x1bOB": "down",
    "\x1b[5~": "up",
    "\x1b[6~": "down",
    # What Windows sends for arrows.
    "\xe0K": "left",
    "\xe0M": "right",
    "\xe0H": "up",
    "\xe0P": "down",
    "h": "left",
    "k": "up",
    "j": "down",
    " ": "right",
}


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
    """

    def __init__(
        self,
        names: Sequence[str],
        load: Callable[[int], LabeledVolume],
        *,
        axis: int = 0,
        where: str = "best",
        window: tuple[float, float] | None = None,
    ) -> None:
        self._names, self._load, self._window, self._where = names, load, window, where
        self.case, self.axis, self.opacity = 0, axis, LABEL_OPACITY
        self.volume: LabeledVolume | None = None
        self.problem = ""
        self.only: str | None = None
        self.shows_keys = False
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
            self.problem = "\n".join(map(visible, (*error.lines, error.hint))).strip()
            return
        self.positions = [volume.best_position(axis) for axis in range(3)]
        if self._where != "best":
            number = volume.image.shape[self.axis]
            self.positions[self.axis] = (
                number // 2 if self._where == "middle" else min(int(self._where), number - 1)
            )
        self.window = self._window or volume.intensity_range()

    def press(self, key: str) -> bool:
        """Do what a key asks for; False ends the viewer. Keys without a meaning do nothing."""
        action = _KEYS.get(key, key)
        if action in ("q", "\x1b", "\x03", "\x04"):
            return False
        if action == "?":
            self.shows_keys = not self.shows_keys
            return True
        if action in ("n", "p"):
            self.case = (self.case + (1 if action == "n" else -1)) % len(self._names)
            self.volume, self.problem = None, ""
            return True
        if self.is_waiting:
            self.open()
        if self.volume is not None:
            self._change(action, self.volume)
        return True

    def draw(self, screen: Screen) -> RenderableType:
        """The current slice, as large as the screen allows."""
        place = f"case {self.case + 1} of {len(self._names)}"
        is_small = screen.height < _SMALL
        shown = [
            Text(f"{key} {what}", "dim")
            for key, what in _HELP
            if screen.height >= _FULL_HELP or key in _SHORT_HELP
        ]
        hints = flow(shown, screen.width)
        if self.shows_keys:
            return Text("\n".join(f"{key:>5}  {what}" for key, what in _HELP))
        if self.volume is None:
            heading = Text(visible(self._names[self.case]), "bold")
            return Group(
                heading,
                Text(place, "dim"),
                Text(),
                Text(self.problem or "reading ..."),
                Text(),
                hints,
            )
        cut = self.volume.cut(self.axis, self.positions[self.axis], self.window)
        low, high = self.window
        state = f"{place}   level {(low + high) / 2:.4g}   width {high - low:.4g}   opacity {self.opacity:.0%}"
        heading = (
            Text(cut.caption, "bold")
            if is_small
            else case_heading([cut]).append(f"\n{state}", "not bold dim")
        )
        colors = legend(
            cut.labels, screen, with_errors=cut.errors() is not None, only=cut.present()
        )
        above, below = (
            Text("\n").join(text.wrap(Console(), screen.width))
            for text in (heading, Text("\n").join([colors, hints]))
        )
        rows = screen.height - 1 - sum(text.plain.count("\n") + 1 for text in (above, below))
        only = self.only if self.only in cut.panels else None
        return Group(
            above,
            draw_slice(cut, screen, opacity=self.opacity, rows=max(3, rows), only=only),
            below,
        )

    def _change(self, action: str, volume: LabeledVolume) -> None:
        if action in ("left", "right", "up", "down"):
            last = volume.image.shape[self.axis] - 1
            place = (
                self.positions[self.axis] + {"left": -1, "right": 1, "up": 10, "down": -10}[action]
            )
            self.positions[self.axis] = min(last, max(0, place))
        elif action == "b":
            self.positions[self.axis] = volume.best_position(self.axis)
        elif action == "a":
            self.axis = (self.axis + 1) % len(AXES)
        elif action == "v":
            views = [None, *volume.cut(self.axis, 0).panels]
            self.only = (
                views[(views.index(self.only) + 1) % len(views)] if self.only in views else None
            )
        elif action in ("w", "W", "l", "L"):
            self._rewindow(action)
        elif action in ("o", "O"):
            self.opacity = min(
                1.0, max(0.0, round(self.opacity + (0.15 if action == "O" else -0.15), 2))
            )
        elif action == "r":
            self.opacity, self.window = LABEL_OPACITY, self._window or volume.intensity_range()

    def _rewindow(self, action: str) -> None:
        low, high = self.window
        width, level = high - low, (low + high) / 2
        if action in ("w", "W"):
            width *= 1.25 if action == "W" else 0.8
        else:
            level += width * (0.1 if action == "L" else -0.1)
        self.window = (level - width / 2, level + width / 2)

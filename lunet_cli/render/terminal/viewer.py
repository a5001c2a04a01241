"""Leafing through volumes with the keys of a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from lunet_cli.errors import LunetError
from lunet_cli.render.terminal.screen import Screen
from lunet_cli.render.terminal.slices import case_heading, draw_slice, legend
from lunet_cli.results.views import AXES, LabeledVolume

HELP = (
    "←/→ slice   ↑/↓ ten   b best   a axis   w/W window narrower, wider   l/L level down, up   "
    "o/O opacity   r reset   n/p next, previous case   q quit"
)
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
_OPACITY = 0.45


class Viewer:
    """What is shown, and what the keys change.

    A case is read by `open`, before which `draw` says which one it will be: reading may take a while.

    Args:
        names: The cases.
        load: Gives the volume at an index.
        axis: The axis to begin with.
        first: The case to begin with.
        window: Intensities that become black and white; None takes those of each volume.
    """

    def __init__(
        self,
        names: Sequence[str],
        load: Callable[[int], LabeledVolume],
        *,
        axis: int = 0,
        first: int = 0,
        window: tuple[float, float] | None = None,
    ) -> None:
        self._names, self._load, self._window = names, load, window
        self.case, self.axis, self.opacity = first, axis, _OPACITY
        self.volume: LabeledVolume | None = None
        self.problem = ""
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
            self.problem = f"{error.message}\n{error.hint}".strip()
            return
        self.positions = [volume.best_position(axis) for axis in range(3)]
        self.window = self._window or volume.intensity_range()

    def press(self, key: str) -> bool:
        """Do what a key asks for; False ends the viewer. Keys without a meaning do nothing."""
        action = _KEYS.get(key, key)
        if action in ("q", "\x1b", "\x03", "\x04"):
            return False
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
        hints = Text(HELP, "dim")
        if self.volume is None:
            heading = Text(self._names[self.case], "bold")
            return Group(heading, Text(place, "dim"), Text(), Text(self.problem or "reading ..."), Text(), hints)
        cut = self.volume.cut(self.axis, self.positions[self.axis], self.window)
        low, high = self.window
        state = f"{place}   level {(low + high) / 2:.4g}   width {high - low:.4g}   opacity {self.opacity:.0%}"
        rows = screen.height - 5 - -(-len(HELP) // screen.width)
        return Group(
            case_heading(self.volume, cut),
            Text(state, "dim"),
            draw_slice(cut, screen, opacity=self.opacity, rows=rows),
            legend(cut.labels, screen, with_errors=cut.errors() is not None),
            hints,
        )

    def _change(self, action: str, volume: LabeledVolume) -> None:
        if action in ("left", "right", "up", "down"):
            last = volume.image.shape[self.axis] - 1
            place = self.positions[self.axis] + {"left": -1, "right": 1, "up": 10, "down": -10}[action]
            self.positions[self.axis] = min(last, max(0, place))
        elif action == "b":
            self.positions[self.axis] = volume.best_position(self.axis)
        elif action == "a":
            self.axis = (self.axis + 1) % len(AXES)
        elif action in ("w", "W", "l", "L"):
            self._rewindow(action)
        elif action in ("o", "O"):
            self.opacity = min(1.0, max(0.0, round(self.opacity + (0.15 if action == "O" else -0.15), 2)))
        elif action == "r":
            self.opacity, self.window = _OPACITY, self._window or volume.intensity_range()

    def _rewindow(self, action: str) -> None:
        low, high = self.window
        width, level = high - low, (low + high) / 2
        if action in ("w", "W"):
            width *= 1.25 if action == "W" else 0.8
        else:
            level += width * (0.1 if action == "L" else -0.1)
        self.window = (level - width / 2, level + width / 2)

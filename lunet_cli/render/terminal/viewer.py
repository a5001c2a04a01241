"""Leafing through volumes with the keys of a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

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
        self.axis, self.opacity = axis, _OPACITY
        self._open(first)

    def press(self, key: str) -> bool:
        """Do what a key asks for; False ends the viewer. Keys without a meaning do nothing."""
        action = _KEYS.get(key, key)
        if action in ("q", "\x1b", "\x03", "\x04"):
            return False
        if action in ("left", "right", "up", "down"):
            self._step({"left": -1, "right": 1, "up": 10, "down": -10}[action])
        elif action == "b":
            self.positions[self.axis] = self.volume.best_position(self.axis)
        elif action == "a":
            self.axis = (self.axis + 1) % len(AXES)
        elif action in ("w", "W", "l", "L"):
            self._rewindow(action)
        elif action in ("o", "O"):
            self.opacity = min(1.0, max(0.0, round(self.opacity + (0.15 if action == "O" else -0.15), 2)))
        elif action == "r":
            self.opacity, self.window = _OPACITY, self._window or self.volume.intensity_range()
        elif action in ("n", "p"):
            self._open((self.case + (1 if action == "n" else -1)) % len(self._names))
        return True

    def draw(self, screen: Screen) -> RenderableType:
        """The current slice, as large as the screen allows."""
        cut = self.volume.cut(self.axis, self.positions[self.axis], self.window)
        low, high = self.window
        state = Text(
            f"case {self.case + 1} of {len(self._names)}   level {(low + high) / 2:.4g}   width {high - low:.4g}   "
            f"opacity {self.opacity:.0%}",
            "dim",
        )
        hints = Text(HELP, "dim")
        rows = screen.height - 5 - -(-len(HELP) // screen.width)
        return Group(
            case_heading(self.volume, cut),
            state,
            draw_slice(cut, screen, opacity=self.opacity, rows=rows),
            legend(cut.labels, screen, with_errors=cut.errors() is not None),
            hints,
        )

    def _open(self, case: int) -> None:
        self.case = case
        self.volume = self._load(case)
        self.positions = [self.volume.best_position(axis) for axis in range(3)]
        self.window = self._window or self.volume.intensity_range()

    def _step(self, by: int) -> None:
        last = self.volume.image.shape[self.axis] - 1
        self.positions[self.axis] = min(last, max(0, self.positions[self.axis] + by))

    def _rewindow(self, action: str) -> None:
        low, high = self.window
        width, level = high - low, (low + high) / 2
        if action in ("w", "W"):
            width *= 1.25 if action == "W" else 0.8
        else:
            level += width * (0.1 if action == "L" else -0.1)
        self.window = (level - width / 2, level + width / 2)

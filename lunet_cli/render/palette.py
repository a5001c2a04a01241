"""Colours that are told apart: a few of them with any colour vision, many as far as possible."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lunet_cli.results.views import FALSE_NEGATIVE, FALSE_POSITIVE, WRONG_LABEL

RGB = tuple[int, int, int]

# Okabe and Ito, Color Universal Design (2008), without black; blue and yellow last, since grey
# images hide them.
_FEW: tuple[RGB, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (204, 121, 167),
    (213, 94, 0),
    (240, 228, 66),
    (0, 114, 178),
)


class ErrorStyle(NamedTuple):
    """How one kind of error is called and drawn; the mark stands where there are no colours."""

    name: str
    color: RGB
    mark: str


# Told apart from each other with any colour vision, and brighter than those of labels; the marks
# are the first letters of negative, positive and wrong.
ERRORS = {
    FALSE_NEGATIVE: ErrorStyle("false negative", (220, 38, 127), "N"),
    FALSE_POSITIVE: ErrorStyle("false positive", (0, 255, 255), "P"),
    WRONG_LABEL: ErrorStyle("wrong label", (255, 255, 0), "W"),
}
ERROR_COLORS = tuple(style.color for style in ERRORS.values())
REFERENCE_COLOR: RGB = (90, 200, 90)
"""Of the reference's outline among errors."""
LABEL_OPACITY = 0.45

# Linear RGB to cone responses, their roots to OKLab: Ottosson, A perceptual color space for image
# processing (2020).
_TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_OKLAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)
_STEPS = 16  # candidates per channel
# Far from the greys of an image, neither dark nor white.
_LEAST_CHROMA = 0.09
_LEAST_LIGHTNESS, _MOST_LIGHTNESS = 0.55, 0.93


@functools.cache
def label_colors(number: int) -> tuple[RGB, ...]:
    """Distinct colours for `number` labels, the first seven safe for any colour vision.

    Each further one is the candidate that lies farthest, in OKLab, from all before it, and from
    those of errors.
    """
    colors = list(_FEW[:number])
    if number <= len(colors):
        return tuple(colors)
    candidates = _candidates()
    lab = to_oklab(candidates)
    taken = [*colors, *ERROR_COLORS, REFERENCE_COLOR]
    nearest = np.full(len(lab), np.inf)
    for color in to_oklab(np.array(taken)):
        nearest = np.minimum(nearest, np.linalg.norm(lab - color, axis=1))
    while len(colors) < number:
        index = int(nearest.argmax())
        red, green, blue = candidates[index].astype(int).tolist()
        colors.append((red, green, blue))
        nearest = np.minimum(nearest, np.linalg.norm(lab - lab[index], axis=1))
    return tuple(colors)


def _candidates() -> npt.NDArray[np.float64]:
    """Colours (N, 3) that may stand for a label: vivid ones of a regular grid of RGB."""
    levels = np.linspace(0, 255, _STEPS).round()
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    lightness, *chroma = to_oklab(grid).T
    is_light = (lightness > _LEAST_LIGHTNESS) & (lightness < _MOST_LIGHTNESS)
    is_vivid = np.hypot(*chroma) >= _LEAST_CHROMA
    return np.asarray(grid[is_light & is_vivid])


def to_oklab(colors: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """SRGB (N, 3), 0 to 255, in OKLab (N, 3), where distances are those that people see."""
    share = np.asarray(colors, dtype=float) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    oklab: npt.NDArray[np.float64] = np.cbrt(linear @ _TO_CONES.T) @ _TO_OKLAB.T
    return oklab


def to_hex(color: RGB | npt.NDArray[np.number]) -> str:
    """`#rrggbb`."""
    red, green, blue = map(int, color)
    return f"#{red:02x}{green:02x}{blue:02x}"

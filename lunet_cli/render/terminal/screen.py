"""What a terminal can show, and pixels made of its characters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.style import Style
from rich.text import Text

from lunet_cli.errors import ConfigError
from lunet_cli.render.palette import LABEL_OPACITY, RGB, to_hex

MIN_WIDTH, MIN_HEIGHT = 40, 12
_PIPE_HEIGHT = 48
_SHADES = " ░▒▓█"
# Few greys make long runs of equal cells, and little to send over a slow line.
_GREYS = 32
_BETWEEN = "  "
# Without the letters that mean errors (`ERRORS` in the palette).
_MARKS = "123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMOQRSTUVXYZ"


@dataclass(frozen=True)
class Screen:
    """What can be drawn on.

    Args:
        width: Columns.
        height: Rows; a generous number where lines scroll or go to a file.
        colors: Whether there are enough colours for pictures.
    """

    width: int
    height: int
    colors: bool

    @classmethod
    def of(cls, console: Console) -> Screen:
        """What `console` writes to.

        Raises:
            ConfigError: The terminal is too small for a picture.
        """
        colors = has_colors(console)
        if not console.is_terminal:
            return cls(console.width, _PIPE_HEIGHT, colors)
        if console.width < MIN_WIDTH or console.height < MIN_HEIGHT:
            raise ConfigError(
                f"the terminal has {console.width} x {console.height} characters, "
                "too few for a picture",
                hint=f"Enlarge it to {MIN_WIDTH} x {MIN_HEIGHT} or more, "
                "or write a file: `output=picture.png`",
            )
        return cls(console.width, console.height, colors)

    def style_of(self, color: RGB) -> Style:
        """A colour as a style; a plain one where there are no colours."""
        if not self.colors:
            return Style()
        return Style(color=to_hex(color))


def has_colors(console: Console) -> bool:
    """Whether there are enough colours for pictures."""
    return console.color_system in ("256", "truecolor") and not console.no_color


@dataclass(frozen=True)
class Overlay:
    """Labels over an image.

    Args:
        values: Index per pixel (H, W), 0 where the image shows.
        colors: Colour of each index from 1 on.
        marks: Character of each, where there are no colours.
        opacity: Of the areas; contours are opaque.
    """

    values: npt.NDArray[np.unsignedinteger]
    colors: tuple[RGB, ...]
    marks: str = _MARKS
    opacity: float = LABEL_OPACITY


def mark_of(index: int) -> str:
    """The character of a label, from 1 on, where there are no colours."""
    return _MARKS[(index - 1) % len(_MARKS)]


def picture(
    image: npt.NDArray[np.float32], overlay: Overlay | None, screen: Screen, size: tuple[int, int]
) -> Text:
    """Pixels as characters: two per character, or shades and marks without colours.

    Args:
        image: Brightness (H, W), 0 to 1; averaged where it has more pixels than there is room.
        overlay: Labels over it; in the place of several, the one of the highest index, so that
            nothing small is lost.
        screen: What it is drawn on.
        size: Rows and columns of characters.
    """
    rows, columns = size
    if screen.colors:
        rows *= 2
    image = _shrink(image, rows, columns)
    if overlay is not None:
        overlay = replace(overlay, values=_shrink_labels(overlay.values, rows, columns))
    if not screen.colors:
        return _shades(image, overlay)
    return _half_blocks(_in_colors(image, overlay).astype(np.uint8))


def _in_colors(image: npt.NDArray[np.float32], overlay: Overlay | None) -> npt.NDArray[np.floating]:
    """The colour of each pixel (H, W, 3), 0 to 255."""
    grey = np.round(image * _GREYS) / _GREYS * 255
    colors = np.repeat(grey[..., None], 3, axis=-1)
    if overlay is None or overlay.opacity == 0:
        return colors
    contour = _contours(overlay.values)
    for value in np.unique(overlay.values[overlay.values > 0]).tolist():
        color = np.array(overlay.colors[value - 1], dtype=float)
        has_value = overlay.values == value
        inside = has_value & ~contour
        colors[inside] = (1 - overlay.opacity) * colors[inside] + overlay.opacity * color
        colors[has_value & contour] = color
    return colors


def _half_blocks(pixels: npt.NDArray[np.uint8]) -> Text:
    """Two rows of pixels (H, W, 3) per line: the upper one as ink, the lower one as ground."""
    text = Text(no_wrap=True)
    for upper, lower in zip(pixels[::2], pixels[1::2], strict=True):
        for top, bottom in zip(upper, lower, strict=True):
            text.append("▀", Style(color=to_hex(top), bgcolor=to_hex(bottom)))
        text.append("\n")
    text.rstrip()
    return text


def size_of(extent_mm: tuple[float, float], columns: int) -> tuple[int, int]:
    """Rows and columns of characters for a picture of that height and width.

    A character is twice as high as wide.
    """
    height, width = extent_mm
    return max(1, round(columns * height / width / 2)), columns


def columns_within(extent_mm: tuple[float, float], columns: int, rows: int) -> int:
    """The most columns, up to `columns`, at which a picture is not higher than `rows`."""
    height, width = extent_mm
    return max(1, min(columns, int(2 * rows * width / height)))


def flow(entries: Sequence[Text], width: int) -> Text:
    """Entries one after another in lines of at most `width`; none is broken that fits a line."""
    lines: list[Text] = []
    for entry in entries:
        if lines and lines[-1].cell_len + len(_BETWEEN) + entry.cell_len <= width:
            lines[-1].append(_BETWEEN).append_text(entry)
        else:
            # Appended to an empty text, its style is its own and not that of the whole line.
            lines.append(Text().append_text(entry))
    return Text("\n").join(lines)


def _shades(image: npt.NDArray[np.float32], overlay: Overlay | None) -> Text:
    steps = np.minimum((image * len(_SHADES)).astype(int), len(_SHADES) - 1)
    shades = np.array(list(_SHADES))[steps]
    if overlay is not None and overlay.opacity > 0:
        marks = np.array(list(overlay.marks))
        of_labels = marks[(overlay.values.astype(int) - 1) % len(marks)]
        shades = np.where(overlay.values > 0, of_labels, shades)
    return Text("\n".join("".join(line) for line in shades.tolist()), no_wrap=True)


def _contours(values: npt.NDArray[np.unsignedinteger]) -> npt.NDArray[np.bool_]:
    """Pixels of a label with another value above, below, left or right of them."""
    padded = np.pad(values, 1)
    neighbours = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    contour: npt.NDArray[np.bool_] = np.zeros(values.shape, dtype=bool)
    for other in neighbours:
        contour |= (values > 0) & (other != values)
    return contour


def _shrink(image: npt.NDArray[np.float32], rows: int, columns: int) -> npt.NDArray[np.float32]:
    """Mean over the pixels of each cell; the nearest one where there are more cells than pixels."""
    for axis, number in enumerate((rows, columns)):
        size = image.shape[axis]
        if number >= size:
            image = np.take(image, _nearest(size, number), axis=axis)
        else:
            edges = np.arange(number) * size // number
            counts = np.expand_dims(np.diff(np.append(edges, size)), 1 - axis)
            image = (np.add.reduceat(image, edges, axis=axis) / counts).astype(np.float32)
    return image


def _shrink_labels(
    values: npt.NDArray[np.unsignedinteger], rows: int, columns: int
) -> npt.NDArray[np.unsignedinteger]:
    """The highest index of each cell, so that nothing small is lost."""
    for axis, number in enumerate((rows, columns)):
        size = values.shape[axis]
        if number >= size:
            values = np.take(values, _nearest(size, number), axis=axis)
        else:
            values = np.maximum.reduceat(values, np.arange(number) * size // number, axis=axis)
    return values


def _nearest(size: int, number: int) -> npt.NDArray[np.int64]:
    return (np.arange(number) * size // number).astype(np.int64)

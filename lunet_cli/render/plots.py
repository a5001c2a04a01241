"""Curves and slices, drawn in the terminal and kept as SVG in the run folder."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from rich.console import Console, Group, RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text

from lunet_cli.results.training import EpochRecord, SlicePicture, TrainResult

if TYPE_CHECKING:
    from lunet_cli.config.visualization import VisualizationConfig

_WIDTH = 110
_GREYS = 15
# Okabe and Ito's colours, told apart with any colour vision.
_LABEL_COLORS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (213, 94, 0), (204, 121, 167))


def print_pictures(result: TrainResult, config: VisualizationConfig, console: Console) -> None:
    """Draw what the configuration asks for, on `console` and into the run folder."""
    drawings: list[tuple[str, Callable[[int], RenderableType]]] = []
    if config.plot_training_curves and len(result.history) > 1:
        drawings.append(("training_curves", lambda width: training_curves(result.history, width)))
    if config.plot_slices and result.slices:
        labels = list(result.best.val_dice_per_label) if result.best else []
        drawings.append(("slices", lambda width: slice_rows(result.slices, labels, width)))
    for name, draw in drawings:
        path = result.run_dir / f"{name}.svg"
        save_svg(draw(_WIDTH), path, title=f"{result.run_dir.name}: {name.replace('_', ' ')}")
        if console.color_system is None:
            # Without colours, all half blocks look alike.
            console.print(f"{name.replace('_', ' ')}: {path}")
        else:
            console.print(draw(min(_WIDTH, console.width)))


def save_svg(picture: RenderableType, path: Path, *, title: str) -> None:
    """Write a drawing as an SVG file, whole or not at all."""
    recorder = Console(record=True, file=io.StringIO(), width=_WIDTH, force_terminal=True, color_system="truecolor")
    recorder.print(picture)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(recorder.export_svg(title=title), encoding="utf-8")
    os.replace(temporary, path)


def training_curves(history: tuple[EpochRecord, ...], width: int) -> RenderableType:
    """Losses and validation Dice against the epoch, side by side where `width` columns are enough for two."""
    epochs = [record.epoch for record in history]
    losses = {"training": [r.train_loss for r in history], "validation": [r.val_loss for r in history]}
    labels = list(history[0].val_dice_per_label)
    dice = {name: [r.val_dice_per_label[name] for r in history] for name in labels}
    if len(labels) > 1:
        dice["mean"] = [r.val_dice for r in history]
    if width < _WIDTH:
        return Group(_chart("loss", epochs, losses, width), _chart("Dice", epochs, dice, width))
    grid = Table.grid(padding=(0, 1))
    grid.add_row(_chart("loss", epochs, losses, width // 2 - 2), _chart("Dice", epochs, dice, width // 2 - 2))
    return grid


def slice_rows(slices: tuple[SlicePicture, ...], labels: list[str], width: int) -> RenderableType:
    """A row per case, `width` columns wide: image, reference, prediction."""
    legend = Text("labels: ")
    for index, name in enumerate(labels):
        legend.append(f"■ {name}  ", Style(color=_hex(_LABEL_COLORS[index % len(_LABEL_COLORS)])))
    rows: list[RenderableType] = [legend]
    for picture in slices:
        grid = Table.grid(padding=(0, 2))
        grid.add_row("image", "reference", "prediction")
        empty = np.zeros_like(picture.reference)
        grid.add_row(
            *(_half_blocks(picture, mask, (width - 8) // 3) for mask in (empty, picture.reference, picture.prediction))
        )
        rows += [Text(f"\n{picture.case_id}, slice {picture.position}"), grid]
    return Group(*rows)


def _chart(title: str, epochs: list[int], series: dict[str, list[float]], width: int) -> Group:
    import plotext

    figure: Any = plotext.figure
    figure.clear()
    figure.theme("colorless")
    figure.plot_size(width, 16)
    head = Text(f"{title}  ", "bold")
    for index, (name, values) in enumerate(series.items()):
        color = _LABEL_COLORS[index % len(_LABEL_COLORS)]
        figure.draw(figure.signal(epochs, values, marker=plotext.marker("braille", color)).lines())
        head.append(f"■ {name}  ", Style(color=_hex(color)))
    figure.label("epoch", "x")
    return Group(head, Text.from_ansi(figure.build().string()))


def _half_blocks(picture: SlicePicture, mask: npt.NDArray[np.uint8], columns: int) -> Text:
    """Two pixels per character cell, in the proportions of the patient, labels mixed over the image."""
    height, width = picture.image.shape
    scale = columns / width
    rows = max(2, 2 * round(height * scale * picture.aspect / 2))
    y = np.minimum((np.arange(rows) / rows * height).astype(int), height - 1)
    x = np.minimum((np.arange(columns) / columns * width).astype(int), width - 1)
    # Few greys make long runs of equal cells, and an SVG of a fraction of the size.
    grey = np.round(picture.image[np.ix_(y, x)] * _GREYS) / _GREYS
    colors = np.repeat(grey[..., None] * 255, 3, axis=-1)
    sampled = mask[np.ix_(y, x)]
    for value in np.unique(sampled[sampled > 0]):
        color = np.array(_LABEL_COLORS[(int(value) - 1) % len(_LABEL_COLORS)])
        colors[sampled == value] = 0.35 * colors[sampled == value] + 0.65 * color
    text = Text()
    for upper, lower in zip(colors[::2], colors[1::2], strict=True):
        for top, bottom in zip(upper, lower, strict=True):
            text.append("▀", Style(color=_hex(top), bgcolor=_hex(bottom)))
        text.append("\n")
    return text


def _hex(color: Any) -> str:
    red, green, blue = (int(channel) for channel in color)
    return f"#{red:02x}{green:02x}{blue:02x}"

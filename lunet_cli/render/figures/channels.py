"""Channels per layer over the steps of a pruning."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lunet_cli.render.figures.style import FULL_WIDTH, new_figure, styled
from lunet_cli.results.views import ChannelHistory


@styled
def channels_figure(history: ChannelHistory) -> Figure:
    """A map of layers by steps; the channels at the end stand beside it."""
    figure = new_figure(FULL_WIDTH, map_height(history))
    axes = figure.add_subplot(1, 1, 1)
    draw_map(figure, axes, history)
    axes.set(title=history.name)
    return figure


def map_height(history: ChannelHistory) -> float:
    """Inches in which the names of all layers can be read."""
    return max(2.2, 1.0 + 0.18 * len(history.layers))


def draw_map(figure: Figure, axes: Axes, history: ChannelHistory) -> None:
    """Draw layers by steps, with a bar of colours."""
    layers = list(history.layers)
    values = np.array(list(history.layers.values()))
    edges = np.append(history.steps, history.steps[-1] + 1) - 0.5
    mesh = axes.pcolormesh(edges, np.arange(len(layers) + 1), values, cmap="cividis", vmin=0)
    names = [*map("{} ({})".format, layers, values[:, -1])]
    axes.set_yticks(np.arange(len(layers)) + 0.5, names)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.set(xlabel="step of pruning", ylabel="layer (channels at the end)")
    figure.colorbar(mesh, ax=axes, label="channels")

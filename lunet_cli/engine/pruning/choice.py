"""Which channels are removed next, and how strongly dropout prepares a layer for it.

- `stamp`: the lowest scores of the whole network.
- `random-in-layer`: for each choice of `stamp`, a random channel of the same layer that is not
  chosen yet.
- `random-in-largest`: one after the other, a random channel of the layer that is the widest at that
  moment; a random one of several that are.
- `largest-l1`: the layer likewise, and of it the channel with the lowest score, which is meant to
  be that of the criterion `l1`.
- `none`: nothing.

Every layer keeps a channel. Of equal scores, that of the earlier layer counts as the lower one, and
within a layer that of the lower index.

References:
    STAMP and targeted dropout: Dinsdale et al., Medical Image Analysis 81:102583, 2022. Its rivals:
    Lean Unet, arXiv:2512.03834.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from lunet_cli.config.layers import Layer
from lunet_cli.config.names import closest, one_line
from lunet_cli.config.pruning import Normalization, Strategy
from lunet_cli.errors import ConfigError


@dataclass(frozen=True)
class Choice:
    """A channel that is to be removed.

    Args:
        layer: Name of its layer.
        channel: Its index in the layer as it is before any channel of this step is removed.
        score: What it was worth.
    """

    layer: str
    channel: int
    score: float


def generator_of_step(seed: int, step: int) -> np.random.Generator:
    """The generator of one step of a pruning, the same in a run that was resumed.

    Args:
        seed: That of the configuration.
        step: The number of the step.
    """
    # A key of its own: the training draws the order of its patches from [seed, epoch].
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(step,)))


def normalize(scores: Mapping[str, Tensor], how: Normalization) -> dict[str, Tensor]:
    """Make scores of different layers comparable.

    Args:
        scores: A tensor (width,) in float64 for each layer, finite.
        how: `layer-l2` divides those of each layer by their L2 norm, and leaves a layer alone that
            has none but zeros; `none` changes nothing.

    References:
        STAMP, Dinsdale et al., Medical Image Analysis 81:102583, 2022, after Molchanov et al.,
        arXiv:1611.06440. Of equal scores, those of a wide layer become the lowest.
    """
    if how == "none":
        return dict(scores)
    return {name: _unit(values) for name, values in scores.items()}


def _unit(values: Tensor) -> Tensor:
    largest = values.abs().max()
    if largest == 0:
        return values.clone()
    # Squares of numbers below 1e-162 would be zero.
    scaled = values / largest
    unit: Tensor = scaled / torch.linalg.vector_norm(scaled)
    return unit


def protected_layers(layers: Sequence[Layer], patterns: Sequence[str]) -> frozenset[str]:
    """Names of the layers that no channel is taken from.

    Args:
        layers: Those of the network.
        patterns: Names, in which `*` stands for anything (`fnmatch`).

    Raises:
        ConfigError: A pattern fits no layer.
    """
    names = [layer.name for layer in layers]
    protected: set[str] = set()
    for pattern in patterns:
        fitting = [name for name in names if fnmatchcase(name, pattern)]
        if not fitting:
            parts = dict.fromkeys(name.partition(".")[0] for name in names)
            known = ", ".join(f"{part}.*" for part in parts)
            raise ConfigError(
                f"pruning.protect: '{one_line(pattern)}' fits no layer. {closest(pattern, names)}",
                hint=f"Layers of this network are {known}.",
            )
        protected.update(fitting)
    return frozenset(protected)


def choose_channels(
    scores: Mapping[str, Tensor],
    layers: Sequence[Layer],
    *,
    strategy: Strategy,
    count: int,
    protected: Collection[str],
    generator: np.random.Generator,
) -> list[Choice]:
    """Choose the channels of one step.

    Args:
        scores: A tensor (width,) for each layer, finite; normalised where layers are compared.
        layers: Those of the network, as they are now.
        strategy: How to choose; the module says what each one means.
        count: Number of channels; fewer are chosen where no more can be spared.
        protected: Names of layers that are left alone.
        generator: That of the step; equal ones choose the same.

    Returns:
        The choices in the order in which they were made, no channel twice.
    """
    pool = _Pool([layer for layer in layers if layer.name not in protected], scores)
    return _STRATEGIES[strategy](pool, count, generator)


class _Pool:
    """The channels that are still there while some are chosen.

    Args:
        layers: The layers to choose from.
        scores: Those of their channels.
    """

    def __init__(self, layers: Sequence[Layer], scores: Mapping[str, Tensor]) -> None:
        self._channels = {layer.name: list(range(layer.width)) for layer in layers}
        self._scores: dict[str, list[float]] = {}
        for layer in layers:
            self._scores[layer.name] = scores[layer.name].tolist()

    def can_spare(self, layer: str) -> bool:
        """Whether a layer has more than its last channel."""
        return len(self._channels[layer]) > 1

    def ascending(self) -> list[Choice]:
        """All channels, the lowest score first."""
        candidates: list[Choice] = []
        for layer, channels in self._channels.items():
            candidates += [self._choice(layer, channel) for channel in channels]
        return sorted(candidates, key=_score_of)

    def widest_layer(self, generator: np.random.Generator) -> str | None:
        """The layer of most channels, a random one of several; None if none can be spared."""
        spare = list(filter(self.can_spare, self._channels))
        if not spare:
            return None
        most = max(len(self._channels[layer]) for layer in spare)
        widest = [layer for layer in spare if len(self._channels[layer]) == most]
        return widest[int(generator.integers(len(widest)))]

    def take(self, layer: str, channel: int) -> Choice:
        """Choose a channel, which is then no longer there."""
        self._channels[layer].remove(channel)
        return self._choice(layer, channel)

    def take_random(self, layer: str, generator: np.random.Generator) -> Choice:
        """Choose a random channel of a layer."""
        channels = self._channels[layer]
        return self.take(layer, channels[int(generator.integers(len(channels)))])

    def take_lowest(self, layer: str, _: np.random.Generator) -> Choice:
        """Choose the channel of the lowest score in a layer."""
        channels = self._channels[layer]
        return self.take(layer, min(channels, key=self._scores[layer].__getitem__))

    def _choice(self, layer: str, channel: int) -> Choice:
        return Choice(layer, channel, self._scores[layer][channel])


def _score_of(choice: Choice) -> float:
    return choice.score


def _take_lowest_of_all(pool: _Pool, count: int, _: np.random.Generator) -> list[Choice]:
    chosen: list[Choice] = []
    for candidate in pool.ascending():
        if len(chosen) == count:
            break
        if pool.can_spare(candidate.layer):
            chosen.append(pool.take(candidate.layer, candidate.channel))
    return chosen


def _take_random_in_same_layers(
    pool: _Pool, count: int, generator: np.random.Generator
) -> list[Choice]:
    picks = _take_lowest_of_all(copy.deepcopy(pool), count, generator)
    return [pool.take_random(pick.layer, generator) for pick in picks]


def _take_in_widest_layers(
    take: Callable[[_Pool, str, np.random.Generator], Choice],
    pool: _Pool,
    count: int,
    generator: np.random.Generator,
) -> list[Choice]:
    chosen: list[Choice] = []
    for _ in range(count):
        layer = pool.widest_layer(generator)
        if layer is None:
            break
        chosen.append(take(pool, layer, generator))
    return chosen


def _take_nothing(_: _Pool, __: int, ___: np.random.Generator) -> list[Choice]:
    return []


_STRATEGIES: dict[Strategy, Callable[[_Pool, int, np.random.Generator], list[Choice]]] = {
    "stamp": _take_lowest_of_all,
    "random-in-layer": _take_random_in_same_layers,
    "random-in-largest": partial(_take_in_widest_layers, _Pool.take_random),
    "largest-l1": partial(_take_in_widest_layers, _Pool.take_lowest),
    "none": _take_nothing,
}


def targeted_dropouts(
    scores: Mapping[str, Tensor], layers: Sequence[Layer], *, strongest: float
) -> dict[str, float]:
    """Give layers that are likely to lose channels more dropout.

    The channels of all layers that have dropout are put in order over the whole network: of N, the
    one with the lowest score gets N - 1 points, that with the highest 0; equal scores share the
    mean of their points. The mean of a layer's points, divided by the largest mean of a layer,
    times `strongest` is its new probability.

    Args:
        scores: A tensor (width,) for each layer, finite, normalised as for the choice.
        layers: Those of the network. One without dropout has no points and gets none.
        strongest: The largest probability that a layer gets (b_drop).

    Returns:
        The probability of each layer that has dropout.
    """
    names = [layer.name for layer in layers if layer.dropout is not None]
    if not names:
        return {}
    of_layers = [scores[name] for name in names]
    values = torch.cat(of_layers).numpy()
    # Ranks run from 1, for the lowest score.
    points = len(values) - stats.rankdata(values, method="average")
    ends = np.cumsum(list(map(len, of_layers)))
    means = [float(part.mean()) for part in np.split(points, ends[:-1])]
    # The points of a single channel are zero, and so is then the largest mean.
    largest = max(means) or 1.0
    return {name: strongest * mean / largest for name, mean in zip(names, means, strict=True)}

"""The layers of a network, and what a pruning could remove of them, without reading any data."""

from __future__ import annotations

import itertools
from pathlib import Path

from lunet_cli.config.layers import layers
from lunet_cli.config.network_cost import count_parameters
from lunet_cli.config.pruning import PruningConfig
from lunet_cli.config.run import RunConfig
from lunet_cli.engine.checkpoints.models import load_model
from lunet_cli.engine.pruning.beginning import require_channels_to_spare
from lunet_cli.engine.pruning.leaning import network_of
from lunet_cli.engine.pruning.pruner import (
    count_removable,
    protected_of,
    smallest,
    steps_of,
)
from lunet_cli.results.pruning import PrunableLayer, PruningForecast


def dry_run(config: RunConfig, start: Path | None = None) -> PruningForecast:
    """Look at the network that would be pruned.

    Args:
        config: The configuration of the pruning.
        start: The trained network, a checkpoint or run folder; None takes that of the
            configuration.

    Raises:
        ConfigError: A pattern of `pruning.protect` fits no layer, or nothing can be removed.
        CheckpointError: The network cannot be read.
    """
    spec = network_of(config, None)
    if start is not None:
        spec = load_model(start).card.network
    require_channels_to_spare(spec, config.pruning)
    protected = protected_of(spec, config.pruning)
    told: list[PrunableLayer] = []
    for layer in layers(spec):
        is_protected = layer.name in protected
        told.append(PrunableLayer(layer.name, layer.level, layer.width, is_protected))
    return PruningForecast(
        architecture=config.model.architecture,
        layers=tuple(told),
        parameters=count_parameters(spec),
        least_parameters=count_parameters(smallest(spec, config.pruning)),
        num_wanted=_count_wanted(config.pruning, count_removable(spec, config.pruning)),
    )


def _count_wanted(config: PruningConfig, num_removable: int) -> int:
    """Channels that all steps together remove; no more than there are."""
    if config.strategy == "none":
        return 0
    return sum(itertools.islice(steps_of(config, num_removable), config.steps))

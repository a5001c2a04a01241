"""The layers of a network, and what a pruning could remove of them, without reading any data."""

from __future__ import annotations

from pathlib import Path

from lunet_cli.config.layers import layers, with_layers
from lunet_cli.config.network_cost import count_parameters
from lunet_cli.config.run import RunConfig
from lunet_cli.engine.pruning.beginning import require_channels_to_spare
from lunet_cli.engine.pruning.leaning import network_of
from lunet_cli.engine.pruning.pruner import protected_of
from lunet_cli.engine.run_folder import RunFolder
from lunet_cli.results.pruning import PrunableLayer, PruningForecast


def dry_run(config: RunConfig, start: Path | None = None) -> PruningForecast:
    """Look at the network that would be pruned.

    Args:
        config: The configuration of the pruning.
        start: Run folder of the network; None takes the one of the configuration.

    Raises:
        ConfigError: A pattern of `pruning.protect` fits no layer, or nothing can be removed.
        DataError: The run folder is damaged.
    """
    spec = network_of(config, None if start is None else RunFolder(start))
    require_channels_to_spare(spec, config.pruning)
    protected = protected_of(spec, config.pruning)
    told: list[PrunableLayer] = []
    least: dict[str, int] = {}
    for layer in layers(spec):
        is_protected = layer.name in protected
        told.append(PrunableLayer(layer.name, layer.level, layer.width, is_protected))
        if not is_protected:
            least[layer.name] = 1
    num_wanted = config.pruning.steps * config.pruning.channels_per_step
    if config.pruning.strategy == "none":
        num_wanted = 0
    return PruningForecast(
        architecture=config.model.architecture,
        layers=tuple(told),
        parameters=count_parameters(spec),
        least_parameters=count_parameters(with_layers(spec, widths=least)),
        num_wanted=num_wanted,
    )

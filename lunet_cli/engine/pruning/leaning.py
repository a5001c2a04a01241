"""From a network of any widths to the configuration of the flat one of the same budget."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from lunet_cli.config.data import PHANTOM_LABELS
from lunet_cli.config.fit import network_spec
from lunet_cli.config.labels import Regions, resolve_regions
from lunet_cli.config.lean import lean_counterpart
from lunet_cli.config.load import load_config
from lunet_cli.config.network import NetworkSpec
from lunet_cli.config.network_cost import count_parameters
from lunet_cli.config.presets import closest_presets, parse_preset
from lunet_cli.config.run import RunConfig
from lunet_cli.config.shipped import find_config
from lunet_cli.engine.run_folder import RunFolder
from lunet_cli.engine.viewing.prunings import view_pruning
from lunet_cli.errors import ConfigError
from lunet_cli.records.manifest import Manifest


@dataclass(frozen=True, kw_only=True)
class LeanConfig:
    """A configuration that trains a flat network from the beginning.

    Args:
        config: The configuration.
        spec: Its network.
        parameters: Parameters of that.
        budget: Parameters that it may have.
        origin: Where the budget comes from, in words.
    """

    config: RunConfig
    spec: NetworkSpec
    parameters: int
    budget: int
    origin: str


def lean_config(source: Path, parameters: int | None = None) -> LeanConfig:
    """The configuration of the flat network whose parameters come closest from below.

    Args:
        source: A run folder, a configuration or the name of a preset; what is returned differs from
            its configuration by the network, the name, and what it says of pruning.
        parameters: Parameters that it may have; None takes those of the source, of a pruning those
            of the step that is chosen.

    Raises:
        LunetError: The source cannot be read, has no flat counterpart, or the budget is too small.
    """
    place, settings = _place_of(source)
    config = load_config(place, settings)
    own = parse_preset(config.model.architecture).spec
    if place is not None:
        own = network_of(config, _folder_of(source))
    budget, origin = _budget(source, own, parameters)
    preset = lean_counterpart(
        parse_preset(config.model.architecture),
        budget,
        in_channels=own.in_channels,
        out_channels=own.out_channels,
    )
    name = config.experiment.name
    if source.is_dir():  # which may be called otherwise than at the beginning
        name = source.resolve().name
    settings += [
        f"model.architecture={preset.name}",
        "model.widths=null",
        "pruning=null",
        f"experiment.name={json.dumps(f'{name}_lean')}",
    ]
    return LeanConfig(
        config=load_config(place, settings),
        spec=preset.spec,
        parameters=count_parameters(preset.spec),
        budget=budget,
        origin=origin,
    )


def _place_of(source: Path) -> tuple[Path | None, list[str]]:
    """The configuration that is meant; for a preset None, and what makes one of the defaults.

    Raises:
        ConfigError: There is nothing of that name.
    """
    if source.is_dir():
        return RunFolder(source).config, []
    if _is_preset(source):
        return None, [f"model.architecture={source}", f"experiment.name={source}"]
    found = find_config(source)
    if not found.exists():
        raise ConfigError(
            f"{source}: is not a run folder, a configuration or a preset."
            f" {closest_presets(str(source))}"
        )
    return found, []


def _folder_of(source: Path) -> RunFolder | None:
    return RunFolder(source) if source.is_dir() else None


def _is_preset(source: Path) -> bool:
    try:
        parse_preset(str(source))
    except ConfigError:
        return False
    return not source.exists()


def network_of(config: RunConfig, folder: RunFolder | None) -> NetworkSpec:
    """The network of a run or configuration, with as many channels as can be known without data.

    Args:
        config: The configuration; that of the run, if there is one.
        folder: The run; None if there is none.

    Raises:
        DataError: The manifest of the run is damaged.
    """
    manifest: Manifest | None = None
    if folder is not None:
        manifest = folder.read_manifest()
    if manifest is not None:
        return manifest.network
    in_channels, out_channels = config.model.in_channels or 1, config.model.out_channels or 1
    known: Regions | None = None
    if config.data.uses_phantom:
        known = PHANTOM_LABELS
    if config.labels is not None or known is not None:
        regions, activation = resolve_regions(
            config.labels,
            known,
            activation=config.model.activation,
            out_channels=config.model.out_channels,
        )
        out_channels = len(regions) + (activation == "softmax")
    return network_spec(config, in_channels=in_channels, out_channels=out_channels)


def _budget(source: Path, own: NetworkSpec, parameters: int | None) -> tuple[int, str]:
    """Parameters that the flat network may have, and where that number comes from."""
    if parameters is not None:
        return parameters, "as asked"
    folder = _folder_of(source)
    if folder is not None and folder.pruning.exists():
        chosen = view_pruning(source).chosen.step
        return chosen.parameters, f"those of step {chosen.step} of {source}"
    return count_parameters(own), f"those of {source}"

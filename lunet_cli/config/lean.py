"""The flat network beside another one: as deep, and with no more parameters."""

from __future__ import annotations

from dataclasses import replace

from lunet_cli.config.network import Family
from lunet_cli.config.network_cost import count_parameters
from lunet_cli.config.presets import Preset, parse_preset
from lunet_cli.errors import ConfigError
from lunet_cli.results.words import plural

# A lean family has the graph of another one, and the same channels at every level.
_LEAN: dict[Family, Family] = {
    "unet": "lunet",
    "lunet": "lunet",
    "unetpp": "lunetpp",
    "lunetpp": "lunetpp",
}
_MOST_CHANNELS = 9999  # of the grammar of names


def lean_counterpart(
    preset: Preset, budget: int, *, in_channels: int = 1, out_channels: int = 1
) -> Preset:
    """The widest flat network of the depth of a preset within a budget.

    Args:
        preset: A network of any family but MedNeXt.
        budget: Parameters that it may have.
        in_channels: Image channels.
        out_channels: Logit channels.

    Returns:
        It, with these channels in its specification.

    Raises:
        ConfigError: The family has no flat counterpart, or its narrowest network is larger.
    """
    family = _LEAN.get(preset.family)
    if family is None:
        raise ConfigError(
            f"{preset.name}: {preset.family} has no flat counterpart",
            hint="Those of unet and unetpp are lunet and lunetpp.",
        )

    def flat(channels: int) -> Preset:
        found = parse_preset(f"{family}_{preset.size}_{channels}f")
        spec = replace(found.spec, in_channels=in_channels, out_channels=out_channels)
        return replace(found, spec=spec)

    narrowest = flat(1)
    if count_parameters(narrowest.spec) > budget:
        raise ConfigError(
            f"`parameters={budget}`: {narrowest.name}, the narrowest, has "
            f"{plural(count_parameters(narrowest.spec), 'parameter')}"
        )
    low, high = 1, _MOST_CHANNELS + 1
    # Parameters grow with channels: halve what lies between one that fits and one that does not.
    while high - low > 1:
        middle = (low + high) // 2
        if count_parameters(flat(middle).spec) <= budget:
            low = middle
        else:
            high = middle
    return flat(low)

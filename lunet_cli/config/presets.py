"""The named presets and the grammar of their names."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import cast

from lunet_cli.config.names import closest
from lunet_cli.config.network import Family, NetworkSpec
from lunet_cli.errors import ConfigError

CONV_FAMILIES: tuple[Family, ...] = ("unet", "lunet", "unetpp", "lunetpp")


@dataclass(frozen=True)
class ConvSize:
    """Depth of a convolutional family and the base channels that its authors named."""

    num_levels: int
    convs_per_block: int
    named_channels: tuple[int, ...]


SIZES = {"small": ConvSize(5, 2, (4, 3, 2, 1)), "large": ConvSize(4, 3, (24, 12, 6))}


@dataclass(frozen=True)
class MedNeXtSize:
    """Stages of a MedNeXt from the first encoder to the last decoder stage (paper, Table 1)."""

    base_channels: int
    expansion_ratios: tuple[int, ...]
    blocks_per_stage: tuple[int, ...]


# Expansion of the sizes B and M: wide in the middle, where there are few voxels to pay for.
_WIDE = (2, 3, 4, 4, 4, 4, 4, 3, 2)
MEDNEXT_SIZES = {
    "small": MedNeXtSize(4, (2,) * 9, (2,) * 9),
    "s": MedNeXtSize(32, (2,) * 9, (2,) * 9),
    "b": MedNeXtSize(32, _WIDE, (2,) * 9),
    "m": MedNeXtSize(32, _WIDE, (3, 4, 4, 4, 4, 4, 4, 4, 3)),
    "l": MedNeXtSize(32, (3, 4, 8, 8, 8, 8, 8, 4, 3), (3, 4, 8, 8, 8, 8, 8, 4, 3)),
}

GRAMMAR = (
    "{unet|lunet|unetpp|lunetpp}_{small|large}_{N}f with N to 9999, or mednext_small, "
    "mednext_{s|b|m|l}[_k5]"
)
_CONV_NAME = re.compile(
    r"(?P<family>unet|lunet|unetpp|lunetpp)_(?P<size>small|large)_(?P<base>[1-9][0-9]{0,3})f"
)
_MEDNEXT_NAME = re.compile(r"mednext_(?P<size>small|s|b|m|l)(?P<kernel>_k5)?")


@dataclass(frozen=True)
class Preset:
    """A preset's name and the network it stands for."""

    name: str
    family: Family
    size: str
    spec: NetworkSpec


def named_presets() -> list[Preset]:
    """The 29 presets that the authors of Lean Unet named, in the order of their tables."""
    return list(map(parse_preset, _published_names()))


def _published_names() -> Iterator[str]:
    for families in (CONV_FAMILIES[:2], CONV_FAMILIES[2:]):
        for size, family in itertools.product(SIZES, families):
            for base in SIZES[size].named_channels:
                yield f"{family}_{size}_{base}f"
    yield "mednext_small"


def parse_preset(name: str) -> Preset:
    """Read a preset name.

    Args:
        name: A name of the grammar, such as `lunet_small_4f` or `unetpp_large_16f`.

    Raises:
        ConfigError: The name is not of the grammar; the message gives the closest names.
    """
    match = _CONV_NAME.fullmatch(name)
    if match is not None:
        family = cast("Family", match["family"])
        spec = _conv_spec(family, SIZES[match["size"]], int(match["base"]))
        return Preset(name, family, match["size"], spec)
    match = _MEDNEXT_NAME.fullmatch(name)
    if match is not None:
        spec = _mednext_spec(MEDNEXT_SIZES[match["size"]])
        if match["kernel"]:
            spec = replace(spec, kernel_size=5)
        return Preset(name, "mednext", match["size"], spec)
    raise ConfigError(
        f"'{name}' is not a preset. {closest_presets(name)}", hint=f"Names follow {GRAMMAR}."
    )


def closest_presets(name: str) -> str:
    """A sentence with the preset names that look most like `name`."""
    # Of the endless names of the grammar, those that have been published are the likely ones.
    known = [*_published_names(), *(f"mednext_{size}" for size in MEDNEXT_SIZES)]
    return closest(name, dict.fromkeys(known)) or "`lunet presets list` shows all names."


def _conv_spec(family: Family, size: ConvSize, base: int) -> NetworkSpec:
    channels = _doubled(base, size.num_levels)
    if family.startswith("l"):  # A lean network has the same channels at every level.
        channels = (base,) * size.num_levels
    return NetworkSpec(family, channels, convs_per_block=size.convs_per_block)


def _doubled(base: int, num_levels: int) -> tuple[int, ...]:
    """Channels that double from level to level."""
    return tuple(base << level for level in range(num_levels))


def _mednext_spec(size: MedNeXtSize) -> NetworkSpec:
    num_levels = len(size.blocks_per_stage) // 2 + 1
    return NetworkSpec(
        "mednext",
        _doubled(size.base_channels, num_levels),
        convs_per_block=1,
        expansion_ratios=size.expansion_ratios,
        blocks_per_stage=size.blocks_per_stage,
    )

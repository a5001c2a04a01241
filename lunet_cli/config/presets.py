"""The named presets and the grammar of their names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from difflib import get_close_matches

from lunet_cli.config.network import Family, NetworkSpec
from lunet_cli.errors import ConfigError

CONV_FAMILIES: tuple[Family, ...] = ("unet", "lunet", "unetpp", "lunetpp")


@dataclass(frozen=True)
class Size:
    """Depth of a convolutional family and the base channels that its authors named."""

    num_levels: int
    convs_per_block: int
    named_channels: tuple[int, ...]


SIZES = {"small": Size(5, 2, (4, 3, 2, 1)), "large": Size(4, 3, (24, 12, 6))}


@dataclass(frozen=True)
class MedNeXtSize:
    """Stages of a MedNeXt from the first encoder stage to the last decoder stage (paper, Table 1)."""

    base_channels: int
    expansion_ratios: tuple[int, ...]
    blocks_per_stage: tuple[int, ...]


_WIDE = (2, 3, 4, 4, 4, 4, 4, 3, 2)
MEDNEXT_SIZES = {
    "small": MedNeXtSize(4, (2,) * 9, (2,) * 9),
    "s": MedNeXtSize(32, (2,) * 9, (2,) * 9),
    "b": MedNeXtSize(32, _WIDE, (2,) * 9),
    "m": MedNeXtSize(32, _WIDE, (3, 4, 4, 4, 4, 4, 4, 4, 3)),
    "l": MedNeXtSize(32, (3, 4, 8, 8, 8, 8, 8, 4, 3), (3, 4, 8, 8, 8, 8, 8, 4, 3)),
}

GRAMMAR = "{unet|lunet|unetpp|lunetpp}_{small|large}_{N}f with N to 9999, or mednext_small, mednext_{s|b|m|l}[_k5]"
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
    names = [
        f"{family}_{size}_{base}f"
        for families in (CONV_FAMILIES[:2], CONV_FAMILIES[2:])
        for size, row in SIZES.items()
        for family in families
        for base in row.named_channels
    ]
    return [parse_preset(name) for name in [*names, "mednext_small"]]


def parse_preset(name: str) -> Preset:
    """Read a preset name.

    Args:
        name: A name of the grammar, such as `lunet_small_4f` or `unetpp_large_16f`.

    Raises:
        ConfigError: The name is not of the grammar; the message gives the closest names.
    """
    if match := _CONV_NAME.fullmatch(name):
        family: Family = next(f for f in CONV_FAMILIES if f == match["family"])
        return Preset(
            name,
            family,
            match["size"],
            _conv_spec(family, SIZES[match["size"]], int(match["base"])),
        )
    if match := _MEDNEXT_NAME.fullmatch(name):
        spec = _mednext_spec(MEDNEXT_SIZES[match["size"]])
        if match["kernel"]:
            spec = replace(spec, kernel_size=5)
        return Preset(name, "mednext", match["size"], spec)
    raise ConfigError(
        f"'{name}' is not a preset. {closest_presets(name)}", hint=f"Names follow {GRAMMAR}."
    )


def closest_presets(name: str) -> str:
    """A sentence with the preset names that look most like `name`."""
    known = [preset.name for preset in named_presets()]
    known += [f"mednext_{size}" for size in MEDNEXT_SIZES if size != "small"]
    return closest(name, known) or "`lunet presets list` shows all names."


def closest(name: str, known: Iterable[str]) -> str:
    """Ask whether one of the most similar `known` names was meant; empty if none is similar.

    Names that end with what was typed come first, since the number of a case is often all that is
    typed; then those that start with it.
    """
    known, typed = list(known), name.lower()
    ending = [one for one in known if one.lower().endswith(typed)]
    starting = [one for one in known if typed and one.lower().startswith(typed)]
    close = (ending or get_close_matches(typed, known, n=3, cutoff=0.5) or starting)[:3]
    return f"Did you mean {', '.join(close)}?" if close else ""


def _conv_spec(family: Family, size: Size, base: int) -> NetworkSpec:
    factor: Callable[[int], int] = (
        (lambda _: 1) if family.startswith("l") else (lambda level: 1 << level)
    )
    channels = tuple(base * factor(level) for level in range(size.num_levels))
    return NetworkSpec(family, channels, convs_per_block=size.convs_per_block)


def _mednext_spec(size: MedNeXtSize) -> NetworkSpec:
    num_levels = len(size.blocks_per_stage) // 2 + 1
    return NetworkSpec(
        "mednext",
        tuple(size.base_channels << level for level in range(num_levels)),
        convs_per_block=1,
        expansion_ratios=size.expansion_ratios,
        blocks_per_stage=size.blocks_per_stage,
    )

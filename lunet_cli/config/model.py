"""The `model` section: which network, with how many channels."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from lunet_cli.config.base import Section
from lunet_cli.config.labels import ActivationChoice
from lunet_cli.config.layers import layers
from lunet_cli.config.presets import parse_preset
from lunet_cli.errors import ConfigError
from lunet_cli.results.words import plural


def _known_architecture(name: str) -> str:
    try:
        return parse_preset(name).name
    except ConfigError as error:
        raise ValueError(error.message) from None


Architecture = Annotated[str, AfterValidator(_known_architecture)]
Width = Annotated[int, Field(ge=1, le=65536)]


class ModelConfig(Section):
    """The network."""

    architecture: Architecture = "lunet_small_4f"
    """Name of a preset, such as `lunet_small_4f` or `unet_large_24f`; `lunet presets list` shows
    all."""

    widths: tuple[Width, ...] | None = None
    """Channels of each layer, in the order in which `lunet prune CONFIG --dry-run` lists them;
    pruning finds them and writes them into `pruned.yaml`. null: as the architecture has them."""

    in_channels: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Image channels; null takes as many as the images have."""

    out_channels: Annotated[int, Field(ge=1, le=65536)] | None = None
    """Output channels of the network; null takes as many as the labels and the activation need.
    With 1 and no `labels`, all structures of the data set are trained as one."""

    activation: ActivationChoice = "auto"
    """`sigmoid`: each label has a channel of its own, and labels may overlap; `softmax`: each voxel
    has one label or is background. `auto`: softmax for two or more labels that share no value,
    otherwise sigmoid."""

    # As in the recipe of the Lean Unet authors, and so in their configurations.
    drop_prob: Annotated[float, Field(ge=0, lt=1)] = 0.005
    """Probability that dropout sets a channel to zero, after each convolution."""

    @field_validator("widths")
    @classmethod
    def _of_every_layer(
        cls, widths: tuple[int, ...] | None, info: ValidationInfo
    ) -> tuple[int, ...] | None:
        name = info.data.get("architecture")
        if widths is None or name is None:
            return widths
        expected = len(layers(parse_preset(name).spec))
        if len(widths) != expected:
            raise ValueError(f"there are {len(widths)}, and {name} has {plural(expected, 'layer')}")
        return widths

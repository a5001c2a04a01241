"""The `model` section: which network, with how many channels."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from lunet_cli.config.base import Section
from lunet_cli.config.labels import ActivationChoice
from lunet_cli.config.presets import parse_preset
from lunet_cli.errors import ConfigError


def _known_architecture(name: str) -> str:
    try:
        return parse_preset(name).name
    except ConfigError as error:
        raise ValueError(error.message) from None


class ModelConfig(Section):
    """The network."""

    architecture: Annotated[str, AfterValidator(_known_architecture)] = "lunet_small_4f"
    """Name of a preset, such as `lunet_small_4f` or `unet_large_24f`; `lunet presets list` shows
    all."""

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

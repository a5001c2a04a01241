"""The `model` section: which network, with how many channels."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from lunet_cli.config.base import Section
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
    """Preset name, such as `lunet_small_4f` or `unet_large_24f`; `lunet presets list` shows all."""

    in_channels: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Image channels; null takes the number that the data has."""

    out_channels: Annotated[int, Field(ge=1, le=65536)] | None = None
    """Logit channels; null takes what the labels and the activation need. With 1 and no `labels`,
    all structures of the data set are trained as one."""

    activation: Literal["auto", "sigmoid", "softmax"] = "auto"
    """`sigmoid`: one independent channel per label (regions may overlap); `softmax`: exclusive
    classes and a background channel; `auto`: softmax for two or more labels that share no value,
    otherwise sigmoid."""

    drop_prob: Annotated[float, Field(ge=0, lt=1)] = 0.005
    """Probability of dropping a channel after each convolution."""

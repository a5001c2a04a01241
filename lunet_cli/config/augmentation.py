"""The `augmentation` section: random changes to training patches."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from lunet_cli.config.base import Section

Probability = Annotated[float, Field(ge=0, le=1)]


class AugmentationConfig(Section):
    """Random changes; the paper's recipe uses none, so it is off by default."""

    enabled: bool = False
    """Whether training patches are changed at all."""

    flip_probability: Probability = 0.0
    """Probability of mirroring, per axis; leave 0 where left and right are different structures."""

    affine_probability: Probability = 0.3
    """Probability of a rotation with scaling."""

    rotation_deg: Annotated[float, Field(ge=0, le=180)] = 15.0
    """Largest rotation about each axis, in degrees."""

    scale: Annotated[float, Field(ge=0, lt=1)] = 0.15
    """Largest relative change of size."""

    noise_probability: Probability = 0.15
    """Probability of Gaussian noise."""

    noise_std: Annotated[float, Field(ge=0, le=100)] = 0.1
    """Largest standard deviation of the noise, in normalised intensity."""

    contrast_probability: Probability = 0.3
    """Probability of a random gain and offset."""

    contrast: Annotated[float, Field(ge=0, lt=1)] = 0.25
    """Largest relative change of contrast, and largest offset in normalised intensity."""

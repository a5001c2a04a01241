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
    """Probability that a patch is mirrored, for each axis. Leave it 0 where left and right are
    different structures."""

    affine_probability: Probability = 0.3
    """Probability that a patch is rotated and scaled."""

    rotation_deg: Annotated[float, Field(ge=0, le=180)] = 15.0
    """Largest rotation about each axis, in degrees."""

    scale: Annotated[float, Field(ge=0, lt=1)] = 0.15
    """Largest relative change of size: 0.15 gives 85 % to 115 %."""

    noise_probability: Probability = 0.15
    """Probability that Gaussian noise is added."""

    noise_std: Annotated[float, Field(ge=0, le=100)] = 0.1
    """Largest standard deviation of the noise, in units of the normalised grey values."""

    contrast_probability: Probability = 0.3
    """Probability that grey values are multiplied and shifted."""

    contrast: Annotated[float, Field(ge=0, lt=1)] = 0.25
    """Largest relative change of contrast, and largest shift of the normalised grey values."""

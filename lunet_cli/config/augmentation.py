"""The `augmentation` section: random changes to training patches."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Annotated, Literal

from pydantic import Field, model_validator

from lunet_cli.config.base import Section

Probability = Annotated[float, Field(ge=0, le=1)]
Level = Literal["none", "light", "standard", "strong"]
Axis = Literal["z", "y", "x"]


@dataclass(frozen=True, kw_only=True)
class Changes:
    """How likely each random change is, and how far it goes at most.

    The fields are those of `AugmentationConfig`, where they are described.
    """

    flip_probability: float = 0.0
    affine_probability: float = 0.0
    rotation_deg: float = 20.0
    scale: float = 0.2
    shear: float = 0.05
    elastic_probability: float = 0.0
    elastic: float = 0.2
    noise_probability: float = 0.0
    noise_std: float = 0.1
    blur_probability: float = 0.0
    blur_sigma: float = 1.0
    contrast_probability: float = 0.0
    contrast: float = 0.25
    brightness_probability: float = 0.0
    brightness: float = 0.25
    gamma_probability: float = 0.0
    gamma: float = 0.3
    low_resolution_probability: float = 0.0
    low_resolution: float = 2.0
    bias_field_probability: float = 0.0
    bias_field: float = 0.3

    @property
    def any(self) -> bool:
        """Whether anything can happen at all."""
        return any(
            getattr(self, field.name) > 0
            for field in fields(self)
            if field.name.endswith("probability")
        )


_STANDARD = Changes(
    affine_probability=0.3,
    elastic_probability=0.1,
    noise_probability=0.15,
    blur_probability=0.1,
    contrast_probability=0.15,
    brightness_probability=0.15,
    gamma_probability=0.15,
    low_resolution_probability=0.1,
    bias_field_probability=0.1,
)
LEVELS: dict[Level, Changes] = {
    "none": Changes(),
    "light": Changes(
        affine_probability=0.3,
        rotation_deg=15.0,
        scale=0.15,
        shear=0.0,
        noise_probability=0.15,
        contrast_probability=0.3,
        brightness_probability=0.3,
    ),
    "standard": _STANDARD,
    "strong": replace(
        _STANDARD,
        affine_probability=0.6,
        rotation_deg=30.0,
        scale=0.3,
        shear=0.1,
        elastic_probability=0.3,
        elastic=0.3,
        blur_probability=0.2,
        contrast_probability=0.3,
        contrast=0.4,
        brightness_probability=0.3,
        brightness=0.4,
        gamma_probability=0.3,
        gamma=0.5,
        low_resolution_probability=0.2,
        bias_field_probability=0.3,
        bias_field=0.5,
    ),
}


class AugmentationConfig(Section):
    """Random changes; the paper's recipe uses none. A key that is null is left to the level."""

    level: Level = "none"
    """How much training patches are changed. `light`: rotation, scaling, contrast, brightness and
    noise; `standard`: all of the section but flips, each rarely; `strong`: more often, and
    further."""

    enabled: bool | None = None
    """false leaves patches as they are, whatever else is said; true without a level is `light`."""

    flip_probability: Probability | None = None
    """Probability that a patch is mirrored, for each of `flip_axes`; 0 at every level. Leave it so
    where left and right are different structures."""

    flip_axes: tuple[Axis, ...] = ("z", "y", "x")
    """Axes of the array along which patches may be mirrored."""

    affine_probability: Probability | None = None
    """Probability that a patch is rotated, scaled and sheared."""

    rotation_deg: Annotated[float, Field(ge=0, le=180)] | None = None
    """Largest rotation about each axis, in degrees, measured in mm. Where voxels are more than
    three times as long along one axis, patches rotate about this axis only."""

    scale: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Largest relative change of size: 0.15 gives 85 % to 115 %."""

    shear: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Largest shear: how far a plane moves for each mm to the next one, in mm."""

    elastic_probability: Probability | None = None
    """Probability that a patch is deformed by random shifts of control points, which lie a third of
    the patch apart."""

    elastic: Annotated[float, Field(ge=0, lt=0.5)] | None = None
    """Largest shift of a control point along each axis, as a share of the way to the next."""

    noise_probability: Probability | None = None
    """Probability that Gaussian noise is added."""

    noise_std: Annotated[float, Field(ge=0, le=100)] | None = None
    """Largest standard deviation of the noise, in units of the normalised grey values."""

    blur_probability: Probability | None = None
    """Probability that the image is blurred by a Gaussian."""

    blur_sigma: Annotated[float, Field(gt=0, le=10)] | None = None
    """Largest standard deviation of this Gaussian, in voxels of the finest axis; the least is half
    of it."""

    contrast_probability: Probability | None = None
    """Probability that grey values are multiplied."""

    contrast: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Largest relative change of contrast."""

    brightness_probability: Probability | None = None
    """Probability that grey values are shifted."""

    brightness: Annotated[float, Field(ge=0, le=100)] | None = None
    """Largest shift, in units of the normalised grey values."""

    gamma_probability: Probability | None = None
    """Probability that grey values, brought to 0 to 1, are taken to a power."""

    gamma: Annotated[float, Field(ge=0, le=2)] | None = None
    """Largest logarithm of this power: 0.3 gives powers of 0.74 to 1.35."""

    low_resolution_probability: Probability | None = None
    """Probability that the image is sampled more coarsely, and back."""

    low_resolution: Annotated[float, Field(ge=1, le=8)] | None = None
    """How much longer voxels become at most, along the finest axes."""

    bias_field_probability: Probability | None = None
    """Probability that one side becomes brighter than another, as by the coil of an MRI."""

    bias_field: Annotated[float, Field(ge=0, le=2)] | None = None
    """Largest logarithm of the factor of brightness: 0.3 gives factors of 0.74 to 1.35."""

    @property
    def changes(self) -> Changes:
        """What the keys say, and the level where they say nothing."""
        if self.enabled is False:
            return LEVELS["none"]
        level = self.level
        if self.enabled and level == "none":
            level = "light"
        return replace(LEVELS[level], **self._said)

    @property
    def is_in_vain(self) -> bool:
        """Whether keys are set, and have no effect."""
        # lunet 0.1 wrote out those of `light`, whether augmentation was on or off.
        written_out = LEVELS["light"]
        is_said = any(value != getattr(written_out, name) for name, value in self._said.items())
        return is_said and not self.changes.any

    @property
    def _said(self) -> dict[str, float]:
        """The keys that are set."""
        values = {field.name: getattr(self, field.name) for field in fields(Changes)}
        return {name: value for name, value in values.items() if value is not None}

    @model_validator(mode="after")
    def _axes_differ(self) -> AugmentationConfig:
        if len(set(self.flip_axes)) != len(self.flip_axes):
            raise ValueError(f"an axis stands twice in flip_axes {', '.join(self.flip_axes)}")
        return self

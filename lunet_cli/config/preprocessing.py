"""The `preprocessing` section: what happens to a volume before the network sees it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from lunet_cli.config.base import Section

_AXIS_OF = {"L": "x", "R": "x", "P": "y", "A": "y", "S": "z", "I": "z"}
# From a micrometre, as of a microscope, to a metre: beyond, it is a mistake of units.
PositiveSpacing = Annotated[float, Field(ge=0.001, le=1000)]


def _valid_orientation(code: str) -> str:
    axes = [_AXIS_OF.get(letter, "") for letter in code]
    if sorted(axes) != ["x", "y", "z"]:
        raise ValueError(
            f"'{code}' is not an orientation; use one letter each of L/R, P/A and S/I, such as LPS"
        )
    return code


Orientation = Annotated[str, AfterValidator(_valid_orientation)]


class NormalizationConfig(Section):
    """How intensities are brought to a common scale, per volume and channel."""

    name: Literal["zscore", "ct_window", "minmax", "none"] = "zscore"
    """`zscore`: mean 0 and standard deviation 1; `ct_window`: a range of grey values becomes 0 to
    1, and what lies outside is cut off; `minmax`: the smallest value becomes 0, the largest 1;
    `none`: as stored."""

    window_level: Annotated[float, Field(ge=-1e6, le=1e6)] = 40.0
    """Centre of the range of grey values for `ct_window`, in HU."""

    window_width: Annotated[float, Field(gt=0, le=1e6)] = 400.0
    """Width of the range of grey values for `ct_window`, in HU."""

    @model_validator(mode="after")
    def _window_only_for_ct(self) -> NormalizationConfig:
        given = {"window_level", "window_width"} & self.model_fields_set
        defaults = (self.window_level, self.window_width) == (40.0, 400.0)
        if given and self.name != "ct_window" and not defaults:
            raise ValueError(
                f"{sorted(given)[0]} is used by name: ct_window only; remove it, or change name"
            )
        return self


class PreprocessingConfig(Section):
    """Orientation, spacing and intensities; saved inside every checkpoint."""

    orientation: Orientation | None = "LPS"
    """Directions in which the x, y and z axes increase, such as `LPS` (left, posterior, superior);
    null keeps the axes as they are stored."""

    spacing_mm: tuple[PositiveSpacing, PositiveSpacing, PositiveSpacing] | None = None
    """Size of a voxel after resampling, in mm, in array order (z, y, x); null keeps that of each
    volume."""

    normalization: NormalizationConfig = NormalizationConfig()
    """How grey values are brought to a common scale."""

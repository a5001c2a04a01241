"""The `visualization` section: pictures drawn once training has ended."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lunet_cli.config.base import Section


class VisualizationConfig(Section):
    """Pictures of the run, in the terminal and in the run folder."""

    plot_training_curves: bool = False
    """Draw loss and Dice over the epochs, also as `training_curves.png`."""

    plot_slices: bool = False
    """Draw slices of validation cases with reference, prediction and error, also as
    `slices.png`."""

    slice_axis: Literal[0, 1, 2, "axial", "coronal", "sagittal"] = 0
    """The axis that the slices are perpendicular to: its number in array order (z, y, x), or its
    name."""

    num_samples: Annotated[int, Field(ge=1, le=100)] = 3
    """How many cases are drawn."""

    @property
    def axis_index(self) -> int:
        """The axis as a number: 0 is z."""
        if isinstance(self.slice_axis, int):
            return self.slice_axis
        return {"axial": 0, "coronal": 1, "sagittal": 2}[self.slice_axis]

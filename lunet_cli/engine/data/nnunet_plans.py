"""What nnU-Net 2 has planned for a data set, read from its `nnUNetPlans.json`."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lunet_cli.config.description import read_description
from lunet_cli.config.vocabulary import Size
from lunet_cli.errors import DataError

NNUNET_PLANS = "nnUNetPlans.json"
_CONFIGURATION = "3d_fullres"


class NnunetPlan(BaseModel):
    """The configuration `3d_fullres`, its axes in the order (z, y, x) of the files.

    Args:
        spacing: Voxel size in mm.
        patch_size: Voxels of a patch.
        batch_size: Patches of a step.
        normalization_schemes: One for each channel, such as `CTNormalization`.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    spacing: tuple[float, float, float]
    patch_size: Size
    batch_size: int = Field(ge=1)
    normalization_schemes: tuple[str, ...] = ()

    @property
    def is_ct(self) -> bool:
        """Whether all channels are normalised as CT."""
        return set(self.normalization_schemes) == {"CTNormalization"}


def read_nnunet_plan(path: Path) -> NnunetPlan:
    """Read the plan for three-dimensional patches at full resolution.

    Raises:
        DataError: The file is missing, is something else, or has no such configuration.
    """
    values = read_description(path)
    try:
        backward = tuple(values.get("transpose_backward", (0, 1, 2)))
        plan = NnunetPlan.model_validate(values["configurations"][_CONFIGURATION])
    except (AttributeError, KeyError, TypeError, ValidationError):
        raise DataError(
            f"{path}: has no configuration '{_CONFIGURATION}' with spacing, patch_size and "
            "batch_size",
            hint="It is the nnUNetPlans.json that nnU-Net 2 writes into nnUNet_preprocessed.",
        ) from None
    if sorted(backward) != [0, 1, 2]:
        raise DataError(f"{path}: cannot read the transpose_backward {list(backward)}")
    first, second, third = backward
    spacing, patch = plan.spacing, plan.patch_size
    return plan.model_copy(
        update={
            "spacing": (spacing[first], spacing[second], spacing[third]),
            "patch_size": (patch[first], patch[second], patch[third]),
        }
    )

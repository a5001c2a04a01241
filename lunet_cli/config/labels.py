"""The `labels` section: names for the values, or groups of values, of a label map."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from lunet_cli.errors import ConfigError
from lunet_cli.results.words import plural

Activation = Literal["sigmoid", "softmax"]
Regions = dict[str, tuple[int, ...]]
MOST_OVERLAPPING_REGIONS = 63  # With a sigmoid, a voxel's regions are the bits of one number.
LabelValue = Annotated[int, Field(ge=1, le=65535)]


def _as_list(value: object) -> object:
    return [value] if isinstance(value, int) and not isinstance(value, bool) else value


def _named_structures(labels: object) -> object:
    if not isinstance(labels, dict):
        return labels
    if "background" in labels:
        raise ValueError("the background (0) is not named; leave it out")
    numbers = [key for key in labels if not isinstance(key, str)]
    if numbers:
        raise ValueError(f"the name comes first: write {labels[numbers[0]]}: {numbers[0]}")
    return labels


def _distinct(values: list[int]) -> list[int]:
    if len(set(values)) != len(values):
        raise ValueError(f"a value stands twice in {values}")
    return values


Region = Annotated[
    list[LabelValue],
    BeforeValidator(_as_list, json_schema_input_type=LabelValue | list[LabelValue]),
    Field(min_length=1),
    AfterValidator(_distinct),
]
LabelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 _+.-]*$")]
Labels = Annotated[dict[LabelName, Region], Field(min_length=1), BeforeValidator(_named_structures)]


def resolve_regions(
    configured: dict[str, list[int]] | None,
    known: Regions | None,
    *,
    activation: Literal["auto", "sigmoid", "softmax"],
    out_channels: int | None,
) -> tuple[Regions, Activation]:
    """Decide on regions and activation.

    Args:
        configured: The section `labels`.
        known: What the data set says about its labels; None if it says nothing.
        activation: `model.activation`.
        out_channels: `model.out_channels`.

    Raises:
        ConfigError: The three do not fit together.
    """
    named = configured or known or {"foreground": (1,)}
    regions: Regions = {name: tuple(values) for name, values in named.items()}
    if configured is None and out_channels == 1 and len(regions) > 1:
        regions = {"foreground": tuple(sorted({v for values in regions.values() for v in values}))}
    values = [value for region in regions.values() for value in region]
    overlap = len(values) != len(set(values))
    if activation == "softmax" and overlap:
        raise ConfigError(
            "model.activation: softmax needs labels that share no value, and these do",
            hint="Set model.activation: sigmoid for overlapping regions.",
        )
    if activation == "auto":
        activation = "sigmoid" if overlap or len(regions) == 1 else "softmax"
        if out_channels == len(regions):
            activation = "sigmoid"
    if activation == "sigmoid" and len(regions) > MOST_OVERLAPPING_REGIONS:
        raise ConfigError(
            f"labels: {len(regions)} overlapping labels are more than the {MOST_OVERLAPPING_REGIONS} possible"
        )
    num_channels = len(regions) + (activation == "softmax")
    if out_channels not in (None, num_channels):
        extra = " and the background" if activation == "softmax" else ""
        raise ConfigError(
            f"model.out_channels: {out_channels} does not fit {plural(len(regions), 'label')} ({', '.join(regions)}) "
            f"with {activation}, which need {num_channels} (one per label{extra})",
            hint="Remove model.out_channels, or name the labels in the section labels.",
        )
    return regions, activation

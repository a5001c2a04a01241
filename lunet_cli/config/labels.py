"""The `labels` section: names for the values, or groups of values, of a label map."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from lunet_cli.errors import ConfigError
from lunet_cli.results.words import plural

Activation = Literal["sigmoid", "softmax"]
ActivationChoice = Literal["auto", "sigmoid", "softmax"]
Regions = dict[str, tuple[int, ...]]
MOST_OVERLAPPING_REGIONS = 63  # With a sigmoid, a voxel's regions are the bits of one number.
# Label maps are kept as uint8 or uint16; 0 is the background.
LabelValue = Annotated[int, Field(ge=1, le=65535)]


def _as_list(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool):
        return [value]
    return value


def _named_structures(labels: object) -> object:
    if not isinstance(labels, dict):
        return labels
    if "background" in labels:
        raise ValueError("the background (0) is not named; leave it out")
    for key, value in labels.items():
        if not isinstance(key, str):
            raise ValueError(f"the name comes first: write {value}: {key}")
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
    activation: ActivationChoice,
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
    regions = _named_regions(configured, known, out_channels)
    overlap = _share_values(regions.values())
    if activation == "softmax" and overlap:
        raise ConfigError(
            "model.activation: softmax needs labels that share no value, and these do",
            hint="Set model.activation: sigmoid for overlapping regions.",
        )
    if activation == "auto":
        # As many channels as labels leave none for the background that a softmax needs.
        activation = "softmax"
        if overlap or len(regions) == 1 or out_channels == len(regions):
            activation = "sigmoid"
    _require_channels(regions, activation, out_channels)
    return regions, activation


def _named_regions(
    configured: dict[str, list[int]] | None, known: Regions | None, out_channels: int | None
) -> Regions:
    """The regions that are configured, or else those of the data set, in one where one is asked."""
    if configured is not None:
        return {name: tuple(values) for name, values in configured.items()}
    regions = dict(known or {"foreground": (1,)})
    if out_channels == 1 and len(regions) > 1:
        return {"foreground": tuple(sorted(set(chain(*regions.values()))))}
    return regions


def _share_values(regions: Iterable[tuple[int, ...]]) -> bool:
    values = list(chain(*regions))
    return len(values) != len(set(values))


def _require_channels(regions: Regions, activation: Activation, out_channels: int | None) -> None:
    """Raise if the labels do not fit into the channels that there are."""
    if activation == "sigmoid" and len(regions) > MOST_OVERLAPPING_REGIONS:
        raise ConfigError(
            f"labels: {len(regions)} overlapping labels are more than the "
            f"{MOST_OVERLAPPING_REGIONS} possible"
        )
    num_channels, what_for = len(regions), "one per label"
    if activation == "softmax":
        num_channels, what_for = len(regions) + 1, "one per label and the background"
    if out_channels not in (None, num_channels):
        raise ConfigError(
            f"model.out_channels: {out_channels} does not fit {plural(len(regions), 'label')} "
            f"({', '.join(regions)}) with {activation}, which need {num_channels} ({what_for})",
            hint="Remove model.out_channels, or name the labels in the section labels.",
        )

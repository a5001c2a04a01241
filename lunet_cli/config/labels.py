"""The `labels` section: names for the values, or groups of values, of a label map."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

LabelValue = Annotated[int, Field(ge=1, le=65535)]


def _as_list(value: object) -> object:
    return [value] if isinstance(value, int) and not isinstance(value, bool) else value


def _without_background(labels: object) -> object:
    if isinstance(labels, dict) and "background" in labels:
        raise ValueError("the background (0) is not named; leave it out")
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
Labels = Annotated[dict[LabelName, Region], Field(min_length=1), BeforeValidator(_without_background)]

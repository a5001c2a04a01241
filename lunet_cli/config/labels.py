"""The `labels` section: names for the values, or groups of values, of a label map."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

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

"""What all sections of a configuration have in common."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator


class Section(BaseModel):
    """A frozen section that refuses unknown keys, numbers that are not finite, and yes or no for a number.

    A section whose keys are all commented out, which YAML reads as null, has the defaults.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _plain_value(cls, value: Any, info: ValidationInfo) -> Any:
        annotation = cls.model_fields[str(info.field_name)].annotation
        if value is None and isinstance(annotation, type) and issubclass(annotation, Section):
            return annotation()
        if isinstance(value, bool) and bool not in (annotation, *get_args(annotation)):
            raise ValueError(f"found {str(value).lower()} (YAML reads yes, no, on and off so); put words into quotes")
        return value

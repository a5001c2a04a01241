"""What all sections of a configuration have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

# Bounds that no use comes near, but every counter, file name and progress line can hold.
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Weight = Annotated[float, Field(ge=0, le=1e6)]


def _nameable(path: Path) -> Path:
    """Refuse what no file system can hold.

    Raises:
        ValueError: The path has a NUL, or is too long as a whole or in one of its parts.
    """
    if "\0" in str(path):
        raise ValueError("a path cannot hold the character NUL")
    if len(str(path)) > 1000 or any(
        len(part.encode(errors="replace")) > 255 for part in path.parts
    ):
        raise ValueError(
            "the path is too long: 1,000 characters in all and 255 bytes of each name are possible"
        )
    return path


PlainPath = Annotated[Path, AfterValidator(_nameable)]


class Section(BaseModel):
    """A frozen section that refuses unknown keys, numbers that are not finite, and yes or no for a number.

    A section whose keys are all commented out, which YAML reads as null, has the defaults.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        validate_default=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
    )

    @field_validator("*", mode="before")
    @classmethod
    def _plain_value(cls, value: Any, info: ValidationInfo) -> Any:
        annotation = cls.model_fields[str(info.field_name)].annotation
        if value is None and isinstance(annotation, type) and issubclass(annotation, Section):
            return annotation()
        if isinstance(value, bool) and bool not in (annotation, *get_args(annotation)):
            raise ValueError(
                f"found {str(value).lower()} (YAML reads yes, no, on and off so); put words into quotes"
            )
        return value

"""What all sections of a configuration have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

# Bounds that no use comes near, but every counter, file name and progress line can hold.
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Weight = Annotated[float, Field(ge=0, le=1e6)]

# Linux takes 4,096 bytes of a path and 255 of a name; a run puts names of its own behind ours.
_LONGEST_PATH = 1000
_LONGEST_NAME_BYTES = 255


def _nameable(path: Path) -> Path:
    """Refuse what no file system can hold.

    Raises:
        ValueError: The path has a NUL, or is too long as a whole or in one of its parts.
    """
    if "\0" in str(path):
        raise ValueError("a path cannot hold the character NUL")
    longest = max((len(part.encode(errors="replace")) for part in path.parts), default=0)
    if len(str(path)) > _LONGEST_PATH or longest > _LONGEST_NAME_BYTES:
        raise ValueError(
            f"the path is too long: {_LONGEST_PATH:,} characters in all and {_LONGEST_NAME_BYTES} "
            "bytes of each name are possible"
        )
    return path


PlainPath = Annotated[Path, AfterValidator(_nameable)]


def _describe_in_one_line(schema: dict[str, Any]) -> None:
    """Undo the line breaks of a class's docstring, which say nothing about its section."""
    if "description" in schema:
        schema["description"] = " ".join(schema["description"].split())


class Section(BaseModel):
    """A frozen section that refuses unknown keys, infinite numbers, and yes or no for a number.

    A section whose keys are all commented out, which YAML reads as null, has the defaults. The
    description of a field is the docstring below it, in one line.
    """

    # Built when the first values come: descriptions are put into one line before, and a command
    # pays only for the sections and options that it uses.
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        validate_default=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        defer_build=True,
        json_schema_extra=_describe_in_one_line,
    )
    misplaced_truth: ClassVar[str] = (
        "found {} (YAML reads yes, no, on and off so); put words into quotes"
    )
    """What is said of true or false where neither can stand."""

    @classmethod
    def __pydantic_init_subclass__(cls, **settings: Any) -> None:
        """Put the description of each field into one line, however its docstring is wrapped."""
        super().__pydantic_init_subclass__(**settings)
        for field in cls.model_fields.values():
            if field.description is not None:
                field.description = " ".join(field.description.split())

    @field_validator("*", mode="before")
    @classmethod
    def _plain_value(cls, value: Any, info: ValidationInfo) -> Any:
        annotation = cls.model_fields[str(info.field_name)].annotation
        if value is None and isinstance(annotation, type) and issubclass(annotation, Section):
            return annotation()
        if isinstance(value, bool) and bool not in (annotation, *get_args(annotation)):
            raise ValueError(cls.misplaced_truth.format(str(value).lower()))
        return value

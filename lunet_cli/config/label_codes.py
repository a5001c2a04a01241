"""The `label_codes` section: what labels are called in a coding scheme such as SNOMED CT."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from lunet_cli.config.base import Section
from lunet_cli.config.labels import LabelName
from lunet_cli.results.words import visible

SNOMED = "SCT"
CodeCategory = Literal["anatomical-structure", "tissue", "lesion", "device", "substance"]
Side = Literal["left", "right", "both"]

# The dihedral group of the Verhoeff check digit, with which every SNOMED CT identifier ends.
_PRODUCTS = (
    "0123456789",
    "1234067895",
    "2340178956",
    "3401289567",
    "4012395678",
    "5987604321",
    "6598710432",
    "7659821043",
    "8765932104",
    "9876543210",
)
_FIRST_TURN = "1576283094"


def _written_as_number(value: Any) -> Any:
    """Codes of digits are read as numbers by YAML."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value


def _plain(text: str) -> str:
    if "\\" in text or visible(text) != text or text != text.strip():
        raise ValueError("has a backslash, a control character, or spaces around it")
    return text


def is_snomed_code(code: str) -> bool:
    """Whether digits are a SNOMED CT identifier: 6 to 18, the last one a check digit (Verhoeff)."""
    if not (code.isascii() and code.isdigit() and 6 <= len(code) <= 18):
        return False
    check = 0
    for place, digit in enumerate(reversed(code)):
        turned = int(digit)
        for _ in range(place % 8):
            turned = int(_FIRST_TURN[turned])
        check = int(_PRODUCTS[check][turned])
    return check == 0


# The lengths are those of DICOM: SH for values and schemes, LO for meanings.
CodeValue = Annotated[
    str,
    BeforeValidator(_written_as_number, json_schema_input_type=str | int),
    Field(min_length=1, max_length=16),
    AfterValidator(_plain),
]
CodeMeaning = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_plain)]


class LabelCode(Section):
    """The code of a label."""

    code: CodeValue
    """The code of the structure, such as `10200004` for the liver."""

    scheme: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,15}$")] = SNOMED
    """The coding scheme, as DICOM abbreviates it: `SCT` is SNOMED CT; a scheme of your own begins
    with `99`."""

    meaning: CodeMeaning | None = None
    """What the code means, in words; null takes the name of the label."""

    category: CodeCategory = "anatomical-structure"
    """What kind of thing it is."""

    side: Side | None = None
    """The side of the body, of structures that there are two of."""

    @model_validator(mode="after")
    def _is_a_code(self) -> LabelCode:
        if self.scheme == SNOMED and not is_snomed_code(self.code):
            raise ValueError(
                f"{visible(self.code)} is not a SNOMED CT code (its check digit is wrong); for a "
                "code of another scheme, name it as scheme"
            )
        return self


def _as_section(value: Any) -> Any:
    if isinstance(value, str | int) and not isinstance(value, bool):
        return {"code": value}
    return value


LabelCodes = dict[
    LabelName,
    Annotated[
        LabelCode,
        BeforeValidator(_as_section, json_schema_input_type=LabelCode | str | int),
    ],
]

"""Codes of labels: how they are written, and what is refused."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from pydicom.sr.codedict import codes

from lunet_cli.config.label_codes import is_snomed_code
from lunet_cli.config.run import RunConfig


def test_a_code_is_a_number_a_text_or_a_section() -> None:
    config = RunConfig.model_validate(
        {
            "labels": {"liver": 1, "kidney": 2, "lump": 3},
            "label_codes": {
                "liver": 10200004,
                "kidney": "64033007",
                "lump": {"code": "X-1", "scheme": "99CLINIC", "category": "lesion", "side": "left"},
            },
        }
    )
    liver, kidney, lump = config.label_codes.values()
    assert (liver.code, liver.scheme, liver.category) == (
        "10200004",
        "SCT",
        "anatomical-structure",
    )
    assert kidney.code == "64033007"
    assert (lump.scheme, lump.category, lump.side) == ("99CLINIC", "lesion", "left")


@pytest.mark.parametrize(
    ("codes_of_labels", "told"),
    [
        ({"liver": 10200005}, "check digit"),
        ({"liver": "liver"}, "check digit"),
        ({"spleen": 78961009}, "there is no label spleen"),
        ({"liver": {"code": "1" * 17, "scheme": "99X"}}, "at most 16"),
        ({"liver": {"code": "a\\b", "scheme": "99X"}}, "backslash"),
        ({"liver": {"code": 10200004, "side": "top"}}, "side"),
        ({"liver": {"code": 10200004, "meaning": ""}}, "meaning"),
        ({"liver": True}, "label_codes"),
    ],
)
def test_what_is_refused(codes_of_labels: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        RunConfig.model_validate({"labels": {"liver": 1}, "label_codes": codes_of_labels})


def test_check_digits_are_those_of_published_codes() -> None:
    listed = [
        code.value for code in codes.cid7192.concepts.values() if code.scheme_designator == "SCT"
    ]
    assert len(listed) > 700
    assert all(map(is_snomed_code, listed))
    # One digit that is wrong, and two that have changed places, are what people mistype.
    assert not any(map(is_snomed_code, ["10200014", "12000004", "10200004 ", "", "12345"]))

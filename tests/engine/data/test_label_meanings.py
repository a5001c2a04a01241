"""What labels mean, against the codes that SNOMED CT prints."""

from __future__ import annotations

import pytest

from lunet_cli.engine.data.label_meanings import meanings_of
from lunet_cli.records.network_card import KeptCode


@pytest.mark.parametrize(
    ("label", "category", "kind", "side"),
    [
        ("liver", "Anatomical Structure", "10200004", None),
        ("Kidney_Left", "Anatomical Structure", "64033007", "7771000"),
        ("right lung", "Anatomical Structure", "39607008", "24028007"),
        ("left_atrium", "Anatomical Structure", "82471001", None),
        ("lung_upper_lobe_left", "Anatomical Structure", "45653009", "7771000"),
        ("tumor", "Morphologically Abnormal Structure", "108369006", None),
        ("fat", "Tissue", "55603005", None),
        ("anterior", "Tissue", "85756007", None),
        ("ventricle", "Tissue", "85756007", None),
        ("left", "Tissue", "85756007", None),
    ],
)
def test_labels_are_found_by_their_names(
    label: str, category: str, kind: str, side: str | None
) -> None:
    meaning = meanings_of((label,), {})[label]
    assert (meaning.category.meaning, meaning.type.value) == (category, kind)
    assert (meaning.side.value if meaning.side else None) == side


def test_what_is_configured_comes_first() -> None:
    codes = {
        "liver": KeptCode(code="5366008", meaning="Hippocampus", side="both"),
        "lump": KeptCode(code="L1", scheme="99CLINIC", category="lesion"),
    }
    found = meanings_of(("liver", "lump"), codes)
    assert found["liver"].type.meaning == "Hippocampus"
    assert found["liver"].side is not None
    assert found["liver"].side.value == "51440002"
    assert tuple(found["lump"].type) == ("L1", "99CLINIC", "lump", None)
    assert found["lump"].category.value == "49755003"

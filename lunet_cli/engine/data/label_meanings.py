"""What labels mean in the words of DICOM: as configured, or found by their names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from lunet_cli.config.label_codes import CodeCategory, Side
from lunet_cli.records.network_card import KeptCode

# CID 7150, segmentation property categories.
_CATEGORIES: dict[CodeCategory, Code] = {
    "anatomical-structure": codes.SCT.AnatomicalStructure,
    "tissue": codes.SCT.Tissue,
    "lesion": codes.SCT.MorphologicallyAbnormalStructure,
    "device": codes.SCT.PhysicalObject,
    "substance": codes.SCT.BodySubstance,
}
# Lists of structures of PS3.16, in the order in which they are asked, and what is in them.
_LISTS: dict[str, CodeCategory] = {
    "cid7192": "anatomical-structure",
    "cid7140": "anatomical-structure",
    "cid7191": "tissue",
    "cid7194": "lesion",
    "cid7197": "substance",
}
_SIDES: dict[Side, Code] = {
    "left": codes.SCT.Left,
    "right": codes.SCT.Right,
    "both": codes.cid244.Bilateral,
}
_SIDES_BY_WORD: dict[str, Side] = {"left": "left", "right": "right"}
# Words as people name labels, and as these lists do.
_SYNONYMS = {
    "tumor": ["neoplasm"],
    "tumour": ["neoplasm"],
    "fat": ["adipose", "tissue"],
    "brainstem": ["brain", "stem"],
}
_EMPTY_WORDS = frozenset({"of", "the", "and", ""})
# Of the heart in these lists, and of the brain in many data sets.
_AMBIGUOUS = frozenset({frozenset({"ventricle"})})


@dataclass(frozen=True)
class Meaning:
    """What a label is.

    Args:
        category: What kind of thing.
        type: Which one.
        side: The side of the body; None where there is one, or none is said.
    """

    category: Code
    type: Code
    side: Code | None


def meanings_of(names: tuple[str, ...], configured: Mapping[str, KeptCode]) -> dict[str, Meaning]:
    """The meaning of each label: as configured, or found by its name; else a tissue."""
    return {name: _meaning_of(name, configured.get(name)) for name in names}


def _meaning_of(name: str, configured: KeptCode | None) -> Meaning:
    if configured is not None:
        meaning = configured.meaning or name[:64]
        return Meaning(
            _CATEGORIES[configured.category],
            Code(configured.code, configured.scheme, meaning),
            None if configured.side is None else _SIDES[configured.side],
        )
    words = _words_of(name)
    found = _known_structures().get(words)
    if found is not None:
        return Meaning(*found, None)
    # `kidney_left` is a kidney; `left_atrium` was found above as a whole.
    sides = words & frozenset(_SIDES_BY_WORD)
    found = _known_structures().get(words - sides)
    if found is None:
        # As general as it gets, and so never wrong: the name of the label says the rest.
        return Meaning(_CATEGORIES["tissue"], codes.SCT.Tissue, None)
    return Meaning(*found, _side_of(sides))


def _side_of(words: frozenset[str]) -> Code | None:
    if len(words) != 1:
        return None
    return _SIDES[_SIDES_BY_WORD[next(iter(words))]]


def _words_of(name: str) -> frozenset[str]:
    words: list[str] = []
    for word in re.split(r"[^a-z0-9]+", name.lower()):
        words += _SYNONYMS.get(word, [word])
    return frozenset(words) - _EMPTY_WORDS


@cache
def _known_structures() -> dict[frozenset[str], tuple[Code, Code]]:
    """Category and type of structures, by the words of their names."""
    known: dict[frozenset[str], tuple[Code, Code]] = {}
    for listed, category in _LISTS.items():
        for keyword, code in getattr(codes, listed).concepts.items():
            words = re.findall(r"[A-Z]+(?![a-z])|[A-Z][a-z]*|[0-9]+", keyword)
            key = frozenset(map(str.lower, words)) - _EMPTY_WORDS
            if key not in _AMBIGUOUS:
                known.setdefault(key, (_CATEGORIES[category], code))
    return known

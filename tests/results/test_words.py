"""Numbers and durations as people say them; `visible` has its tests among those of the terminal."""

from __future__ import annotations

import pytest

from lunet_cli.results.words import format_seconds, plural


@pytest.mark.parametrize(
    ("number", "nouns", "expected"),
    [
        (0, "", "0 cases"),
        (1, "", "1 case"),
        (2000, "", "2,000 cases"),
        (1, "instances", "1 case"),
        (2, "instances", "2 instances"),
    ],
)
def test_a_number_takes_its_noun(number: int, nouns: str, expected: str) -> None:
    assert plural(number, "case", nouns) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.7, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3599.6, "1 h 00 min"),
        (7800, "2 h 10 min"),
    ],
)
def test_a_duration_is_rounded_once(seconds: float, expected: str) -> None:
    assert format_seconds(seconds) == expected

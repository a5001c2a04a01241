from __future__ import annotations

import time

import pytest

from lunet_cli.config import grouping
from lunet_cli.config.grouping import checked_pattern, group_names
from lunet_cli.errors import ConfigError


def test_names_are_what_the_first_group_matches() -> None:
    assert group_names(r"^(sub-\d+)_(.)", ["sub-01_a", "sub-01_b", "sub-7_ü"]) == [
        "sub-01",
        "sub-01",
        "sub-7",
    ]


@pytest.mark.parametrize("pattern", [r"(x)", r"(x)?a"])
def test_a_case_without_a_name_is_told(pattern: str) -> None:
    with pytest.raises(ConfigError, match="does not match case id 'a1'"):
        group_names(pattern, ["a1"])


def test_a_pattern_that_explodes_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouping, "_PATIENCE_SECONDS", 1.0)
    start = time.monotonic()
    with pytest.raises(ConfigError, match="takes too long on the case ids") as caught:
        group_names("(a+)+$", ["a" * 60 + "b"])
    assert time.monotonic() - start < 10
    assert "(a+)+" in caught.value.hint


@pytest.mark.parametrize(
    "pattern", ["(", "a", "(" * 100, "(a){99999999999999999999}", "[[a](b)", "(?P<a>b)(?P<a>c)"]
)
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"pattern|regular expression"):
        checked_pattern(pattern)

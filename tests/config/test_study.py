"""What varies in a study, as people write it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from lunet_cli.config.load import load_config
from lunet_cli.config.study import Range, checked_vary, read_vary
from lunet_cli.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model.architecture=lunet_small_4f,unet_small_4f", ("lunet_small_4f", "unet_small_4f")),
        ("a.b=1", (1,)),
        ("a.b=[32, 32, 48],[64,64,64],null", ([32, 32, 48], [64, 64, 64], None)),
        ("a.b='x, y',\"z: 1\"", ("x, y", "z: 1")),
        ("a.b={liver: 1},{liver: [1, 2]}", ({"liver": 1}, {"liver": [1, 2]})),
        ("a.b=true,no,0.5", (True, False, 0.5)),
        ("a.b=../x..y", ("../x..y",)),
        ("a.b=1..8", Range(low=1, high=8)),
        ("a.b=1e-4..1e-1:log", Range(low=1e-4, high=1e-1, log=True)),
        ("a.b=-1..0.5", Range(low=-1, high=0.5)),
        ("a.b='1..8'", ("1..8",)),
    ],
)
def test_values_are_read_as_yaml_and_ranges_as_such(text: str, expected: Any) -> None:
    assert read_vary([text]) == {text.partition("=")[0]: expected}


def test_only_whole_ends_make_whole_numbers() -> None:
    found = read_vary(["a=1..8", "b=1..8.0"])
    assert [isinstance(one, Range) and one.is_whole for one in found.values()] == [True, False]


@pytest.mark.parametrize(
    ("texts", "mistake"),
    [
        (["a.b"], "`vary=a.b`: expected section.key=VALUE,VALUE"),
        (["a.b= "], "`vary=a.b= `: expected section.key=VALUE,VALUE"),
        (["a=1", "a=2"], "`vary=a=2`: a is there twice"),
        (["a=[1, 2"], "`vary=a=[1, 2`: the values are not valid YAML"),
        (["a=1]"], "`vary=a=1]`: the values are not valid YAML"),
        (["a=.nan"], "`vary=a=.nan`: expected finite numbers"),
        (["a=8..1"], "`vary`: a: from 8 to 1 there is nothing to search"),
        (["a=0..1:log"], "`vary`: a: log needs numbers above 0, and 0 is the lowest"),
    ],
)
def test_mistakes_are_told_with_what_was_written(texts: list[str], mistake: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(mistake)):
        read_vary(texts)


@pytest.mark.parametrize(
    ("settings", "mistake"),
    [
        (["study.vary={a: []}"], "study.vary.a: expected at least one value"),
        (["study.vary={a: {low: 3}}"], "study.vary.a: high: is missing"),
        (["study.vary={a: {low: 3, high: 4, step: 1}}"], "study.vary.a: step: unknown key"),
        (["study.vary=3"], "study.vary: expected keys with values below it"),
        (["study.seeds=0"], "study.seeds: expected at least 1"),
        (
            ["study.vary={a.b: [1]}", "study.settings={a.c=1: {d: 1}}"],
            "settings: a.c: is not varied. Did you mean a.b?",
        ),
        (["study.settings={a: {d: 1}}"], "settings: a: expected key=pattern"),
    ],
)
def test_the_section_is_checked(settings: list[str], mistake: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(mistake)):
        load_config(None, settings)


def test_python_may_give_plain_values() -> None:
    assert checked_vary({"a": [1, 2], "b": 3, "c": {"low": 1, "high": 2}}) == {
        "a": (1, 2),
        "b": (3,),
        "c": Range(low=1, high=2),
    }

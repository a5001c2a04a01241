from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from lunet_cli.config.base import Count, Section
from lunet_cli.config.mistakes import Mistake, allowed_words, find_mistakes, section_at
from lunet_cli.config.run import RunConfig
from lunet_cli.config.training import LossConfig


class Inner(Section):
    """A part."""

    count: Count = 1
    """A number."""


class Outer(Section):
    """Different kinds of fields."""

    size: tuple[Count, Count] | None = None
    """A list
    in two lines."""

    name: str = "a"
    """A text."""

    share: float = 0.5
    """A number."""

    groups: dict[str, list[int]] | None = None
    """Numbers by names."""

    inner: Inner = Inner()
    """A part."""


def mistakes(**values: Any) -> list[Mistake]:
    with pytest.raises(ValidationError) as caught:
        Outer(**values)
    return find_mistakes(caught.value, Outer, lambda place: "unknown")


@pytest.mark.parametrize(
    ("values", "place", "sentence"),
    [
        ({"size": 3}, ("size",), "expected a list in brackets, such as [64, 64, 64], found 3"),
        ({"size": [1, 0]}, ("size", 1), "expected at least 1, found 0"),
        ({"size": [1, 2.5]}, ("size", 1), "expected a whole number, found 2.5"),
        ({"size": [1, "x"]}, ("size", 1), "expected a whole number, found 'x'"),
        ({"size": [1]}, ("size", 1), "is missing"),
        ({"size": [1, 2, 3]}, ("size",), "expected at most 2 values, found [1, 2, 3]"),
        ({"name": 3}, ("name",), "expected text, found 3"),
        ({"name": {"a": 1}}, ("name",), "expected text, found keys with values"),
        ({"share": "much"}, ("share",), "expected a number, found 'much'"),
        ({"share": float("inf")}, ("share",), "expected a finite number, found inf"),
        ({"groups": {"a": [1, "x"]}}, ("groups", "a", 1), "expected a whole number, found 'x'"),
        ({"groups": [1]}, ("groups",), "expected keys with values below it, found [1]"),
        ({"inner": "best"}, ("inner",), "expected keys with values below it, found 'best'"),
        ({"inner": {"count": 10**6 + 1}}, ("inner", "count"), "expected at most 1000000, found"),
        ({"inner": {"cuont": 1}}, ("inner", "cuont"), "unknown"),
        ({"name": "\x1b" * 90, "share": "\n"}, ("share",), "expected a number, found '\\n'"),
    ],
)
def test_a_mistake_has_its_place_and_what_was_expected(
    values: dict[str, Any], place: tuple[str | int, ...], sentence: str
) -> None:
    (found,) = mistakes(**values)
    assert found.place == place
    assert found.sentence.startswith(sentence)


def test_all_mistakes_are_found() -> None:
    places = [mistake.place for mistake in mistakes(size=[0, 0], name=1, share="x", more=2)]
    assert places == [("size", 0), ("size", 1), ("name",), ("share",), ("more",)]


def test_descriptions_are_one_line_however_they_are_wrapped() -> None:
    assert Outer.model_fields["size"].description == "A list in two lines."
    schema = Outer.model_json_schema()
    assert schema["properties"]["size"]["description"] == "A list in two lines."
    assert schema["description"] == "Different kinds of fields."


def test_sections_and_their_words_are_found_by_path() -> None:
    assert section_at(RunConfig, ("training", "loss")) is LossConfig
    assert section_at(RunConfig, ("training", "epochs")) is None
    assert section_at(RunConfig, ()) is RunConfig
    assert allowed_words(RunConfig, ("training", "optimizer")) == ["adam", "adamw", "sgd", "soap"]
    assert allowed_words(RunConfig, ("training", "compile")) == ["true", "false", "auto"]
    assert allowed_words(RunConfig, ("training", "epochs")) == []
    assert allowed_words(RunConfig, ()) == []

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from lunet_cli.config.base import PlainPath, Section


class Place(Section):
    """Where."""

    path: PlainPath = Path("a")
    """A path."""

    number: float = 1.0
    """A number."""

    choice: bool | int = 0
    """Either."""


class Whole(Section):
    """All."""

    place: Place = Place(number=2)
    """A part."""


@pytest.mark.parametrize(
    ("path", "is_possible"),
    [
        ("a" * 255, True),
        ("a" * 256, False),
        ("ä" * 127, True),  # two bytes each
        ("ä" * 128, False),
        ("/".join(["a" * 99] * 10), True),  # 999 characters
        ("/".join(["a" * 99] * 10) + "/a", False),
        ("a\0b", False),
        ("", True),
    ],
)
def test_paths_are_those_that_a_file_system_can_hold(path: str, is_possible: bool) -> None:
    if is_possible:
        assert Place(path=path).path == Path(path)
        return
    with pytest.raises(ValidationError, match=r"a path cannot|the path is too long"):
        Place(path=path)


def test_yes_and_no_are_not_numbers() -> None:
    with pytest.raises(ValidationError, match=r"found true .YAML reads yes"):
        Place(number=True)
    assert Place(choice=True).choice is True


def test_an_empty_section_has_the_defaults_of_its_class() -> None:
    assert Whole(place=None).place == Place()
    assert Whole().place.number == 2

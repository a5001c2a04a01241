from __future__ import annotations

import pytest

from lunet_cli.engine.data.mistakes import Mistakes
from lunet_cli.errors import ConfigError, DataError


def told(mistakes: Mistakes) -> DataError:
    with pytest.raises(DataError) as caught:
        mistakes.require_none()
    assert caught.value.exit_code == 1
    return caught.value


def test_without_mistakes_nothing_is_raised() -> None:
    mistakes = Mistakes()
    with mistakes.gathering():
        pass
    mistakes.require_none()
    assert not mistakes


def test_gathering_goes_on_behind_what_is_wrong_with_a_case_and_stops_at_our_own_mistakes() -> None:
    mistakes = Mistakes()
    for name in "ab":
        with mistakes.gathering():
            raise ConfigError(name)
    with pytest.raises(ZeroDivisionError), mistakes.gathering():
        _ = 1 / 0
    assert told(mistakes).message == "a\nb"


def test_those_that_are_mended_in_one_way_stand_together_and_do_not_hide_others() -> None:
    mistakes = Mistakes()
    for index in range(30):
        mistakes.add(DataError(f"case {index:02d}: value 2", hint="name it"))
        if index in (7, 9):
            mistakes.add(DataError(f"case {index}: unreadable", hint="copy it"))
    lines = told(mistakes).message.splitlines()
    assert lines[:2] == ["case 00: value 2", "case 01: value 2"]
    assert lines[10:] == ["and 20 more like these", "case 7: unreadable", "case 9: unreadable"]
    assert told(mistakes).hint == "name it copy it"


def test_never_more_than_a_screen() -> None:
    mistakes = Mistakes()
    for index in range(300):
        mistakes.add(DataError(f"case {index}", hint=f"hint {index}."))
    error = told(mistakes)
    assert len(error.message.splitlines()) == 41
    assert error.message.endswith("and more; 300 mistakes in all")
    assert error.hint == "hint 0. hint 1. hint 2."

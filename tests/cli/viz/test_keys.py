"""Keys out of what a terminal sends."""

from __future__ import annotations

import pytest

from lunet_cli.cli.viz.keys import KeySplitter


@pytest.mark.parametrize(
    ("pieces", "keys"),
    [
        (["\x1b[C" * 400], ["right"] * 400),
        (["\x1b", "[C"], ["right"]),
        (["a\x1b[", "6", "~b"], ["a", "page down", "b"]),
        (["\x1bx", "\x1b\x1b[A"], ["\x1bx", "escape", "up"]),
        (["\x1bO", "D"], ["left"]),
        (["\x1b[H"], ["\x1b[H"]),
    ],
)
def test_keys_arrive_whole_in_whatever_pieces(pieces: list[str], keys: list[str]) -> None:
    splitter = KeySplitter()
    assert [key for piece in pieces for key in splitter.feed(piece)] == keys
    assert not splitter.has_begun


def test_escape_is_a_key_when_nothing_follows() -> None:
    splitter = KeySplitter()
    assert splitter.feed("\x1b") == []
    assert splitter.has_begun
    assert splitter.flush() == ["escape"]
    splitter.feed("\x1b[")
    assert splitter.flush() == [], "half an arrow means nothing"

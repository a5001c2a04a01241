from __future__ import annotations

from pathlib import Path

import pytest

from lunet_cli.engine.data.header_text import (
    data_files,
    one_whole_number,
    real_numbers,
    whole_numbers,
)
from lunet_cli.errors import DataError

HEADER = Path("folder/a.mhd")
SIZES = (7, 6, 4, 2)


def test_numbers() -> None:
    assert whole_numbers(HEADER, "sizes", " 7 -6  +4 ") == (7, -6, 4)
    assert one_whole_number(HEADER, "dimension", "3") == 3
    assert real_numbers(HEADER, "spacing", "1, 2.5e0 -3", count=3) == [1.0, 2.5, -3.0]


@pytest.mark.parametrize("text", ["", "1.5", "1e3", "0x10", "9" * 19])
def test_what_is_not_whole_is_refused(text: str) -> None:
    with pytest.raises(DataError, match=r"a\.mhd: .*'sizes' is '.*', not whole numbers"):
        whole_numbers(HEADER, "sizes", text)
    with pytest.raises(DataError):
        one_whole_number(HEADER, "sizes", text)


@pytest.mark.parametrize("text", ["1 2", "1 2 3 4", "1 2 nan", "1 2 inf", "1 2 x", ""])
def test_what_is_not_as_many_finite_numbers_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="not 3 numbers"):
        real_numbers(HEADER, "spacing", text, count=3)


def test_long_texts_are_cut_in_messages() -> None:
    with pytest.raises(DataError) as caught:
        whole_numbers(HEADER, "sizes", "x" * 5000)
    assert f"'{'x' * 57}...'" in caught.value.message


def _names(text: str, names: list[str] | None = None) -> list[str]:
    paths = data_files(HEADER, "data file", text, names=names or [], sizes=SIZES)
    assert {path.parent for path in paths} == {Path("folder")}
    return [path.name for path in paths]


def test_one_file_may_have_any_name() -> None:
    assert _names("two words.raw") == ["two words.raw"]
    assert _names("now 50% smaller.raw") == ["now 50% smaller.raw"]


def test_a_pattern_stands_for_a_file_per_step_of_the_last_axis() -> None:
    assert _names("s%03d.raw 1 2 1") == ["s001.raw", "s002.raw"]
    assert _names("s%d.raw 0 5 5") == ["s0.raw", "s5.raw"]
    assert _names("s%d.raw 8 9") == ["s8.raw", "s9.raw"]


def test_fewer_axes_in_a_file_ask_for_more_files() -> None:
    # With two of four axes in a file, there are 4 x 2 files.
    assert _names("s%d.raw 1 8 1 2") == [f"s{index}.raw" for index in range(1, 9)]
    assert _names("LIST 2", [*"abcdefgh", ""]) == [*"abcdefgh"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("LIST", "names 0 data files, and its sizes ask for 2"),
        ("LIST 9", "is 'LIST 9' for 4 axes"),
        ("LIST two", "not whole numbers"),
        ("s%d.raw 1 3 1", "names 3 data files, and its sizes ask for 2"),
        ("s%d.raw 1 2 0", "names no sensible number of files"),
        ("s%d.raw 0 99999999 1", "names no sensible number of files"),
        ("s%s.raw 1 2 1", "not a pattern with first, last and step"),
        ("s%d-%d.raw 1 2 1", "not a pattern with first, last and step"),
        ("s%9999d.raw 1 2 1", "not a pattern with first, last and step"),
        ("s%d.raw", "not a pattern with first, last and step"),
    ],
)
def test_what_does_not_name_the_files_is_refused(text: str, words: str) -> None:
    with pytest.raises(DataError, match="'data file' ") as caught:
        _names(text)
    assert words in caught.value.message

from __future__ import annotations

import pytest

from lunet_cli.config.names import closest, did_you_mean, dotted, one_line


def test_texts_from_outside_stay_in_one_line() -> None:
    assert one_line("a\nb\x1b[2J") == "a\\nb\\x1b[2J"
    assert one_line("x" * 100) == "x" * 77 + "..."
    assert one_line("Größe") == "Größe"


def test_a_path_of_keys_is_one_line_whatever_the_keys_hold() -> None:
    assert dotted(("training", "patch_size", 1)) == "training.patch_size.1"
    assert dotted(("a\nb", "c")) == "a\\nb.c"
    assert dotted(()) == ""


@pytest.mark.parametrize(
    ("typed", "known", "offered"),
    [
        ("unte", ["unet", "mednext"], ["unet"]),
        ("017", ["case_017", "case_170", "b017"], ["case_017", "b017"]),  # its end, as numbers are
        ("hippo", ["hippocampus_left", "hippocampus_right"], ["hippocampus_left"]),
        ("CASE_1", ["case_1"], ["case_1"]),
    ],
)
def test_known_names_that_are_like_the_typed_one_are_offered(
    typed: str, known: list[str], offered: list[str]
) -> None:
    assert closest(typed, known).startswith(did_you_mean(offered).removesuffix("?"))


def test_nothing_is_offered_where_nothing_is_similar() -> None:
    assert closest("xyz", ["unet", "lunet"]) == ""


def test_at_most_three_names_are_offered() -> None:
    assert closest("7", ["a7", "b7", "c7", "d7"]) == "Did you mean a7, b7, c7?"
    assert did_you_mean([]) == ""

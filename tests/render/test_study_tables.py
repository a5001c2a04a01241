"""Studies of prunings as tables."""

from __future__ import annotations

from dataclasses import replace

from lunet_cli.render.console import PlainConsole
from lunet_cli.render.study_tables import study_table
from lunet_cli.results.studies import StudyResult


def lines_of(study: StudyResult, width: int) -> list[str]:
    console = PlainConsole(width=width)
    with console.capture() as captured:
        console.print(study_table(study))
    return captured.get().splitlines()


def test_networks_at_the_budget_and_paired_differences(study: StudyResult) -> None:
    rows = [line.split() for line in lines_of(study, 120)]
    for row in (
        ["unet_small_4f,", "unpruned", "353,949", "1.909", "0.8850", "0.8800-0.8900", "16.0"],
        ["stamp", "50,000", "0.400", "0.8750", "0.8700-0.8800", "3.5"],
        ["none", "*", "353,949", "1.900", "0.8850", "0.8800-0.8900", "16.0"],
        ["lunet_small_4f,", "from", "scratch", "9,929", "1.136", "0.8750", "0.8700-0.8800"],
        ["stamp", "unpruned", "-0.0100", "-0.0150", "to", "-0.0050", "60", "x", "2"],
        [
            *("random-in-largest", "stamp", "+0.0010", "-0.0020", "to", "+0.0030"),
            *("60", "x", "2", "<", "0.0001"),
        ],
    ):
        assert row in rows
    assert "*: does not come down to the budget; this is its last step." in lines_of(study, 120)


def test_numbers_stay_whole_in_a_narrow_terminal(study: StudyResult) -> None:
    lines = lines_of(study, 80)
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    for number in ("353,949", "0.8700-0.8800", "-0.0150 to -0.0050", "< 0.0001", "60 x 2"):
        assert number in text


def test_without_tests_there_is_no_column_of_p(study: StudyResult) -> None:
    lines = lines_of(replace(study, comparisons=()), 120)
    assert not any(line.split()[-1:] == ["p"] for line in lines)
    assert not any("Wilcoxon" in line for line in lines)

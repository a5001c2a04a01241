"""The commands that repeat what a report tells."""

from __future__ import annotations

from pathlib import Path

from lunet_cli.cli.report import commands_for


def test_commands_name_what_the_report_was_made_of() -> None:
    commands = dict(commands_for(Path("runs/first"), None, None))
    assert commands["measure it"] == "lunet eval runs/first"
    assert commands["train it again"] == (
        "lunet train runs/first/config.yaml --set experiment.name=first_again"
    )


def test_data_and_split_are_passed_on_and_quoted_for_a_shell() -> None:
    commands = dict(commands_for(Path("my runs/first"), Path("d; rm x"), "test"))
    assert commands["look at a case"] == (
        "lunet viz slices 'my runs/first' --data 'd; rm x' --split test --interactive"
    )
    assert commands["make this page"].startswith("lunet report 'my runs/first' --data 'd; rm x'")

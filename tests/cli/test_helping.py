from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from lunet_cli.cli.app import app
from lunet_cli.cli.helping import Job, PlainCommand

LUNET = Path(sys.executable).with_name("lunet")
ROOT = typer.main.get_group(app)


def completions(*words: str) -> list[str]:
    """What a shell is offered where the last word is not finished."""
    environment = os.environ | {
        "_LUNET_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(("lunet", *words)),
        "COMP_CWORD": str(len(words)),
    }
    done = subprocess.run(
        [LUNET], env=environment, capture_output=True, encoding="utf-8", timeout=120
    )
    return done.stdout.split()


@pytest.mark.parametrize("name", list(ROOT.commands))
def test_every_listed_command_is_there(name: str) -> None:
    context = typer.Context(ROOT)
    listed = ROOT.get_command(context, name)
    found_name, found, rest = ROOT.resolve_command(context, [name, "--help"])
    assert (found_name, rest) == (name, ["--help"])
    assert isinstance(found, PlainCommand | TyperGroup)
    assert listed.short_help.endswith(".")
    assert found.help


def test_commands_are_completed_as_in_any_shell() -> None:
    assert completions("ex") == ["export"]
    assert completions("viz", "s") == ["slices"]
    assert completions("train", "--dr") == ["--dry-run"]


def test_a_job_with_commands_behind_its_word_is_completed_as_both() -> None:
    assert completions("prune", "sh") == ["show"]
    assert completions("prune", "--dr") == ["--dry-run"]
    assert completions("prune", "show", "--js") == ["--json"]
    # What was named before is the run; no command can follow it.
    assert completions("prune", "runs/mine", "sh") == []
    assert completions("prune", "runs/mine", "--res") == ["--resume"]


@pytest.mark.parametrize(
    ("words", "is_job"),
    [
        ([], True),
        (["--help"], True),
        (["configs/show.yaml"], True),
        (["./show"], True),
        (["--steps", "3", "show"], True),
        (["show"], False),
        (["to-lean", "--help"], False),
    ],
)
def test_the_first_word_decides_between_job_and_command(words: list[str], is_job: bool) -> None:
    _, found, rest = ROOT.resolve_command(typer.Context(ROOT), ["prune", *words])
    assert isinstance(found, Job) == is_job
    assert rest == words


@pytest.mark.parametrize(
    ("typed", "meant"), [(["predct"], "'predict'"), (["viz", "slces"], "'slices'")]
)
def test_a_mistyped_command_leads_to_the_one_that_is_meant(typed: list[str], meant: str) -> None:
    done = subprocess.run([LUNET, *typed], capture_output=True, encoding="utf-8", timeout=120)
    error, _ = done.stderr.splitlines()
    assert f"Did you mean {meant}" in error
    assert done.returncode == 2

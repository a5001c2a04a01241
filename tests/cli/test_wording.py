from __future__ import annotations

import shlex
from collections.abc import Iterator

import pytest
import typer

from lunet_cli.cli import wording
from lunet_cli.cli.app import app
from lunet_cli.cli.failure import print_error
from lunet_cli.cli.wording import call_also, reworded, speak_of
from lunet_cli.errors import ConfigError
from lunet_cli.results.words import visible


@pytest.fixture(autouse=True)
def _predict_runs() -> Iterator[None]:
    """Let a command run that has these options."""
    token = wording._own_options.set({})
    speak_of(
        [
            ("max_memory_mib", "--max-memory"),
            ("resume", "--resume"),
            ("tta", "--tta"),
            ("path", "--output"),
            ("inputs", "INPUT"),
            ("architectures", "--arch"),
        ]
    )
    yield
    wording._own_options.reset(token)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        # fields, alone and with the value that they should get
        ("`max_memory_mib`: is not a size", "--max-memory: is not a size"),
        ("raise `max_memory_mib`, or leave `tta` out", "raise --max-memory, or leave --tta out"),
        ("`inputs`: there is no such folder", "INPUT: there is no such folder"),
        ("go on with `resume=auto`.", "go on with --resume auto."),
        ("(`tta=True`)", "(--tta)"),
        ("`weights=int8` needs volumes", "--int8 needs volumes"),
        ("`export(RUN, weights=fp16)`", "lunet export RUN --half"),
        ("`architecture=unet`: is not a preset", "--arch unet: is not a preset"),
        ("`sizes`[0]: is missing", "sizes[0]: is missing"),
        ("`path`[0]: is missing", "--output[0]: is missing"),
        # keys of a configuration
        ("raise it: `training.epochs=20`", "raise it: --set training.epochs=20"),
        (
            "`data.split.val_fraction=0.5` helps",
            "--set data.split.val_fraction=0.5 helps",
        ),
        ("Choose another `experiment.name`.", "Choose another experiment.name."),
        # jobs
        ("`train(CONFIG)` makes it", "lunet train CONFIG makes it"),
        ("`evaluate(RUN, data=FOLDER)`", "lunet eval RUN --data FOLDER"),
        ("`score(PREDICTIONS, REFERENCES)`", "lunet score PREDICTIONS REFERENCES"),
        ("`viz_network(CHECKPOINT)`", "lunet viz network CHECKPOINT"),
        ("`benchmark(..., save=FILE)` writes it", "lunet bench ... --save FILE writes it"),
        ("`compare(RUN, RUN, json=True)`", "lunet compare RUN RUN --json"),
        ("`evaluate(RUN, tolerance_mm=2)`", "lunet eval RUN --tolerance 2"),
        ("`predict(RUN, batch_size=1)`", "lunet predict RUN --batch-size 1"),
        ("`train(CONFIG, training.epochs=3)`", "lunet train CONFIG --set training.epochs=3"),
        ("`report()`", "lunet report"),
        # several, and none
        ("`tta`, `resume=True`, `train(A)`", "--tta, --resume, lunet train A"),
        ("runs/a: there is no such folder", "runs/a: there is no such folder"),
        ("training.epochs: expected at least 1", "training.epochs: expected at least 1"),
        ("", ""),
    ],
)
def test_fields_keys_and_jobs_are_told_as_they_are_written(said: str, told: str) -> None:
    assert reworded(said) == told


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("`resume=/my runs/a`", ["--resume", "/my runs/a"]),
        ("`resume=it's`", ["--resume", "it's"]),
        ("`resume=$(rm -r x); y`", ["--resume", "$(rm -r x); y"]),
        ("`data.root=/my data`", ["--set", "data.root=/my data"]),
        ("`labels.left lung=1`", ["--set", "labels.left lung=1"]),
        ("`training.patch_size=[32, 32, 32]`", ["--set", "training.patch_size=[32, 32, 32]"]),
        ("`evaluate(/my runs/a, data=a;b)`", ["lunet", "eval", "/my runs/a", "--data", "a;b"]),
        ("`train(CONFIG, data.root=a b)`", ["lunet", "train", "CONFIG", "--set", "data.root=a b"]),
    ],
)
def test_values_arrive_whole_when_the_line_is_copied_to_a_shell(
    said: str, words: list[str]
) -> None:
    assert shlex.split(reworded(said)) == words


@pytest.mark.parametrize(
    "name",
    [
        "a`b",
        "a`b`c.nii.gz",
        "`",
        "``",
        "`tumour`",
        "`not_a_field=3`",
        "a`max_memory_mib`b",
        "x`tta=True`y",
        "`tta=a`b`",
        "`rm(-r, x)`",
        "`mask.nii=2`",
        "`run.yaml`",
        "`load_model(PATH)`",
        "`a\nb`",
        "$(`date`)",
    ],
)
def test_names_of_strangers_stay_as_they_are(name: str) -> None:
    for text in (name, f"{name}: cannot be read", f"there is no case {name}"):
        assert reworded(text) == text
        assert reworded(f"{text}: raise `max_memory_mib`") == f"{text}: raise --max-memory"


def test_names_of_strangers_have_no_power_over_the_screen(
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = "\x1b[2J`a\n`\u202eb"
    print_error(ConfigError(f"{name}: is not a case", hint="Leave `tta` out."))
    told, hint = capsys.readouterr().err.splitlines()
    assert told == f"error: {visible(name)}: is not a case"
    assert hint == "hint:  Leave --tta out."


def test_without_a_command_that_runs_fields_stay_fields() -> None:
    speak_of([])
    text = "`max_memory_mib`: is not a size; `resume=auto`"
    assert reworded(text) == "max_memory_mib: is not a size; `resume=auto`"
    assert reworded("`training.epochs=20`") == "--set training.epochs=20"


def test_every_job_has_its_command() -> None:
    group = typer.main.get_group(app)
    for command in wording._JOBS.values():
        context = group.make_context("lunet", command.split(), resilient_parsing=True)
        found, rest = group, command.split()
        while rest:
            _, found, rest = found.resolve_command(context, rest)
        assert found.callback is not None or found.commands, command


def test_an_option_may_stand_for_a_key() -> None:
    call_also("experiment.name", "--name")
    said = "`experiment.name=a_2`, another `experiment.name`"
    assert reworded(said) == "--name a_2, another --name"

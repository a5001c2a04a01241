"""`lunet prune` as a person meets it."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lunet_cli.cli.prune.job import _read
from lunet_cli.config.load import load_config
from lunet_cli.config.run import RunConfig
from lunet_cli.engine.run_folder import RunFolder
from lunet_cli.results.pruning import PruneResult

CallLunet = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def pruned(tmp_path: Path, pruning_steps) -> Path:
    """The folder of a pruning that is under way; with a margin of 0.01, step 3 is chosen."""
    run = tmp_path / "runs" / "mine_stamp"
    run.mkdir(parents=True)
    folder = RunFolder(run)
    folder.write_pruning(pruning_steps(0.0, 0.01, 0.005, -0.05))
    settings = ["experiment.name=mine_stamp", "model.architecture=unet_small_1f", "labels={a: 1}"]
    folder.write_config(load_config(None, settings))
    return run


def test_the_help_has_both_ways_to_call_it(tmp_path: Path, call_lunet: CallLunet) -> None:
    asked = call_lunet("prune", "--help", cwd=tmp_path)
    alone = call_lunet("prune", cwd=tmp_path)
    assert asked.returncode == alone.returncode == 0
    assert asked.stdout == alone.stdout
    usage, commands, *_ = asked.stdout.splitlines()
    assert usage == "Usage: lunet prune [OPTIONS] {CONFIG|RUN}"
    assert commands == "       lunet prune COMMAND [ARGS]..."
    for words in ("--strategy", "--resume", "Commands:", "  show ", "  to-lean "):
        assert words in asked.stdout
    assert max(map(len, asked.stdout.splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (
            ["shwo", "runs/a"],
            "shwo: is not a run folder, a configuration or a command. Did you mean show?",
            "All commands: lunet prune --help",
        ),
        (
            ["./show"],
            "show: is not a run folder, a configuration or a command. Did you mean show?",
            "All commands: lunet prune --help",
        ),
        (
            ["quickstart", "--margin", "0.02", "--criterion", "l1"],
            "there is no option --margin, --criterion",
            "Set a key of the configuration like this: "
            "--set pruning.margin=0.02 --set pruning.criterion=l1",
        ),
        (
            ["quickstart", "--step", "3"],
            "there is no option --step",
            "Did you mean --steps?",
        ),
        (
            ["quickstart", "show"],
            "there is one argument too many: show",
            "Set a key of the configuration like this: --set training.epochs=20",
        ),
        (["quickstart", "--strategy", "stmp"], "invalid value for '--strategy': 'stmp'", ""),
        (["show"], "missing argument 'RUN'", "All options: lunet prune show --help"),
        (["--steps", "3"], "missing argument 'CONFIG|RUN'", "All options: lunet prune --help"),
        (["show", "runs", "--margin", "2"], "--margin 2: is not a difference of Dice", ""),
        (["show", "runs", "--json", "-o", "a.png"], "--json and -o: choose one", ""),
        (["show", "runs", "-o", "a.txt"], "-o a.txt: is not a picture", ""),
        (["to-lean", "lunet_small_4f", "-o", "a.txt"], "-o a.txt: is not a configuration", ""),
        (
            ["to-lean", "unet_small_4f", "--parameters", "500"],
            "--parameters 500: lunet_small_1f, the narrowest, has 686 parameters",
            "",
        ),
    ],
)
def test_what_cannot_be_meant_ends_with_a_line_and_a_hint(
    arguments: list[str], error: str, hint: str, tmp_path: Path, call_lunet: CallLunet
) -> None:
    done = call_lunet("prune", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    lines = [line for line in done.stderr.splitlines() if not line.startswith("configuration: ")]
    assert lines[0].startswith(f"error: {error}")
    if hint:
        assert lines[1:] == [f"hint:  {hint}"]


def test_what_is_not_a_run_that_can_be_pruned_is_told(
    tmp_path: Path, pruned: Path, call_lunet: CallLunet
) -> None:
    for name, lacks in (("runs", "config.yaml"), ("runs/mine_stamp", "best_model.pt")):
        done = call_lunet("prune", name, cwd=tmp_path)
        told = f"error: {name}: is not the folder of a training: it has no {lacks}"
        assert done.stderr.startswith(told)
        assert done.returncode == 1
    (tmp_path / "a.pt").touch()
    done = call_lunet("prune", "a.pt", cwd=tmp_path)
    assert done.stderr == f"error: a.pt: is a checkpoint\nhint:  Name its run folder: {tmp_path}\n"


def test_a_dry_run_lists_layers_and_writes_nothing(tmp_path: Path, call_lunet: CallLunet) -> None:
    options = ("--dry-run", "--steps", "3", "--set", "pruning.channels_per_step=2")
    done = call_lunet("prune", "quickstart", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "upsamples.0" in done.stdout
    assert "and 6 would be." in done.stdout
    assert [*tmp_path.iterdir()] == []


@pytest.mark.slow
def test_a_run_is_pruned_and_shown(
    tmp_path: Path, trained_run: Path, call_lunet: CallLunet
) -> None:
    place = ("--set", "experiment.output_dir=runs")
    command = ("prune", trained_run, "--steps", "2", "--strategy", "random-in-largest", *place)
    done = call_lunet(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs" / "short_random-in-largest"
    steps = RunFolder(run).read_pruning()
    # A lunet_small_4f has 22 layers of 4 channels.
    assert [sum(step.widths.values()) for step in steps] == [88, 87, 86]
    rows = [line.split() for line in done.stderr.splitlines() if line.startswith((" 1/2", " 2/2"))]
    assert [row[5] for row in rows] == [f"{step.parameters:,}" for step in steps[1:]]
    assert "finished (all 2 steps are done)" in done.stdout
    assert f"lunet prune show {run.relative_to(tmp_path)}" in done.stdout
    shown = json.loads(call_lunet("prune", "show", run, "--json", cwd=tmp_path).stdout)
    assert (shown["strategy"], shown["is_finished"]) == ("random-in-largest", True)
    again = call_lunet(*command, "--resume", "auto", cwd=tmp_path)
    assert again.returncode == 2
    assert "has done 2 already" in again.stderr


def test_what_was_interrupted_tells_how_to_go_on(
    tmp_path: Path,
    trained_run: Path,
    pruning_steps,
    call_lunet: CallLunet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = {}

    def interrupted(config: RunConfig, **settings: object) -> PruneResult:
        asked.update(settings, config=config)
        return PruneResult(
            run_dir=Path("runs/a"),
            outcome="interrupted",
            reason="",
            architecture="lunet_small_4f",
            num_parameters=1000,
            steps=pruning_steps(0.0),
            chosen=None,
            seconds=1.0,
            signal=2,
        )

    monkeypatch.setattr("lunet_cli.engine.pruning.prune.prune", interrupted)
    settings = ("--set", "experiment.name=a", "--set", "pruning.protect=[head.*]")
    done = call_lunet("prune", trained_run, "--steps", "5", *settings, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (130, "")
    stopped, command = done.stderr.splitlines()
    assert stopped == "Stopped; the state is saved in runs/a. Go on with:"
    assert command.split("prune ")[1] == (
        f"{trained_run} --set=experiment.name=a '--set=pruning.protect=[head.*]'"
        " --set=pruning.steps=5 --resume auto"
    )
    assert asked["start"] == trained_run / "best_model.pt"
    config = asked["config"]
    assert isinstance(config, RunConfig)
    assert (config.experiment.name, config.pruning.steps) == ("a", 5)
    assert config.pruning.protect == ("head.*",)


@pytest.mark.parametrize("is_inside", [False, True])
def test_what_is_made_lies_beside_the_run(
    is_inside: bool, tmp_path: Path, trained_run: Path
) -> None:
    # It has moved, and its configuration tells of another place.
    run = Path(shutil.copytree(trained_run, tmp_path / "other place" / "short"))
    with contextlib.chdir(run):
        config, start = _read(Path() if is_inside else run, [])
        assert start.samefile(run / "best_model.pt")
    assert RunFolder.of(config).path == run.with_name("short_stamp")
    # It is called as its folder is, wherever that was made.
    renamed, _ = _read(run.rename(run.with_name("1_0")), [])
    assert renamed.experiment.name == "1_0_stamp"
    run = run.with_name("1_0").rename(run)
    elsewhere, _ = _read(run, ["experiment.output_dir=b"])
    assert RunFolder.of(elsewhere).path == Path("b/short_stamp")


def test_show_draws_while_the_pruning_runs(
    tmp_path: Path, pruned: Path, call_lunet: CallLunet
) -> None:
    done = call_lunet("prune", "show", pruned, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("mine_stamp: 12 channels in 2 layers, 8 at the end\n")
    assert "chosen: step 3" in done.stdout
    assert "+0.0050 to +0.0050" in done.stdout
    assert "\x1b" not in done.stdout
    strict = call_lunet("prune", "show", pruned, "--margin", "0.001", cwd=tmp_path)
    assert "chosen: step 2" in strict.stdout


@pytest.mark.parametrize(
    ("suffix", "start"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")]
)
def test_show_writes_pictures(
    suffix: str, start: bytes, tmp_path: Path, pruned: Path, call_lunet: CallLunet
) -> None:
    done = call_lunet("prune", "show", pruned, "-o", f"a{suffix}", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"a{suffix}\n")
    assert (tmp_path / f"a{suffix}").read_bytes().startswith(start)


def test_show_gives_scripts_every_step(tmp_path: Path, pruned: Path, call_lunet: CallLunet) -> None:
    done = call_lunet("prune", "show", pruned, "--json", cwd=tmp_path)
    assert "NaN" not in done.stdout
    shown = json.loads(done.stdout)
    assert (shown["run"], shown["strategy"], shown["margin"]) == ("mine_stamp", "stamp", 0.01)
    assert (shown["best_step"], shown["is_finished"]) == (2, False)
    assert [step["parameters"] for step in shown["steps"]] == [1000, 900, 800, 700, 600]
    assert shown["steps"][0]["val_dice_before"] is None
    assert shown["chosen"]["step"] == 3
    assert shown["chosen"]["removed"] == [{"layer": "encoders.1.0", "channel": 5, "score": 0.25}]
    assert shown["chosen"]["from_best"]["mean"] == pytest.approx(-0.005)
    assert shown["last"]["width_ratio"] == 1.0


def test_a_run_that_was_not_pruned_is_told(tmp_path: Path, call_lunet: CallLunet) -> None:
    done = call_lunet("prune", "show", tmp_path, cwd=tmp_path)
    assert done.stderr == (
        f"error: {tmp_path}: was not pruned: it has no pruning.csv\n"
        "hint:  lunet prune RUN writes it.\n"
    )
    assert done.returncode == 1


def test_the_flat_network_is_a_configuration_that_trains(
    tmp_path: Path, pruned: Path, call_lunet: CallLunet
) -> None:
    done = call_lunet("prune", "to-lean", pruned, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "mine_stamp_lean.yaml: lunet_small_1f for 1 image channel and 1 output channel",
        f"686 parameters of at most 700 (those of step 3 of {pruned})",
        "train it: lunet train mine_stamp_lean.yaml",
    ]
    assert load_config(tmp_path / "mine_stamp_lean.yaml").experiment.name == "mine_stamp_lean"
    again = call_lunet("prune", "to-lean", pruned, cwd=tmp_path)
    assert again.stderr.startswith("error: mine_stamp_lean.yaml: is there already")
    assert again.returncode == 1
    named = call_lunet("prune", "to-lean", "unet_small_4f", "-o", "b.yaml", cwd=tmp_path)
    assert "347,089 parameters of at most 353,949 (those of unet_small_4f)" in named.stdout

"""From a trained network to a smaller one that is as good."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lunet_cli.config.load import load_config
from lunet_cli.config.options import BenchOptions, ShrinkOptions
from lunet_cli.config.presets import parse_preset
from lunet_cli.config.pruning import PruningConfig
from lunet_cli.engine.checkpoints.models import load_model
from lunet_cli.engine.networks import count_parameters
from lunet_cli.engine.pruning import shrink as module
from lunet_cli.engine.pruning.pruner import channels_of_step, count_removable
from lunet_cli.engine.pruning.shrink import shrink
from lunet_cli.engine.run_folder import RunFolder
from lunet_cli.errors import ConfigError, DataError, ExportError
from lunet_cli.results.benchmarking import BenchResult, BenchRow
from lunet_cli.results.events import Event, WarningIssued

# Half of the channels in one step, and an epoch to recover.
QUICK = ("pruning.channels_per_step=0.5", "pruning.steps=1")


@pytest.fixture
def run(tmp_path: Path, trained_run: Path) -> Path:
    """The folder of a training, and nothing beside it."""
    return Path(shutil.copytree(trained_run, tmp_path / "mine"))


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch, make_row: Callable[..., BenchRow]) -> list[BenchOptions]:
    """What was asked to be timed; nothing is, and the second network takes twice as long."""
    asked: list[BenchOptions] = []

    def benchmark(options: BenchOptions, **_: object) -> BenchResult:
        asked.append(options)
        rows = []
        for number, path in enumerate(options.targets, start=1):
            row = make_row("lunet_small_4f", "onnx", "fp32", scale=float(number))
            rows.append(replace(row, source=str(path)))
        return BenchResult(tuple(rows), (), (), "", {}, "")

    monkeypatch.setattr(module, "benchmark", benchmark)
    return asked


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_the_smaller_network_is_in_a_run_folder_of_its_own(
    run: Path, timed: list[BenchOptions]
) -> None:
    before = files_of(run)
    events: list[Event] = []
    result = shrink(run, ShrinkOptions(margin=1), overrides=QUICK, on_event=events.append)
    assert files_of(run) == before
    found = result.comparison
    assert found is not None
    assert found.is_smaller
    # 22 layers of 4 channels: each can spare 3, and half of these go.
    assert (found.before.num_channels, found.after.num_channels) == (88, 88 - 33)
    small = load_model(result.pruning.run_dir)
    assert result.pruning.run_dir == run.with_name("mine_small")
    assert found.after.parameters == count_parameters(small.network)
    assert found.after.size_bytes == small.path.stat().st_size
    # The reference is the network of the run, measured as it was when it was trained.
    assert found.before.dice == pytest.approx(RunFolder(run).read_summary().best.val_dice, abs=0.02)
    assert found.difference.mean == pytest.approx(found.after.dice - found.before.dice)
    (asked,) = timed
    assert asked.targets == (found.before.path, found.after.path)
    assert (asked.runtimes, asked.batch_sizes, asked.sizes) == (("auto",), (2,), (small.window,))
    assert found.batch == (2, 1, *small.window)
    first, second = found.before.pass_time, found.after.pass_time
    assert second.milliseconds == pytest.approx(2 * first.milliseconds)
    assert first.how == second.how == "onnx fp32 on cpu"
    warnings = [str(event) for event in events if isinstance(event, WarningIssued)]
    assert any("validation cases: with fewer than 20, confidence" in text for text in warnings)


def test_its_settings_are_those_of_the_training_but_for_the_pruning(
    run: Path, timed: list[BenchOptions]
) -> None:
    # A name that YAML would take for a number.
    shrink(run, ShrinkOptions(margin=1, name="1_2"), overrides=QUICK)
    before, after = (load_config(folder / "config.yaml") for folder in (run, run.with_name("1_2")))
    # 6 epochs: a twentieth of them is begun at least.
    assert after.pruning == PruningConfig(
        strategy="largest-l1",
        channels_per_step=0.5,
        steps=1,
        recovery_epochs=1,
        # Of 0.03.
        learning_rate=0.009,
        targeted_dropout=0,
        protect=(),
        margin=1,
        reference="unpruned",
        patience=3,
        distillation=0.5,
    )
    changed = {"experiment", "pruning"}
    assert after.model_dump(exclude=changed) == before.model_dump(exclude=changed)


def test_a_training_without_schedule_gets_one_for_the_recovery_alone(
    run: Path, timed: list[BenchOptions]
) -> None:
    settings = (*QUICK, "training.scheduler=none", "training.learning_rate=0.01")
    small = shrink(run, ShrinkOptions(margin=1), overrides=settings).pruning.run_dir
    pruning = load_config(small / "config.yaml").pruning
    assert (pruning.scheduler, pruning.learning_rate) == ("cosine", 0.003)
    fresh = load_config(small / "pruned.yaml")
    assert (fresh.training.scheduler, fresh.pruning.scheduler) == ("none", None)


def test_it_goes_on_with_the_margin_that_it_was_begun_with(
    run: Path, timed: list[BenchOptions]
) -> None:
    first = shrink(run, ShrinkOptions(margin=1), overrides=QUICK).pruning
    more = (QUICK[0], "pruning.steps=2")
    with pytest.raises(ConfigError, match=r"pruning\.margin: 0\.5, and .* was begun with 1"):
        shrink(run, ShrinkOptions(margin=0.5), overrides=more, resume="auto")
    second = shrink(run, ShrinkOptions(margin=1), overrides=more, resume="auto").pruning
    assert second.steps[:2] == first.steps
    assert second.chosen.step == 2


def test_where_nothing_may_go_the_network_stays_and_nothing_is_timed(
    run: Path, timed: list[BenchOptions]
) -> None:
    settings = (
        "pruning.channels_per_step=0.95",
        "pruning.recovery_batches=1",
        "pruning.patience=1",
    )
    result = shrink(run, ShrinkOptions(margin=0.001), overrides=settings)
    found = result.comparison
    assert found is not None
    assert not found.is_smaller
    assert (found.before.parameters, found.before.dice) == (
        found.after.parameters,
        found.after.dice,
    )
    assert found.nearest.mean == pytest.approx(
        result.pruning.steps[1].val_dice - result.pruning.steps[0].val_dice
    )
    assert result.pruning.outcome == "stopped early"
    assert timed == []


def test_without_times_the_network_is_told_still(run: Path, monkeypatch) -> None:
    def fail(*_: object, **__: object) -> BenchResult:
        raise ExportError("there is no room")

    monkeypatch.setattr(module, "benchmark", fail)
    events: list[Event] = []
    result = shrink(run, ShrinkOptions(margin=1), overrides=QUICK, on_event=events.append)
    assert result.comparison.is_smaller
    assert result.comparison.after.pass_time is None
    assert "warning: the networks are not timed: there is no room" in map(str, events)


def test_what_cannot_be_shrunk_is_told_before_anything_is_written(
    tmp_path: Path, run: Path
) -> None:
    with pytest.raises(DataError, match=r"best_model\.pt: is a file") as caught:
        shrink(run / "best_model.pt")
    assert caught.value.hint.endswith(str(run))
    with pytest.raises(DataError, match=r"is not the folder of a training: it has no config\.yaml"):
        shrink(tmp_path)
    with pytest.raises(ConfigError, match=r"pruning\.margin: is the option `margin`"):
        shrink(run, overrides=["pruning.margin=0.1"])
    with pytest.raises(ConfigError, match=r"`name` and experiment\.name"):
        shrink(run, ShrinkOptions(name="b"), overrides=["experiment.name=c"])
    with pytest.raises(ConfigError, match=r"`margin`: expected at most 1\.0, found 2"):
        ShrinkOptions(margin=2)
    with pytest.raises(DataError, match="gone"):
        shrink(run, overrides=[f"data.root={tmp_path / 'gone'}"])
    strange = run.rename(tmp_path / "my run")
    with pytest.raises(ConfigError, match="`name`: expected a name of letters"):
        shrink(strange)
    assert [path.name for path in tmp_path.iterdir()] == ["my run"]


def test_cases_that_cannot_judge_are_refused(tmp_path: Path, run: Path) -> None:
    with pytest.raises(DataError, match="has 1 validation case, and a confidence"):
        shrink(run, overrides=["data.split.val_fraction=0.01"])
    with pytest.raises(DataError, match="of its validation case") as caught:
        shrink(run, overrides=["data.split.fold=3", "data.split.val_fraction=null"])
    assert "the data or their division have changed" in caught.value.message
    assert not (tmp_path / "mine_small").exists()


def test_a_share_of_the_channels_is_a_number_of_them() -> None:
    spec = parse_preset("unet_small_1f").spec
    every = PruningConfig(protect=(), channels_per_step=0.1)
    widths = (1, 1, 2, 2, 4, 4, 8, 8, 16, 16, 8, 8, 8, 4, 4, 4, 2, 2, 2, 1, 1, 1)
    assert count_removable(spec, every) == sum(widths) - len(widths)
    assert channels_of_step(every, 85) == 8
    assert channels_of_step(every, 2) == 1
    assert channels_of_step(PruningConfig(channels_per_step=3), 85) == 3

"""The job `prune` as a whole: what it removes, what it writes, and what ends it."""

from __future__ import annotations

import json
import math
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lunet_cli.config.layers import layers, widths_of
from lunet_cli.config.load import load_config
from lunet_cli.config.network_cost import count_conv_flops, count_parameters
from lunet_cli.engine.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from lunet_cli.engine.checkpoints.models import load_model
from lunet_cli.engine.evaluation.non_inferiority import non_inferiority
from lunet_cli.engine.inference.predictor import Predictor
from lunet_cli.engine.pruning.prune import prune
from lunet_cli.engine.run_folder import RunFolder
from lunet_cli.engine.training.state import TrainState
from lunet_cli.errors import TrainingError
from lunet_cli.records.checkpoint import Modes
from lunet_cli.results.events import Event, Notice
from lunet_cli.results.pruning import ChannelsRemoved, PruningStepDone
from lunet_cli.results.training import EpochDone, StepDone

FILES = {
    "best_model.pt",
    "channels.csv",
    "checkpoint_step000.pt",
    "config.yaml",
    "history.csv",
    "last.pt",
    "manifest.json",
    "pruned.yaml",
    "pruning.csv",
    "pruning_cases.csv",
    "train.log",
    "training.json",
}


def test_tables_and_checkpoints_agree(runs: Any, pruned: Path) -> None:
    assert {path.name for path in pruned.iterdir()} == FILES | {"checkpoint_step002.pt"}
    steps, cases = runs.rows(pruned / "pruning.csv"), runs.rows(pruned / "pruning_cases.csv")
    channels = runs.rows(pruned / "channels.csv")
    assert [row["step"] for row in steps] == [row["step"] for row in channels] == list("0123")
    manifest = json.loads((pruned / "manifest.json").read_text())
    assert [row["case"] for row in cases] == manifest["split"]["val"] * 4
    assert len(cases) == 8
    assert len(runs.rows(pruned / "history.csv")) == 3
    spec = load_checkpoint(pruned / "checkpoint_step000.pt").card.network
    before = widths_of(spec)
    for number, (row, line) in enumerate(zip(steps, channels, strict=True)):
        now = {name: int(width) for name, width in line.items() if name != "step"}
        removed = [name for name in row["layers"].split(";") if name]
        assert len(removed) == (9 if number else 0)
        assert now == {name: width - removed.count(name) for name, width in before.items()}
        for name, index in zip(removed, row["channels"].split(";"), strict=False):
            assert 0 <= int(index) < before[name]
        dice = [float(case["dice"]) for case in cases if case["step"] == row["step"]]
        assert sum(dice) / len(dice) == pytest.approx(float(row["val_dice"]), abs=1e-12)
        before = now
        for name in ("checkpoint_step002.pt",) * (number == 2) + ("last.pt",) * (number == 3):
            card = load_checkpoint(pruned / name).card
            assert widths_of(card.network) == now
            assert count_parameters(card.network) == int(row["parameters"])
            assert count_conv_flops(card.network) == int(row["flops"])


def test_pruned_networks_do_not_keep_what_was_measured_of_another(
    runs: Any, trained: Path, tmp_path: Path
) -> None:
    measured = Modes(windows=0.5, one_pass=0.5, share_larger=1.0)
    start = tmp_path / "best_model.pt"
    save_checkpoint(replace(load_checkpoint(trained / "best_model.pt"), modes=measured), start)
    settings = ("pruning.steps=1", "training.epochs=1", "pruning.margin=1")
    folder = prune(runs.tiny(tmp_path, "pruned", *settings), start=start).run_dir
    for path in folder.glob("*.pt"):
        assert load_checkpoint(path).modes is None
    assert Predictor.load([folder]).window is None
    assert Predictor.load([start]).window == "stream"


def test_chosen_step_is_the_best_model_and_the_configuration(runs: Any, pruned: Path) -> None:
    steps = RunFolder(pruned).read_pruning()
    # With a margin of 1, that is always the smallest.
    best = load_checkpoint(pruned / "best_model.pt")
    assert widths_of(best.card.network) == steps[3].widths
    last = load_checkpoint(pruned / "last.pt")
    for name, tensor in last.weights.items():
        assert torch.equal(best.weights[name], tensor)
    config = load_config(pruned / "pruned.yaml")
    assert config.model.widths == tuple(steps[3].widths.values())
    assert config.experiment.name == "pruned_fresh"
    summary = json.loads((pruned / "training.json").read_text())
    assert summary["num_parameters"] == steps[3].parameters
    assert summary["best"]["epoch"] == 3
    assert summary["best"]["val_dice"] == steps[3].val_dice
    manifest = json.loads((pruned / "manifest.json").read_text())
    assert manifest["num_parameters"] == steps[0].parameters


def test_it_begins_with_the_network_of_a_run(runs: Any, trained: Path, pruned: Path) -> None:
    first, model = load_checkpoint(pruned / "checkpoint_step000.pt"), load_model(trained)
    assert model.network.state_dict().keys() == first.weights.keys()
    for name, tensor in model.network.state_dict().items():
        assert torch.equal(first.weights[name], tensor)
    summary = json.loads((trained / "training.json").read_text())
    assert summary["best"]["val_dice"] > 0
    step = RunFolder(pruned).read_pruning()[0]
    assert step.val_dice == summary["best"]["val_dice"]
    assert step.val_loss == pytest.approx(summary["best"]["val_loss"], rel=1e-6)


def test_a_pruned_network_is_pruned_on(runs: Any, pruned: Path, tmp_path: Path) -> None:
    settings = ("pruning.steps=1", "pruning.recovery_epochs=0", "pruning.protect=[]")
    result = prune(runs.tiny(tmp_path, "further", *settings), start=pruned)
    ended = RunFolder(pruned).read_pruning()[-1]
    assert result.steps[0].widths == ended.widths
    assert result.steps[0].dice_per_case == ended.dice_per_case
    assert result.num_parameters == ended.parameters


def test_what_is_told(runs: Any, trained: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    result = prune(
        runs.tiny(tmp_path, "told", "pruning.recovery_epochs=2", "pruning.steps=1"),
        start=trained,
        on_event=events.append,
    )
    kinds = [type(event) for event in events if not isinstance(event, StepDone)]
    rest = [PruningStepDone, ChannelsRemoved, EpochDone, EpochDone, PruningStepDone, Notice]
    assert kinds[-len(rest) :] == rest
    steps = [(event.epoch, event.step) for event in events if isinstance(event, StepDone)]
    assert steps == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert any(f"starting with {trained / 'best_model.pt'}" in str(event) for event in events)
    assert str(events[-1]) == "pruning ends: all 1 step are done"
    assert result.outcome == "finished"
    assert (tmp_path / "told/train.log").read_text().count("removed channel") == 1


def test_warm_up_trains_before_the_first_step(runs: Any, tmp_path: Path) -> None:
    events: list[Event] = []
    config = runs.tiny(tmp_path, "warm", "pruning.warmup_epochs=2", "pruning.steps=1")
    result = prune(config, on_event=events.append)
    history = runs.rows(tmp_path / "warm/history.csv")
    assert [row["epoch"] for row in history] == ["1", "2", "3"]
    assert float(history[1]["val_dice"]) == result.steps[0].val_dice
    assert float(history[2]["val_dice"]) == result.steps[1].val_dice
    assert math.isnan(result.steps[0].val_dice_before)
    assert load_checkpoint(tmp_path / "warm/checkpoint_step000.pt").epoch == 2


def test_same_seed_gives_the_same_pruning(runs: Any, tmp_path: Path) -> None:
    settings = ("pruning.steps=1", "pruning.strategy=random-in-layer", "augmentation.enabled=true")
    for folder in ("a", "b"):
        prune(runs.tiny(tmp_path / folder, "run", *settings))
    runs.assert_same_run(tmp_path / "a/run", tmp_path / "b/run")


@pytest.mark.parametrize(
    "architecture", ["lunet_small_2f", "unetpp_small_1f", "lunetpp_small_2f", "mednext_small"]
)
def test_every_family_is_pruned(runs: Any, tmp_path: Path, architecture: str) -> None:
    settings = (f"model.architecture={architecture}", "pruning.steps=1",
                "pruning.scoring_batches=1")  # fmt: skip
    result = prune(runs.tiny(tmp_path, "run", *settings))
    before, after = result.steps
    assert sum(before.widths.values()) - sum(after.widths.values()) == 3
    for channel in after.removed:
        assert after.widths[channel.layer] < before.widths[channel.layer]
        assert not channel.layer.startswith(("upsamples", "head"))
    spec = load_checkpoint(tmp_path / "run/last.pt").card.network
    assert after.parameters == count_parameters(spec) < before.parameters


@pytest.mark.parametrize(
    ("strategy", "criterion"),
    [
        ("stamp", "l1-std"),
        ("random-in-layer", "l2"),
        ("random-in-largest", "random"),
        ("largest-l1", "taylor"),
    ],
)
def test_strategies(
    runs: Any, trained: Path, tmp_path: Path, strategy: str, criterion: str
) -> None:
    settings = (f"pruning.strategy={strategy}", f"pruning.criterion={criterion}",
                "pruning.recovery_epochs=0", "pruning.steps=1")  # fmt: skip
    result = prune(runs.tiny(tmp_path, "run", *settings), start=trained)
    before, after = result.steps
    assert len(after.removed) == 3
    scores = [channel.score for channel in after.removed]
    assert all(score >= 0 for score in scores)
    if strategy == "stamp":
        assert scores == sorted(scores)
    if strategy in ("random-in-largest", "largest-l1"):
        # The two layers of the bottleneck have 32 channels each, twice as many as any other.
        assert before.widths["encoders.4.0"] == max(before.widths.values()) == 32
        assert {channel.layer for channel in after.removed} <= {"encoders.4.0", "encoders.4.1"}


def test_none_is_a_control_that_removes_nothing(runs: Any, trained: Path, tmp_path: Path) -> None:
    result = prune(runs.tiny(tmp_path, "run", "pruning.strategy=none"), start=trained)
    assert result.outcome == "finished"
    assert [step.removed for step in result.steps] == [(), (), ()]
    assert result.steps[2].widths == result.steps[0].widths
    assert result.steps[1].val_dice_before == result.steps[0].val_dice
    assert len(runs.rows(tmp_path / "run/history.csv")) == 2


def test_without_recovery_nothing_is_trained(runs: Any, trained: Path, tmp_path: Path) -> None:
    settings = ("pruning.recovery_epochs=0", "pruning.targeted_dropout=0", "pruning.margin=1")
    result = prune(runs.tiny(tmp_path, "run", *settings), start=trained)
    for step in result.steps[1:]:
        assert (step.val_loss, step.val_dice) == (step.val_loss_before, step.val_dice_before)
    assert runs.rows(tmp_path / "run/history.csv") == []
    first, last = (
        load_checkpoint(tmp_path / "run" / name) for name in ("checkpoint_step000.pt", "last.pt")
    )
    theirs = set(first.weights["head.1.weight"].flatten().tolist())
    assert set(last.weights["head.1.weight"].flatten().tolist()) <= theirs
    # Dropout is that of the configuration.
    assert {layer.dropout for layer in layers(last.card.network)} == {0.05, None}
    summary = json.loads((tmp_path / "run/training.json").read_text())
    assert summary["best"] is None


def test_layers_that_will_lose_channels_get_more_dropout(runs: Any, pruned: Path) -> None:
    dropouts = [
        layer.dropout
        for layer in layers(load_checkpoint(pruned / "last.pt").card.network)
        if layer.dropout is not None
    ]
    # b_drop of STAMP.
    assert max(dropouts) == pytest.approx(0.1)
    assert len(set(dropouts)) > 2


def test_protected_layers_keep_all(runs: Any, trained: Path, tmp_path: Path) -> None:
    settings = ("pruning.protect=[encoders.*, decoders.*]", "pruning.recovery_epochs=0")
    result = prune(runs.tiny(tmp_path, "run", *settings), start=trained)
    removed = {channel.layer for step in result.steps for channel in step.removed}
    assert removed
    assert all(name.startswith(("upsamples.", "head.")) for name in removed)


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("pruning.min_parameters=80000", "the next step would leave [78].,... parameters"),
        ("pruning.min_flops=480000000", "the next step would leave 4.*,...,... FLOPs"),
    ],
)
def test_it_stops_before_the_network_is_too_small(
    runs: Any, trained: Path, tmp_path: Path, setting: str, reason: str
) -> None:
    settings = (setting, "pruning.steps=50", "pruning.recovery_epochs=0",
                "pruning.channels_per_step=9", "pruning.scoring_batches=1")  # fmt: skip
    result = prune(runs.tiny(tmp_path, "run", *settings), start=trained)
    assert result.outcome == "stopped early"
    assert re.fullmatch(reason, result.reason)
    assert 0 < len(result.steps) < 50
    assert result.steps[-1].parameters >= 80_000 or result.steps[-1].flops >= 480_000_000
    assert json.loads((tmp_path / "run/training.json").read_text())["outcome"] == "stopped early"


def test_it_stops_when_step_after_step_is_inferior(
    runs: Any, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pruner = sys.modules["lunet_cli.engine.pruning.pruner"]
    real, lost = pruner.validate, iter([0, 0, 0, 0.5, 0.5, 0.5, 0.5])

    def validate(*arguments: Any) -> Any:
        found = real(*arguments)
        less = next(lost)
        for dice in found.dice_per_case.values():
            for label in dice:
                dice[label] = 0.9 - less
        return found

    monkeypatch.setattr(pruner, "validate", validate)
    settings = ("pruning.steps=9", "pruning.recovery_epochs=0", "pruning.patience=2")
    result = prune(runs.tiny(tmp_path, "run", *settings), start=trained)
    assert result.outcome == "stopped early"
    assert result.reason == "2 steps in a row lost more than a Dice of 0.01"
    assert [step.val_dice for step in result.steps] == pytest.approx([0.9, 0.9, 0.4, 0.4])
    assert result.chosen == result.steps[1]
    best = load_checkpoint(tmp_path / "run/best_model.pt")
    assert widths_of(best.card.network) == result.steps[1].widths


def test_it_stops_when_every_layer_has_its_last_channel(runs: Any, tmp_path: Path) -> None:
    settings = ("model.architecture=lunet_small_1f", "pruning.protect=[]", "pruning.steps=9",
                f"model.widths={[2, 2] + 19 * [1] + [2]}",
                "pruning.recovery_epochs=0", "pruning.channels_per_step=2")  # fmt: skip
    result = prune(runs.tiny(tmp_path, "run", *settings))
    assert result.outcome == "stopped early"
    assert result.reason == "no layer has a channel to spare any more"
    # The last step had one channel to take instead of two.
    assert [len(step.removed) for step in result.steps] == [0, 2, 1]
    assert set(result.steps[-1].widths.values()) == {1}


def test_chosen_step_is_not_inferior(runs: Any, trained: Path, tmp_path: Path) -> None:
    settings = ("pruning.steps=3", "pruning.channels_per_step=40", "pruning.recovery_epochs=0")
    result = prune(runs.tiny(tmp_path, "run", *settings), start=trained)
    best = max(result.steps, key=lambda step: (step.val_dice, step.step))
    good = [best.step]
    for step in result.steps[best.step + 1 :]:
        compared = non_inferiority(step.dice_per_case, best.dice_per_case, margin=0.01)
        if compared.is_shown:
            good.append(step.step)
    assert result.chosen is not None
    assert result.chosen.step == good[-1]
    kept = load_checkpoint(tmp_path / "run/best_model.pt")
    assert widths_of(kept.card.network) == result.chosen.widths


def test_averaged_weights_are_what_is_pruned(runs: Any, tmp_path: Path) -> None:
    settings = ("training.ema_decay=0.5", "pruning.warmup_epochs=2", "pruning.steps=1",
                "pruning.recovery_epochs=0", "pruning.targeted_dropout=0")  # fmt: skip
    result = prune(runs.tiny(tmp_path, "ema", *settings))
    folder = tmp_path / "ema"
    whole, left = (load_checkpoint(folder / name) for name in ("checkpoint_step000.pt", "last.pt"))
    protected = "head.0.norm.weight"
    assert torch.equal(whole.weights[protected], left.weights[protected])
    plain = prune(runs.tiny(tmp_path, "plain", *settings, "training.ema_decay=null"))
    assert plain.steps[0].val_loss != result.steps[0].val_loss


@pytest.mark.parametrize("precision", ["bf16", "auto"])
def test_precision_is_chosen_once(runs: Any, tmp_path: Path, precision: str) -> None:
    config = runs.tiny(tmp_path, "run", f"training.precision={precision}", "pruning.steps=1",
                       "training.compile=auto")  # fmt: skip
    result = prune(config)
    assert all(math.isfinite(step.val_loss) for step in result.steps)
    execution = json.loads((tmp_path / "run/manifest.json").read_text())["execution"]
    assert not execution["compile"]
    if precision == "bf16":
        assert execution["precision"] == "bf16"


def test_the_whole_network_teaches(runs: Any, trained: Path, tmp_path: Path) -> None:
    settings = ("pruning.steps=1", "model.drop_prob=0", "pruning.targeted_dropout=0")
    alone = prune(runs.tiny(tmp_path, "alone", *settings), start=trained)
    taught = prune(
        runs.tiny(tmp_path, "taught", *settings, "pruning.distillation=0.5"), start=trained
    )
    assert alone.steps[1].removed == taught.steps[1].removed
    assert alone.steps[1].val_loss_before == taught.steps[1].val_loss_before
    assert alone.steps[1].val_loss != taught.steps[1].val_loss


def test_a_loss_that_is_not_finite_ends_it_and_keeps_what_there_is(
    runs: Any, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = sys.modules["lunet_cli.engine.training.loop"]
    real = loop.train_step

    def train_step(state: TrainState, *arguments: Any) -> float:
        if state.epoch == 1:
            state.network.state_dict()["head.1.bias"].fill_(math.nan)
        loss: float = real(state, *arguments)
        return loss

    monkeypatch.setattr(loop, "train_step", train_step)
    with pytest.raises(TrainingError, match=r"the loss became nan in epoch 2, step 1") as caught:
        prune(runs.tiny(tmp_path, "run"), start=trained)
    assert "\n" not in caught.value.message
    steps = RunFolder(tmp_path / "run").read_pruning()
    assert [step.step for step in steps] == [0, 1]
    last = load_checkpoint(tmp_path / "run/last.pt")
    assert (last.epoch, widths_of(last.card.network)) == (1, steps[1].widths)
    assert all(bool(value.isfinite().all()) for value in last.weights.values())
    assert "error: the loss became nan" in (tmp_path / "run/train.log").read_text()


@pytest.mark.parametrize(("dropout", "is_scored"), [(0, False), (0.1, True)])
def test_scores_are_there_where_they_were_asked_for(
    runs: Any, trained: Path, tmp_path: Path, dropout: float, is_scored: bool
) -> None:
    settings = ("pruning.strategy=random-in-largest", f"pruning.targeted_dropout={dropout}",
                "pruning.recovery_epochs=0", "pruning.steps=1")  # fmt: skip
    prune(runs.tiny(tmp_path, "run", *settings), start=trained)
    step = RunFolder(tmp_path / "run").read_pruning()[1]
    assert [math.isnan(channel.score) for channel in step.removed] == [not is_scored] * 3


def test_recovery_has_a_schedule_of_its_own(runs: Any, trained: Path, tmp_path: Path) -> None:
    settings = ("pruning.scheduler=cosine", "pruning.recovery_epochs=2", "pruning.steps=1")
    result = prune(runs.tiny(tmp_path, "run", *settings), start=trained)
    rates = [float(row["learning_rate"]) for row in runs.rows(tmp_path / "run/history.csv")]
    # Two batches an epoch: the last of four has seen three quarters of the cosine.
    assert rates[0] > rates[1] > 0
    fresh = load_config(result.run_dir / "pruned.yaml")
    assert fresh.training.scheduler == "none"
    assert fresh.pruning.scheduler is None

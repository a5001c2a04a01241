"""What a pruning cannot begin with: one line in the words of the engine, and nothing written."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from lunet_cli.engine.pruning.prune import prune
from lunet_cli.engine.run_lock import hold_run
from lunet_cli.errors import LunetError
from lunet_cli.results.events import Event, WarningIssued

NOTHING_TO_SPARE = ("model.architecture=lunet_small_1f", "pruning.channels_per_step=1")
ONE_CASE = ("data.phantom.num_cases=3", "training.patches_per_case=1", "training.batch_size=2")

MISTAKES = {
    "more channels than there are": (
        ("pruning.channels_per_step=500",),
        r"pruning\.channels_per_step: 500 is more than the \d+ channels that can be removed",
    ),
    "more parameters than there are": (
        ("pruning.min_parameters=88816",),
        r"pruning\.min_parameters: 88,816, and the network has 88,816 before the first step",
    ),
    "more FLOPs than there are": (
        ("pruning.min_flops=1000000000000",),
        r"pruning\.min_flops: 1,000,000,000,000, and the network has ",
    ),
    "nothing left": (NOTHING_TO_SPARE, "this network has nothing to remove: each layer has its"),
    "all protected": (("pruning.protect=['*']",), "this network has nothing to remove"),
    "no such layer": (
        ("pruning.protect=[encoder.*]",),
        r"pruning\.protect: 'encoder\.\*' fits no layer",
    ),
    "layer of another family": (
        ("model.architecture=mednext_small", "pruning.protect=[upsamples.*]"),
        r"pruning\.protect: 'upsamples\.\*' fits no layer",
    ),
    "more batches than there are": (
        ("pruning.scoring_batches=3",),
        r"pruning\.scoring_batches: 3 is more than the 2 batches of an epoch",
    ),
    "no effect": (
        ("pruning.recovery_epochs=0", "pruning.distillation=0.5"),
        "distillation has no effect without recovery_epochs",
    ),
    "wrong number of widths": (
        ("model.widths=[1, 2, 3]",),
        "there are 3, and unet_small_2f has 22 layers",
    ),
}
MISMATCHES = {
    "another family": (
        ("model.architecture=unetpp_small_2f",),
        "its network's family is not that of the configuration: unet there, unetpp here",
    ),
    "other channels": (
        ("model.architecture=unet_small_1f",),
        "its network's channels is not that of the configuration",
    ),
    "other labels": (("labels={a: 1, b: [2, 3]}",), "is not that of the configuration"),
    "other cases": (("experiment.seed=7",), "was trained on .* that would validate it now"),
    "other widths": (
        (f"model.widths={[2] * 22}",),
        "its layers do not have the widths of `model.widths`",
    ),
}


def refuse(config: Any, **arguments: Any) -> str:
    with pytest.raises(LunetError) as caught:
        prune(config(), **arguments)
    assert "\n" not in caught.value.message
    assert "--" not in caught.value.message.replace("--set", "")
    return str(caught.value.message)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(runs: Any, tmp_path: Path, mistake: str) -> None:
    settings, words = MISTAKES[mistake]
    assert re.search(words, refuse(lambda: runs.tiny(tmp_path, "run", *settings)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mismatch", MISMATCHES)
def test_runs_that_do_not_fit(runs: Any, trained: Path, tmp_path: Path, mismatch: str) -> None:
    settings, words = MISMATCHES[mismatch]
    told = refuse(lambda: runs.tiny(tmp_path, "run", *settings), start=trained)
    assert re.search(words, told)
    assert told.startswith(str(trained / "best_model.pt"))
    assert list(tmp_path.iterdir()) == []


def test_too_few_patches_for_a_spread(runs: Any, tmp_path: Path) -> None:
    """Said before the warm-up, not after it."""
    settings = ("pruning.criterion=l1-std", "data.phantom.size=32", "training.batch_size=1",
                "training.patches_per_case=4", "pruning.scoring_batches=1",
                "pruning.warmup_epochs=500")  # fmt: skip
    told = refuse(lambda: runs.tiny(tmp_path, "run", *settings))
    assert told == (
        "`pruning.criterion=l1-std`: channels are scored on at least 2 samples, not on 1"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_a_checkpoint(runs: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    told = refuse(lambda: runs.tiny(tmp_path, "run"), start=tmp_path / "empty")
    assert told == f"{tmp_path / 'empty'}: holds no checkpoint"


def test_a_folder_of_something_else(runs: Any, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/thesis.txt").write_text("mine")
    assert "is not a run folder" in refuse(lambda: runs.tiny(tmp_path, "run"))
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.txt"]


def test_a_run_is_not_overwritten(runs: Any, trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "run")
    assert "a run is here already" in refuse(lambda: runs.tiny(tmp_path, "run"), start=trained)


def test_a_single_case_is_told_of(runs: Any, tmp_path: Path) -> None:
    told: list[str] = []
    settings = ("data.phantom.num_cases=5", "data.split.val_fraction=0.2", "pruning.steps=1",
                "pruning.recovery_epochs=0", "pruning.scoring_batches=1")  # fmt: skip
    result = prune(
        runs.tiny(tmp_path, "run", *settings), on_event=lambda event: told.append(str(event))
    )
    assert sum("1 validation case: without" in text for text in told) == 1
    best = max(result.steps, key=lambda step: (step.val_dice, step.step))
    assert result.chosen == best


def test_what_does_not_apply_is_said_and_not_done(
    runs: Any, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drawn(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("lunet_cli.engine.training.assessment._SegmentedCase.picture", drawn)
    settings = ("visualization.plot_slices=true", "wandb.enabled=true", "training.compile=true",
                "training.early_stopping_patience=1", "pruning.steps=1",
                "pruning.recovery_epochs=0")  # fmt: skip
    told: list[str] = []
    prune(
        runs.tiny(tmp_path, "run", *settings),
        start=trained,
        on_event=lambda event: told.append(str(event)),
    )
    left_out = [text.partition(" left out")[0] for text in told if " left out" in text]
    assert left_out == [
        "`training.compile` is",
        "pictures are",
        "`wandb.enabled` is",
        "`training.early_stopping_patience` is",
    ]


def test_a_run_that_is_still_trained_is_told_of(runs: Any, trained: Path, tmp_path: Path) -> None:
    settings = ("pruning.steps=1", "pruning.recovery_epochs=0")
    warnings: list[str] = []

    def note(event: Event) -> None:
        if isinstance(event, WarningIssued):
            warnings.append(str(event))

    with hold_run(trained, lambda _: None):
        prune(runs.tiny(tmp_path, "during", *settings), start=trained, on_event=note)
    assert sum("is still being trained, by process" in text for text in warnings) == 1
    prune(runs.tiny(tmp_path, "after", *settings), start=trained / "last.pt", on_event=note)
    assert sum("is still being trained" in text for text in warnings) == 1

"""The steps of a training and its validation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lunet_cli.engine.data.patches import Batch, batches
from lunet_cli.engine.evaluation.overlap import dice
from lunet_cli.engine.networks.execution import ExecutionPlan
from lunet_cli.engine.training.context import StepContext
from lunet_cli.engine.training.gradients import Gradients
from lunet_cli.engine.training.interrupts import InterruptGuard
from lunet_cli.engine.training.loop import Validation, masks_of, predict_cases, train_step, validate
from lunet_cli.engine.training.setup import set_up
from lunet_cli.engine.training.state import TrainState

PLAN = ExecutionPlan("cpu", "fp32", channels_last=False, compile=False)


def test_means_over_cases_and_labels_by_hand() -> None:
    found = Validation(0.5, {"one": {"a": 0.5, "b": 1.0}, "two": {"a": 0.25, "b": 0.0}})
    assert found.dice_per_label == {"a": 0.375, "b": 0.5}
    assert found.mean_dice_per_case == {"one": 0.75, "two": 0.125}
    assert found.mean_dice == 0.4375


def test_summed_gradients_are_those_of_the_large_batch(runs: Any, tmp_path: Path) -> None:
    """But for what is computed over a batch: here a loss over voxels, and no normalisation."""
    more = ("model.architecture=mednext_small", "model.drop_prob=0", "training.loss.name=ce")
    setup = set_up(runs.tiny(tmp_path, "run", "training.batch_size=5", *more), lambda _: None)
    image, label, _ = next(batches(setup.loader))
    context, weights, losses = StepContext(setup, PLAN), [], []
    for parts in (
        [Batch(image, label)],
        [Batch(image[:2], label[:2]), Batch(image[2:], label[2:])],
    ):
        state = TrainState.fresh(setup.new_network(), setup.config.training, PLAN)
        state.optimizer = torch.optim.SGD(state.learner.parameters())
        losses.append(train_step(state, Gradients(state, context), parts, context, 1.0))
        weights.append(state.network.state_dict())
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=1e-4, atol=1e-6)


def test_every_case_is_measured_under_its_own_name(runs: Any, tmp_path: Path) -> None:
    setup = set_up(runs.tiny(tmp_path, "run", "data.split.val_fraction=0.5"), lambda _: None)
    context, network = StepContext(setup, PLAN), setup.new_network()
    with InterruptGuard() as guard:
        found = validate(network, context, guard)
    names = [case.case_id for case in setup.split.val]
    assert len(names) == 3
    assert list(found.dice_per_case) == names
    for name, (label, logits) in zip(names, predict_cases(network, context), strict=True):
        expected = list(map(dice, *masks_of(label, logits, context.labels)))
        assert list(found.dice_per_case[name].values()) == expected
    mean = sum(found.mean_dice_per_case.values()) / len(names)
    assert found.mean_dice == pytest.approx(mean, abs=1e-12)

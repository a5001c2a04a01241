from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lunet_cli.engine.data.patches import Batch, batches
from lunet_cli.engine.networks.execution import ExecutionPlan
from lunet_cli.engine.training.context import StepContext
from lunet_cli.engine.training.gradients import Gradients
from lunet_cli.engine.training.setup import Setup, set_up
from lunet_cli.engine.training.state import TrainState


@pytest.fixture
def setup(runs: Any, tmp_path: Path) -> Setup:
    return set_up(runs.tiny(tmp_path, "run", "model.drop_prob=0.2"), lambda _: None)


PLAN = ExecutionPlan("cpu", "fp32", channels_last=True, compile=False)


def begun(setup: Setup) -> tuple[TrainState, StepContext]:
    state = TrainState.fresh(setup.new_network(), setup.config.training, PLAN)
    return state, StepContext(setup, PLAN)


def test_a_loss_that_is_not_finite_adds_nothing(setup: Setup) -> None:
    state, context = begun(setup)
    image, label, _ = next(batches(setup.loader))
    gradients = Gradients(state, context)
    gradients.clear()
    assert math.isnan(gradients.add(Batch(image * math.nan, label), share=1.0))
    assert all(parameter.grad is None for parameter in state.learner.parameters())
    assert math.isfinite(gradients.add(Batch(image, label), share=1.0))


def test_a_share_scales_loss_and_gradients(setup: Setup) -> None:
    image, label, _ = next(batches(setup.loader))
    found: list[tuple[float, Tensor]] = []
    for share in (1.0, 0.25):
        state, context = begun(setup)
        loss = Gradients(state, context).add(Batch(image, label), share=share)
        gradient = next(state.learner.parameters()).grad
        assert gradient is not None
        found.append((loss, gradient))
    assert found[1][0] == pytest.approx(found[0][0] / 4)
    torch.testing.assert_close(found[1][1], found[0][1] / 4)

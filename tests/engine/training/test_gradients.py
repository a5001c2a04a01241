from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lunet_cli.engine.data.patches import batches
from lunet_cli.engine.networks.execution import ExecutionPlan
from lunet_cli.engine.training.context import StepContext
from lunet_cli.engine.training.gradients import Gradients, RecordedGradients, gradients_of
from lunet_cli.engine.training.loop import train_step
from lunet_cli.engine.training.setup import Setup, set_up
from lunet_cli.engine.training.state import TrainState

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture
def setup(runs: Any, tmp_path: Path) -> Setup:
    return set_up(runs.tiny(tmp_path, "run", "model.drop_prob=0.2"), lambda _: None)


def begun(setup: Setup, device: str, precision: str = "fp32") -> tuple[TrainState, StepContext]:
    plan = ExecutionPlan(device, precision, channels_last=True, compile=False)  # type: ignore[arg-type]
    return TrainState.fresh(setup.new_network(), setup.config.training, plan), StepContext(
        setup, plan
    )


def fail(reason: str) -> None:
    raise AssertionError(reason)


def test_a_loss_that_is_not_finite_adds_nothing(setup: Setup) -> None:
    state, context = begun(setup, "cpu")
    image, label = next(batches(setup.loader))
    gradients = gradients_of(state, context, fail)
    gradients.clear()
    assert math.isnan(gradients.add(image * math.nan, label, share=1.0))
    assert all(parameter.grad is None for parameter in state.learner.parameters())
    assert math.isfinite(gradients.add(image, label, share=1.0))


def test_a_share_scales_loss_and_gradients(setup: Setup) -> None:
    image, label = next(batches(setup.loader))
    found: list[tuple[float, Tensor]] = []
    for share in (1.0, 0.25):
        state, context = begun(setup, "cpu")
        loss = Gradients(state, context).add(image, label, share=share)
        gradient = next(state.learner.parameters()).grad
        assert gradient is not None
        found.append((loss, gradient))
    assert found[1][0] == pytest.approx(found[0][0] / 4)
    torch.testing.assert_close(found[1][1], found[0][1] / 4)


@needs_cuda
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_recorded_pass_is_the_pass(setup: Setup, precision: str) -> None:
    """Losses, weights, statistics and the random generator, over batches of two sizes."""
    whole = list(batches(setup.loader))
    found = []
    for is_recorded in (False, True):
        torch.cuda.manual_seed(0)
        state, context = begun(setup, "cuda", precision)
        gradients = Gradients(state, context)
        if is_recorded:
            gradients = RecordedGradients(state, context, fail)
        losses = []
        for image, label in [*whole, *whole]:
            for parts in ([(image, label)], [(image[:1], label[:1]), (image, label)]):
                losses.append(train_step(state, gradients, parts, context, 0.001))
        found.append((losses, state.learner.state_dict(), torch.cuda.get_rng_state()))
    (losses, weights, generator), (recorded, recorded_weights, recorded_generator) = found
    assert recorded == pytest.approx(losses, rel=0.01)
    for name, tensor in weights.items():
        torch.testing.assert_close(recorded_weights[name], tensor, rtol=0.05, atol=0.01)
    assert torch.equal(generator, recorded_generator)


@needs_cuda
def test_what_cannot_be_recorded_goes_call_by_call(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, context = begun(setup, "cuda")
    reasons: list[str] = []
    gradients = RecordedGradients(state, context, reasons.append)

    def refuse(*_: Any) -> None:
        raise RuntimeError("not this one")

    monkeypatch.setattr(torch.cuda, "CUDAGraph", refuse)
    batch = next(batches(setup.loader))
    losses = [train_step(state, gradients, [batch], context, 0.01) for _ in range(3)]
    assert losses[-1] < losses[0]
    assert reasons == ["not this one"]


@needs_cuda
def test_trainings_on_a_gpu_take_graphs_where_they_may(setup: Setup) -> None:
    state, context = begun(setup, "cuda")
    assert isinstance(gradients_of(state, context, fail), RecordedGradients)
    compiled = StepContext(setup, ExecutionPlan("cuda", "fp32", True, True))
    assert not isinstance(gradients_of(state, compiled, fail), RecordedGradients)

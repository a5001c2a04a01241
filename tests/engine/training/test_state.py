from __future__ import annotations

import copy
import math

import pytest
import torch

from lunet_cli.config.network import NetworkSpec
from lunet_cli.config.presets import parse_preset
from lunet_cli.config.training import TrainingConfig
from lunet_cli.engine.networks import build_network
from lunet_cli.engine.networks.execution import ExecutionPlan
from lunet_cli.engine.training.state import TrainState
from lunet_cli.errors import TrainingError
from lunet_cli.results.training import EpochRecord


def record(epoch: int, dice: float, loss: float = 1.0) -> EpochRecord:
    return EpochRecord(epoch, 1.0, loss, dice, {"a": dice}, 0.01, 1.0)


def fresh(**settings: object) -> TrainState:
    spec: NetworkSpec = parse_preset("lunet_small_1f").spec
    config = TrainingConfig.model_validate(settings)
    return TrainState.fresh(build_network(spec), config, ExecutionPlan("cpu", "fp32", True, False))


def test_finishing_an_epoch_tells_whether_it_is_the_best() -> None:
    state = fresh()
    state.step, state.loss_sum, state.seconds = 3, 1.5, 2.0
    assert not state.finish_epoch(record(1, 0.9, math.nan))
    assert state.finish_epoch(record(2, 0.0))
    assert not state.finish_epoch(record(3, 0.0))
    assert state.finish_epoch(record(4, 0.1))
    assert (state.epoch, state.step, state.loss_sum, state.seconds) == (4, 0, 0.0, 0.0)


@pytest.mark.parametrize("where", ["weight", "statistic", "average"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_weight_that_is_not_finite_is_refused(where: str, value: float) -> None:
    state = fresh(ema_decay=0.9)
    state.require_finite()
    assert state.average is not None
    network = state.average if where == "average" else state.network
    ending = "running_var" if where == "statistic" else "weight"
    values = network.state_dict()
    name = next(name for name in values if name.endswith(ending))
    values[name].view(-1)[0] = value
    with pytest.raises(TrainingError, match="no longer finite in epoch 1") as caught:
        state.require_finite()
    assert "training.learning_rate" in caught.value.hint


def test_heads_begin_at_zero_and_change_nothing_that_is_drawn() -> None:
    torch.manual_seed(0)
    plain = fresh()
    after = torch.rand(3)
    torch.manual_seed(0)
    supervised = fresh(deep_supervision=True)
    assert torch.equal(torch.rand(3), after)
    assert not any(tensor.any() for tensor in supervised.learner.heads.state_dict().values())
    ours, theirs = plain.network.state_dict(), supervised.network.state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


def test_counters_are_finite() -> None:
    state = fresh()
    for name, tensor in state.network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            tensor.fill_(torch.iinfo(torch.long).max)
    state.require_finite()


def test_an_average_goes_on_from_a_saved_state_bit_by_bit() -> None:
    straight, resumed = fresh(ema_decay=0.9), fresh(ema_decay=0.9)
    for update in range(1, 6):
        if update == 3:
            weights = {name: value.clone() for name, value in straight.network.state_dict().items()}
            straight.step = 2
            saved = copy.deepcopy(straight.to_dict())
            resumed.restore(weights, 0, saved, num_steps=5)
        for state in (straight,) if update < 3 else (straight, resumed):
            for value in state.network.state_dict().values():
                value += update
            assert state.average is not None
            state.average.update_parameters(state.network)
    assert straight.average is not None
    assert resumed.average is not None
    ours, theirs = straight.average.state_dict(), resumed.average.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_a_state_without_an_average_begins_one_with_its_weights() -> None:
    plain, averaged = fresh(), fresh(ema_decay=0.9)
    averaged.restore(plain.network.state_dict(), 2, plain.to_dict() | {"step": 1}, num_steps=8)
    assert averaged.average is not None
    assert int(averaged.average.n_averaged) == 1 + 2 * 8 + 1
    expected = plain.network.state_dict()
    found = averaged.validated_network.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in found.items())

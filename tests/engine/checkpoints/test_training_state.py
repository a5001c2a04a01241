"""The state of a training is checked before it changes anything."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW

from lunet_cli.engine.checkpoints.training_state import (
    require_fitting_optimizer,
    require_training_state,
)
from lunet_cli.engine.training.optimization import state_shapes
from lunet_cli.engine.training.soap import Soap
from lunet_cli.errors import CheckpointError

PATH = Path("last.pt")
WEIGHTS = {"weight": torch.zeros(2, 3), "bias": torch.zeros(2)}


def state() -> dict[str, Any]:
    rows = torch.tensor(
        [[1, 0.5, 0.6, 0.7, 0.01, 1.0, 0.7], [2, 0.4, 0.5, 0.8, 0.01, 1.0, 0.8]],
        dtype=torch.float64,
    )
    return {
        "optimizer": {"state": {}, "param_groups": []},
        "scaler": {},
        "average": {name: tensor.clone() for name, tensor in WEIGHTS.items()},
        "step": 0,
        "loss_sum": 0.0,
        "seconds": 0.0,
        "history": {"labels": ["liver"], "rows": rows},
        "rng": torch.get_rng_state(),
        "rng_cuda": None,
    }


def test_a_whole_state_passes() -> None:
    values = state()
    assert require_training_state(values, WEIGHTS, 2, PATH) is values
    fresh = state() | {
        "history": {"labels": [], "rows": torch.tensor([], dtype=torch.float64)},
        "average": None,
    }
    require_training_state(fresh, WEIGHTS, 0, PATH)
    scaler = torch.amp.GradScaler("cpu", enabled=True).state_dict()
    require_training_state(state() | {"scaler": scaler}, WEIGHTS, 2, PATH)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step": -1}, "step: input should be greater than or equal to 0"),
        ({"step": 1.5}, "step: input should be a valid integer"),
        ({"seconds": float("nan")}, "seconds: input should be"),
        ({"scaler": {"scale": 2.0}}, "scaler: values of the scaler are missing"),
        ({"scaler": [1]}, "scaler: input should be"),
        ({"history": []}, "training.history is not the history"),
        (
            {"history": {"labels": ["a", "b"], "rows": state()["history"]["rows"]}},
            "not that of 2 epochs with 2 labels",
        ),
        (
            {"history": {"labels": ["a"], "rows": state()["history"]["rows"].flip(0)}},
            "has not the epochs from 1 to 2",
        ),
        ({"rng": torch.zeros(3, dtype=torch.uint8)}, "training.rng has 3 bytes instead of"),
        (
            {"rng": torch.get_rng_state().float()},
            "training.rng is not the state of a random generator",
        ),
        ({"rng_cuda": [1]}, "training.rng_cuda is not the state of a random generator"),
        ({"average": {"weight": torch.zeros(2, 3)}}, "training.average has no bias of the shape"),
        (
            {"average": WEIGHTS | {"more": torch.zeros(1)}},
            "training.average has tensors that are not in the network",
        ),
        ({"optimizer": {"state": {}}}, "training.optimizer is not the state of an optimizer"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else next(iter(value)),
)
def test_a_part_that_is_something_else(change: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        require_training_state(state() | change, WEIGHTS, 2, PATH)


@pytest.mark.parametrize("name", list(state()))
def test_a_missing_part_is_named(name: str) -> None:
    values = state()
    del values[name]
    with pytest.raises(CheckpointError, match=f"^last.pt: training.{name} is missing"):
        require_training_state(values, WEIGHTS, 2, PATH)


OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "adam": lambda parameters: Adam(parameters, lr=0.1),
    "adamw": lambda parameters: AdamW(parameters, lr=0.1),
    "sgd": lambda parameters: SGD(parameters, lr=0.1, momentum=0.99, nesterov=True),
    "soap": lambda parameters: Soap(parameters, lr=0.1),
}


def trained(name: str) -> tuple[torch.optim.Optimizer, dict[str, Any]]:
    """An optimiser after a step, and its state."""
    layer = nn.Linear(3, 2)
    optimizer = OPTIMIZERS[name](layer.parameters())
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return optimizer, copy.deepcopy(optimizer.state_dict())


def require_fitting(values: dict[str, Any], optimizer: torch.optim.Optimizer) -> None:
    require_fitting_optimizer(values, optimizer, partial(state_shapes, optimizer), PATH)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_state_of_the_same_optimizer_fits(name: str) -> None:
    optimizer, values = trained(name)
    require_fitting(values, optimizer)
    fresh = OPTIMIZERS[name](nn.Linear(3, 2).parameters())
    require_fitting(values, fresh)
    require_fitting(fresh.state_dict(), fresh)


@pytest.mark.parametrize(
    ("ours", "theirs"), [("adam", "sgd"), ("sgd", "adamw"), ("soap", "adam"), ("adam", "soap")]
)
def test_another_optimizer_does_not(ours: str, theirs: str) -> None:
    with pytest.raises(
        CheckpointError, match="is not of the optimizer of this configuration"
    ) as caught:
        require_fitting(trained(theirs)[1], trained(ours)[0])
    assert caught.value.hint == "Resume with the optimizer that the run was started with."


def change_group(values: dict[str, Any], **changes: Any) -> None:
    values["param_groups"][0].update(changes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v["param_groups"].clear(), "0 groups of parameters instead of 1"),
        (lambda v: v["param_groups"].__setitem__(0, [1]), "its settings are list"),
        (lambda v: v["param_groups"][0].pop("betas"), "its settings are"),
        (lambda v: change_group(v, lr="0.1"), "its setting lr is a str"),
        (lambda v: change_group(v, lr=float("nan")), "its setting lr is a float or out of range"),
        (lambda v: change_group(v, betas=(0.9,)), "its setting betas is a tuple"),
        (lambda v: change_group(v, amsgrad=1), "its setting amsgrad is a int"),
        (lambda v: change_group(v, params=[0]), "it is of another number of parameters"),
        (
            lambda v: v["state"].__setitem__(7, {}),
            "it holds values of a parameter that is not there",
        ),
        (
            lambda v: v["state"].__setitem__("0", {}),
            "it holds values of a parameter that is not there",
        ),
        (lambda v: v["state"][0].pop("exp_avg"), "it holds exp_avg_sq, step of a parameter"),
        (
            lambda v: v["state"][0].update(exp_avg=torch.zeros(3, 3)),
            "its exp_avg has not the shape",
        ),
        (
            lambda v: v["state"][0].update(exp_avg=torch.zeros(1).expand(2, 3)),
            "its exp_avg has not the shape",
        ),
        (lambda v: v["state"][0].update(step=3), "its step has not the shape"),
    ],
    ids=range(14),
)
def test_a_changed_optimizer(change: Callable[[dict[str, Any]], Any], message: str) -> None:
    optimizer, values = trained("adam")
    change(values)
    with pytest.raises(CheckpointError, match=message):
        require_fitting(values, optimizer)

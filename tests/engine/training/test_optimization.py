from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LRScheduler,
    OneCycleLR,
    PolynomialLR,
    StepLR,
)

from lunet_cli.config.presets import parse_preset
from lunet_cli.config.training import TrainingConfig
from lunet_cli.engine.networks import build_network
from lunet_cli.engine.training.optimization import (
    average_decay,
    learning_rate_at,
    make_average,
    make_optimizer,
    set_num_updates,
)
from lunet_cli.engine.training.soap import Soap

BASE = 0.02


def parameters() -> list[nn.Parameter]:
    return [nn.Parameter(torch.zeros(1))]


def rates_of_torch(scheduler: LRScheduler, num_steps: int) -> list[float]:
    rates = [scheduler.get_last_lr()[0]]
    for _ in range(num_steps):
        scheduler.optimizer.step()
        scheduler.step()
        rates.append(scheduler.get_last_lr()[0])
    return rates


def our_rates(config: TrainingConfig) -> list[float]:
    return [learning_rate_at(config, epoch) for epoch in range(config.epochs + 1)]


def test_without_a_scheduler_the_rate_is_constant() -> None:
    config = TrainingConfig(epochs=5, learning_rate=BASE)
    assert our_rates(config) == [BASE] * 6


def test_cosine_is_that_of_torch() -> None:
    config = TrainingConfig(epochs=23, learning_rate=BASE, scheduler="cosine")
    expected = rates_of_torch(CosineAnnealingLR(SGD(parameters(), lr=BASE), T_max=23), 23)
    assert our_rates(config) == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_step_is_that_of_torch() -> None:
    config = TrainingConfig(
        epochs=20, learning_rate=BASE, scheduler="step", scheduler_step_size=6, scheduler_gamma=0.3
    )
    expected = rates_of_torch(StepLR(SGD(parameters(), lr=BASE), step_size=6, gamma=0.3), 20)
    assert our_rates(config) == pytest.approx(expected)


def test_poly_is_that_of_torch() -> None:
    config = TrainingConfig(epochs=17, learning_rate=BASE, scheduler="poly")
    expected = rates_of_torch(
        PolynomialLR(SGD(parameters(), lr=BASE), total_iters=17, power=0.9), 17
    )
    assert our_rates(config) == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(("epochs", "steps_per_epoch"), [(20, 1), (10, 7), (3, 50)])
def test_one_cycle_is_that_of_torch(epochs: int, steps_per_epoch: int) -> None:
    config = TrainingConfig(epochs=epochs, learning_rate=BASE, scheduler="one-cycle")
    num_steps = epochs * steps_per_epoch
    scheduler = OneCycleLR(
        SGD(parameters(), lr=BASE, momentum=0.9), max_lr=BASE, total_steps=num_steps
    )
    # Torch's first step runs at its lowest rate; ours at the end of the first of `num_steps`
    # pieces. The peak and all that follows fall together; in the rise, ours is ahead by less than
    # one step.
    theirs = rates_of_torch(scheduler, num_steps - 1)
    ours = [learning_rate_at(config, (step + 1) / steps_per_epoch) for step in range(num_steps)]
    peak = math.ceil(0.3 * num_steps - 1)
    assert ours[peak:] == pytest.approx(theirs[peak:], rel=1e-5)
    assert all(
        theirs[step] - 1e-12 <= ours[step] <= theirs[step + 1] + 1e-12
        for step in range(math.floor(0.3 * num_steps - 1))
    )


def test_one_cycle_ends_where_torch_ends() -> None:
    config = TrainingConfig(epochs=10, learning_rate=BASE, scheduler="one-cycle")
    rates = [learning_rate_at(config, epoch) for epoch in (0, 3, 10)]
    assert rates == pytest.approx([BASE / 25, BASE, BASE / 25 / 1e4])


@pytest.mark.parametrize("scheduler", ["cosine", "poly", "one-cycle"])
def test_the_rate_between_two_epochs_lies_between_theirs(scheduler: str) -> None:
    config = TrainingConfig.model_validate({"epochs": 10, "scheduler": scheduler})
    first, middle, last = (learning_rate_at(config, epoch) for epoch in (6, 6.5, 7))
    assert first > middle > last


def test_warm_up_rises_linearly_from_zero() -> None:
    config = TrainingConfig(epochs=10, learning_rate=BASE, warmup_epochs=4)
    rates = [learning_rate_at(config, epoch) for epoch in (0, 1, 2.5, 4, 5)]
    assert rates == pytest.approx([0, BASE / 4, BASE * 2.5 / 4, BASE, BASE])


def test_warm_up_multiplies_the_schedule() -> None:
    config = TrainingConfig(epochs=10, learning_rate=BASE, warmup_epochs=4, scheduler="poly")
    assert learning_rate_at(config, 2) == pytest.approx(BASE * 0.5 * 0.8**0.9)
    assert learning_rate_at(config, 5) == pytest.approx(BASE * 0.5**0.9)


def test_one_cycle_has_its_own_warm_up() -> None:
    with pytest.raises(ValueError, match="one-cycle has its own warm-up"):
        TrainingConfig(epochs=10, scheduler="one-cycle", warmup_epochs=4)


@pytest.mark.parametrize("scheduler", ["none", "cosine", "step", "poly", "one-cycle"])
def test_no_rate_is_negative_or_above_the_base(scheduler: str) -> None:
    config = TrainingConfig.model_validate(
        {"epochs": 7, "learning_rate": BASE, "scheduler": scheduler}
    )
    assert all(
        0 <= learning_rate_at(config, epoch / 10) <= BASE * (1 + 1e-9) for epoch in range(80)
    )


@pytest.mark.parametrize(
    ("name", "kind", "settings"),
    [
        ("adam", Adam, {"betas": (0.9, 0.999), "amsgrad": False}),
        ("adamw", AdamW, {"betas": (0.9, 0.999), "amsgrad": False}),
        ("sgd", SGD, {"momentum": 0.8, "nesterov": True}),
        ("soap", Soap, {}),
    ],
)
def test_optimizers_get_their_settings(name: str, kind: type, settings: dict[str, Any]) -> None:
    config = TrainingConfig.model_validate(
        {"optimizer": name, "learning_rate": BASE, "momentum": 0.8}
    )
    given = parameters()
    optimizer = make_optimizer(config, given)
    assert type(optimizer) is kind
    (group,) = optimizer.param_groups
    assert group["params"] == given
    assert group["lr"] == BASE
    assert group["weight_decay"] == 0
    assert {key: group[key] for key in settings} == settings


def test_kernels_decay_and_biases_and_norms_do_not() -> None:
    network = build_network(parse_preset("lunet_small_1f").spec)
    config = TrainingConfig.model_validate({"weight_decay": 0.1})
    decaying, others = make_optimizer(config, network.parameters()).param_groups
    assert (decaying["weight_decay"], others["weight_decay"]) == (0.1, 0)
    expected: dict[bool, set[int]] = {True: set(), False: set()}
    for name, parameter in network.named_parameters():
        is_kernel = name.endswith("weight") and "norm" not in name
        expected[is_kernel].add(id(parameter))
    assert set(map(id, decaying["params"])) == expected[True]
    assert set(map(id, others["params"])) == expected[False]


def test_only_adamw_decouples_its_decay() -> None:
    moved = {}
    for name in ("adam", "adamw"):
        parameter = nn.Parameter(torch.tensor([[2.0]]))
        parameter.grad = torch.zeros(1, 1)
        config = TrainingConfig.model_validate(
            {"optimizer": name, "learning_rate": 0.1, "weight_decay": 0.5}
        )
        make_optimizer(config, [parameter]).step()
        moved[name] = parameter.item()
    assert moved == {"adam": pytest.approx(1.9), "adamw": pytest.approx(2 * (1 - 0.1 * 0.5))}


def test_the_decay_of_the_average_grows_to_its_limit() -> None:
    """By hand: 2/11 first, 9/18 at the eighth; (1 + n) / (10 + n) reaches 0.99 at n = 890."""
    assert average_decay(0.99, 1) == pytest.approx(2 / 11)
    assert average_decay(0.99, 8) == 0.5
    assert average_decay(0.99, 889) < 0.99
    assert average_decay(0.99, 890) == average_decay(0.99, 10**9) == 0.99
    assert average_decay(0.1, 1) == 0.1


def test_the_average_soon_forgets_where_it_began() -> None:
    """From 0 to a network at 1: a constant decay would leave 0.99^96 = 38 % of the way."""
    network = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(network.weight)
    average = make_average(network, 0.99)
    nn.init.ones_(network.weight)
    for _ in range(96):
        average.update_parameters(network)
    assert average.module.weight.item() == pytest.approx(1, abs=1e-6)


def test_the_average_moves_by_one_minus_the_decay_and_copies_counters() -> None:
    """By hand: the decay of the eighth update is 9/18, so that all go half of the way."""
    network = nn.BatchNorm1d(1)
    average = make_average(network, 0.99)
    set_num_updates(average, 7)
    nn.init.constant_(network.weight, 3.0)
    nn.init.constant_(network.bias, -1.0)
    network.running_mean.fill_(10.0)
    network.running_var.fill_(5.0)
    network.num_batches_tracked.fill_(7)
    average.update_parameters(network)
    values = average.module.state_dict()
    assert {name: value.item() for name, value in values.items()} == {
        "weight": 2.0,
        "bias": -0.5,
        "running_mean": 5.0,
        "running_var": 3.0,
        "num_batches_tracked": 7,
    }
    assert values["num_batches_tracked"].dtype == torch.long


def test_the_average_does_not_touch_the_network() -> None:
    network = nn.Linear(2, 2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    average = make_average(network, 0.9)
    nn.init.zeros_(average.module.weight)
    average.update_parameters(network)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())

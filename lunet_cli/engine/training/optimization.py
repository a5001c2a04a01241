"""Optimisers, the course of the learning rate, and averaged weights."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from lunet_cli.config.training import TrainingConfig

_ONE_CYCLE_RISE = 0.3
_ONE_CYCLE_START = 1 / 25
_ONE_CYCLE_END = _ONE_CYCLE_START * 1e-4
_POLY_POWER = 0.9


def make_optimizer(config: TrainingConfig, parameters: Iterable[nn.Parameter]) -> Optimizer:
    """The optimiser that `config` names."""
    learning_rate, decay = config.learning_rate, config.weight_decay
    if config.optimizer == "sgd":
        return SGD(parameters, lr=learning_rate, momentum=0.99, nesterov=True, weight_decay=decay)
    adam = AdamW if config.optimizer == "adamw" else Adam
    return adam(parameters, lr=learning_rate, weight_decay=decay)


def learning_rate_at(config: TrainingConfig, epoch: float) -> float:
    """Learning rate at a moment of training.

    Args:
        config: The section `training`.
        epoch: Epochs done, 0 to `config.epochs`; fractions stand between two epochs.

    References:
        At whole epochs without warm-up: `CosineAnnealingLR`, `StepLR`, `PolynomialLR` (power 0.9)
        and `OneCycleLR` of torch. Warm-up multiplies a linear rise on top.
    """
    factor = _schedule_factor(config, epoch)
    if config.warmup_epochs > 0:
        factor *= min(1.0, epoch / config.warmup_epochs)
    return config.learning_rate * factor


def _schedule_factor(config: TrainingConfig, epoch: float) -> float:
    progress = min(1.0, epoch / config.epochs)
    if config.scheduler == "cosine":
        return _cosine(1.0, 0.0, progress)
    if config.scheduler == "step":
        return float(config.scheduler_gamma ** (int(epoch) // config.scheduler_step_size))
    if config.scheduler == "poly":
        return float((1 - progress) ** _POLY_POWER)
    if config.scheduler == "one-cycle":
        if progress < _ONE_CYCLE_RISE:
            return _cosine(_ONE_CYCLE_START, 1.0, progress / _ONE_CYCLE_RISE)
        return _cosine(1.0, _ONE_CYCLE_END, (progress - _ONE_CYCLE_RISE) / (1 - _ONE_CYCLE_RISE))
    return 1.0


def _cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * progress))


def average_decay(limit: float, num_updates: int) -> float:
    """Weight of the old average at an update: small at first, so that the untrained weights are soon forgotten.

    With a constant decay of 0.99, the first weights still make up 0.99^96 = 38 % of the average
    after 96 steps.

    Args:
        limit: The decay that is approached.
        num_updates: Updates of the network so far, this one included.

    References:
        `num_updates` of TensorFlow's `tf.train.ExponentialMovingAverage`: min(decay, (1 + n) / (10
        + n)).
    """
    return min(limit, (1 + num_updates) / (10 + num_updates))


@torch.no_grad()
def update_average(average: dict[str, torch.Tensor], network: nn.Module, decay: float) -> None:
    """Move averaged weights and statistics towards the network's; counters are copied.

    Args:
        average: State dictionary to change.
        network: Where the new values come from.
        decay: Weight of the old average.
    """
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            average[name].lerp_(value, 1 - decay)
        else:
            average[name].copy_(value)

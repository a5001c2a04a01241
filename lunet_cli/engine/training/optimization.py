"""Optimisers, how the learning rate goes, and averaged weights."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from torch import Size, Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lunet_cli.config.training import TrainingConfig
from lunet_cli.engine.training.soap import Soap, soap_shapes

_Tensors = list[Tensor] | tuple[Tensor, ...]

# The defaults of OneCycleLR: the rate rises for 30 % of the training, from 1/25 of its peak, and
# ends at 1/10,000 of where it began.
_ONE_CYCLE_RISE = 0.3
_ONE_CYCLE_START = 1 / 25
_ONE_CYCLE_END = _ONE_CYCLE_START * 1e-4
# That of DeepLab (arXiv:1606.00915) and nnU-Net.
_POLY_POWER = 0.9


def make_optimizer(config: TrainingConfig, parameters: Iterable[nn.Parameter]) -> Optimizer:
    """The optimiser that `config` names."""
    groups, rate = _groups(parameters, config.weight_decay), config.learning_rate
    if config.optimizer == "sgd":
        return SGD(groups, lr=rate, momentum=config.momentum, nesterov=True)
    if config.optimizer == "adamw":
        return AdamW(groups, lr=rate)
    if config.optimizer == "soap":
        return Soap(groups, lr=rate)
    return Adam(groups, lr=rate)


def state_shapes(optimizer: Optimizer, parameter: Tensor) -> dict[str, Size]:
    """What an optimiser keeps of a parameter from its first step on, by name, and the shapes."""
    if isinstance(optimizer, Soap):
        return soap_shapes(parameter)
    if isinstance(optimizer, SGD):
        return {"momentum_buffer": parameter.shape}
    return {"step": Size(), "exp_avg": parameter.shape, "exp_avg_sq": parameter.shape}


def _groups(parameters: Iterable[nn.Parameter], decay: float) -> list[dict[str, Any]]:
    """The parameters, those that decay apart from those that do not."""
    if decay == 0:
        return [{"params": list(parameters), "weight_decay": 0.0}]
    kernels: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for parameter in parameters:
        # Biases and the scales of a normalisation have one axis: pulling them to 0 shrinks what the
        # network says, not how much it relies on single weights.
        group = kernels if parameter.ndim > 1 else others
        group.append(parameter)
    return [{"params": kernels, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]


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
    """Weight of the old average at an update: small at first.

    So the untrained weights are soon forgotten. With a constant decay of 0.99, they would still
    make up 0.99^96 = 38 % of the average after 96 steps.

    Args:
        limit: The decay that is approached.
        num_updates: Updates of the network so far, this one included.

    References:
        `num_updates` of TensorFlow's `tf.train.ExponentialMovingAverage`: min(decay, (1 + n) / (10
        + n)).
    """
    return min(limit, (1 + num_updates) / (10 + num_updates))


def make_average(network: nn.Module, limit: float) -> AveragedModel:
    """A copy of the network whose weights and statistics follow those of the network.

    Args:
        network: What to copy; it lies on its device already.
        limit: The decay that is approached.
    """

    def follow(averages: _Tensors, values: _Tensors, num_updates: Tensor | int) -> None:
        # All are of one type; on a GPU, one kernel then serves for many.
        if averages[0].is_floating_point():
            decay = average_decay(limit, int(num_updates))
            get_ema_multi_avg_fn(decay)(averages, values, num_updates)
        else:  # counters
            for average, value in zip(averages, values, strict=True):
                average.copy_(value)

    average = AveragedModel(network, multi_avg_fn=follow, use_buffers=True)
    set_num_updates(average, 0)
    return average


def set_num_updates(average: AveragedModel, number: int) -> None:
    """Tell an average how many updates it has seen."""
    # An AveragedModel takes over the weights of its first update as they are, and counts it; ours
    # begins with those before that step.
    average.n_averaged.fill_(number + 1)

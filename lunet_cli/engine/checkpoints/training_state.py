"""The state of a training in a checkpoint, checked before any of it changes a training."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import Tensor
from torch.optim import Optimizer

from lunet_cli.engine.checkpoints.tensors import is_plain, plain_tensors
from lunet_cli.errors import CheckpointError
from lunet_cli.records.checkpoint import TrainingHeader
from lunet_cli.records.record import parse_values

# Epoch, two losses, Dice, learning rate and seconds stand before the Dice of each label.
_COLUMNS_BEFORE_LABELS = 6
# PyTorch's generators have 16 bytes on CUDA and 5,056 on a CPU; others may have more.
_MOST_GENERATOR_BYTES = 1 << 20
_HEADER = ("step", "loss_sum", "seconds", "scaler")
_TENSORS = ("optimizer", "average", "history", "rng", "rng_cuda")


def require_training_state(
    values: object, weights: dict[str, Tensor], epoch: int, path: Path
) -> dict[str, Any]:
    """The state of a training, of the right types and sizes.

    Args:
        values: What was read; see `TrainState.to_dict`.
        weights: The weights of the same checkpoint.
        epoch: Epochs that they have seen.
        path: Where the file lies, for messages.

    Raises:
        CheckpointError: A part is missing, or is not what it should be.
    """
    if not isinstance(values, dict):
        raise CheckpointError(
            f"{path}: training is a {type(values).__name__}, not the state of a training"
        )
    for name in (*_HEADER, *_TENSORS):
        if name not in values:
            raise CheckpointError(f"{path}: training.{name} is missing")
    header = {name: values[name] for name in _HEADER}
    parse_values(TrainingHeader, header, str(path), error=CheckpointError)
    _require_history(values["history"], epoch, path)
    _require_generator(values["rng"], "rng", torch.get_rng_state().numel(), path)
    if values["rng_cuda"] is not None:
        _require_generator(values["rng_cuda"], "rng_cuda", None, path)
    if values["average"] is not None:
        _require_average(plain_tensors(values["average"], "training.average", path), weights, path)
    # Files of lunet 0.1 have none.
    values["heads"] = plain_tensors(values.get("heads", {}), "training.heads", path)
    if not _is_optimizer(values["optimizer"]):
        raise CheckpointError(f"{path}: training.optimizer is not the state of an optimizer")
    return values


def _is_optimizer(values: object) -> bool:
    if not isinstance(values, dict):
        return False
    state, groups = values.get("state"), values.get("param_groups")
    return isinstance(state, dict) and isinstance(groups, list)


def require_fitting_optimizer(
    values: dict[str, Any],
    optimizer: Optimizer,
    shapes_of: Callable[[Tensor], dict[str, torch.Size]],
    path: Path | None,
) -> None:
    """Raise if the state of an optimiser in a checkpoint is not one of `optimizer`.

    Args:
        values: `training.optimizer` of a checkpoint that was read by `load_checkpoint`.
        optimizer: A fresh optimiser of the configuration, over the parameters of the network.
        shapes_of: What that optimiser keeps of a parameter, by name, and the shapes.
        path: Where the file lies, for messages.

    Raises:
        CheckpointError: It is of another optimiser, or its tensors have other shapes than the
            parameters.
    """
    fresh = optimizer.state_dict()["param_groups"]
    groups = values["param_groups"]
    if len(groups) != len(fresh):
        raise _unlike(path, f"it has {len(groups)} groups of parameters instead of {len(fresh)}")
    for group, expected in zip(groups, fresh, strict=True):
        _require_group(group, expected, path)
    # In the order in which the state counts them: across groups.
    groups_of_ours = map(itemgetter("params"), optimizer.param_groups)
    parameters = dict(enumerate(chain.from_iterable(groups_of_ours)))
    for index, state in values["state"].items():
        # True and 1.0 are equal to 1, and not the key that an optimiser looks up.
        if type(index) is not int or index not in parameters or not isinstance(state, dict):
            raise _unlike(path, "it holds values of a parameter that is not there")
        shapes = shapes_of(parameters[index])
        if set(state) != set(shapes):
            raise _unlike(path, f"it holds {_listed(state)} of a parameter, not {_listed(shapes)}")
        for name, value in state.items():
            _require_moment(name, value, shapes[name], path)


def _require_group(group: object, expected: dict[str, Any], path: Path | None) -> None:
    if not isinstance(group, dict):
        raise _unlike(path, f"its settings are {type(group).__name__}, not {_listed(expected)}")
    if set(group) != set(expected):
        raise _unlike(path, f"its settings are {_listed(group)}, not {_listed(expected)}")
    if group["params"] != expected["params"]:
        raise _unlike(path, "it is of another number of parameters")
    for name, value in expected.items():
        found = group[name]
        if not _is_setting_like(found, value):
            raise _unlike(path, f"its setting {name} is a {type(found).__name__} or out of range")


def _is_setting_like(found: object, expected: object) -> bool:
    if isinstance(expected, float):
        return type(found) in (int, float) and 0 <= found < math.inf  # type: ignore[operator]
    # The betas of Adam.
    if isinstance(expected, tuple):
        kinds = list(map(type, expected))
        return isinstance(found, tuple | list) and list(map(type, found)) == kinds
    return type(found) is type(expected)


def _require_moment(name: str, value: object, shape: torch.Size, path: Path | None) -> None:
    # Before its first step, SGD has none.
    if value is None and name == "momentum_buffer":
        return
    if not is_plain(value) or not value.is_floating_point() or value.shape != shape:
        raise _unlike(path, f"its {name} has not the shape {tuple(shape)}")


def _require_history(history: object, epoch: int, path: Path) -> None:
    if not isinstance(history, dict):
        history = {}
    labels, rows = history.get("labels"), history.get("rows")
    if not _are_texts(labels) or not is_plain(rows):
        raise CheckpointError(f"{path}: training.history is not the history of a training")
    if rows.numel() == 0 and epoch == 0:
        return
    shape = (epoch, _COLUMNS_BEFORE_LABELS + len(labels))
    if rows.dtype != torch.float64 or tuple(rows.shape) != shape:
        raise CheckpointError(
            f"{path}: training.history has the shape {tuple(rows.shape)}, which is not that of "
            f"{epoch} epochs with {len(labels)} labels"
        )
    if rows[:, 0].tolist() != list(range(1, epoch + 1)):
        raise CheckpointError(f"{path}: training.history has not the epochs from 1 to {epoch}")


def _are_texts(values: object) -> TypeGuard[list[str]]:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def _require_generator(state: object, name: str, num_bytes: int | None, path: Path) -> None:
    is_state = is_plain(state) and state.dtype == torch.uint8 and state.ndim == 1
    if not is_state or not is_plain(state) or state.numel() > _MOST_GENERATOR_BYTES:
        raise CheckpointError(f"{path}: training.{name} is not the state of a random generator")
    if num_bytes is not None and state.numel() != num_bytes:
        raise CheckpointError(
            f"{path}: training.{name} has {state.numel()} bytes instead of {num_bytes}"
        )


def _require_average(average: dict[str, Tensor], weights: dict[str, Tensor], path: Path) -> None:
    for name, weight in weights.items():
        if name not in average or average[name].shape != weight.shape:
            raise CheckpointError(
                f"{path}: training.average has no {name} of the shape {tuple(weight.shape)}"
            )
    if len(average) > len(weights):
        raise CheckpointError(f"{path}: training.average has tensors that are not in the network")


def _listed(names: Any) -> str:
    # Of a foreign file there may be any number of names, of any length.
    return ", ".join(sorted(str(name)[:40] for name in list(names)[:20]))


def _unlike(path: Path | None, what: str) -> CheckpointError:
    return CheckpointError(
        f"{path}: training.optimizer is not of the optimizer of this configuration: {what}",
        hint="Resume with the optimizer that the run was started with.",
    )

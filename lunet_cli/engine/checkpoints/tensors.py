"""Tensors from files of others: only plain ones whose values are there, finite, and fitting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeGuard

import torch
from torch import Tensor

from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.errors import CheckpointError

# The longest name in a network of ours has some 60 characters.
_MOST_NAME = 300
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def plain_tensors(values: object, what: str, path: Path) -> dict[str, Tensor]:
    """Tensors by their names, all of them plain.

    Args:
        values: What was read.
        what: What the tensors are, for messages.
        path: Where the file lies, for messages.

    Raises:
        CheckpointError: A name is not text, or a value is not a tensor that can be computed with.
    """
    if not isinstance(values, Mapping):
        raise CheckpointError(
            f"{path}: {what} are a {type(values).__name__}, not tensors by their names"
        )
    for name, value in values.items():
        if not isinstance(name, str) or len(name) > _MOST_NAME:
            raise CheckpointError(f"{path}: {what} have a tensor whose name is not a short text")
        problem = tensor_problem(value)
        if problem:
            raise CheckpointError(f"{path}: {what}: {_readable(name)} {problem}")
    return dict(values)


def is_plain(value: object) -> TypeGuard[Tensor]:
    """Whether a value is a tensor that can be computed with."""
    return not tensor_problem(value)


def tensor_problem(value: object) -> str:
    """Why a value is not a tensor that can be computed with, in words; empty if it is.

    A file may describe a tensor that is larger than the file, by strides of 0 or without any
    values; it would become as large as it says with the first operation.
    """
    if type(value) not in (Tensor, torch.nn.Parameter):
        return f"is a {type(value).__name__}, not a plain tensor"
    assert isinstance(value, Tensor)
    if value.layout != torch.strided or value.is_quantized or value.is_nested:
        return "is not a dense tensor"
    if value.device.type != "cpu":
        return "has no values"
    if value.dtype not in (*_FLOATS, *_INTEGERS, torch.bool):
        return f"has the type {_kind(value)}"
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        return f"says that it has the shape {tuple(value.shape)}, and has fewer values"
    return ""


def require_fitting(weights: dict[str, Tensor], network: SegmentationNetwork, path: Path) -> None:
    """Compare names, shapes and kinds of numbers with those of `network`.

    Raises:
        CheckpointError: They differ; the message names the first difference.
    """
    problems = _differences(weights, network.state_dict())
    if problems:
        spec = network.spec
        raise CheckpointError(
            f"{path}: its weights are not those of this network ({spec.family}, channels "
            f"{', '.join(map(str, spec.channels))}): {problems[0]}{_and_more(problems, '')}",
            hint="Name the network it was trained with: `architecture`, or model.architecture, "
            "in_channels and out_channels.",
        )


def _differences(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    """Where weights differ from what is expected, in words; what is missing comes first."""
    problems = [f"{name} is missing" for name in expected if name not in weights]
    problems += [f"{_readable(name)} is unknown" for name in weights if name not in expected]
    for name, tensor in weights.items():
        if name not in expected:
            continue
        wanted = expected[name]
        if tensor.shape != wanted.shape:
            shapes = tuple(tensor.shape), tuple(wanted.shape)
            problems.append(f"{name} has shape {shapes[0]}, expected {shapes[1]}")
        elif tensor.is_floating_point() != wanted.is_floating_point():
            problems.append(f"{name} has the type {_kind(tensor)}, expected {_kind(wanted)}")
    return problems


def _and_more(problems: Sequence[str], noun: str) -> str:
    if len(problems) == 1:
        return ""
    return f" and {len(problems) - 1} more{noun}"


def _kind(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def require_finite(weights: dict[str, Tensor], path: Path) -> None:
    """Raise if a weight or a statistic is not a finite number.

    Whatever a network with it gives is not a result.

    Raises:
        CheckpointError: It names the first tensor.
    """
    found = not_finite(weights)
    if found:
        verb = "holds" if len(found) == 1 else "hold"
        raise CheckpointError(
            f"{path}: {found[0]}{_and_more(found, ' tensors')} {verb} values that are not finite",
            hint="The training has diverged, or the file was changed. Train again with a smaller "
            "learning rate.",
        )


def not_finite(weights: dict[str, Tensor]) -> list[str]:
    """Names of the tensors with NaN or infinite values."""
    return [name for name, tensor in weights.items() if not bool(torch.isfinite(tensor).all())]


def _readable(name: str) -> str:
    if name.isprintable():
        return name
    return repr(name)

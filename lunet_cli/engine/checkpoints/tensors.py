"""Tensors from files of others: only plain ones whose values are there, finite, and of the network they are for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeGuard

import torch
from torch import Tensor

from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.errors import CheckpointError

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
        return f"has the type {str(value.dtype).removeprefix('torch.')}"
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        return f"says that it has the shape {tuple(value.shape)}, and has fewer values"
    return ""


def require_fitting(weights: dict[str, Tensor], network: SegmentationNetwork, path: Path) -> None:
    """Compare names, shapes and kinds of numbers with those of `network`.

    Raises:
        CheckpointError: They differ; the message names the first difference.
    """
    expected = network.state_dict()
    problems = [f"{name} is missing" for name in expected if name not in weights]
    problems += [f"{_readable(name)} is unknown" for name in weights if name not in expected]
    for name, tensor in weights.items():
        if name not in expected:
            continue
        if tensor.shape != expected[name].shape:
            problems.append(
                f"{name} has shape {tuple(tensor.shape)}, expected {tuple(expected[name].shape)}"
            )
        elif tensor.is_floating_point() != expected[name].is_floating_point():
            kinds = [str(one.dtype).removeprefix("torch.") for one in (tensor, expected[name])]
            problems.append(f"{name} has the type {kinds[0]}, expected {kinds[1]}")
    if problems:
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise CheckpointError(
            f"{path}: its weights are not those of this network ({network.spec.family}, channels "
            f"{', '.join(map(str, network.spec.channels))}): {problems[0]}{more}",
            hint="Name the network it was trained with: --arch, or model.architecture, in_channels and out_channels.",
        )


def require_finite(weights: dict[str, Tensor], path: Path) -> None:
    """Raise if a weight or a statistic is not a finite number: whatever a network with it gives is not a result.

    Raises:
        CheckpointError: It names the first tensor.
    """
    found = not_finite(weights)
    if found:
        more = f" and {len(found) - 1} more tensors hold" if len(found) > 1 else " holds"
        raise CheckpointError(
            f"{path}: {found[0]}{more} values that are not finite",
            hint="The training has diverged, or the file was changed. Train again with a smaller learning rate.",
        )


def not_finite(weights: dict[str, Tensor]) -> list[str]:
    """Names of the tensors with NaN or infinite values."""
    return [name for name, tensor in weights.items() if not bool(torch.isfinite(tensor).all())]


def _readable(name: str) -> str:
    return name if name.isprintable() else repr(name)

"""Tensors of others: plain, with all their values, finite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lunet_cli.config.network import NetworkSpec
from lunet_cli.engine.checkpoints.tensors import (
    not_finite,
    plain_tensors,
    require_finite,
    require_fitting,
    tensor_problem,
)
from lunet_cli.engine.networks import build_network
from lunet_cli.errors import CheckpointError

PATH = Path("a.pt")


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (torch.zeros(2, 3), ""),
        (torch.nn.Parameter(torch.zeros(2)), ""),
        (torch.zeros(()), ""),
        (torch.zeros(0, 3), ""),
        (torch.zeros(4, 4).t(), ""),
        (torch.ones(3, dtype=torch.int64), ""),
        (3, "is a int, not a plain tensor"),
        (torch.eye(3).to_sparse(), "is not a dense tensor"),
        (torch.empty(10**12, device="meta"), "has no values"),
        (torch.ones(1, dtype=torch.complex64), "has the type complex64"),
        (
            torch.ones(1).expand(10**12),
            "says that it has the shape (1000000000000,), and has fewer values",
        ),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_a_plain_tensor_is(value: object, problem: str) -> None:
    assert tensor_problem(value) == problem


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1], "weights are a list, not tensors by their names"),
        ({1: torch.zeros(1)}, "have a tensor whose name is not a short text"),
        ({"a" * 301: torch.zeros(1)}, "have a tensor whose name is not a short text"),
        ({"\x1b[2J": None}, r"weights: '\\x1b\[2J' is a NoneType, not a plain tensor"),
    ],
)
def test_names_are_text(values: Any, message: str) -> None:
    with pytest.raises(CheckpointError, match=f"^a.pt: .*{message}"):
        plain_tensors(values, "weights", PATH)


def test_weights_fit_their_network_in_shape_and_kind() -> None:
    network = build_network(NetworkSpec("lunet", (2, 2)))
    weights = network.state_dict()
    halves = dict(weights)
    for name, tensor in weights.items():
        if tensor.is_floating_point():
            halves[name] = tensor.half()
    require_fitting(halves, network, PATH)
    for change, message in (
        ({"head.1.bias": torch.zeros(2)}, r"head.1.bias has shape \(2,\), expected \(1,\)"),
        (
            {"head.1.bias": torch.zeros(1, dtype=torch.int64)},
            "head.1.bias has the type int64, expected float32",
        ),
        ({"more": torch.zeros(1)}, "more is unknown"),
    ):
        with pytest.raises(CheckpointError, match=message):
            require_fitting(weights | change, network, PATH)
    del weights["head.1.bias"]
    with pytest.raises(CheckpointError, match=r"head\.1\.bias is missing"):
        require_fitting(weights, network, PATH)


def test_values_that_are_not_finite_are_named() -> None:
    weights = {
        "a": torch.ones(2),
        "b": torch.tensor([1.0, torch.inf]),
        "c": torch.tensor([torch.nan]),
    }
    assert not_finite(weights) == ["b", "c"]
    with pytest.raises(
        CheckpointError, match=r"^a\.pt: b and 1 more tensors hold values that are not finite"
    ):
        require_finite(weights, PATH)
    require_finite({"a": torch.ones(2), "count": torch.tensor(3)}, PATH)

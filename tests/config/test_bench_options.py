"""What `BenchOptions` and `ExportOptions` take and refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lunet_cli.config.options import BenchOptions, ExportOptions
from lunet_cli.errors import ConfigError


@pytest.mark.parametrize(
    ("value", "size"),
    [("64", (64, 64, 64)), (64, (64, 64, 64)), ("96X96x64", (96, 96, 64)), ((1, 2, 3), (1, 2, 3))],
)
def test_sizes(value: object, size: tuple[int, int, int]) -> None:
    assert BenchOptions(sizes=(value,)).sizes == (size,)


@pytest.mark.parametrize(
    "text", ["", "a", "-1", "1x2", "1x2x3x4", "4097", "0x1x1", "1.5", "\u00b2"]
)
def test_what_is_not_a_size(text: str) -> None:
    with pytest.raises(ConfigError, match="`sizes`"):
        BenchOptions(sizes=(text,))


def test_none_is_not_given() -> None:
    assert BenchOptions(sizes=None, timed_runs=None, devices=("cpu",)).sizes == ()


def test_name_that_is_given_twice_counts_once() -> None:
    assert BenchOptions(families=("lunet", "unet", "lunet")).families == ("lunet", "unet")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "onnx", "weights": "int8"}, "`weights=int8` and `calibrate`: belong together"),
        ({"format": "onnx", "calibrate": Path("calib")}, "belong together"),
        (
            {"format": "safetensors", "weights": "int8", "calibrate": Path("calib")},
            "`weights=int8`: safetensors has no quantised networks",
        ),
        ({"format": "torch-export", "weights": "fp16"}, "no fp16 convolution"),
        ({"format": "tensorrt"}, "`format`: "),
    ],
)
def test_what_a_format_cannot_hold(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ExportOptions(**options)

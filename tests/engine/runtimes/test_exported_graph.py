from __future__ import annotations

from pathlib import Path

import pytest

from lunet_cli.engine.runtimes.exported_graph import format_of


@pytest.mark.parametrize(
    ("name", "format_name"),
    [
        ("a.onnx", "onnx"),
        ("a.xml", "openvino"),
        ("a.b.pt2", "torch-export"),
        ("a.pt", None),
        ("a.safetensors", None),
        ("onnx", None),
    ],
)
def test_format_is_told_by_the_suffix(name: str, format_name: str | None) -> None:
    assert format_of(Path(name)) == format_name

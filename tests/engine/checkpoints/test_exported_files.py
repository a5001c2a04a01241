from __future__ import annotations

from pathlib import Path

import pytest

from lunet_cli.engine.checkpoints.models import load_model
from lunet_cli.errors import CheckpointError


def test_foreign_and_broken_files(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Relu", ["x"], ["y"])],
        "g",
        [value],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])],
    )
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10
    )
    onnx.save(model, tmp_path / "foreign.onnx")
    with pytest.raises(CheckpointError, match="was not written by `export"):
        load_model(tmp_path / "foreign.onnx")
    for name in ("broken.onnx", "broken.xml", "broken.pt2", "broken.safetensors"):
        (tmp_path / name).write_bytes(b"no network")
        (tmp_path / name).with_suffix(".bin").write_bytes(b"")
        with pytest.raises(CheckpointError, match="is damaged or not"):
            load_model(tmp_path / name)
        with pytest.raises(CheckpointError, match="there is no such file"):
            load_model(tmp_path / f"absent_{name}")

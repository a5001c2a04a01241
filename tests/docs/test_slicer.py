"""The script of docs/slicer.md, with stand-ins for the modules that only 3D Slicer has."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from lunet_cli.config.options import ExportOptions
from lunet_cli.engine.exporting import plain
from lunet_cli.engine.exporting.export import export

PAGE = Path(__file__).parents[2] / "docs" / "slicer.md"


class Part:
    """A segment."""

    def __init__(self, value: int) -> None:
        self.value, self.name = value, ""

    def GetLabelValue(self) -> int:  # noqa: N802  # Slicer's names
        return self.value

    def SetName(self, name: str) -> None:  # noqa: N802
        self.name = name


def test_the_script_gives_slicer_the_labels_of_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_threshold_model: Any
) -> None:
    for package in ("onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    model = make_threshold_model(
        tmp_path / "best_model.pt",
        thresholds=(60.5, 100.5),
        activation="softmax",
        labels={"liver": (3,), "lump": (5,)},
    )
    array = np.random.default_rng(0).integers(0, 200, (9, 10, 11)).astype(np.int16)
    image = sitk.GetImageFromArray(array)
    (tmp_path / "check").mkdir()
    sitk.WriteImage(image, str(tmp_path / "check/a.nii.gz"))
    export(model, ExportOptions(format="onnx", check=tmp_path / "check"))
    (tmp_path / "use.py").write_text(Path(plain.__file__).read_text(encoding="utf-8"))
    (block,) = re.findall(r"^```py\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    script = block.replace("/path/to/the/folder", str(tmp_path))
    parts = [Part(3), Part(5)]
    slicer, utilities = MagicMock(), MagicMock()
    utilities.PullVolumeFromSlicer.return_value = image
    segmentation = slicer.mrmlScene.AddNewNodeByClass.return_value.GetSegmentation.return_value
    segmentation.GetNumberOfSegments.return_value = len(parts)
    segmentation.GetNthSegment.side_effect = parts
    monkeypatch.setitem(sys.modules, "slicer", slicer)
    monkeypatch.setitem(sys.modules, "sitkUtils", utilities)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setitem(sys.modules, "use", SimpleNamespace())
    monkeypatch.delitem(sys.modules, "use")
    exec(compile(script, str(PAGE), "exec"), {})
    (found,), _ = utilities.PushVolumeToSlicer.call_args
    expected = 3 * ((array > 60.5) & (array < 100.5)) + 5 * (array > 100.5)
    assert np.array_equal(sitk.GetArrayFromImage(found), expected)
    assert [part.name for part in parts] == ["liver", "lump"]
    slicer.util.pip_install.assert_not_called()

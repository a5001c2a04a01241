from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from lunet_cli.config.options import ExportOptions
from lunet_cli.engine.exporting import plain
from lunet_cli.engine.exporting.export import export
from lunet_cli.engine.inference.predictor import PredictionOptions, Predictor

GUIDE = Path(__file__).resolve().parents[3] / "docs" / "export.md"


def test_script_of_the_guide_is_what_exports_are_compared_with() -> None:
    script = GUIDE.read_text(encoding="utf-8").partition("```python\n")[2].partition("```")[0]
    assert script == Path(plain.__file__).read_text(encoding="utf-8")
    assert "lunet_cli" not in script
    assert "torch" not in script


def test_script_of_the_guide_gives_the_label_map(
    volumes: Path, tmp_path: Path, make_threshold_model: Callable[..., Path]
) -> None:
    """In a process of its own: two channels, other axes and spacing, a window between the edges."""
    pytest.importorskip("onnxscript")
    model = make_threshold_model(
        tmp_path / "model.pt",
        thresholds=(100.37,),
        in_channels=2,
        orientation="RSA",
        spacing_mm=(2.0, 1.2, 1.0),
    )
    folder = tmp_path / "channels"
    folder.mkdir()
    images = [folder / f"case_{index:04d}.nii.gz" for index in range(2)]
    for index, image in enumerate(images):
        shutil.copy(volumes / f"case{index}.nii.gz", image)
    export(model, ExportOptions(format="onnx", output=tmp_path / "model.onnx", check=folder))
    script, out = tmp_path / "use.py", tmp_path / "mask.nii.gz"
    script.write_text(Path(plain.__file__).read_text(encoding="utf-8"), encoding="utf-8")
    subprocess.run(
        [sys.executable, script, tmp_path / "model.onnx", out, *images], check=True, timeout=120
    )
    found = sitk.ReadImage(str(out))
    assert found.GetSpacing() == pytest.approx((1.0, 1.5, 2.0))
    predictor = Predictor.load([model], options=PredictionOptions(device="cpu", precision="fp32"))
    expected = predictor.segment([sitk.ReadImage(str(image)) for image in images]).label_map()
    assert 0 < expected.sum() < expected.size
    mask = sitk.GetArrayFromImage(found)
    # At the outermost voxels, ITK and lunet round differently where two grids meet.
    assert 2 * np.count_nonzero(mask & expected) / (mask.sum() + expected.sum()) > 0.999

"""MONAI bundles, executed by MONAI in a process that knows nothing of lunet."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from lunet_cli.config.options import ExportOptions, PredictionOptions
from lunet_cli.engine.exporting.export import export
from lunet_cli.engine.inference.predict import predict
from lunet_cli.engine.inference.predictor import Predictor
from lunet_cli.errors import ConfigError, OutputError
from lunet_cli.results.exporting import ExportResult

OBLIQUE = (1.0, 0.0, 0.0, 0.0, 0.8, -0.6, 0.0, 0.6, 0.8)


@pytest.fixture(scope="module")
def model(
    tmp_path_factory: pytest.TempPathFactory, make_threshold_model: Callable[..., Path]
) -> Path:
    return make_threshold_model(
        tmp_path_factory.mktemp("model") / "best_model.pt",
        thresholds=(60.5, 100.5),
        activation="softmax",
        labels={"liver": (5,), "lump": (300,)},
    )


@pytest.fixture(scope="module")
def images(volumes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two volumes, of which one lies obliquely."""
    folder = tmp_path_factory.mktemp("images")
    for number, path in enumerate(sorted(volumes.iterdir())):
        image = sitk.ReadImage(str(path))
        if number == 1:
            image.SetDirection(OBLIQUE)
            image.SetOrigin((-31.7, 12.25, 480.5))
        sitk.WriteImage(image, str(folder / path.name))
    return folder


@pytest.fixture(scope="module")
def bundle(model: Path, volumes: Path) -> ExportResult:
    return export(model, ExportOptions(format="monai-bundle", check=volumes))


def test_layout_of_a_bundle(bundle: ExportResult, model: Path) -> None:
    root = model.parent / "best_model_bundle"
    assert bundle.format == "monai-bundle"
    assert (bundle.files[0], bundle.files[-1]) == (
        root / "models/model.pt2",
        root / "models/model.pt2.json",
    )
    assert {str(file.relative_to(root)) for file in bundle.files[1:-1]} == {
        "configs/inference.json",
        "configs/metadata.json",
        "docs/README.md",
        "scripts/__init__.py",
        "scripts/bundle_parts.py",
        "scripts/plain.py",
    }
    assert bundle.size_on_disk_bytes == (root / "models/model.pt2").stat().st_size
    metadata = json.loads((root / "configs/metadata.json").read_text())
    assert metadata["network_data_format"]["outputs"]["pred"]["channel_def"] == {
        "0": "background",
        "5": "liver",
        "300": "lump",
    }
    assert [path.name for path in model.parent.iterdir() if path.name.startswith(".")] == []


def test_monai_gives_the_same_masks(
    bundle: ExportResult, model: Path, images: Path, tmp_path: Path
) -> None:
    for package in ("monai", "ignite", "nibabel", "fire"):
        pytest.importorskip(package)
    root = bundle.files[0].parents[1]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "monai.bundle", "run"),
            *("--config_file", root / "configs/inference.json", "--bundle_root", root),
            *("--dataset_dir", images, "--output_dir", tmp_path / "masks"),
        ],
        capture_output=True,
        encoding="utf-8",
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    options = PredictionOptions(device="cpu", precision="fp32")
    predict(Predictor.load([model], options=options), images, tmp_path / "ours")
    for number in range(2):
        theirs = sitk.ReadImage(str(tmp_path / f"masks/case{number}_seg.nii.gz"))
        ours = sitk.ReadImage(str(tmp_path / f"ours/case{number}.nii.gz"))
        found = sitk.GetArrayFromImage(theirs)
        assert set(np.unique(found)) == {0, 5, 300}
        assert np.array_equal(found, sitk.GetArrayFromImage(ours))
        np.testing.assert_allclose(theirs.GetSpacing(), ours.GetSpacing(), rtol=1e-6)
        np.testing.assert_allclose(theirs.GetOrigin(), ours.GetOrigin(), atol=1e-4)
        np.testing.assert_allclose(theirs.GetDirection(), ours.GetDirection(), atol=1e-6)


def test_what_is_there_is_not_overwritten(model: Path, volumes: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    options = ExportOptions(format="monai-bundle", check=volumes, output=tmp_path / "mine")
    with pytest.raises(OutputError, match="mine: is there already"):
        export(model, options)
    with pytest.raises(ConfigError, match="`weights=fp16`: PyTorch has no fp16 convolution"):
        ExportOptions(format="monai-bundle", weights="fp16")

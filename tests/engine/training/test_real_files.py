"""Trainings and predictions on real files, in the forms that data comes in."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from lunet_cli.config.load import load_config
from lunet_cli.config.options import OutputOptions
from lunet_cli.engine.data.fingerprint import fingerprint
from lunet_cli.engine.data.volume import Geometry
from lunet_cli.engine.inference.load_model import load_model
from lunet_cli.engine.inference.predict import predict
from lunet_cli.engine.training.train import train

pytestmark = pytest.mark.real_data

NUM_CASES = 4


def _plain(image: sitk.Image, label: sitk.Image, root: Path, name: str) -> None:
    sitk.WriteImage(image, str(root / "images" / f"{name}.nii.gz"))
    sitk.WriteImage(label, str(root / "labels" / f"{name}.nii.gz"))


def _unpacked(image: sitk.Image, label: sitk.Image, root: Path, name: str) -> None:
    for volume, folder in ((image, "images"), (label, "labels")):
        sitk.WriteImage(volume, str(root / folder / f"{name}.nii"))


def _contrasts(image: sitk.Image) -> list[sitk.Image]:
    image = sitk.Cast(image, sitk.sitkFloat32)
    return [image, sitk.GradientMagnitude(image)]


def _two_files(image: sitk.Image, label: sitk.Image, root: Path, name: str) -> None:
    for channel, contrast in enumerate(_contrasts(image)):
        sitk.WriteImage(contrast, str(root / "images" / f"{name}_{channel:04d}.nii.gz"))
    sitk.WriteImage(label, str(root / "labels" / f"{name}.nii.gz"))


def _four_dimensional(image: sitk.Image, label: sitk.Image, root: Path, name: str) -> None:
    joined = sitk.JoinSeries(_contrasts(image))
    _plain(joined, label, root, name)


def _turned(image: sitk.Image, label: sitk.Image, root: Path, name: str) -> None:
    """Thick slices, axes in another order and against their direction, as NRRD."""
    for volume, folder in ((image, "images"), (label, "labels")):
        turned = sitk.DICOMOrient(volume[:, :, ::3], "IPR")
        sitk.WriteImage(turned, str(root / folder / f"{name}.nrrd"))


FORMS = {
    "big-endian, softmax": (_unpacked, 1, ["labels.anterior=1", "labels.posterior=2"]),
    "two files, regions": (_two_files, 2, ["labels.whole=[1, 2]", "labels.anterior=1"]),
    "four dimensions": (_four_dimensional, 2, ["labels.anterior=1", "labels.posterior=2"]),
    "turned and anisotropic": (
        _turned,
        1,
        ["labels.whole=[1, 2]", "preprocessing.spacing_mm=[2, 1, 1]"],
    ),
}
Write = Callable[[sitk.Image, sitk.Image, Path, str], None]


def _settings(root: Path, output: Path, *more: str) -> list[str]:
    return [
        f"data.root={root}",
        f"experiment.output_dir={output}",
        "experiment.name=run",
        "model.architecture=lunet_large_1f",
        "training.epochs=1",
        "training.batch_size=2",
        "training.patch_size=[16, 32, 32]",
        "training.scheduler=none",
        "visualization.plot_slices=false",
        "visualization.plot_training_curves=false",
        *more,
    ]


@pytest.mark.parametrize("form", FORMS)
def test_real_files_train_and_predict(
    hippocampus: Path, tmp_path: Path, form: str, make_big_endian: Callable[[Path], None]
) -> None:
    write, num_channels, settings = FORMS[form]
    root = tmp_path / "data"
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    for source in sorted((hippocampus / "imagesTr").glob("*.nii.gz"))[:NUM_CASES]:
        label = sitk.ReadImage(str(hippocampus / "labelsTr" / source.name))
        write(sitk.ReadImage(str(source)), label, root, source.name.removesuffix(".nii.gz"))
    if "big-endian" in form:
        for path in root.rglob("*.nii"):
            make_big_endian(path)
    result = train(load_config(None, _settings(root, tmp_path / "runs", *settings)))
    assert result.outcome == "finished"
    assert np.isfinite(result.history[0].val_loss)
    assert load_model(result.run_dir).card.network.in_channels == num_channels
    _require_masks_on_their_grids(result.run_dir, root / "images", root / "labels")


def _require_masks_on_their_grids(run: Path, images: Path, labels: Path) -> None:
    """Predict all images, and compare the grid of each mask with that of the label map."""
    found = predict(run, [images], OutputOptions(output=run / "masks"))
    assert not found.failures
    masks = sorted(path for path in (run / "masks").iterdir() if path.suffix != ".json")
    assert len(masks) == len(list(labels.iterdir()))
    for mask, label in zip(masks, sorted(labels.iterdir()), strict=True):
        image = sitk.ReadImage(str(mask))
        assert not Geometry.of(image).differences(Geometry.of(sitk.ReadImage(str(label))))
        assert set(np.unique(sitk.GetArrayViewFromImage(image)).tolist()) <= {0, 1, 2}


@pytest.mark.parametrize("name", ["anisotropic/brain_tumour", "anisotropic/lung_ventilation"])
def test_real_anisotropic_sets_train_as_they_lie(
    hippocampus: Path, tmp_path: Path, name: str
) -> None:
    root = tmp_path / "data"
    shutil.copytree(hippocampus.parent / name, root)
    found = fingerprint(root)
    thickest = max(case.spacing_mm[0] for case in found.cases)
    spacing = f"preprocessing.spacing_mm=[{thickest}, 3, 3]"
    settings = _settings(root, tmp_path / "runs", spacing, "training.patches_per_case=2")
    result = train(load_config(None, settings))
    assert np.isfinite(result.history[0].train_loss)
    _require_masks_on_their_grids(result.run_dir, root / "imagesTr", root / "labelsTr")

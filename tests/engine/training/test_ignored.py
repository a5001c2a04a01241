"""Voxels that nobody has labelled, from files to metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lunet_cli as lunet
from lunet_cli.engine.training.train import train
from lunet_cli.errors import DataError

UNKNOWN = 255


@pytest.fixture
def folder(tmp_path: Path, write_volume: Any) -> Path:
    """Bright balls, of which each has one half labelled; elsewhere lies noise that looks alike."""
    rng = np.random.default_rng(0)
    z, y, x = np.mgrid[:16, :16, :16] - 7.5
    ball = z**2 + y**2 + x**2 < 30
    for index in range(4):
        image = rng.normal(0, 0.2, ball.shape) + 2 * ball
        label = ball.astype(np.uint8)
        label[:, :, 9:] = UNKNOWN
        write_volume(tmp_path / "data/images" / f"c{index}.nii.gz", image.astype(np.float32))
        write_volume(tmp_path / "data/labels" / f"c{index}.nii.gz", label)
    return tmp_path


def config(folder: Path, *more: str) -> Any:
    settings = [
        f"data.root={folder / 'data'}",
        f"experiment.output_dir={folder}",
        "labels.ball=1",
        "model.architecture=lunet_small_2f",
        "training.batch_size=3",
        "training.epochs=40",
        "training.precision=fp32",
        "training.num_threads=1",
        "training.deep_supervision=true",
        "augmentation.level=standard",
        *more,
    ]
    return lunet.load_config(None, settings)


def test_they_count_in_no_loss_and_no_metric(folder: Path) -> None:
    result = train(config(folder, f"data.ignored_value={UNKNOWN}"))
    # Whatever is found in the other half of the ball is not wrong.
    assert result.best is not None
    assert result.best.val_dice > 0.8
    found = lunet.evaluate(result.run_dir)
    assert found.summaries[0].mean == pytest.approx(result.best.val_dice, abs=0.05)


def test_without_the_key_the_value_is_a_mistake(folder: Path) -> None:
    with pytest.raises(DataError, match="label value 255 not configured"):
        train(config(folder))

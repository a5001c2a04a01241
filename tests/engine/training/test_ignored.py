"""Voxels that nobody has labelled, from files to metrics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lunet_cli as lunet
from lunet_cli.config.labels import Activation
from lunet_cli.config.options import OutputOptions
from lunet_cli.config.training import FITTING_LOSSES, LossName
from lunet_cli.engine.data.check import check_data
from lunet_cli.engine.data.fingerprint import fingerprint
from lunet_cli.engine.inference.predict import predict
from lunet_cli.engine.inference.predictor import Predictor
from lunet_cli.engine.training.setup import set_up
from lunet_cli.engine.training.supervision import SupervisedNetwork, supervised_loss
from lunet_cli.engine.training.train import train
from lunet_cli.engine.viewing.cases import CaseViews
from lunet_cli.errors import DataError

UNKNOWN = 300  # More than a byte holds.


@pytest.fixture
def folder(tmp_path: Path, write_volume: Any) -> Path:
    """Bright balls, of which each has one half labelled; elsewhere lies noise that looks alike."""
    rng = np.random.default_rng(0)
    z, y, x = np.mgrid[:16, :16, :16] - 7.5
    ball = z**2 + y**2 + x**2 < 30
    for index in range(4):
        image = rng.normal(0, 0.2, ball.shape) + 2 * ball
        label = ball.astype(np.uint16)
        label[:, :, 9:] = UNKNOWN
        write_volume(tmp_path / "data/images" / f"c{index}.nii.gz", image.astype(np.float32))
        write_volume(tmp_path / "data/labels" / f"c{index}.nii.gz", label)
    return tmp_path


def _settings(folder: Path, *more: str) -> list[str]:
    return [
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


def config(folder: Path, *more: str) -> Any:
    return lunet.load_config(None, _settings(folder, *more))


def test_they_count_in_no_loss_and_no_metric(folder: Path) -> None:
    result = train(config(folder, f"data.ignored_value={UNKNOWN}"))
    # Whatever is found in the other half of the ball is not wrong.
    assert result.best is not None
    assert result.best.val_dice > 0.8
    found = lunet.evaluate(result.run_dir)
    assert found.summaries[0].mean == pytest.approx(result.best.val_dice, abs=0.05)


def test_without_the_key_the_value_is_a_mistake(folder: Path) -> None:
    with pytest.raises(DataError, match="label value 300 not configured"):
        train(config(folder))


@pytest.mark.parametrize(
    ("activation", "loss"),
    [(activation, loss) for activation, losses in FITTING_LOSSES.items() for loss in losses],
)
def test_no_gradient_comes_from_them(folder: Path, activation: Activation, loss: LossName) -> None:
    settings = ["labels.core=2", f"model.activation={activation}", f"training.loss.name={loss}"]
    losses = []
    for value in (0, 1, 2):
        # Whatever lies beneath: the same voxels are unlabelled in all three.
        context = set_up(
            config(folder, f"data.ignored_value={UNKNOWN}", *settings), lambda event: None
        )
        labels, network = context.card.labels, context.new_network()
        learner = SupervisedNetwork(network, is_deep=True)
        torch.manual_seed(0)
        image, label = torch.randn(2, 1, 16, 16, 16), torch.randint(0, 3, (2, 16, 16, 16))
        hidden = torch.zeros_like(label, dtype=torch.bool)
        hidden[:, :, :, 8:] = True
        target = labels.encode(torch.where(hidden, value, label))
        known = labels.known(torch.where(hidden, UNKNOWN, label))
        outputs = learner(image)
        losses.append(supervised_loss(context.loss, outputs, learner.strides, target, known))
        outputs[0].retain_grad()
        losses[-1].backward()
        assert outputs[0].grad is not None
        assert not outputs[0].grad[:, :, :, :, 8:].any()
        assert outputs[0].grad[:, :, :, :, :8].any()
    assert losses[0] == losses[1] == losses[2]


def test_what_a_data_set_of_nnunet_ignores_is_ignored(folder: Path) -> None:
    data = folder / "data"
    for index in range(4):
        image = data / "images" / f"c{index}.nii.gz"
        (data / "imagesTr").mkdir(exist_ok=True)
        image.rename(data / "imagesTr" / f"c{index}_0000.nii.gz")
    (data / "images").rmdir()
    (data / "labels").rename(data / "labelsTr")
    labels = {"background": 0, "ball": 1, "ignore": UNKNOWN}
    description = {"channel_names": {"0": "MRI"}, "labels": labels, "file_ending": ".nii.gz"}
    (data / "dataset.json").write_text(json.dumps(description))
    settings = [setting for setting in _settings(folder) if not setting.startswith("labels.")]
    result = train(lunet.load_config(None, settings))
    assert result.best is not None
    assert result.best.val_dice > 0.8
    assert {problem.kind for problem in check_data(data).problems} == {"copy"}  # Equal balls.
    found = fingerprint(data)
    assert found.ignored == UNKNOWN
    assert {facts.value for case in found.cases for facts in case.values} == {1}
    # Nobody knows whether the other half of the ball is wrong: not for a score either.
    predict(result.run_dir, [data / "imagesTr"], OutputOptions(output=folder / "masks"))
    scored = lunet.score(folder / "masks", data / "labelsTr", output=folder / "scored")
    assert scored.summaries[0].mean > 0.8
    views = CaseViews(Predictor.load([result.run_dir]), data=data)
    in_view = [views.load(name).dice["ball"] for name in views.names]
    assert np.mean(in_view) == pytest.approx(scored.summaries[0].mean)

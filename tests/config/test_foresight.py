from __future__ import annotations

from pathlib import Path

import pytest

from lunet_cli.config import foresight
from lunet_cli.config.foresight import require_startable
from lunet_cli.config.load import load_config
from lunet_cli.errors import LunetError

CONFIGS = Path(__file__).parents[2] / "configs"
SMALL = ["data.phantom.num_cases=8", "data.phantom.size=16", "training.patch_size=[32, 16, 16]"]


def refusal(*overrides: str) -> str:
    with pytest.raises(LunetError) as caught:
        require_startable(load_config(None, [*SMALL, *overrides]))
    assert "\n" not in caught.value.message
    return caught.value.message


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_configurations_can_start(path: Path) -> None:
    require_startable(load_config(path))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("data.root=/nowhere", "/nowhere: there is no such folder"),
        ("data.split.file=/dev/zero", "/dev/zero: is not a file"),
        ("data.split.file=/nowhere.json", "/nowhere.json: there is no such file"),
        (
            "data.split.group_pattern='(x)'",
            "data.split.group_pattern: '(x)' does not match case id 'phantom_0000'",
        ),
        ("data={train_dir: /, val_dir: /.}", "data.val_dir: / is data.train_dir too"),
        ("data.split={fold: 1, num_folds: 9}", "data.split.num_folds: 9 folds of 8 cases"),
        ("training.batch_size=7", "training.batch_size: 7 is more than the 6 patches of an epoch"),
        (
            "training={patch_size: [16, 16, 16], batch_size: 5}",
            "training.patch_size: 16 x 16 x 16 leaves one voxel",
        ),
        ("labels={a: 1, b: 3}", "labels: label values 2 not configured"),
        (
            "labels={a: [1, 2, 3], b: [1]}\0model.activation=softmax",
            "model.activation: softmax needs labels",
        ),
        (
            "labels={a: [1, 2, 3]}\0training.loss.name=dice_ce",
            "training.loss.name: dice_ce needs exclusive classes",
        ),
        ("training.loss.name=bce", "training.loss.name: bce needs independent channels"),
        ("model.out_channels=2", "model.out_channels: 2 does not fit 3 labels"),
        ("model.in_channels=2", "model.in_channels: 2, but the images have 1"),
        ("benchmark={enabled: true, input_size: [1, 2, 64, 64, 64]}", "benchmark.input_size: "),
    ],
)
def test_what_is_known_to_fail_is_refused(override: str, words: str) -> None:
    assert refusal(*override.split("\0")).startswith(words)


def test_built_in_volumes_that_fit_nowhere_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    many = ["data.phantom.num_cases=9999", "data.phantom.size=256", "data.cache=memory"]
    assert "9999 volumes of 16,777,216 voxels need 781 GiB" in refusal(*many)
    monkeypatch.setattr(
        foresight.shutil, "disk_usage", lambda place: type("Usage", (), {"free": 2**30})
    )
    assert refusal(*many[:2]).endswith("has 1 GiB free")


@pytest.mark.parametrize(
    "override", ["training.loss.name=auto", "labels={a: [1, 2, 3]}", "model.out_channels=1"]
)
def test_what_fits_passes(override: str) -> None:
    require_startable(load_config(None, [*SMALL, override]))

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lunet_cli.config.load import load_config
from lunet_cli.config.run import RunConfig
from lunet_cli.engine.training.setup import set_up
from lunet_cli.engine.training.train import train
from lunet_cli.errors import ConfigError, DataError, LunetError
from lunet_cli.results.events import CaseRead, Event

CONFIGS = Path(__file__).parents[3] / "configs"
IMAGE = np.random.default_rng(0).normal(100, 20, (20, 20, 20)).astype(np.float32)
LABEL = np.zeros(IMAGE.shape, np.uint8)
LABEL[6:12, 6:12, 6:12] = 1


@pytest.fixture
def data_set(tmp_path: Path, write_volume: Any) -> Path:
    """Eight cases with one label."""
    for index in range(8):
        write_volume(tmp_path / "data" / "images" / f"case_{index}.nii.gz", IMAGE)
        write_volume(tmp_path / "data" / "labels" / f"case_{index}.nii.gz", LABEL)
    return tmp_path / "data"


def recipe(data_set: Path, *overrides: str) -> RunConfig:
    """The modern recipe on a data set that says nothing about its labels."""
    place = [
        f"data.root={data_set}",
        f"experiment.output_dir={data_set.parent / 'runs'}",
        "labels=null",
    ]
    return load_config(CONFIGS / "hippocampus.yaml", [*place, *overrides])


def test_the_modern_recipe_takes_one_label(data_set: Path) -> None:
    events: list[Event] = []
    setup = set_up(recipe(data_set), events.append)
    assert setup.card.labels.activation == "sigmoid"
    assert "loss: dice_bce (auto, with a sigmoid of foreground)" in map(str, events)


@pytest.mark.parametrize(
    ("labels", "chosen"),
    [("{a: 1}", "dice_bce"), ("{a: 1, b: 2}", "dice_ce"), ("{a: [1, 2], b: 2}", "dice_bce")],
)
def test_the_loss_is_that_of_the_labels(data_set: Path, labels: str, chosen: str) -> None:
    import torch

    automatic, named = (
        set_up(recipe(data_set, f"labels={labels}", f"training.loss.name={name}"), lambda _: None)
        for name in ("auto", chosen)
    )
    channels = automatic.card.labels.num_channels
    logits = torch.randn(2, channels, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    target = automatic.card.labels.encode(torch.ones(2, 4, 4, 4, dtype=torch.uint8))
    assert automatic.loss(logits, target).item() == named.loss(logits, target).item()


def test_all_mistakes_of_all_cases_are_told_at_once(data_set: Path, write_volume: Any) -> None:
    (data_set / "labels" / "case_1.nii.gz").unlink()
    (data_set / "images" / "case_2.nii.gz").write_bytes(b"nonsense")
    write_volume(data_set / "labels" / "case_3.nii.gz", LABEL[:-1])
    write_volume(data_set / "labels" / "case_4.nii.gz", 5 * LABEL)
    write_volume(data_set / "images" / "case_5_0000.nii.gz", IMAGE)
    write_volume(data_set / "images" / "case_5_0001.nii.gz", IMAGE)
    (data_set / "images" / "case_5.nii.gz").unlink()
    events: list[Event] = []
    with pytest.raises(DataError) as caught:
        set_up(recipe(data_set), events.append)
    words = caught.value.message
    for part in (
        "case_1.nii.gz: this image has no label map",
        "case_2.nii.gz: cannot be read",
        "case_3.nii.gz: does not lie on the grid",
        "case_4.nii.gz: label value 5 not configured",
        "case case_5: number of image channels 2, of other cases 1",
    ):
        assert part in words
    assert len(words.splitlines()) == 5
    # The seven cases that have a label map were all looked at.
    assert sum(isinstance(event, CaseRead) for event in events) == 7
    assert not (data_set.parent / "runs").exists()


def test_cases_are_read_even_where_the_split_names_one_that_is_left_out(data_set: Path) -> None:
    (data_set / "labels" / "case_1.nii.gz").unlink()
    (data_set / "images" / "case_2.nii.gz").write_bytes(b"nonsense")
    (data_set / "splits.json").write_text(
        '{"train": ["case_1", "case_2"], "val": ["case_3"]}', encoding="utf-8"
    )
    with pytest.raises(DataError) as caught:
        set_up(recipe(data_set), lambda _: None)
    assert len(caught.value.message.splitlines()) == 2


def test_a_set_without_a_usable_case_is_told_case_by_case(data_set: Path) -> None:
    for path in (data_set / "images").iterdir():
        path.write_bytes(b"nonsense")
    with pytest.raises(DataError) as caught:
        set_up(recipe(data_set), lambda _: None)
    assert len(caught.value.message.splitlines()) == 8


def test_batches_beyond_the_memory_are_refused_once_the_volumes_are_known(
    data_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lunet_cli.config import machine

    # Whole volumes of 32^3 in batches of 4 keep 12 MiB and more.
    monkeypatch.setattr(machine, "memory_bytes", lambda: 3.0 * 2**20)
    with pytest.raises(
        ConfigError, match=r"training.batch_size: batches of 4 patches of 32 x 32 x 32 voxels"
    ):
        set_up(
            recipe(data_set, "training.patch_size=null", "training.batch_size=4"), lambda _: None
        )


@pytest.mark.parametrize("may_write", [True, False])
def test_a_dry_run_keeps_no_files(data_set: Path, may_write: bool) -> None:
    setup = set_up(recipe(data_set, "data.cache=disk"), lambda _: None, may_write=may_write)
    assert setup.cache == ("disk" if may_write else "none")
    assert (data_set.parent / "runs").exists() == may_write


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("training.batch_size=7",), "batch_size: 7 is more than the 5 patches"),
        (
            ("training.patch_size=[16, 16, 16]", "training.batch_size=1"),
            "leaves one voxel at the deepest level",
        ),
        (("model.in_channels=2",), "in_channels: 2, but the images have 1"),
        (
            ("benchmark.enabled=true", "benchmark.input_size=[1, 2, 8, 8, 8]"),
            "has 2 channels, and the images have 1",
        ),
        (("model.out_channels=5",), "out_channels: 5 does not fit 3 labels"),
        (("training.loss.name=bce",), "needs independent channels"),
        (("labels={anterior: 1}",), "label values 2, 3 not configured"),
        (("data.split.fold=4", "data.split.num_folds=9"), "9 folds of 6 cases"),
    ],
)
def test_settings_that_do_not_fit_the_data(
    runs: Any, tmp_path: Path, settings: tuple[str, ...], message: str
) -> None:
    with pytest.raises(LunetError, match=message) as caught:
        train(runs.tiny(tmp_path, "bad", *settings))
    assert "\n" not in caught.value.message
    assert not (tmp_path / "bad").exists()

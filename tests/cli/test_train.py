"""`lunet train` as a person meets it: the real command on real files, good and bad."""

from __future__ import annotations

import json
import pickle
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch

RunLunet = Callable[..., "subprocess.CompletedProcess[str]"]
CONFIGS = Path(__file__).parents[2] / "configs"
TINY = (
    "training.epochs=1",
    "training.precision=fp32",
    "training.batch_size=2",
    "model.architecture=lunet_small_1f",
)


def sets(*items: str) -> list[str]:
    return [f"--set={item}" for item in items]


def write(array: np.ndarray, path: Path, *, spacing: float = 1.0, origin: float = 0.0) -> None:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing([spacing] * array.ndim)
    image.SetOrigin([origin] * array.ndim)
    sitk.WriteImage(image, str(path))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four small cases in the layout `paired`."""
    folder = tmp_path / "data"
    rng = np.random.default_rng(0)
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    for index in range(4):
        label = np.zeros((32, 32, 32), np.uint8)
        label[8:20, 8:20, 8 + index : 20] = 1
        write(
            (rng.normal(size=label.shape) + 3 * label).astype(np.float32),
            folder / f"images/case{index}.nii.gz",
        )
        write(label, folder / f"labels/case{index}.nii.gz")
    return folder


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:2000])


def image_of(data: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(data / "images/case1.nii.gz")))


def label_of(data: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(data / "labels/case1.nii.gz")))


def with_nan(data: Path) -> np.ndarray:
    array = image_of(data)
    array[3, 4, 5] = np.nan
    return array


IMAGE, LABEL = "images/case1.nii.gz", "labels/case1.nii.gz"
Spoil = Callable[[Path], object]
BAD_DATA: dict[str, tuple[Spoil, str]] = {
    "missing folder": (shutil.rmtree, "there is no such folder"),
    "image without label": (lambda d: (d / LABEL).unlink(), "has no label map"),
    "label of another size": (
        lambda d: write(label_of(d)[:30], d / LABEL),
        "size (z, y, x) (30, 32, 32) against (32",
    ),
    "label of another spacing": (
        lambda d: write(label_of(d), d / LABEL, spacing=2),
        "spacing (z, y, x)",
    ),
    "label of another origin": (
        lambda d: write(label_of(d), d / LABEL, origin=9),
        "origin (x, y, z)",
    ),
    "truncated file": (lambda d: truncate(d / IMAGE), "images/case1.nii.gz: cannot be read"),
    "unknown label value": (
        lambda d: write(label_of(d) * 7, d / LABEL),
        "label value 7 not configured",
    ),
    "NaN": (lambda d: write(with_nan(d), d / IMAGE), "1 of 32768 voxels are NaN or infinite"),
    "2D file": (
        lambda d: write(image_of(d)[0], d / IMAGE),
        "expected a volume of three dimensions",
    ),
    "empty data set": (lambda d: [path.unlink() for path in d.rglob("*.nii.gz")], "holds no case"),
}


@pytest.mark.parametrize("name", BAD_DATA)
@pytest.mark.parametrize("workers", [0, 1])
def test_bad_data_is_one_line_that_names_the_file(
    data: Path, tmp_path: Path, run_lunet: RunLunet, name: str, workers: int
) -> None:
    spoil, message = BAD_DATA[name]
    spoil(data)
    settings = sets(
        *TINY, f"data.root={data}", f"experiment.output_dir={tmp_path / 'runs'}", "labels={cube: 1}"
    )
    done = run_lunet(
        "train", CONFIGS / "default.yaml", *settings, f"--set=data.num_workers={workers}"
    )
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode in (1, 2), done.stderr
    assert len(errors) == 1
    assert message in errors[0]
    assert "case1" in errors[0] or "data" in errors[0]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_file_that_breaks_during_training_is_named_by_the_worker(
    data: Path, tmp_path: Path, nursery: Any
) -> None:
    """With no cache, workers read anew: the file is spoilt once the run folder is there."""
    runs = tmp_path / "runs"
    settings = sets(
        *TINY[1:], f"data.root={data}", f"experiment.output_dir={runs}", "experiment.name=x"
    )
    more = sets("training.epochs=10000", "data.cache=none", "data.num_workers=1")
    process = nursery.start("train", CONFIGS / "default.yaml", *settings, *more)
    wait_for(runs / "x" / "best_model.pt")
    for path in (data / "images").iterdir():
        truncate(path)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "nii.gz: cannot be read" in stderr
    assert "Traceback" not in stderr


@pytest.mark.parametrize(
    ("settings", "code", "message"),
    [
        (
            ["training.epochs=-3"],
            2,
            "training.epochs: expected at least 1, found -3",
        ),
        (["data.split.fold=5"], 2, "fold 5 is out of range"),
        (["data.split.fold=0", "data.split.num_folds=7"], 2, "7 folds of 4 cases"),
        (["training.batch_size=16"], 2, "batch_size: 16 is more than the 3 patches"),
        (["training.device=cuda"], 1, "device: cuda is not available"),
    ],
)
def test_settings_that_cannot_work(
    data: Path, tmp_path: Path, run_lunet: RunLunet, settings: list[str], code: int, message: str
) -> None:
    if "training.device=cuda" in settings and torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    base = sets(*TINY, f"data.root={data}", f"experiment.output_dir={tmp_path / 'runs'}")
    done = run_lunet("train", CONFIGS / "default.yaml", *base, *sets(*settings))
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


def pickle_of_a_class(path: Path) -> None:
    path.write_bytes(pickle.dumps({"model": CONFIGS}))


def checkpoint_of_another_architecture(path: Path) -> None:
    torch.save(
        {
            "epoch": 1,
            "model_state_dict": {"out_conv.weight": torch.zeros(1)},
            "optimizer_state_dict": {},
        },
        path,
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (pickle_of_a_class, "holds more than tensors and plain values"),
        (checkpoint_of_another_architecture, "its weights are not those of this network"),
        (lambda path: path.write_text("hello"), "not a checkpoint"),
        (lambda path: None, "there is no such checkpoint"),
    ],
)
def test_a_checkpoint_that_cannot_be_resumed(
    tmp_path: Path, run_lunet: RunLunet, make: Callable[[Path], object], message: str
) -> None:
    make(tmp_path / "x.pt")
    base = sets(
        *TINY,
        "data.phantom.num_cases=4",
        "data.phantom.size=32",
        f"experiment.output_dir={tmp_path / 'runs'}",
    )
    done = run_lunet("train", CONFIGS / "default.yaml", *base, "--resume", tmp_path / "x.pt")
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 1
    assert len(errors) == 1
    assert message in errors[0]
    assert not (tmp_path / "runs").exists()


def test_a_file_in_place_of_the_output_folder(tmp_path: Path, run_lunet: RunLunet) -> None:
    (tmp_path / "runs").write_text("")
    done = run_lunet(
        "train",
        CONFIGS / "default.yaml",
        *sets(*TINY, f"experiment.output_dir={tmp_path / 'runs'}"),
    )
    assert done.returncode == 1
    assert "is a file" in done.stderr


def test_hippocampus_without_its_data_says_where_to_get_it(
    tmp_path: Path, run_lunet: RunLunet
) -> None:
    done = run_lunet("train", CONFIGS / "hippocampus.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert "data.root is not set. Get Task04_Hippocampus" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["default", "quickstart", "lunet_small", "unet_small", "lunet_large", "unet_large"]
)
def test_shipped_configurations_run_as_they_are_on_the_phantom(
    tmp_path: Path, run_lunet: RunLunet, name: str
) -> None:
    tiny = sets(
        "data.phantom.num_cases=20",
        "data.phantom.size=16",
        "training.epochs=1",
        "training.batch_size=2",
    )
    done = run_lunet(
        "train", CONFIGS / f"{name}.yaml", *tiny, "--set=training.precision=fp32", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "validation Dice" in done.stdout
    assert "--resume auto" in done.stdout
    assert (tmp_path / "runs" / name / "best_model.pt").exists()


def test_dry_run_writes_nothing(tmp_path: Path, run_lunet: RunLunet) -> None:
    settings = sets(*TINY, "data.phantom.num_cases=4", "data.phantom.size=32")
    done = run_lunet("train", CONFIGS / "default.yaml", *settings, "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for words in ("692 parameters", "memory of a step", "time per epoch", "nothing was written"):
        assert words in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_second_run_is_refused_with_both_ways_on(tmp_path: Path, run_lunet: RunLunet) -> None:
    command = [
        "train",
        CONFIGS / "default.yaml",
        *sets(*TINY, "data.phantom.num_cases=4", "data.phantom.size=32"),
    ]
    assert run_lunet(*command, cwd=tmp_path).returncode == 0
    again = run_lunet(*command, cwd=tmp_path)
    assert again.returncode == 1
    assert "--resume auto" in again.stderr
    assert "experiment.name=default_2" in again.stderr


def wait_for(path: Path, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.05)


def test_ctrl_c_saves_the_state_and_says_how_to_go_on(tmp_path: Path, nursery: Any) -> None:
    settings = sets(
        *TINY[1:], "data.phantom.num_cases=6", "data.phantom.size=32", "training.epochs=100000"
    )
    process = nursery.start("train", CONFIGS / "default.yaml", *settings, cwd=tmp_path)
    wait_for(tmp_path / "runs/default/best_model.pt")
    process.send_signal(signal.SIGINT)
    start = time.monotonic()
    _, stderr = process.communicate(timeout=30)
    assert time.monotonic() - start < 5  # A second or two; the rest is for a busy machine.
    assert process.returncode == 130
    assert "the state is saved" in stderr
    assert "--resume auto" in stderr.splitlines()[-1]
    assert "Traceback" not in stderr


def test_two_started_at_once_are_one_training_and_one_line(
    tmp_path: Path, run_lunet: RunLunet, nursery: Any
) -> None:
    settings = sets(
        *TINY[1:], "data.phantom.num_cases=4", "data.phantom.size=32", "training.epochs=100000"
    )
    command = ["train", CONFIGS / "default.yaml", *settings]
    first = nursery.start(*command, cwd=tmp_path)
    try:
        wait_for(tmp_path / "runs/default/.lock")
        for more in ([], ["--resume", "auto"]):
            second = run_lunet(*command, *more, cwd=tmp_path)
            assert second.returncode == 1
            assert f"is being trained already, by process {first.pid} on" in second.stderr
            assert second.stderr.count("\n") == 2  # and the hint
        assert first.poll() is None
    finally:
        first.kill()
        first.wait()
    shorter = sets(
        "training.epochs=1", *TINY[1:], "data.phantom.num_cases=4", "data.phantom.size=32"
    )
    done = run_lunet("train", CONFIGS / "default.yaml", *shorter, "--resume", "auto", cwd=tmp_path)
    assert "is being trained" not in done.stderr


def test_weights_that_overflow_end_in_one_line_without_a_model(
    tmp_path: Path, run_lunet: RunLunet
) -> None:
    settings = sets("training.learning_rate=1e5", "training.scheduler=none", "training.epochs=3")
    done = run_lunet(
        "train",
        CONFIGS / "quickstart.yaml",
        *settings,
        "--set=training.precision=fp32",
        cwd=tmp_path,
    )
    assert done.returncode == 1
    *_, error, hint = done.stderr.splitlines()
    assert error.startswith(
        "error: weights or statistics of the network are no longer finite in epoch 1"
    )
    assert "training.learning_rate" in hint
    assert not (tmp_path / "runs/quickstart/best_model.pt").exists()
    assert not (tmp_path / "runs/quickstart/training.json").exists()


@pytest.mark.real_data
@pytest.mark.slow
def test_few_real_volumes_are_learned_with_the_shipped_recipe(
    hippocampus: Path, tmp_path: Path, run_lunet: RunLunet
) -> None:
    """8 steps per epoch: an average that kept the untrained weights would find nothing for long."""
    ids = json.loads((hippocampus / "splits.json").read_text())[0]["train"][:40]
    (tmp_path / "forty.json").write_text(json.dumps([{"train": ids[:32], "val": ids[32:38]}]))
    data = sets(f"data.root={hippocampus}", f"data.split.file={tmp_path / 'forty.json'}")
    more = sets("training.epochs=8", "training.precision=fp32", "evaluation.metrics=[dice]")
    more += sets("training.patch_size=[32, 32, 32]")  # Which takes a third of the time.
    done = run_lunet("train", CONFIGS / "hippocampus.yaml", *data, *more, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = (tmp_path / "runs/hippocampus/history.csv").read_text().splitlines()
    dice = [float(row.split(",")[3]) for row in rows[1:]]
    assert max(dice) >= 0.7, dice
    assert min(dice[3:]) > 0, dice
    assert "warning" not in done.stderr


@pytest.mark.real_data
@pytest.mark.slow
def test_real_volumes_are_learned_in_a_few_epochs(
    hippocampus: Path, tmp_path: Path, run_lunet: RunLunet
) -> None:
    """The authors' recipe with small batches, both labels as one, on a third of the cases."""
    fold = json.loads((hippocampus / "splits.json").read_text())[0]
    (tmp_path / "third.json").write_text(
        json.dumps([{"train": fold["train"][:48], "val": fold["val"][:6]}])
    )
    data = sets(f"data.root={hippocampus}", f"data.split.file={tmp_path / 'third.json'}")
    settings = sets(
        "training.epochs=6",
        "training.batch_size=4",
        "training.patch_size=[32, 32, 32]",
        "training.precision=fp32",
        "model.out_channels=1",
    )
    done = run_lunet("train", CONFIGS / "default.yaml", *data, *settings, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = (tmp_path / "runs/default/history.csv").read_text().splitlines()
    column = rows[0].split(",").index("val_dice")
    dice = [float(row.split(",")[column]) for row in rows[1:]]
    assert len(dice) == 6
    assert max(dice) > 0.75, dice
    manifest = json.loads((tmp_path / "runs/default/manifest.json").read_text())
    assert manifest["split"]["train"] == fold["train"][:48]
    regions = {"foreground": [1, 2]}
    assert manifest["labels"] == {"regions": regions, "activation": "sigmoid", "ignored": None}


def test_folds_are_trained_measured_and_predicted_with(
    run_lunet: RunLunet, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "c.yaml").write_text(f"data: {{root: {data}, split: {{num_folds: 2}}}}\n")
    words = ["train", "c.yaml", *sets(*TINY, "experiment.name=cv"), "--fold"]
    done = run_lunet(*words, "all", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "2 of 2 folds in runs/cv" in done.stdout
    assert "lunet predict runs/cv FOLDER -o masks" in done.stdout
    assert (tmp_path / "runs" / "cv" / "metrics.csv").exists()
    predicted = run_lunet("predict", "runs/cv", data / "images", "-o", "masks", cwd=tmp_path)
    assert predicted.returncode == 0, predicted.stderr
    assert len(list((tmp_path / "masks").glob("*.nii.gz"))) == 4
    told = run_lunet(*words, "x", cwd=tmp_path)
    assert told.stderr.startswith("error: --fold x: write a number, or all")
    planned = run_lunet("train", "--data", data, "--fold", "all", cwd=tmp_path)
    assert planned.stderr.startswith("error: --fold is for a configuration")

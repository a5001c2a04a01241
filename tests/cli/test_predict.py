"""`lunet predict` as a person meets it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch

from lunet_cli.cli.predict import parse_shard
from lunet_cli.engine.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from lunet_cli.errors import ConfigError
from lunet_cli.records.checkpoint import Modes

RunLunet = Callable[..., "subprocess.CompletedProcess[str]"]
CallLunet = Callable[..., "subprocess.CompletedProcess[str]"]


def write(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
    return path


def array_of(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 200, (9, 10, 11)).astype(np.int16)


def test_from_a_run_folder_to_files(
    tmp_path: Path, image: np.ndarray, run_lunet: RunLunet, make_threshold_model
) -> None:
    make_threshold_model(tmp_path / "run/best_model.pt", labels={"liver": (1,)})
    for name in ("a", "b"):
        write(tmp_path / f"in/{name}.nii.gz", image)
    (tmp_path / "in/c.nii.gz").write_text("no image")
    done = run_lunet(
        "predict", tmp_path / "run", tmp_path / "in", "-o", tmp_path / "out", "--precision", "fp32"
    )
    assert done.returncode == 1
    assert f"error: {tmp_path / 'in/c.nii.gz'}: cannot be read: it is not an image" in done.stderr
    assert (
        "2 segmented, 1 failed, in torch fp32 on cpu; label values: 0 background, 1 liver"
        in done.stdout
    )
    assert f"{(image > 100.5).sum() / 1000:.2f}" in done.stdout
    for name in ("a", "b"):
        assert np.array_equal(array_of(tmp_path / f"out/{name}.nii.gz"), image > 100.5)
    again = run_lunet("predict", tmp_path / "run", tmp_path / "in/a.nii.gz", "-o", tmp_path / "out")
    assert again.returncode == 1
    assert "is there already and is not overwritten" in again.stderr
    assert "--resume" in again.stderr


def test_an_empty_mask_is_remarked_on(
    tmp_path: Path, image: np.ndarray, run_lunet: RunLunet, make_threshold_model
) -> None:
    model = make_threshold_model(tmp_path / "model.pt")
    write(tmp_path / "in/dark.nii.gz", np.zeros_like(image))
    write(tmp_path / "in/full.nii.gz", image)
    arguments = ["predict", model, tmp_path / "in", "--precision", "fp32", "--threads", "1"]
    done = run_lunet(*arguments, "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("dark")]
    assert row.rstrip().endswith("empty: no voxel of any label")
    assert "out/dark.nii.gz: empty: no voxel of any label" in done.stderr
    assert "full" not in done.stderr, "the table tells of it"
    predicted = json.loads(run_lunet(*arguments, "-o", tmp_path / "again", "--json").stdout)[
        "predicted"
    ]
    assert [case["remark"] for case in predicted] == ["empty: no voxel of any label", ""]


def test_every_option_at_once(
    tmp_path: Path, image: np.ndarray, run_lunet: RunLunet, make_threshold_model
) -> None:
    models = [
        make_threshold_model(
            tmp_path / f"{name}.pt",
            thresholds=(50.5, 120.5),
            labels={"whole": (1, 2), "core": (2,)},
        )
        for name in "ab"
    ]
    source = write(tmp_path / "in.nii.gz", image)
    done = run_lunet(
        *(
            "predict",
            models[0],
            source,
            "-o",
            tmp_path / "out",
            "--ensemble",
            models[1],
            "--tta",
            "--format",
            "mha",
        ),
        *(
            "--probabilities",
            "--window",
            "16x12x12",
            "--overlap",
            "0.25",
            "--batch-size",
            "3",
            "--max-memory",
            "4G",
        ),
        *(
            "--postprocess",
            "core:min-volume=0.001",
            "--order",
            "whole,core",
            "--shard",
            "1/1",
            "--threads",
            "1",
        ),
        *("--device", "cpu", "--precision", "fp32", "--json"),
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["values"] == {"whole": 1, "core": 2}
    assert result["planned"][0]["window"] == [16, 12, 12]
    assert np.array_equal(array_of(tmp_path / "out/in.mha"), np.digitize(image, (50.5, 120.5)))
    assert (tmp_path / "out/in_prob_core.mha").is_file()


def test_volume_goes_through_in_one_pass(
    tmp_path: Path, run_lunet: RunLunet, make_threshold_model
) -> None:
    model = make_threshold_model(tmp_path / "model.pt")
    image = np.random.default_rng(0).uniform(0, 101, (35, 18, 23)).astype(np.float32)
    source = write(tmp_path / "in.nii.gz", image)
    done = run_lunet("predict", model, source, "-o", tmp_path / "out", "--window", "stream")
    assert done.returncode == 0, done.stderr
    assert np.array_equal(array_of(tmp_path / "out/in.nii.gz"), image > 100.5)


@pytest.mark.parametrize(
    ("modes", "expected", "told"),
    [
        (
            Modes(windows=0.88, one_pass=0.879, share_larger=1.0),
            "stream",
            "one pass: validated with a Dice of 0.8790 in one pass and 0.8800 in windows, which "
            "take longer (--window trained)",
        ),
        (
            Modes(windows=0.88, one_pass=0.87, share_larger=1.0),
            None,
            "windows: validated with a Dice of 0.8700 in one pass and 0.8800 in windows",
        ),
        # As from an earlier version of lunet, or from `lunet prune`.
        (None, None, None),
    ],
)
def test_what_the_validation_found_decides_between_windows_and_one_pass(
    modes: Modes | None,
    expected: str | None,
    told: str | None,
    tmp_path: Path,
    call_lunet: CallLunet,
    make_threshold_model,
) -> None:
    model = make_threshold_model(tmp_path / "model.pt")
    save_checkpoint(replace(load_checkpoint(model), modes=modes), model)
    image = np.random.default_rng(0).uniform(0, 101, (35, 18, 23)).astype(np.float32)
    write(tmp_path / "in.nii.gz", image)
    usual = ("predict", "model.pt", "in.nii.gz", "--device", "cpu", "--precision", "fp32")
    done = call_lunet(*usual, "-o", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stderr.split())
    if told is None:
        assert "validated with a Dice" not in said
    else:
        assert told in said
    record = json.loads((tmp_path / "out/lunet_predict.json").read_text())
    assert record["window"] == expected
    assert np.array_equal(array_of(tmp_path / "out/in.nii.gz"), image > 100.5)
    # Another way would give other label maps, and they would not be told apart.
    (tmp_path / "out/in.nii.gz").rename(tmp_path / "out/earlier.nii.gz")
    other = "trained" if expected == "stream" else "stream"
    mixed = call_lunet(*usual, "-o", "out", "--window", other, "--resume", cwd=tmp_path)
    assert mixed.returncode == 1
    assert "its label maps were made with other window" in " ".join(mixed.stderr.split())


def test_dry_run_is_a_table(
    tmp_path: Path, image: np.ndarray, run_lunet: RunLunet, make_threshold_model
) -> None:
    model = make_threshold_model(tmp_path / "model.pt")
    done = run_lunet(
        "predict", model, write(tmp_path / "in.nii.gz", image), "-o", tmp_path / "out", "--dry-run"
    )
    assert done.returncode == 0
    assert "9x10x11" in done.stdout
    assert "nothing was written" in done.stdout
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ["model.pt", "in.nii.gz", "-o", "out", "--format", "png"],
            2,
            "--format: ",
        ),
        (
            ["model.pt", "in.nii.gz", "-o", "out", "--shard", "5/4"],
            2,
            "--shard 5/4: is not a share",
        ),
        (
            ["model.pt", "in.nii.gz", "-o", "out", "--window", "big"],
            2,
            "--window: 'big' is not a window",
        ),
        (
            ["model.pt", "in.nii.gz", "-o", "out", "--max-memory", "much"],
            2,
            "--max-memory: 'much' is not a size",
        ),
        (
            ["model.pt", "in.nii.gz", "-o", "out", "--postprocess", "melt"],
            2,
            "--postprocess melt: unknown operation 'melt'",
        ),
        (
            ["model.pt", "in.nii.gz", "-o", "out", "--order", "x"],
            2,
            "--order x: is not an order of the labels label1",
        ),
        (["missing.pt", "in.nii.gz", "-o", "out"], 1, "missing.pt: there is no such checkpoint"),
        (
            ["future.pt", "in.nii.gz", "-o", "out"],
            1,
            "future.pt: a checkpoint of lunet has format 99",
        ),
        (
            ["in.nii.gz", "in.nii.gz", "-o", "out"],
            1,
            "in.nii.gz: holds more than tensors and plain values, or is not a checkpoint",
        ),
        (
            ["model.pt", "missing.nii.gz", "-o", "out"],
            1,
            "missing.nii.gz: there is no such file or folder",
        ),
        (["model.pt", "in.nii.gz", "-o", "out", "--max-memory", "5M"], 1, "in.nii.gz: needs about"),
        (
            ["model.pt", "in.nii.gz", "-o", "out", "--arch", "lunet_small_1f"],
            1,
            "model.pt: knows its own network",
        ),
        (
            ["authors.pt", "in.nii.gz", "-o", "out"],
            1,
            "authors.pt: comes from the authors' release",
        ),
    ],
)
def test_mistakes_get_one_line(
    arguments: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    image: np.ndarray,
    call_lunet: RunLunet,
    make_threshold_model,
) -> None:
    model = make_threshold_model(tmp_path / "model.pt")
    write(tmp_path / "in.nii.gz", image)
    values = torch.load(model, weights_only=True)
    torch.save({**values, "lunet_format_version": 99}, tmp_path / "future.pt")
    torch.save({"model_state_dict": {"out_conv.weight": torch.ones(1)}}, tmp_path / "authors.pt")
    done = call_lunet("predict", *arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_interruption_tells_how_to_go_on(tmp_path: Path, nursery, make_threshold_model) -> None:
    model = make_threshold_model(tmp_path / "model.pt")
    large = np.zeros((64, 64, 64), np.int16)
    for index in range(30):
        write(tmp_path / f"in/{index:02d}.nii.gz", large)
    command = ["predict", model, tmp_path / "in", "-o", tmp_path / "out", "--threads", "1"]
    process = nursery.start(*command)
    while not list((tmp_path / "out").glob("*.nii.gz")) if (tmp_path / "out").exists() else True:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "finished files are whole. Go on with:" in stderr
    assert f"-o {tmp_path / 'out'} --threads 1 --resume" in stderr
    assert "Traceback" not in stderr
    for path in (tmp_path / "out").glob("*.nii.gz"):
        assert not array_of(path).any()


def test_authors_checkpoint_needs_a_name_only(
    tmp_path: Path, image: np.ndarray, run_lunet: RunLunet
) -> None:
    from lunet_cli.config.presets import parse_preset
    from lunet_cli.engine.networks import build_network

    torch.manual_seed(0)
    network = build_network(parse_preset("mednext_small").spec).eval()
    names = {"encoders.": "enc_block_", "downs.": "down_", "ups.": "up_", "decoders.": "dec_block_"}
    theirs = {}
    for name, tensor in network.state_dict().items():
        prefix = next((ours for ours in names if name.startswith(ours)), None)
        theirs[names[prefix] + name.removeprefix(prefix) if prefix else name] = tensor
    torch.save(
        {"epoch": 3, "model_state_dict": theirs, "optimizer_state_dict": {}, "best_metric": 0.5},
        tmp_path / "a.pt",
    )
    source = write(
        tmp_path / "in.nii.gz",
        np.random.default_rng(0).normal(size=(16, 32, 16)).astype(np.float32),
    )
    done = run_lunet(
        "predict",
        tmp_path / "a.pt",
        source,
        "-o",
        tmp_path / "out",
        "--arch",
        "mednext_small",
        "--probabilities",
    )
    assert done.returncode == 0, done.stderr
    with torch.inference_mode():
        expected = torch.sigmoid(network(torch.from_numpy(array_of(source))[None, None]))[
            0, 0
        ].numpy()
    np.testing.assert_allclose(
        array_of(tmp_path / "out/in_prob_foreground.nii.gz"), expected, atol=1e-5
    )
    wrong = run_lunet(
        "predict", tmp_path / "a.pt", source, "-o", tmp_path / "b", "--arch", "lunet_small_4f"
    )
    assert wrong.returncode == 1
    assert "its weights are not those of this network" in wrong.stderr


def test_a_share_is_counted_from_one() -> None:
    assert parse_shard("2/4") == (1, 4)
    for text in ("0/4", "5/4", "1", "1/", "a/b"):
        with pytest.raises(ConfigError, match="is not a share"):
            parse_shard(text)


def test_torchrun_gives_the_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "RANK", "2")
    monkeypatch.setitem(os.environ, "WORLD_SIZE", "3")
    assert parse_shard(None) == (2, 3)
    assert parse_shard("1/1") == (2, 3)
    assert parse_shard("2/2") == (5, 6)
    with pytest.raises(ConfigError):
        parse_shard("0/2")
    monkeypatch.setitem(os.environ, "RANK", "a")
    with pytest.raises(ConfigError, match="RANK=a and WORLD_SIZE=3"):
        parse_shard(None)


def test_a_dicom_segmentation(
    tmp_path: Path, image: np.ndarray, run_lunet: RunLunet, make_threshold_model
) -> None:
    model = make_threshold_model(tmp_path / "model.pt", labels={"liver": (1,)})
    source = write(tmp_path / "scan.nii.gz", image)
    done = run_lunet("predict", model, source, "-o", tmp_path / "out", "--format", "dicom-seg")
    assert done.returncode == 1
    assert "scan.nii.gz: is no DICOM series" in done.stderr
    assert "--format .nii.gz" in done.stderr
    done = run_lunet("predict", model, source, "-o", tmp_path / "out", "--labelmap")
    assert done.returncode == 2
    assert "error: --labelmap: is a way to write DICOM segmentations" in done.stderr
    assert "Add --format dicom-seg." in done.stderr

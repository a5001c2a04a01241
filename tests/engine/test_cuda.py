"""What a machine with a GPU does otherwise: training, resuming, predicting and measuring there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from lunet_cli.config.load import load_config
from lunet_cli.config.options import BenchOptions, EvaluationOptions, PredictionOptions
from lunet_cli.config.run import RunConfig
from lunet_cli.engine.benchmarking.benchmark import benchmark
from lunet_cli.engine.checkpoints.checkpoint import load_checkpoint
from lunet_cli.engine.evaluation.evaluate import evaluate
from lunet_cli.engine.inference.load_model import load_model
from lunet_cli.engine.training.dry_run import dry_run
from lunet_cli.engine.training.train import train
from lunet_cli.errors import DeviceError
from lunet_cli.results.training import TrainResult

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
FAMILIES = ["lunet_small_2f", "unetpp_small_1f", "mednext_small"]


def config_of(folder: Path, name: str, *settings: str) -> RunConfig:
    usual = (
        f"experiment.name={name}",
        f"experiment.output_dir={folder}",
        "model.architecture=lunet_small_2f",
        "data.phantom.num_cases=10",
        "data.phantom.size=48",
        "training.epochs=3",
        "training.batch_size=2",
        "training.patch_size=[32,32,32]",
        "training.patches_per_case=4",
        "training.ema_decay=0.9",
        "training.loss.name=dice_ce",
        "evaluation.metrics=[dice]",
        "benchmark.enabled=false",
    )
    return load_config(None, [*usual, *settings])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    return train(config_of(tmp_path_factory.mktemp("cuda"), "run", "training.epochs=6"))


@pytest.fixture(scope="module")
def volume() -> np.ndarray:
    """An image (1, 44, 52, 60) that is as smooth as tissue."""
    noise = np.random.default_rng(0).normal(size=(1, 44, 52, 60))
    return gaussian_filter(noise, (0, 3, 3, 3)).astype(np.float32)


def test_a_training_takes_the_gpu(trained: TrainResult) -> None:
    execution = load_checkpoint(trained.run_dir / "best_model.pt").execution
    assert dict(execution)["device"] == "cuda"
    assert trained.best is not None
    assert trained.best.val_dice > 0.3
    losses = [record.train_loss for record in trained.history]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("architecture", FAMILIES)
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_families_and_precisions_train(tmp_path: Path, architecture: str, precision: str) -> None:
    result = train(
        config_of(
            tmp_path,
            "run",
            f"model.architecture={architecture}",
            f"training.precision={precision}",
            "training.epochs=1",
        )
    )
    assert np.isfinite(result.history[0].val_loss)


def test_a_compiled_training_ends_like_a_plain_one(tmp_path: Path) -> None:
    settings = ("training.precision=fp32", "model.drop_prob=0")
    plain = train(config_of(tmp_path, "plain", *settings))
    compiled = train(config_of(tmp_path, "compiled", *settings, "training.compile=true"))
    assert "compiled" in (compiled.run_dir / "train.log").read_text()
    for one, other in zip(plain.history, compiled.history, strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, abs=0.01)


def test_a_resumed_training_goes_on_with_the_same_draws(tmp_path: Path) -> None:
    whole = train(config_of(tmp_path, "whole"))
    train(config_of(tmp_path, "parts", "training.epochs=2"))
    parts = train(config_of(tmp_path, "parts"), resume="auto")
    # Sums of gradients are not in the same order each time.
    for one, other in zip(whole.history, parts.history, strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, rel=0.02)


def test_a_state_of_the_gpu_goes_on_on_the_cpu_and_back(trained: TrainResult) -> None:
    root, name = trained.run_dir.parent, trained.run_dir.name
    for epochs, device in ((7, "cpu"), (8, "cuda")):
        settings = (f"training.epochs={epochs}", f"training.device={device}")
        result = train(config_of(root, name, *settings), resume="auto")
        assert len(result.history) == epochs


@pytest.mark.parametrize("window", [None, "whole", "stream", (32, 32, 32)])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_predictions_are_those_of_the_cpu(
    trained: TrainResult, volume: np.ndarray, window: object, precision: str
) -> None:
    maps = {}
    for device in ("cpu", "cuda"):
        options = PredictionOptions(
            window=window,  # type: ignore[arg-type]
            device=device,  # type: ignore[arg-type]
            precision="fp32" if device == "cpu" else precision,  # type: ignore[arg-type]
        )
        model = load_model(trained.run_dir, options=options)
        maps[device] = model.predict(volume, spacing_mm=(1, 1, 1)).label_map
    assert len(np.unique(maps["cpu"])) > 1
    least = 0.9999 if precision == "fp32" else 0.995
    assert np.mean(maps["cpu"] == maps["cuda"]) >= least


def test_cases_are_measured_there(trained: TrainResult) -> None:
    found = {}
    for device in ("cpu", "cuda"):
        options = PredictionOptions(device=device, precision="fp32")  # type: ignore[arg-type]
        model = load_model(trained.run_dir, options=options)
        measures = EvaluationOptions(metrics=("dice",))
        found[device] = evaluate(model, options=measures, write=False)
    pairs = zip(found["cpu"].summaries, found["cuda"].summaries, strict=True)
    assert all(one.mean == pytest.approx(other.mean, abs=1e-3) for one, other in pairs)


def test_networks_are_measured_there() -> None:
    options = BenchOptions(
        architectures=("lunet_small_1f",), devices=("cuda",), sizes=((32, 32, 32),), timed_runs=5
    )
    rows = benchmark(options).rows
    assert [row.device for row in rows] == ["cuda"] * len(rows)
    assert all(row.latency_ms.median > 0 and row.activation_mib > 0 for row in rows)


def test_a_dry_run_tells_the_memory_of_the_gpu(tmp_path: Path) -> None:
    estimate = dry_run(config_of(tmp_path, "run"), on_event=lambda _: None)
    assert estimate.activation_mib > 0
    assert estimate.plan.endswith("on cuda")


def test_more_processes_than_gpus_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = torch.cuda.device_count()
    for name, value in (("WORLD_SIZE", number + 1), ("RANK", number), ("LOCAL_RANK", number)):
        monkeypatch.setenv(name, str(value))
    with pytest.raises(DeviceError, match=f"LOCAL_RANK={number}: this machine has {number} GPU"):
        train(config_of(tmp_path, "run"))

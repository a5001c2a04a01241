"""What is measured and drawn with the best model once training has ended."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace

import numpy as np
import torch

from lunet_cli.config.run import RunConfig
from lunet_cli.engine.benchmarking.latency import measure_latency_ms
from lunet_cli.engine.evaluation.surface import hausdorff95
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.training.loop import Machinery, evaluating, predict_cases
from lunet_cli.engine.training.run_folder import RunFolder
from lunet_cli.engine.training.setup import Setup
from lunet_cli.results import SlicePicture, SurfaceSummary, TrainResult


def assess(
    result: TrainResult,
    config: RunConfig,
    network: SegmentationNetwork,
    setup: Setup,
    machinery: Machinery,
    folder: RunFolder,
) -> TrainResult:
    """Add what the sections `evaluation`, `benchmark` and `visualization` ask for; write `summary.json`."""
    wants_surfaces = "hausdorff95" in config.evaluation.metrics
    num_pictures = config.visualization.num_samples if config.visualization.plot_slices else 0
    distances: list[list[float]] = []
    pictures: list[SlicePicture] = []
    num_cases = len(setup.val) if wants_surfaces else min(num_pictures, len(setup.val))
    if num_cases:
        for index, (label, logits) in enumerate(predict_cases(network, setup.val, machinery)):
            if index == num_cases:
                break
            prediction = machinery.scheme.decode(logits[None])[0].cpu().numpy()
            reference = machinery.scheme.masks(label[None])[0].numpy()
            if wants_surfaces:
                spacing = setup.val[index].spacing_mm
                distances.append([hausdorff95(p, r, spacing) for p, r in zip(prediction, reference, strict=True)])
            if index < num_pictures:
                pictures.append(_picture(index, prediction, reference, setup, config.visualization.axis_index))
    surfaces = {
        name: _summarize([row[i] for row in distances]) for i, name in enumerate(setup.card.labels.names) if distances
    }
    latency = _latency_ms(config, network, machinery) if config.benchmark.enabled else None
    result = replace(result, hausdorff95=surfaces, latency_ms=latency, slices=tuple(pictures))
    _write_summary(result, folder)
    return result


def _picture(index: int, prediction: np.ndarray, reference: np.ndarray, setup: Setup, axis: int) -> SlicePicture:
    """The slice with most reference across all labels."""
    prepared = setup.val[index]
    others = tuple(i for i in range(3) if i != axis)
    position = int(reference.any(axis=0).sum(axis=others).argmax())
    image = np.take(prepared.image[0], position, axis=axis).astype(np.float32)
    low, high = np.percentile(image, (1, 99))
    rows, columns = (prepared.spacing_mm[i] for i in others)

    def flatten(masks: np.ndarray) -> np.ndarray:
        flat = np.zeros(image.shape, dtype=np.uint8)
        for value, mask in enumerate(masks, start=1):
            flat[np.take(mask, position, axis=axis)] = value
        return flat

    return SlicePicture(
        case_id=setup.val.cases[index].case_id,
        position=position,
        image=np.clip((image - low) / max(float(high - low), 1e-8), 0, 1),
        reference=flatten(reference),
        prediction=flatten(prediction),
        aspect=rows / columns,
    )


def _summarize(distances: list[float]) -> SurfaceSummary:
    defined = [value for value in distances if not math.isnan(value)]
    mean = float(np.mean(defined)) if defined else math.nan
    return SurfaceSummary(mean, len(distances) - len(defined))


def _latency_ms(config: RunConfig, network: SegmentationNetwork, machinery: Machinery) -> float:
    plan, benchmark = machinery.plan, config.benchmark
    image = plan.place_image(torch.randn(benchmark.input_size))
    with plan.autocast(), evaluating(network):
        return measure_latency_ms(network, image, warmup_runs=benchmark.warmup_runs, timed_runs=benchmark.timed_runs)


def _write_summary(result: TrainResult, folder: RunFolder) -> None:
    """Keep the numbers of the end table."""
    best = asdict(result.best) if result.best else None
    values = {
        "outcome": result.outcome,
        "architecture": result.architecture,
        "num_parameters": result.num_parameters,
        "num_epochs": len(result.history),
        "best": best,
        "hausdorff95": {
            name: {"mean_mm": None if math.isnan(s.mean_mm) else s.mean_mm, "num_undefined": s.num_undefined}
            for name, s in result.hausdorff95.items()
        },
        "latency_ms": result.latency_ms,
    }
    folder.write_text("summary.json", json.dumps(values, indent=2) + "\n")

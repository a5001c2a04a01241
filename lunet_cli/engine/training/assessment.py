"""What is measured and drawn with the best model once training has ended."""

from __future__ import annotations

import statistics
from dataclasses import replace

import numpy as np
import SimpleITK as sitk  # noqa: N813
import torch

from lunet_cli.config.run import RunConfig
from lunet_cli.engine.data.volume import Geometry, along_patient
from lunet_cli.engine.evaluation.masks import score_label
from lunet_cli.engine.evaluation.summary import summarize
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.networks.execution import evaluating
from lunet_cli.engine.run_folder import RunFolder
from lunet_cli.engine.runtimes.timing import time_passes_ms
from lunet_cli.engine.training.loop import StepContext, predict_cases
from lunet_cli.engine.training.setup import Setup
from lunet_cli.records.training_summary import TrainingSummary
from lunet_cli.results.evaluation import CaseScore
from lunet_cli.results.training import TrainResult
from lunet_cli.results.views import LabeledVolume, Slice, paint_masks


def assess(
    result: TrainResult,
    config: RunConfig,
    network: SegmentationNetwork,
    setup: Setup,
    context: StepContext,
) -> TrainResult:
    """Add what the sections `evaluation`, `benchmark` and `visualization` ask for."""
    metrics = [
        name for name in config.evaluation.metrics if name != "dice"
    ]  # which the best epoch has already
    num_pictures = config.visualization.num_samples if config.visualization.plot_slices else 0
    scores: list[CaseScore] = []
    pictures: list[Slice] = []
    num_cases = len(setup.val) if metrics else min(num_pictures, len(setup.val))
    if num_cases:
        for index, (label, logits) in enumerate(predict_cases(network, setup.val, context)):
            if index == num_cases:
                break
            prediction = context.scheme.decode(logits[None])[0].cpu().numpy()
            reference = context.scheme.masks(label[None])[0].numpy()
            if metrics:
                case, spacing = setup.val.cases[index].case_id, setup.val[index].spacing_mm
                scores += [
                    score_label(case, name, p, r, spacing, metrics=metrics, tolerance_mm=1.0)
                    for name, p, r in zip(context.scheme.names, prediction, reference, strict=True)
                ]
            if index < num_pictures:
                pictures.append(
                    _picture(index, prediction, reference, setup, config.visualization.axis_index)
                )
    latency = _latency_ms(config, network, context) if config.benchmark.enabled else None
    summaries = summarize(scores, metrics=metrics)
    return replace(result, metrics=summaries, latency_ms=latency, slices=tuple(pictures))


def _picture(
    index: int, prediction: np.ndarray, reference: np.ndarray, setup: Setup, axis: int
) -> Slice:
    """The slice with most reference, of masks (regions, D, H, W) on the network's grid, turned along the patient."""
    prepared, orientation = setup.val[index], setup.card.preprocessing.orientation
    depth, height, width = reference.shape[1:]
    # Where the axes are as they were stored, they stay so.
    direction = sitk.DICOMOrientImageFilter.GetDirectionCosinesFromOrientation(orientation or "LPS")
    grid = along_patient(
        Geometry((depth, height, width), prepared.spacing_mm, (0.0, 0.0, 0.0), direction)
    )
    volume = LabeledVolume(
        setup.val.cases[index].case_id,
        grid.orient(np.asarray(prepared.image[0])),
        grid.oriented_spacing_mm,
        tuple(setup.card.labels.names),
        grid.orient(paint_masks(reference, reference.shape[1:])),
        grid.orient(paint_masks(prediction, prediction.shape[1:])),
        knows_sides=orientation is not None,
    )
    return volume.cut(axis, volume.best_position(axis))


def _latency_ms(config: RunConfig, network: SegmentationNetwork, context: StepContext) -> float:
    plan, benchmark = context.plan, config.benchmark
    image = plan.place_image(torch.randn(benchmark.input_size))
    with plan.autocast(), evaluating(network):
        times = time_passes_ms(
            lambda: network(image),
            device=plan.device,
            warmup_runs=benchmark.warmup_runs,
            timed_runs=benchmark.timed_runs,
        )
    return statistics.median(times)


def write_summary(result: TrainResult, folder: RunFolder) -> None:
    """Keep the numbers of the end table in `summary.json`, which marks the training as finished."""
    folder.write_summary(
        TrainingSummary(
            outcome=result.outcome,
            architecture=result.architecture,
            num_parameters=result.num_parameters,
            num_epochs=len(result.history),
            best=result.best,
            metrics=result.metrics,
            latency_ms=result.latency_ms,
        )
    )

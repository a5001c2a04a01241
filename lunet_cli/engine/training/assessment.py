"""What is measured and drawn with the best model once training has ended."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import SimpleITK as sitk  # noqa: N813
import torch

from lunet_cli.config.metrics import MetricName
from lunet_cli.config.options import EvaluationOptions
from lunet_cli.engine.checkpoints.checkpoint import ModelCard
from lunet_cli.engine.data.store import PreparedCase
from lunet_cli.engine.data.volume import Geometry, along_patient
from lunet_cli.engine.evaluation.masks import score_label
from lunet_cli.engine.evaluation.summary import summarize
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.networks.execution import evaluating
from lunet_cli.engine.runtimes.timing import time_passes_ms
from lunet_cli.engine.training.context import StepContext
from lunet_cli.engine.training.loop import masks_of, predict_cases
from lunet_cli.results.evaluation import CaseScore
from lunet_cli.results.training import TrainResult
from lunet_cli.results.views import LabeledVolume, Slice, paint_masks


def assess(result: TrainResult, network: SegmentationNetwork, context: StepContext) -> TrainResult:
    """Add what the sections `evaluation`, `benchmark` and `visualization` ask for.

    Args:
        result: What came out.
        network: The best model.
        context: What is fixed.
    """
    config = context.setup.config
    # The best epoch has its Dice already.
    metrics = [name for name in config.evaluation.metrics if name != "dice"]
    num_pictures = 0
    if config.visualization.plot_slices:
        num_pictures = min(config.visualization.num_samples, len(context.setup.val))
    num_cases = num_pictures
    if metrics:
        num_cases = len(context.setup.val)
    scores: list[CaseScore] = []
    pictures: list[Slice] = []
    for case in islice(_segmented_cases(network, context), num_cases):
        if metrics:
            scores += case.scores(metrics)
        if len(pictures) < num_pictures:
            pictures.append(case.picture(config.visualization.axis_index))
    latency_ms = None
    if config.benchmark.enabled:
        latency_ms = _latency_ms(network, context)
    return replace(
        result,
        metrics=summarize(scores, metrics=metrics),
        latency_ms=latency_ms,
        slices=tuple(pictures),
    )


@dataclass(frozen=True, kw_only=True)
class _SegmentedCase:
    """A validation case with its prediction, on the grid of the network.

    Args:
        name: The case.
        prepared: Its image, spacing and label map.
        prediction: Masks (regions, D, H, W), bool.
        reference: The same.
        card: What the network is and how it is used.
    """

    name: str
    prepared: PreparedCase
    prediction: np.ndarray
    reference: np.ndarray
    card: ModelCard

    def scores(self, metrics: Sequence[MetricName]) -> list[CaseScore]:
        """Every metric of every label, measured as `evaluate` measures it."""
        scores = []
        for index, label in enumerate(self.card.labels.names):
            score = score_label(
                self.name,
                label,
                self.prediction[index],
                self.reference[index],
                self.prepared.spacing_mm,
                metrics=metrics,
                tolerance_mm=EvaluationOptions().tolerance_mm,
            )
            scores.append(score)
        return scores

    def picture(self, axis: int) -> Slice:
        """The slice with most reference, turned along the patient."""
        orientation = self.card.preprocessing.orientation
        shape = self.reference.shape[1:]
        # Where the axes are as they were stored, they stay so.
        direction = sitk.DICOMOrientImageFilter.GetDirectionCosinesFromOrientation(
            orientation or "LPS"
        )
        spacing_mm = self.prepared.spacing_mm
        grid = along_patient(Geometry(shape, spacing_mm, (0.0, 0.0, 0.0), direction))
        volume = LabeledVolume(
            self.name,
            grid.orient(np.asarray(self.prepared.image[0])),
            grid.oriented_spacing_mm,
            tuple(self.card.labels.names),
            grid.orient(paint_masks(self.reference, shape)),
            grid.orient(paint_masks(self.prediction, shape)),
            knows_sides=orientation is not None,
        )
        return volume.cut(axis, volume.best_position(axis))


def _segmented_cases(
    network: SegmentationNetwork, context: StepContext
) -> Iterator[_SegmentedCase]:
    card, store = context.setup.card, context.setup.val
    for index, (label, logits) in enumerate(predict_cases(network, context)):
        prediction, reference = masks_of(label, logits, card.labels)
        yield _SegmentedCase(
            name=store.cases[index].case_id,
            prepared=store[index],
            prediction=prediction,
            reference=reference,
            card=card,
        )


def _latency_ms(network: SegmentationNetwork, context: StepContext) -> float:
    plan, benchmark = context.plan, context.setup.config.benchmark
    image = plan.place_image(torch.randn(benchmark.input_size))
    with plan.autocast(), evaluating(network):
        times = time_passes_ms(
            lambda: network(image),
            device=plan.device,
            warmup_runs=benchmark.warmup_runs,
            timed_runs=benchmark.timed_runs,
        )
    return statistics.median(times)

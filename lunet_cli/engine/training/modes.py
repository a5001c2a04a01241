"""Validation once more, in one pass: whether predictions may take it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from lunet_cli.config.options import PredictionOptions
from lunet_cli.engine.checkpoints.models import Model, load_model
from lunet_cli.engine.data.store import PreparedCase
from lunet_cli.engine.evaluation.overlap import Overlap
from lunet_cli.engine.inference.one_pass import OnePass, size_in_one_piece
from lunet_cli.engine.inference.sliding_window import ArrayInput
from lunet_cli.engine.inference.stream import usual_planes
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.runtimes.plane_graph import can_flow
from lunet_cli.engine.runtimes.runtime import RuntimePlan
from lunet_cli.engine.training.context import StepContext
from lunet_cli.engine.training.loop import masks_of
from lunet_cli.records.checkpoint import Modes
from lunet_cli.results.events import Event, Notice


def measure_modes(
    best: Path, windows_dice: float, context: StepContext, report: Callable[[Event], None]
) -> Modes | None:
    """Mean Dice over labels and validation cases in one pass, beside that in windows.

    It takes less time than a validation in windows: each voxel is computed once.

    Args:
        best: The checkpoint of the best model.
        windows_dice: Its Dice in windows.
        context: What is fixed.
        report: Told that it begins, where there is something to measure.

    Returns:
        None where the planes of the network cannot flow, or no volume is larger than its window, so
        that there is no difference.

    Raises:
        DataError: The network gives NaN or infinity.
    """
    model, store = load_model(best), context.setup.val
    if not (isinstance(model.network, SegmentationNetwork) and can_flow(model.network)):
        return None
    window = context.setup.card.window
    sizes = np.array([store.shape(index)[1:] for index in range(len(store))])
    share_larger = float(np.mean((sizes > np.array(window)).any(axis=1)))
    if share_larger == 0:
        return None
    report(Notice("validating the best model in one pass"))
    one_pass = OnePass([model], PredictionOptions(window="stream"))
    plan = RuntimePlan("torch", context.plan.device, context.plan.precision)
    scores = [_dice_of(store[index], model, one_pass, plan) for index in range(len(store))]
    dice = float(np.mean(scores))
    return Modes(windows=windows_dice, one_pass=dice, share_larger=share_larger)


def _dice_of(case: PreparedCase, model: Model, one_pass: OnePass, plan: RuntimePlan) -> list[float]:
    """Dice of each label, counted as planes come."""
    image, labels = ArrayInput(case.image), model.card.labels
    seen = size_in_one_piece(image.size, model.window, model.card.network.total_stride)
    counts = np.zeros((len(labels.names), 3), np.int64)
    with torch.inference_mode():
        flowing = one_pass.logits(
            image, least=seen, rows=(0, image.size[1]), per_step=usual_planes(seen), plan=plan
        )
        for logits, first in flowing:
            label = case.label[first : first + logits.shape[1]].astype(np.int32)
            prediction, reference = masks_of(torch.from_numpy(label), logits.cpu(), labels)
            for index, masks in enumerate(zip(prediction, reference, strict=True)):
                found = Overlap.of(*masks)
                counts[index] += (found.prediction, found.reference, found.shared)
    scores = []
    for predicted, expected, shared in counts.tolist():
        overlap = Overlap(predicted, expected, shared)
        scores.append(overlap.share_of((predicted + expected) / 2))
    return scores

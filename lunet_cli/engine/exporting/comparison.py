"""How an exported file compares with PyTorch on whole volumes, in each way it is used."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813
import torch

from lunet_cli.config.options import PredictionOptions
from lunet_cli.engine.checkpoints.models import Model
from lunet_cli.engine.data.volume import Geometry
from lunet_cli.engine.exporting.plain import segment
from lunet_cli.engine.exporting.windows import Channels, smaller
from lunet_cli.engine.inference.predictor import Predictor
from lunet_cli.engine.inference.sliding_window import ArrayInput, Stitcher, predict_logits
from lunet_cli.engine.runtimes.exported_graph import ExportedGraph
from lunet_cli.engine.runtimes.timing import time_passes_ms
from lunet_cli.errors import ExportError
from lunet_cli.records.export import ExportMetadata
from lunet_cli.results.exporting import Agreement

LabelMap = npt.NDArray[np.integer[Any]]
_TIMED_RUNS = 5


def compare(
    model: Model,
    exported: Model,
    metadata: ExportMetadata,
    volumes: Sequence[Channels],
    origin: str,
) -> tuple[str, Agreement]:
    """Segment volumes by the checkpoint in eager fp32, by the file, and by the script of the guide.

    Args:
        model: The checkpoint.
        exported: The file, loaded.
        metadata: What it says of itself.
        volumes: At least one.
        origin: Where they come from, in words.

    Returns:
        What computed the file, and how far it agrees.

    Raises:
        ExportError: It gives logits of another shape.
    """
    reference = Predictor(
        [model], PredictionOptions(device="cpu", precision="fp32", runtime="eager")
    )
    candidate = Predictor([exported], PredictionOptions(device="cpu", precision="fp32"))

    def run(array: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            logits: npt.NDArray[np.float32] = (
                candidate.ensemble.forward(torch.from_numpy(array)).float().numpy()
            )
        return logits

    # As the script reads it, which knows no types of ours.
    facts = metadata.model_dump(mode="json")
    worst = _difference_of_bare_volume(reference, candidate, volumes[0])
    by_predict, by_script = [], []
    for channels in volumes:
        expected, expected_map = _segment(reference, channels)
        found, found_map = _segment(candidate, channels)
        worst = max(worst, _largest(expected - found))
        by_predict.append(_dice(found_map, expected_map))
        by_script.append(_dice(sitk.GetArrayFromImage(segment(channels, facts, run)), expected_map))
    times = _times_ms(reference, candidate, volumes[0])
    agreement = Agreement(origin, len(volumes), worst, min(by_predict), min(by_script), *times)
    return str(candidate.ensemble.plan), agreement


def _segment(predictor: Predictor, channels: Channels) -> tuple[npt.NDArray[np.float32], LabelMap]:
    """Probabilities (regions, D, H, W) and label map (D, H, W) of a whole volume."""
    shape = (len(predictor.card.labels.names), *Geometry.of(channels[0]).size)
    probabilities = np.zeros(shape, np.float32)
    segmentation = predictor.segment(channels, probabilities=probabilities)
    return probabilities, segmentation.label_map()


def _difference_of_bare_volume(
    reference: Predictor, candidate: Predictor, channels: Channels
) -> float:
    """Largest difference of a probability where the graph has to bring a size into the window.

    Raises:
        ExportError: The logits have another shape.
    """
    image, _ = reference.card.preprocessing.apply(channels)
    trained = reference.models[0].window
    depth, height, width = trained or image.size
    first = image.crop((slice(0, depth), slice(0, height), slice(0, width)))
    bare = smaller(torch.from_numpy(first))
    window = (bare.shape[1], bare.shape[2], bare.shape[3])
    if trained is not None and isinstance(candidate.models[0].network, ExportedGraph):
        window = trained
    with torch.inference_mode():
        inputs = [ArrayInput(bare.numpy())]
        expected = next(
            predict_logits(reference.ensemble.forward, inputs, window=window, batch_size=1)
        )
        # A batch of two: a graph that was traced with one sample may hold for one only.
        found = candidate.ensemble.forward(torch.stack([bare, bare.flip(-1)]))[0]
    if found.shape != expected.shape:
        raise ExportError(
            f"gives logits {tuple(found.shape)} where PyTorch gives {tuple(expected.shape)}"
        )
    activate = reference.card.labels.probabilities
    return _largest((activate(expected[None]) - activate(found[None])).numpy())


def _largest(differences: npt.NDArray[np.float32]) -> float:
    """The largest amount; infinity where one is NaN."""
    return float(np.nan_to_num(np.abs(differences), nan=np.inf).max())


def _dice(ours: LabelMap, theirs: LabelMap) -> float:
    """Dice of two label maps, a voxel being shared where both have the same label."""
    shared = np.count_nonzero((ours == theirs) & (ours > 0))
    total = np.count_nonzero(ours) + np.count_nonzero(theirs)
    if total == 0:
        # Two empty maps agree.
        return 1.0
    return 2 * shared / total


def _times_ms(
    reference: Predictor, candidate: Predictor, channels: Channels
) -> tuple[float, float]:
    """Median time of one window by each."""
    image, _ = reference.card.preprocessing.apply(channels)
    window = reference.models[0].window or image.size
    stitcher = Stitcher(image, window=window, overlap=0.5, on_planes=lambda logits, first: None)
    batch = stitcher.read(stitcher.starts[0])[None]
    return _time_ms(reference, batch), _time_ms(candidate, batch)


def _time_ms(predictor: Predictor, batch: torch.Tensor) -> float:
    run = partial(predictor.ensemble.forward, batch)
    times = time_passes_ms(run, device="cpu", warmup_runs=2, timed_runs=_TIMED_RUNS)
    return statistics.median(times)

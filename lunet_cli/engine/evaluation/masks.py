"""All measures of one predicted mask against its reference."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lunet_cli.config.metrics import METRICS, MetricName
from lunet_cli.engine.evaluation.overlap import Overlap
from lunet_cli.engine.evaluation.surface import SurfaceDistances, field_of_view_diagonal_mm
from lunet_cli.results.evaluation import CaseScore

Mask = npt.NDArray[np.bool_]
_OF_SURFACES = {"hausdorff95", "hausdorff", "assd", "nsd"}


def score_masks(
    prediction: Mask,
    reference: Mask,
    spacing_mm: tuple[float, float, float],
    *,
    metrics: Sequence[MetricName] = tuple(METRICS),
    tolerance_mm: float = 1.0,
) -> dict[MetricName, float]:
    """Measure a prediction.

    Args:
        prediction: Mask (D, H, W), bool.
        reference: Mask (D, H, W), bool.
        spacing_mm: Voxel size (z, y, x).
        metrics: What to measure; `config.metrics.METRICS` has the definitions.
        tolerance_mm: Distance that NSD still counts as equal.

    Returns:
        The value of each metric; NaN where it is undefined.

    Raises:
        ValueError: The masks differ in shape.
    """
    if prediction.shape != reference.shape:
        raise ValueError(
            f"the prediction has shape {prediction.shape}, the reference {reference.shape}"
        )
    overlap = Overlap.of(prediction, reference)
    values: dict[MetricName, float] = {
        "dice": overlap.share_of((overlap.prediction + overlap.reference) / 2),
        "iou": overlap.share_of(overlap.prediction + overlap.reference - overlap.shared),
        "sensitivity": overlap.share_of(overlap.reference),
        "precision": overlap.share_of(overlap.prediction),
        "relative_volume_difference": overlap.relative_difference,
        "absolute_volume_difference": overlap.difference_ml(spacing_mm),
    }
    # Distances take a hundred times as long as counts.
    if _OF_SURFACES & set(metrics):
        distances = SurfaceDistances.between(prediction, reference, spacing_mm)
        values |= {
            "hausdorff95": distances.percentile(95),
            "hausdorff": distances.percentile(100),
            "assd": distances.mean,
            "nsd": distances.share_within(tolerance_mm),
        }
    return {name: values[name] for name in metrics}


def score_label(
    case: str,
    label: str,
    prediction: Mask,
    reference: Mask,
    spacing_mm: tuple[float, float, float],
    *,
    metrics: Sequence[MetricName],
    tolerance_mm: float,
) -> CaseScore:
    """Measure one label of one case; see `score_masks`."""
    values = score_masks(
        prediction, reference, spacing_mm, metrics=metrics, tolerance_mm=tolerance_mm
    )
    voxel_ml = math.prod(spacing_mm) / 1000
    return CaseScore(
        case,
        label,
        dict(values.items()),
        prediction_ml=int(np.count_nonzero(prediction)) * voxel_ml,
        reference_ml=int(np.count_nonzero(reference)) * voxel_ml,
        undefined=tuple(name for name, value in values.items() if math.isnan(value)),
        diagonal_mm=field_of_view_diagonal_mm(prediction.shape, spacing_mm),
    )

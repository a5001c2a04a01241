"""The `evaluation` section: what is measured on the validation cases once training has ended."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lunet_cli.config.base import Section

MetricName = Literal["dice", "hausdorff95"]


class EvaluationConfig(Section):
    """Measures of the best model."""

    metrics: Annotated[list[MetricName], Field(min_length=1)] = ["dice"]
    """`dice`: overlap; `hausdorff95`: 95th percentile of the surface distance, in mm."""

"""The `evaluation` section: what is measured on the validation cases once training has ended."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from lunet_cli.config.base import Section
from lunet_cli.config.metrics import MetricName


class EvaluationConfig(Section):
    """Measures of the best model."""

    metrics: Annotated[list[MetricName], Field(min_length=1)] = ["dice"]
    """What is measured; `nsd` takes a tolerance of 1 mm. The reference of metrics defines each."""

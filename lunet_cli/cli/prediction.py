"""Options of the commands that send volumes through a network.

They stand apart from `cli.options`, since pydantic takes as long to load as all that
`lunet presets list` needs.
"""

from __future__ import annotations

from typing import Annotated

from lunet_cli.cli.options import option
from lunet_cli.config.options import PredictionOptions
from lunet_cli.config.vocabulary import DeviceName, PrecisionChoice, RuntimeChoice

USUAL_PREDICTION = PredictionOptions()

Tta = Annotated[bool, option(PredictionOptions, "tta", "--tta")]
Window = Annotated[str | None, option(PredictionOptions, "window", metavar="DxHxW|whole|stream")]
Overlap = Annotated[float, option(PredictionOptions, "overlap", metavar="SHARE")]
BatchSize = Annotated[int, option(PredictionOptions, "batch_size", metavar="N")]
MaxMemory = Annotated[
    str | None, option(PredictionOptions, "max_memory_mib", "--max-memory", metavar="SIZE")
]
Device = Annotated[DeviceName, option(PredictionOptions, "device")]
Precision = Annotated[PrecisionChoice, option(PredictionOptions, "precision")]
Runtime = Annotated[RuntimeChoice | None, option(PredictionOptions, "runtime")]

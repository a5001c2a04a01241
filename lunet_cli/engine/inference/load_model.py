"""The job `load_model`: a trained network that stays in memory, ready for volume after volume."""

from __future__ import annotations

from collections.abc import Sequence

from lunet_cli.config.options import PredictionOptions
from lunet_cli.engine.inference.images import Location, as_paths
from lunet_cli.engine.inference.predictor import Predictor

ModelSource = Predictor | Location | Sequence[Location]
"""A loaded model, or the path of one, or the paths of several whose probabilities are averaged."""


def load_model(
    source: Location | Sequence[Location],
    *,
    architecture: str | None = None,
    options: PredictionOptions | None = None,
) -> Predictor:
    """Load a trained network, or several whose probabilities are averaged.

    Args:
        source: A run folder, a checkpoint, an exported file, or a checkpoint of the authors'
            release of Lean Unet; or several.
        architecture: Preset name; needed for, and only for, a checkpoint of the authors.
        options: How volumes go through the network; None takes the usual way.

    Returns:
        The model. `model.predict(image)` takes an array, a SimpleITK image or a path, and loads
        nothing again.

    Raises:
        LunetError: A file cannot be used, the networks do not fit together, or the device or
            runtime is not available.

    Example:
        >>> options = lunet.PredictionOptions(device="cpu", tta=False)
        >>> model = lunet.load_model("runs/phantom", options=options)
        >>> model.card.labels.names
        ('anterior', 'posterior', 'ventricle')
    """
    return Predictor.load(as_paths(source), architecture=architecture, options=options)


def as_predictor(model: ModelSource) -> Predictor:
    """The model itself if it is loaded, and otherwise loaded in the usual way."""
    if isinstance(model, Predictor):
        return model
    return load_model(model)

"""Lean 3D segmentation networks: train, evaluate, run, measure and shrink them.

Everything that a Python program needs is here, and is imported when it is first asked for, so that
`import lunet_cli as lunet` takes no time:

    lunet.train(lunet.load_config("my.yaml"))
    model = lunet.load_model("runs/my")
    label_map = model.predict("patient.nii.gz").label_map
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# `__init__.pyi` tells the same to type checkers and editors; a test holds them against each other.
_HOMES = {
    "lunet_cli.config.load": ("load_config",),
    "lunet_cli.config.options": (
        "BenchOptions",
        "EvaluationOptions",
        "ExportOptions",
        "OutputOptions",
        "PhantomOptions",
        "PlanOptions",
        "PredictionOptions",
        "ShrinkOptions",
        "StudyOptions",
    ),
    "lunet_cli.config.run": ("RunConfig",),
    "lunet_cli.engine.benchmarking.benchmark": ("benchmark",),
    "lunet_cli.engine.data.cache_folder": ("cache_info", "clear_cache"),
    "lunet_cli.engine.data.check": ("check_data",),
    "lunet_cli.engine.data.fingerprint": ("fingerprint",),
    "lunet_cli.engine.data.mending": ("mend_data",),
    "lunet_cli.engine.data.phantom_files": ("write_phantom",),
    "lunet_cli.engine.evaluation.compare": ("compare",),
    "lunet_cli.engine.evaluation.evaluate": ("evaluate",),
    "lunet_cli.engine.evaluation.score": ("score",),
    "lunet_cli.engine.exporting.export": ("export",),
    "lunet_cli.engine.inference.images": ("PredictedArray", "PredictedImage"),
    "lunet_cli.engine.inference.load_model": ("load_model",),
    "lunet_cli.engine.inference.predict": ("predict",),
    "lunet_cli.engine.inference.predictor": ("Predictor",),
    "lunet_cli.engine.pruning.prune": ("prune",),
    "lunet_cli.engine.pruning.shrink": ("shrink",),
    "lunet_cli.engine.studies.study": ("study",),
    "lunet_cli.engine.training.folds": ("train_folds",),
    "lunet_cli.engine.training.planning": ("Plan", "plan"),
    "lunet_cli.engine.training.train": ("train",),
    "lunet_cli.errors": (
        "CheckpointError",
        "ConfigError",
        "DataError",
        "DeviceError",
        "ExportError",
        "LunetError",
        "MissingDependencyError",
        "OutputError",
        "TrainingError",
    ),
    "lunet_cli.records.check": ("DataCheck", "DataMending"),
    "lunet_cli.records.fingerprint": ("Fingerprint",),
    "lunet_cli.records.model_folder": ("list_models",),
    "lunet_cli.results.benchmarking": ("BenchResult",),
    "lunet_cli.results.cache": ("CacheInfo",),
    "lunet_cli.results.evaluation": ("CompareResult", "EvalResult"),
    "lunet_cli.results.events": ("Event",),
    "lunet_cli.results.exporting": ("ExportResult",),
    "lunet_cli.results.folds": ("FoldsResult",),
    "lunet_cli.results.prediction": ("PredictResult",),
    "lunet_cli.results.pruning": ("PruneResult",),
    "lunet_cli.results.shrinking": ("ShrinkResult",),
    "lunet_cli.results.training": ("TrainResult",),
    "lunet_cli.results.training_studies": ("TrainingStudy",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
__all__ = ["__version__", *_HOME_OF]


def __getattr__(name: str) -> Any:
    """Import what is asked for."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """All public names, imported or not."""
    return sorted(__all__)

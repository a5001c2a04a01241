"""Whether a training has ended, and whether its best model has been measured."""

from __future__ import annotations

from lunet_cli.config.run import RunConfig
from lunet_cli.engine.run_folder import RunFolder
from lunet_cli.errors import DataError
from lunet_cli.records.evaluation import read_evaluation
from lunet_cli.records.files import sha256_of
from lunet_cli.results.evaluation import EvalResult


def has_ended(run: RunFolder, config: RunConfig) -> bool:
    """Whether a training has written its end: after all epochs, or as it may stop early."""
    try:
        summary = run.read_summary()
    except DataError:
        return False
    if summary is None or not run.best.exists():
        return False
    return summary.outcome == "stopped early" or summary.num_epochs >= config.training.epochs


def evaluation_of_best(run: RunFolder) -> EvalResult | None:
    """What the best model reaches on the validation cases; None where that is not measured."""
    try:
        found = read_evaluation(run.evaluation("val"))
    except DataError:  # There is none, or it is damaged.
        return None
    model = found.facts.model
    if model is None or not run.best.exists() or model.sha256 != (sha256_of(run.best),):
        return None
    return found

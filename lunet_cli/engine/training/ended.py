"""Whether a training has ended, and whether its best model has been measured."""

from __future__ import annotations

from lunet_cli.config.run import RunConfig
from lunet_cli.engine.run_folder import RunFolder
from lunet_cli.errors import DataError
from lunet_cli.records.evaluation import read_summary
from lunet_cli.records.files import sha256_of


def has_ended(run: RunFolder, config: RunConfig) -> bool:
    """Whether a training has written its end: after all epochs, or as it may stop early."""
    try:
        summary = run.read_summary()
    except DataError:
        return False
    if summary is None or not run.best.exists():
        return False
    return summary.outcome == "stopped early" or summary.num_epochs >= config.training.epochs


def is_measured(run: RunFolder) -> bool:
    """Whether there is an evaluation of the best model on the validation cases."""
    try:
        summary = read_summary(run.evaluation("val"))
    except DataError:  # Damaged, and so measured again.
        return False
    if summary is None or summary.model is None:
        return False
    return summary.model.sha256 == (sha256_of(run.best),)

"""What the folds of a training have come to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lunet_cli.results.evaluation import EvalResult
from lunet_cli.results.training import EpochRecord


@dataclass(frozen=True, kw_only=True)
class FoldResult:
    """One fold.

    Args:
        number: Counted from 0.
        run_dir: Its run folder.
        num_epochs: Epochs that it has trained.
        best: Its best epoch; None if it was not validated.
        num_cases: Validation cases that were measured.
    """

    number: int
    run_dir: Path
    num_epochs: int
    best: EpochRecord | None
    num_cases: int


@dataclass(frozen=True, kw_only=True)
class FoldsResult:
    """All folds.

    Args:
        run_dir: The folder that holds their run folders.
        outcome: `interrupted` where a fold was stopped and its state is saved.
        signal: Number of the signal that interrupted; 0 otherwise.
        folds: Those that are finished.
        num_folds: How many there are in all.
        pooled: Every case once, measured with the network that has not trained on it; None before
            all folds are finished.
    """

    run_dir: Path
    outcome: Literal["finished", "interrupted"]
    signal: int = 0
    folds: tuple[FoldResult, ...]
    num_folds: int
    pooled: EvalResult | None = None

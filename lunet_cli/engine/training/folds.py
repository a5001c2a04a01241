"""The job `train_folds`: cross-validation, with every case once in one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lunet_cli.config.run import RunConfig
from lunet_cli.engine.evaluation.evaluate import evaluate
from lunet_cli.engine.evaluation.pooling import pool
from lunet_cli.engine.run_folder import RunFolder
from lunet_cli.engine.training.ended import evaluation_of_best, has_ended
from lunet_cli.engine.training.fold_plan import fold_configs
from lunet_cli.engine.training.start import require_one_process
from lunet_cli.engine.training.train import OnEvent, OnResult, ignore, train
from lunet_cli.errors import ConfigError, OutputError
from lunet_cli.results.evaluation import EvalResult
from lunet_cli.results.events import Notice
from lunet_cli.results.folds import FoldResult, FoldsResult


def train_folds(
    config: RunConfig,
    *,
    only: int | None = None,
    resume: bool = False,
    on_event: OnEvent = ignore,
    on_closing: OnResult = ignore,
) -> FoldsResult:
    """Train a network for each fold, and measure every case with the one that has not seen it.

    Args:
        config: What to train. The folds share its cache.
        only: Train this fold alone, such as on one machine of several.
        resume: Go on: finished folds are kept, one that was stopped goes on where it was.
        on_event: Called with what happens.
        on_closing: Called with the result of each fold, see `train`.

    Returns:
        The folds; with `metrics.csv` and `summary.json` of all cases in their common folder where
        all folds are finished.

    Raises:
        LunetError: As `train` does; finished folds are kept.
    """
    require_one_process()
    configs = fold_configs(config)
    folder = RunFolder.of(config)
    chosen = range(len(configs)) if only is None else [only]
    if only is not None and not 0 <= only < len(configs):
        raise ConfigError(f"`fold`: {only} is out of range: there are 0 to {len(configs) - 1}")
    if not resume:
        _require_free(folder, [configs[number] for number in chosen])
    for number in chosen:
        run = RunFolder.of(configs[number])
        if has_ended(run, configs[number]):
            continue
        on_event(Notice(f"fold {number} of 0 to {len(configs) - 1}"))
        trained = train(
            configs[number],
            resume="auto" if resume else None,
            on_event=on_event,
            on_closing=on_closing,
        )
        if trained.outcome == "interrupted":
            done = _finished(configs)
            return FoldsResult(
                run_dir=folder.path,
                outcome="interrupted",
                signal=trained.signal,
                folds=tuple(done),
                num_folds=len(configs),
            )
    return _collected(folder, configs, on_event)


def _require_free(folder: RunFolder, configs: Sequence[RunConfig]) -> None:
    used = [run.path for run in map(RunFolder.of, configs) if run.is_used]
    if used:
        raise OutputError(
            f"{used[0]}: a run is here already, and is not overwritten",
            hint="Go on with all folds: `resume=auto`. Or start others: "
            f"`experiment.name={folder.path.name}_2`",
        )


def _finished(configs: Sequence[RunConfig]) -> list[FoldResult]:
    found: list[FoldResult] = []
    for number, config in enumerate(configs):
        run = RunFolder.of(config)
        summary = run.read_summary() if has_ended(run, config) else None
        if summary is not None:
            fold = FoldResult(
                number=number,
                run_dir=run.path,
                num_epochs=summary.num_epochs,
                best=summary.best,
                num_cases=0,
            )
            found.append(fold)
    return found


def _collected(folder: RunFolder, configs: Sequence[RunConfig], on_event: OnEvent) -> FoldsResult:
    """All folds that are finished, and the table of all cases if that is all of them."""
    folds = _finished(configs)
    found = FoldsResult(
        run_dir=folder.path, outcome="finished", folds=tuple(folds), num_folds=len(configs)
    )
    if len(folds) < len(configs):
        return found
    measured = [_measured(fold.run_dir, on_event) for fold in folds]
    counted = []
    for fold, result in zip(folds, measured, strict=True):
        counted.append(replace(fold, num_cases=result.facts.num_cases))
    return replace(found, folds=tuple(counted), pooled=pool(folder.path, measured))


def _measured(run_dir: Path, on_event: OnEvent) -> EvalResult:
    """The evaluation of a fold on its validation cases; one of the same model is not repeated."""
    found = evaluation_of_best(RunFolder(run_dir))
    if found is None:
        found = evaluate(run_dir, on_event=on_event)
    return found

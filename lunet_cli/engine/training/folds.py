"""The job `train_folds`: cross-validation, with every case once in one table."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lunet_cli.config.load import with_settings
from lunet_cli.config.options import EvaluationOptions
from lunet_cli.config.run import RunConfig
from lunet_cli.engine.data.splits import count_folds, find_folds_file
from lunet_cli.engine.evaluation.evaluate import evaluate
from lunet_cli.engine.evaluation.summary import summarize
from lunet_cli.engine.provenance import sha256_of
from lunet_cli.engine.run_folder import RunFolder
from lunet_cli.engine.training.start import require_one_process
from lunet_cli.engine.training.train import OnEvent, OnResult, ignore, train
from lunet_cli.errors import ConfigError, DataError, OutputError
from lunet_cli.records.evaluation import read_evaluation, read_summary, write_evaluation
from lunet_cli.results.evaluation import EvalResult, EvaluatedCases
from lunet_cli.results.events import Notice
from lunet_cli.results.folds import FoldResult, FoldsResult
from lunet_cli.results.words import plural


def fold_configs(config: RunConfig) -> list[RunConfig]:
    """The configuration of each fold: `<output_dir>/<name>/fold_<number>` is its run folder.

    The folds are those of `data.split.file`, or of a splits file that lies with the data and has
    several; else `data.split.num_folds` of equal size.

    Raises:
        ConfigError: There is a single fold, or the cases are divided already.
    """
    data = config.data
    if data.train_dir is not None:
        raise ConfigError(
            "`fold`: train_dir and val_dir are one division, and folds need several",
            hint="Put all cases into one folder, and name it as data.root.",
        )
    file, number = find_folds_file(data), data.split.num_folds
    if file is not None:
        number = count_folds(file)
    if number < 2:
        raise ConfigError(f"`fold`: {file} has one division, and folds need several")
    shared = _shared_settings(config, file)
    return [
        with_settings(config, [*shared, f"data.split.fold={fold}", f"experiment.name=fold_{fold}"])
        for fold in range(number)
    ]


def _shared_settings(config: RunConfig, file: Path | None) -> list[str]:
    """What all folds have instead of what the configuration says."""
    cache = config.data.cache_dir or config.experiment.output_dir / ".cache"
    settings = [
        f"experiment.output_dir={_quoted(RunFolder.of(config).path)}",
        f"data.cache_dir={_quoted(cache)}",
        "data.split.val_fraction=null",
    ]
    if file is not None:
        settings.append(f"data.split.file={_quoted(file.resolve())}")
    return settings


def _quoted(path: Path) -> str:
    """A path as YAML that holds it whatever its letters are: `a: b` would be a mapping."""
    return json.dumps(str(path))


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
        if _is_finished(run, configs[number]):
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


def _is_finished(run: RunFolder, config: RunConfig) -> bool:
    """Whether a fold has written its end, after all epochs or earlier where it may stop early."""
    try:
        summary = run.read_summary()
    except DataError:
        return False
    if summary is None or not run.best.exists():
        return False
    return summary.outcome == "stopped early" or summary.num_epochs >= config.training.epochs


def _finished(configs: Sequence[RunConfig]) -> list[FoldResult]:
    found: list[FoldResult] = []
    for number, config in enumerate(configs):
        run = RunFolder.of(config)
        summary = run.read_summary() if _is_finished(run, config) else None
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
    return replace(found, folds=tuple(counted), pooled=_pooled(folder.path, measured))


def _measured(run_dir: Path, on_event: OnEvent) -> EvalResult:
    """The evaluation of a fold on its validation cases; one of the same model is not repeated."""
    run = RunFolder(run_dir)
    place = run.evaluation("val")
    try:
        summary = read_summary(place)
        model = None if summary is None else summary.model
        if model is not None and model.sha256 == (sha256_of(run.best),):
            return read_evaluation(place)
    except DataError:
        pass  # Damaged, and so measured again.
    return evaluate(run_dir, on_event=on_event)


def _pooled(folder: Path, measured: Sequence[EvalResult]) -> EvalResult:
    first = measured[0].facts
    metrics = EvaluationOptions().metrics
    scores = list(itertools.chain(*(result.scores for result in measured)))
    models = [result.facts.model for result in measured if result.facts.model is not None]
    model = replace(
        models[0],
        checkpoints=tuple(itertools.chain(*(one.checkpoints for one in models))),
        sha256=tuple(itertools.chain(*(one.sha256 for one in models))),
    )
    data = first.data
    origin = f"the validation cases of {plural(len(measured), 'fold')}"
    if isinstance(data, EvaluatedCases):
        data = replace(data, origin=origin)
    num_cases = sum(result.facts.num_cases for result in measured)
    pooled = EvalResult(
        title=f"{models[0].architecture} ({folder}) on {origin}",
        scores=tuple(scores),
        summaries=summarize(scores, metrics=metrics),
        failures=tuple(itertools.chain(*(result.failures for result in measured))),
        facts=replace(first, model=model, data=data, num_cases=num_cases),
        folder=folder,
    )
    write_evaluation(pooled, metrics)
    return pooled

"""The job `compare`: evaluated runs against each other on the same cases, and against what they cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import stats

from lunet_cli.config.metrics import METRICS, MetricName
from lunet_cli.engine.evaluation.fronts import on_front
from lunet_cli.engine.evaluation.summary import MEAN_LABEL, bootstrap_interval, values_by_label
from lunet_cli.engine.run_folder import RunFolder, names_of
from lunet_cli.errors import ConfigError, DataError
from lunet_cli.records.evaluation import TABLE, EvaluationSummary, read_scores, read_summary
from lunet_cli.results.evaluation import (
    CaseScore,
    ComparedRun,
    CompareResult,
    EvaluatedModel,
    PairedDifference,
)

_ByLabel = dict[str, dict[str, float]]


def compare(
    runs: Sequence[Path], *, metric: MetricName = "dice", split: str = "val"
) -> CompareResult:
    """Compare evaluated runs.

    Args:
        runs: Run folders, or folders with a `metrics.csv`, at least two; the others are compared
            with the first.
        metric: What they are compared by.
        split: Which evaluation of a run folder is meant.

    Raises:
        DataError: A run has not been evaluated, or not alike, or two share no case.
        ConfigError: There are fewer than two runs.
    """
    if len(runs) < 2:
        raise ConfigError(
            "lunet compare needs at least two runs", hint="lunet compare runs/a runs/b"
        )
    folders = [_evaluation_folder(run, split) for run in runs]
    names = names_of(runs)
    summaries = [read_summary(folder) for folder in folders]
    for name, summary in zip(names[1:], summaries[1:], strict=True):
        if summaries[0] is not None and summary is not None:
            _require_alike(names[0], summaries[0], name, summary, metric)
    values = _of_shared_labels([_scores(folder, metric) for folder in folders], names, metric)
    differences: list[PairedDifference] = []
    for label, baseline in values[0].items():
        others = [(name, of_run[label]) for name, of_run in zip(names[1:], values[1:], strict=True)]
        differences += _differences(label, baseline, others)
    if all(row.num_cases == 0 for row in differences):
        raise DataError(
            f"{', '.join(names)}: have no case in common for which {METRICS[metric].short} is defined",
            hint="Evaluate them on the same cases: lunet eval RUN --data FOLDER",
        )
    models = [None if summary is None else summary.model for summary in summaries]
    return CompareResult(metric, _common_means(names, values, models, metric), tuple(differences))


def _require_alike(
    one: str, mine: EvaluationSummary, other: str, theirs: EvaluationSummary, metric: MetricName
) -> None:
    """Raise if two evaluations do not mean the same by a metric."""
    settings = ["nsd_tolerance_mm"] if metric == "nsd" else []
    settings += ["undefined_distances"] if METRICS[metric].unit == "mm" else []
    for setting in settings:
        ours, others = getattr(mine, setting), getattr(theirs, setting)
        if ours != others:
            raise DataError(
                f"{one} and {other}: were evaluated with different settings: {setting} is {ours} and {others}",
                hint="Evaluate one of them anew: lunet eval.",
            )


def _evaluation_folder(run: Path, split: str) -> Path:
    for folder in (run, RunFolder(run).evaluation(split)):
        if (folder / TABLE).is_file():
            return folder
    if not run.is_dir():
        raise DataError(f"{run}: there is no such folder")
    done = sorted(path.parent.name for path in RunFolder(run).evaluations.glob(f"*/{TABLE}"))
    hint = f"There are {', '.join(done)}: --split NAME" if done else f"lunet eval {run}"
    raise DataError(f"{run}: has no evaluation '{split}'", hint=hint)


def _scores(folder: Path, metric: MetricName) -> list[CaseScore]:
    scores = read_scores(folder / TABLE)
    if metric not in scores[0].values:
        raise DataError(
            f"{folder / TABLE}: has no column {METRICS[metric].column(metric)}",
            hint="Evaluate it anew with all metrics: lunet eval.",
        )
    return scores


def _of_shared_labels(
    runs: list[list[CaseScore]], names: list[str], metric: MetricName
) -> list[_ByLabel]:
    """Values of each run by label and case, for the labels that all runs have, and the mean of these."""
    of_runs = [list(dict.fromkeys(score.label for score in scores)) for scores in runs]
    shared = [label for label in of_runs[0] if all(label in labels for labels in of_runs)]
    if not shared:
        listed = "; ".join(
            f"{name}: {', '.join(labels)}" for name, labels in zip(names, of_runs, strict=True)
        )
        raise DataError(
            f"the runs have no label in common ({listed})",
            hint="Name the labels of label maps alike: lunet eval --predictions ... --label NAME=VALUE.",
        )
    kept = [[score for score in scores if score.label in shared] for scores in runs]
    by_label = [values_by_label(scores, [metric]) for scores in kept]
    order = [*shared, *([MEAN_LABEL] if len(shared) > 1 else [])]
    return [{label: of_run[label][metric] for label in order} for of_run in by_label]


def _differences(
    label: str, baseline: dict[str, float], others: list[tuple[str, dict[str, float]]]
) -> list[PairedDifference]:
    paired = [_paired(baseline, values) for _, values in others]
    p_values = _holm([_wilcoxon(values) for values in paired])
    return [
        PairedDifference(
            run=name,
            label=label,
            mean=float(pairs.mean()) if len(pairs) else math.nan,
            interval=bootstrap_interval(pairs),
            p_value=p_value,
            num_cases=len(pairs),
            num_left_out=len(baseline.keys() | values.keys()) - len(pairs),
        )
        for (name, values), pairs, p_value in zip(others, paired, p_values, strict=True)
    ]


def _paired(baseline: dict[str, float], values: dict[str, float]) -> npt.NDArray[np.float64]:
    """Differences (N,) over the cases where both are defined."""
    pairs = np.array([values[case] - baseline[case] for case in baseline if case in values])
    return pairs[~np.isnan(pairs)] if len(pairs) else pairs


def _wilcoxon(differences: npt.NDArray[np.float64]) -> float:
    """Two-sided p-value of the Wilcoxon signed-rank test; cases without a difference do not count."""
    # Values come from a table of nine digits: what differs less is equal.
    different = differences[np.abs(differences) > 1e-9]
    return float(stats.wilcoxon(different).pvalue) if len(different) else 1.0


def _holm(p_values: list[float]) -> list[float]:
    """Adjust p-values for their number.

    References:
        Holm, A simple sequentially rejective multiple test procedure (1979).
    """
    adjusted, highest = [1.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def _common_means(
    names: list[str],
    values: list[_ByLabel],
    models: list[EvaluatedModel | None],
    metric: MetricName,
) -> tuple[ComparedRun, ...]:
    """Each run with its mean over the cases that are defined in all, its costs, and whether it is on the front."""
    over_labels = [by_label.get(MEAN_LABEL) or next(iter(by_label.values())) for by_label in values]
    common = [
        case
        for case in over_labels[0]
        if all(not math.isnan(run.get(case, math.nan)) for run in over_labels)
    ]
    means = [
        float(np.mean([run[case] for case in common])) if common else math.nan
        for run in over_labels
    ]
    parameters = [None if model is None else model.parameters for model in models]
    flops = [None if model is None else model.conv_flops_at_64 for model in models]
    on_parameter_front, on_flop_front = (
        on_front(means, costs, METRICS[metric].better) for costs in (parameters, flops)
    )
    architectures = ["" if model is None else model.architecture for model in models]
    return tuple(
        ComparedRun(
            run=name,
            architecture=architectures[index],
            value=means[index],
            num_cases=len(common),
            parameters=parameters[index],
            flops=flops[index],
            on_parameter_front=on_parameter_front[index],
            on_flop_front=on_flop_front[index],
        )
        for index, name in enumerate(names)
    )

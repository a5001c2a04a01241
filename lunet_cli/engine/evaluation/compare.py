"""The job `compare`: evaluated runs against each other on the same cases, and by their costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lunet_cli.config.metrics import METRICS, MetricName, require_metric
from lunet_cli.engine.evaluation.fronts import on_front
from lunet_cli.engine.evaluation.paired import holm, wilcoxon
from lunet_cli.engine.evaluation.summary import MEAN_LABEL, bootstrap_interval, values_by_label
from lunet_cli.engine.inference.images import Location, as_paths
from lunet_cli.engine.run_folder import RunFolder, names_of
from lunet_cli.errors import ConfigError, DataError
from lunet_cli.records.evaluation import TABLE, EvaluationSummary, read_scores, read_summary
from lunet_cli.results.evaluation import (
    CaseScore,
    ComparedRun,
    CompareResult,
    PairedDifference,
)


@dataclass(frozen=True)
class _Run:
    """An evaluated run.

    Args:
        name: What it is called beside the others.
        scores: A row per case and label.
        summary: How it was evaluated; None for a table of another tool.
        architecture: Its network; empty if that is not known.
        parameters: Parameters of its network, if they are known.
        flops: FLOPs of its convolutions, if they are known.
    """

    name: str
    scores: list[CaseScore]
    summary: EvaluationSummary | None
    architecture: str = ""
    parameters: int | None = None
    flops: int | None = None

    @classmethod
    def read(cls, name: str, folder: Path, metric: MetricName) -> _Run:
        """Read the evaluation in a folder.

        Raises:
            DataError: It is damaged, or does not have the metric.
        """
        scores, summary = _read_scores(folder, metric), read_summary(folder)
        if summary is None or summary.model is None:
            return cls(name, scores, summary)
        model = summary.model
        costs = model.architecture, model.parameters, model.conv_flops_at_64
        return cls(name, scores, summary, *costs)

    @property
    def labels(self) -> list[str]:
        """Its labels, in the order of their first appearance."""
        return list(dict.fromkeys(score.label for score in self.scores))


@dataclass(frozen=True)
class _Values:
    """Values of a run by label and case."""

    run: _Run
    by_label: dict[str, dict[str, float]]

    @property
    def of_means(self) -> dict[str, float]:
        """Those of the mean of labels, or of the only one."""
        return list(self.by_label.values())[-1]


def compare(
    runs: Sequence[Location], *, metric: MetricName = "dice", evaluation: str = "val"
) -> CompareResult:
    """Compare evaluated runs.

    Args:
        runs: Run folders, or folders with a `metrics.csv`, at least two; the others are compared
            with the first.
        metric: What they are compared by.
        evaluation: Which evaluation of a run folder is meant: a folder in `eval`.

    Raises:
        DataError: A run has not been evaluated, or not alike, or two share no case.
        ConfigError: There are fewer than two runs, or no such metric.

    Example:
        >>> result = lunet.compare(["runs/phantom", "runs/other"])
        >>> [run.run for run in result.runs]
        ['phantom', 'other']
    """
    require_metric(metric)
    paths = as_paths(runs)
    if len(paths) < 2:
        raise ConfigError("a comparison needs at least two runs", hint="`compare(runs/a, runs/b)`")
    names = names_of(paths)
    found: list[_Run] = []
    for name, path in zip(names, paths, strict=True):
        found.append(_Run.read(name, _evaluation_folder(path, evaluation), metric))
    for other in found[1:]:
        _require_alike(found[0], other, metric)
    values = _of_shared_labels(found, metric)
    differences = _differences(values)
    if not any(row.num_cases for row in differences):
        raise DataError(
            f"{', '.join(names)}: have no case in common for which {METRICS[metric].short} is "
            "defined",
            hint="Evaluate them on the same cases: `evaluate(RUN, data=FOLDER)`",
        )
    return CompareResult(metric, _common_means(values, metric), tuple(differences))


def _evaluation_folder(run: Path, name: str) -> Path:
    for folder in (run, RunFolder(run).evaluation(name)):
        if (folder / TABLE).is_file():
            return folder
    if not run.is_dir():
        raise DataError(f"{run}: there is no such folder")
    done = sorted(path.parent.name for path in RunFolder(run).evaluations.glob(f"*/{TABLE}"))
    hint = f"`evaluate({run})`"
    if done:
        hint = f"There are {', '.join(done)}: `evaluation=NAME`"
    raise DataError(f"{run}: has no evaluation '{name}'", hint=hint)


def _read_scores(folder: Path, metric: MetricName) -> list[CaseScore]:
    scores = read_scores(folder / TABLE)
    if metric not in scores[0].values:
        raise DataError(
            f"{folder / TABLE}: has no column {METRICS[metric].column(metric)}",
            hint="Evaluate it anew with all metrics: `evaluate(RUN)`",
        )
    return scores


def _require_alike(one: _Run, other: _Run, metric: MetricName) -> None:
    """Raise if two evaluations do not mean the same by a metric."""
    if one.summary is None or other.summary is None:
        return
    settings: list[str] = []
    if metric == "nsd":
        settings.append("nsd_tolerance_mm")
    if METRICS[metric].unit == "mm":
        settings.append("undefined_distances")
    for setting in settings:
        ours, theirs = getattr(one.summary, setting), getattr(other.summary, setting)
        if ours != theirs:
            raise DataError(
                f"{one.name} and {other.name}: were evaluated with different settings: "
                f"{setting} is {ours} and {theirs}",
                hint="Evaluate one of them anew: `evaluate(RUN)`",
            )


def _of_shared_labels(runs: list[_Run], metric: MetricName) -> list[_Values]:
    """Values of the labels that all runs have, and last the mean of these."""
    shared = _shared_labels(runs)
    order = list(shared)
    if len(shared) > 1:
        order.append(MEAN_LABEL)
    values: list[_Values] = []
    for run in runs:
        kept = [score for score in run.scores if score.label in shared]
        of_run = values_by_label(kept, [metric])
        values.append(_Values(run, {label: of_run[label][metric] for label in order}))
    return values


def _shared_labels(runs: list[_Run]) -> list[str]:
    shared = runs[0].labels
    for run in runs[1:]:
        shared = [label for label in shared if label in run.labels]
    if not shared:
        listed = "; ".join(f"{run.name}: {', '.join(run.labels)}" for run in runs)
        raise DataError(
            f"the runs have no label in common ({listed})",
            hint="Name the labels of label maps alike: `score(PREDICTIONS, REFERENCES)`",
        )
    return shared


def _differences(values: list[_Values]) -> list[PairedDifference]:
    """How each run differs from the first, label by label."""
    baseline, *others = values
    rows: list[PairedDifference] = []
    for label, expected in baseline.by_label.items():
        paired = [_paired(expected, other.by_label[label]) for other in others]
        p_values = holm(list(map(wilcoxon, paired)))
        for other, pairs, p_value in zip(others, paired, p_values, strict=True):
            num_cases = len(expected.keys() | other.by_label[label].keys())
            row = PairedDifference(
                run=other.run.name,
                label=label,
                mean=_mean(pairs),
                interval=bootstrap_interval(pairs),
                p_value=p_value,
                num_cases=len(pairs),
                num_left_out=num_cases - len(pairs),
            )
            rows.append(row)
    return rows


def _paired(baseline: dict[str, float], values: dict[str, float]) -> npt.NDArray[np.float64]:
    """Differences (N,) over the cases where both are defined."""
    pairs = [values[case] - expected for case, expected in baseline.items() if case in values]
    differences = np.array(pairs, dtype=np.float64)
    return differences[~np.isnan(differences)]


def _mean(values: npt.NDArray[np.float64]) -> float:
    """The mean of values (N,); NaN of none."""
    if len(values) == 0:
        return math.nan
    return float(values.mean())


def _common_means(values: list[_Values], metric: MetricName) -> tuple[ComparedRun, ...]:
    """Each run with its mean over the cases that are defined in all, its costs and its front."""
    # A run that left out its difficult cases would look better than it is.
    common = _cases_defined_in_all([of_run.of_means for of_run in values])
    means: list[float] = []
    parameters: list[int | None] = []
    flops: list[int | None] = []
    for of_run in values:
        means.append(_mean(np.array([of_run.of_means[case] for case in common])))
        parameters.append(of_run.run.parameters)
        flops.append(of_run.run.flops)
    better = METRICS[metric].better
    by_parameters = on_front(means, parameters, better)
    by_flops = on_front(means, flops, better)
    rows: list[ComparedRun] = []
    for index, of_run in enumerate(values):
        row = ComparedRun(
            run=of_run.run.name,
            architecture=of_run.run.architecture,
            value=means[index],
            num_cases=len(common),
            parameters=parameters[index],
            flops=flops[index],
            on_parameter_front=by_parameters[index],
            on_flop_front=by_flops[index],
        )
        rows.append(row)
    return tuple(rows)


def _cases_defined_in_all(runs: list[dict[str, float]]) -> list[str]:
    """The cases of the first run that all have, with a number."""
    common: list[str] = []
    for case in runs[0]:
        values = [run.get(case, math.nan) for run in runs]
        if not np.isnan(values).any():
            common.append(case)
    return common

"""What the trainings of a study have found, from the evaluations in their run folders."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lunet_cli.config.metrics import METRICS, MetricName
from lunet_cli.config.run import RunConfig
from lunet_cli.engine.evaluation.fronts import on_front
from lunet_cli.engine.evaluation.pooling import pool
from lunet_cli.engine.evaluation.summary import MEAN_LABEL, badness, values_by_label
from lunet_cli.engine.run_folder import RunFolder
from lunet_cli.engine.studies.differences import Cases, compared
from lunet_cli.engine.studies.latency import Latencies, network_of
from lunet_cli.engine.studies.plan import Trial, Variant, value_text
from lunet_cli.engine.training.ended import evaluation_of_best, has_ended
from lunet_cli.engine.viewing.costed import COSTS, CostedNetwork, pareto_of
from lunet_cli.errors import DataError
from lunet_cli.records.comparison import ComparisonRecord
from lunet_cli.records.evaluation import read_summary
from lunet_cli.results.evaluation import ComparedRun, EvalResult, PairedDifference
from lunet_cli.results.studies import OverSeeds, StudyComparison
from lunet_cli.results.training_studies import StudiedTrial, StudiedVariant, TrainingStudy
from lunet_cli.results.views import CostName, Pareto


@dataclass(frozen=True)
class _Measured:
    """A combination with one seed, all of whose trainings have ended.

    Args:
        trial: The trial.
        cases: The metric of each case where it is defined, mean over labels.
        parameters: Parameters of its network.
        flops: FLOPs of its convolutions.
        architecture: Its network.
    """

    trial: Trial
    cases: Mapping[str, float]
    parameters: int
    flops: int
    architecture: str

    def mean(self, cases: Sequence[str]) -> float:
        """The mean over some of its cases."""
        if not cases:
            return math.nan
        return math.fsum(self.cases[case] for case in cases) / len(cases)


def find(
    folder: RunFolder, config: RunConfig, variants: Sequence[Variant], latencies: Latencies
) -> TrainingStudy:
    """Collect what the trainings have found, and write `study.csv` and `comparison.json`.

    Args:
        folder: The folder of the study.
        config: What its trainings have in common.
        variants: The combinations.
        latencies: What was measured of them.

    Raises:
        OutputError: A file cannot be written.
    """
    study = config.study
    measured = _measured(variants, study.metric)
    kept = [variant for variant in variants if measured[variant.name]]
    everything = list(itertools.chain(*measured.values()))
    common = _common_cases(everything)
    rows = _rows(kept, measured, common, config, latencies)
    trials: list[StudiedTrial] = []
    for variant in kept:
        trials += [_trial(one, variant, common) for one in measured[variant.name]]
    all_cases = set(itertools.chain(*(one.cases for one in everything)))
    found = TrainingStudy(
        folder=folder.path,
        metric=study.metric,
        keys=tuple(study.vary),
        is_search=study.search is not None,
        trials=tuple(trials),
        variants=tuple(rows),
        num_cases=len(common),
        num_left_out=len(all_cases) - len(common),
        pictures=tuple(_pictures(rows, study.metric, latencies.label)),
        latency=latencies.label,
        machine=latencies.machine,
    )
    _write(folder, found, study.metric)
    return found


def _write(folder: RunFolder, found: TrainingStudy, metric: MetricName) -> None:
    if found.variants:
        folder.write_training_study(found)
    if len(found.variants) > 1:
        _comparison(found, metric).write(folder.comparison)


def _measured(variants: Sequence[Variant], metric: MetricName) -> dict[str, list[_Measured]]:
    """The seeds of each combination all of whose trainings have ended."""
    measured: dict[str, list[_Measured]] = {}
    for variant in variants:
        found = [_measure(trial, metric) for trial in variant.trials]
        measured[variant.name] = [one for one in found if one is not None]
    return measured


def mean_dice(variant: Variant) -> float:
    """The mean Dice of a combination over its seeds and cases; NaN before all have ended."""
    means = []
    for trial in variant.trials:
        found = _measure(trial, "dice")
        if found is None:
            return math.nan
        means.append(found.mean(list(found.cases)))
    return math.fsum(means) / len(means)


def _measure(trial: Trial, metric: MetricName) -> _Measured | None:
    """What a trial reaches; None before all its trainings have ended."""
    evaluations: list[EvalResult] = []
    for run in trial.runs:
        evaluation = evaluation_of_best(run.folder)
        if evaluation is None or not has_ended(run.folder, run.config):
            return None
        evaluations.append(evaluation)
    if len(evaluations) > 1:
        _pool(trial, evaluations)
    cases: dict[str, float] = {}
    for evaluation in evaluations:
        by_label = values_by_label(evaluation.scores, [metric])
        for_cases = by_label.get(MEAN_LABEL) or next(iter(by_label.values()))
        for case, value in for_cases[metric].items():
            if not math.isnan(value):
                cases[case] = value
    model = evaluations[0].facts.model
    assert model is not None  # It is that of the best model.
    return _Measured(trial, cases, model.parameters, model.conv_flops_at_64, model.architecture)


def _pool(trial: Trial, evaluations: Sequence[EvalResult]) -> None:
    """Write the table of all cases into the folder of the folds, unless it is there."""
    expected: list[str] = []
    for evaluation in evaluations:
        if evaluation.facts.model is not None:
            expected += evaluation.facts.model.sha256
    with contextlib.suppress(DataError):
        summary = read_summary(trial.folder.path)
        model = None if summary is None else summary.model
        if model is not None and model.sha256 == tuple(expected):
            return
    pool(trial.folder.path, evaluations)


def _common_cases(measured: Sequence[_Measured]) -> list[str]:
    """The cases with a value in all, in the order of the first.

    A network that left out its difficult cases would look better than it is.
    """
    if not measured:
        return []
    first, *others = measured
    return [case for case in first.cases if all(case in other.cases for other in others)]


def _trial(found: _Measured, variant: Variant, common: Sequence[str]) -> StudiedTrial:
    return StudiedTrial(
        trial=found.trial.name,
        variant=variant.name,
        values=_texts(variant),
        seed=found.trial.seed,
        num_folds=len(found.trial.runs),
        parameters=found.parameters,
        flops=found.flops,
        num_cases=len(common),
        value=found.mean(common),
    )


def _texts(variant: Variant) -> dict[str, str]:
    return {key: value_text(value) for key, value in variant.values.items()}


def _rows(
    variants: Sequence[Variant],
    measured: Mapping[str, Sequence[_Measured]],
    common: Sequence[str],
    config: RunConfig,
    latencies: Latencies,
) -> list[StudiedVariant]:
    """A row for each combination; the best of a search comes first."""
    metric = config.study.metric
    values, firsts = [], []
    for variant in variants:
        values.append(OverSeeds.of(one.mean(common) for one in measured[variant.name]))
        firsts.append(measured[variant.name][0])
    means, better = [value.mean for value in values], METRICS[metric].better
    by_parameters = on_front(means, [first.parameters for first in firsts], better)
    by_flops = on_front(means, [first.flops for first in firsts], better)
    differences: dict[str, StudyComparison] = {}
    # A search has chosen its best by these very cases: no test of that means anything.
    if config.study.search is None:
        differences = _differences(variants, measured, common)
    rows: list[StudiedVariant] = []
    for index, variant in enumerate(variants):
        row = StudiedVariant(
            variant=variant.name,
            architecture=firsts[index].architecture,
            values=_texts(variant),
            parameters=firsts[index].parameters,
            flops=firsts[index].flops,
            latency_ms=latencies.of(network_of(variant)),
            value=values[index],
            change=None,
            p_value=None,
            on_parameter_front=by_parameters[index],
            on_flop_front=by_flops[index],
        )
        rows.append(_compared_row(row, differences))
    if config.study.search is not None:
        rows.sort(key=lambda row: badness(metric, row.value.mean))
    return rows


def _compared_row(
    row: StudiedVariant, differences: Mapping[str, StudyComparison]
) -> StudiedVariant:
    change = differences.get(row.variant)
    if change is None:
        return row
    return replace(row, change=change.difference, p_value=change.p_value)


def _differences(
    variants: Sequence[Variant],
    measured: Mapping[str, Sequence[_Measured]],
    common: Sequence[str],
) -> dict[str, StudyComparison]:
    """How each combination differs from the first one."""
    cases: dict[str, Cases] = {}
    for variant in variants:
        of_seeds: dict[int, dict[str, float]] = {}
        for one in measured[variant.name]:
            of_seeds[one.trial.seed] = {case: one.cases[case] for case in common}
        cases[variant.name] = of_seeds
    if not cases:
        return {}
    first, *others = cases.items()
    return {found.first: found for found in compared([(other, first) for other in others])}


def _pictures(rows: Sequence[StudiedVariant], metric: MetricName, latency: str) -> list[Pareto]:
    """The combinations by each cost that at least two of them have."""
    networks = []
    for row in rows:
        costs = {"parameters": row.parameters, "flops": row.flops, "latency": row.latency_ms}
        networks.append(CostedNetwork(row.variant, row.architecture, row.value.mean, costs))
    labels: dict[CostName, str] = {
        "parameters": COSTS["parameters"],
        "flops": COSTS["flops"],
        "latency": latency,
    }
    found: list[Pareto] = []
    for cost, label in labels.items():
        with contextlib.suppress(DataError):
            found.append(pareto_of(networks, cost, label, metric))
    return found


def _comparison(study: TrainingStudy, metric: MetricName) -> ComparisonRecord:
    """The same as `compare` finds of runs, for what reads its files."""
    runs: list[ComparedRun] = []
    differences: list[PairedDifference] = []
    for row in study.variants:
        run = ComparedRun(
            run=row.variant,
            architecture=row.architecture,
            value=row.value.mean,
            num_cases=study.num_cases,
            parameters=row.parameters,
            flops=row.flops,
            on_parameter_front=row.on_parameter_front,
            on_flop_front=row.on_flop_front,
        )
        runs.append(run)
        if row.change is not None and row.p_value is not None:
            difference = PairedDifference(
                run=row.variant,
                label=MEAN_LABEL,
                mean=row.change.mean,
                interval=row.change.interval,
                p_value=row.p_value,
                num_cases=row.change.num_cases,
                num_left_out=study.num_left_out,
            )
            differences.append(difference)
    return ComparisonRecord(metric=metric, runs=tuple(runs), differences=tuple(differences))

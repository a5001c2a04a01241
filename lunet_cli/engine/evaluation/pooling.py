"""Evaluations of several networks as one, such as those of folds, which have every case once."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lunet_cli.config.options import EvaluationOptions
from lunet_cli.engine.evaluation.summary import summarize
from lunet_cli.records.evaluation import write_evaluation
from lunet_cli.results.evaluation import EvalResult, EvaluatedCases
from lunet_cli.results.words import plural


def pool(folder: Path, measured: Sequence[EvalResult]) -> EvalResult:
    """Join evaluations of different cases, and write them into the folder that holds the runs."""
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

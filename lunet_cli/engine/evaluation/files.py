"""The files of an evaluation: a table of all values, and a summary with everything needed to understand it."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lunet_cli.config.metrics import METRICS, MetricName
from lunet_cli.engine.files import write_atomically
from lunet_cli.errors import DataError, OutputError
from lunet_cli.results.evaluation import CaseScore, EvalResult, MetricSummary
from lunet_cli.results.events import CaseFailed

TABLE, SUMMARY = "metrics.csv", "summary.json"


def write_evaluation(result: EvalResult, metrics: Sequence[MetricName]) -> None:
    """Write `metrics.csv` (a row per case and label; `nan` where undefined) and `summary.json` into its folder.

    Raises:
        OutputError: The folder cannot be made or written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["case", "label", *(METRICS[name].column(name) for name in metrics), "prediction_ml", "reference_ml"]
    )
    for score in result.scores:
        values = [score.values[name] for name in metrics]
        writer.writerow(
            [score.case, score.label, *(f"{v:.9g}" for v in (*values, score.prediction_ml, score.reference_ml))]
        )
    summary = {
        "title": result.title,
        **result.facts,
        "definitions": {METRICS[name].column(name): METRICS[name].definition for name in metrics},
        "summary": [asdict(row) for row in result.summaries],
        "failures": [asdict(failure) for failure in result.failures],
    }
    try:
        result.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{result.folder}: cannot be made ({error.strerror or error})") from None
    write_atomically(result.folder / TABLE, lambda file: file.write(text.getvalue().encode()))
    plain = json.dumps(without_nan(summary), indent=2, default=str) + "\n"
    write_atomically(result.folder / SUMMARY, lambda file: file.write(plain.encode()))


def read_scores(path: Path) -> list[CaseScore]:
    """Read `metrics.csv`.

    Raises:
        DataError: It is missing or no such table.
    """
    columns = {METRICS[name].column(name): name for name in METRICS}
    scores = []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                values = {str(columns[key]): float(value) for key, value in row.items() if key in columns}
                scores.append(
                    CaseScore(
                        row["case"], row["label"], values, float(row["prediction_ml"]), float(row["reference_ml"])
                    )
                )
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: is no table of metrics ({error!r})", hint="lunet eval writes it.") from None
    if not scores:
        raise DataError(f"{path}: holds no case")
    return scores


def read_facts(path: Path) -> dict[str, Any]:
    """Read `summary.json`; empty where there is none."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: no valid JSON ({error})") from None
    return facts if isinstance(facts, dict) else {}


def read_evaluation(folder: Path) -> EvalResult:
    """Read back what `write_evaluation` has written; of the undefined values, only their number is known.

    Raises:
        DataError: A file is missing or damaged.
    """
    facts = read_facts(folder / SUMMARY)
    try:
        summaries = tuple(
            MetricSummary(
                label=row["label"],
                metric=row["metric"],
                mean=_or_nan(row["mean"]),
                sd=_or_nan(row["sd"]),
                median=_or_nan(row["median"]),
                interval=(_or_nan(row["interval"][0]), _or_nan(row["interval"][1])),
                num_cases=row["num_cases"],
                num_undefined=row["num_undefined"],
                worst=tuple((str(case), _or_nan(value)) for case, value in row["worst"]),
                penalized_mean=_or_nan(row.get("penalized_mean")),  # Earlier summaries do not have it.
            )
            for row in facts.pop("summary")
        )
        failures = tuple(CaseFailed(**failure) for failure in facts.pop("failures"))
        return EvalResult(facts.pop("title"), tuple(read_scores(folder / TABLE)), summaries, failures, facts, folder)
    except (KeyError, TypeError, IndexError) as error:
        raise DataError(
            f"{folder / SUMMARY}: is no summary of an evaluation ({error!r})", hint="lunet eval writes it."
        ) from None


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def without_nan(value: Any) -> Any:
    """The same with null for NaN, which JSON does not know."""
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    return [without_nan(item) for item in value] if isinstance(value, list | tuple) else value

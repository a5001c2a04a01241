"""The files of an evaluation: a table of all values, and a summary that explains them."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, FailFast

from lunet_cli.config.metrics import METRICS, MetricName
from lunet_cli.errors import DataError, OutputError
from lunet_cli.records.files import write_atomically
from lunet_cli.records.record import Record
from lunet_cli.records.table import Row, read_table, table_text
from lunet_cli.results.evaluation import (
    Bootstrap,
    CaseScore,
    EvalResult,
    EvaluatedCases,
    EvaluatedMaps,
    EvaluatedModel,
    EvaluationFacts,
    MetricSummary,
)
from lunet_cli.results.events import CaseFailed

TABLE, SUMMARY = "metrics.csv", "summary.json"
_WHAT = "a table of metrics"
_HINT = "`evaluate(RUN)` writes it."
_VOLUMES = ("prediction_ml", "reference_ml")


def _known_metric(summary: MetricSummary) -> MetricSummary:
    if summary.metric not in METRICS:
        raise ValueError(f"'{summary.metric[:60]}' is not a metric")
    return summary


class EvaluationSummary(Record):
    """`summary.json` beside `metrics.csv`."""

    what: ClassVar[str] = "the summary of an evaluation"
    written_by: ClassVar[str] = _HINT

    format: str = "lunet evaluation 1"
    title: str
    model: EvaluatedModel | None
    data: EvaluatedCases | EvaluatedMaps
    labels: dict[str, tuple[int, ...]]
    num_cases: int
    nsd_tolerance_mm: float
    undefined_distances: str
    bootstrap: Bootstrap
    versions: dict[str, str]
    definitions: dict[str, str]
    summary: Annotated[
        tuple[Annotated[MetricSummary, AfterValidator(_known_metric)], ...], FailFast()
    ]
    failures: Annotated[tuple[CaseFailed, ...], FailFast()]

    @classmethod
    def of(cls, result: EvalResult, metrics: Sequence[MetricName]) -> Self:
        """What is kept of an evaluation beside its table."""
        facts = result.facts
        return cls(
            title=result.title,
            model=facts.model,
            data=facts.data,
            labels=facts.labels,
            num_cases=facts.num_cases,
            nsd_tolerance_mm=facts.nsd_tolerance_mm,
            undefined_distances=facts.undefined_distances,
            bootstrap=facts.bootstrap,
            versions=facts.versions,
            definitions={METRICS[name].column(name): METRICS[name].definition for name in metrics},
            summary=result.summaries,
            failures=result.failures,
        )

    @property
    def facts(self) -> EvaluationFacts:
        """What is needed to understand and repeat the evaluation."""
        return EvaluationFacts(
            self.model,
            self.data,
            self.labels,
            self.num_cases,
            self.nsd_tolerance_mm,
            self.undefined_distances,
            self.bootstrap,
            self.versions,
        )


def write_evaluation(result: EvalResult, metrics: Sequence[MetricName]) -> None:
    """Write both files into the folder of the result.

    The table has a row per case and label, and `nan` where a metric is undefined.

    Raises:
        OutputError: The folder cannot be made or written.
    """
    columns = [METRICS[name].column(name) for name in metrics]
    header = ["case", "label", *columns, *_VOLUMES]
    rows = []
    for score in result.scores:
        row = [score.case, score.label]
        for name in metrics:
            row.append(_number(score.values[name]))
        rows.append([*row, _number(score.prediction_ml), _number(score.reference_ml)])
    try:
        result.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{result.folder}: cannot be made ({error.strerror or error})") from None
    text = table_text(header, rows)
    write_atomically(result.folder / TABLE, lambda file: file.write(text.encode()))
    EvaluationSummary.of(result, metrics).write(result.folder / SUMMARY)


def _number(value: float) -> str:
    # Nine digits bring any float32 back as it was.
    return f"{value:.9g}"


def require_own_place(folder: Path) -> datetime.datetime | None:
    """When the evaluation in a folder was made, which a new one replaces; None if there is none.

    Raises:
        OutputError: A file has the name of the folder, or one of another program that of one of
            ours, such as the `summary.json` of nnU-Net.
    """
    table = folder / TABLE
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: is a file", hint="Name a folder: `output=FOLDER`")
    # The summaries of earlier versions have no mark, and a key that no other program has.
    for name, sign in ((TABLE, b"case,label,"), (SUMMARY, b'"nsd_tolerance_mm"')):
        path = folder / name
        if path.exists() and not (path.is_file() and sign in path.read_bytes()):
            raise OutputError(
                f"{path}: is not of lunet, and is not overwritten",
                hint="Write elsewhere: `output=FOLDER`",
            )
    if not table.exists():
        return None
    return datetime.datetime.fromtimestamp(table.stat().st_mtime)


def read_scores(path: Path) -> list[CaseScore]:
    """Read `metrics.csv`; columns that are not known are passed over.

    Raises:
        DataError: It is missing or not such a table.
    """
    table = read_table(path)
    table.require(["case", "label", *_VOLUMES], what=_WHAT, hint=_HINT)
    known: dict[str, MetricName] = {}
    for name, metric in METRICS.items():
        column = metric.column(name)
        if column in table.header:
            known[column] = name
    scores: dict[tuple[str, str], CaseScore] = {}
    for row in table.rows():
        score = _score(row, known)
        if (score.case, score.label) in scores:
            raise DataError(
                f"{row.place}: {score.label} of {score.case} is there twice", hint=_HINT
            )
        scores[score.case, score.label] = score
    if not scores:
        raise DataError(f"{path}: holds no case", hint=_HINT)
    _require_all_labels(scores.keys(), path)
    return list(scores.values())


def read_summary(folder: Path) -> EvaluationSummary | None:
    """Read `summary.json`; None where there is none, as beside the table of another tool.

    Raises:
        DataError: It is damaged.
    """
    path = folder / SUMMARY
    if not path.exists():
        return None
    return EvaluationSummary.read(path)


def read_evaluation(folder: Path) -> EvalResult:
    """Read back what `write_evaluation` has written.

    Of the undefined values, only their number is known.

    Raises:
        DataError: A file is missing or damaged.
    """
    summary = EvaluationSummary.read(folder / SUMMARY)
    scores = tuple(read_scores(folder / TABLE))
    return EvalResult(
        summary.title, scores, summary.summary, summary.failures, summary.facts, folder
    )


def _require_all_labels(rows: Iterable[tuple[str, str]], path: Path) -> None:
    """Raise if a case lacks a label that others have: means over labels would not mean the same."""
    labels_of: dict[str, set[str]] = {}
    for case, label in rows:
        labels_of.setdefault(case, set()).add(label)
    expected = set().union(*labels_of.values())
    for case, labels in labels_of.items():
        if labels != expected:
            missing = sorted(expected - labels)[0]
            raise DataError(f"{path}: has no row for {missing} of {case}", hint=_HINT)


def _score(row: Row, metrics: dict[str, MetricName]) -> CaseScore:
    values = {str(name): row.number(column) for column, name in metrics.items()}
    return CaseScore(
        case=row.text("case"),
        label=row.text("label"),
        values=values,
        prediction_ml=row.number("prediction_ml", lowest=0),
        reference_ml=row.number("reference_ml", lowest=0),
    )

"""The files of an evaluation."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from lunet_cli.errors import DataError, OutputError
from lunet_cli.records.evaluation import (
    read_evaluation,
    read_scores,
    read_summary,
    write_evaluation,
)
from lunet_cli.results.evaluation import (
    Bootstrap,
    CaseScore,
    EvalResult,
    EvaluatedMaps,
    EvaluationFacts,
    MetricSummary,
)
from lunet_cli.results.events import CaseFailed

HEADER = "case,label,dice,assd_mm,prediction_ml,reference_ml\n"


def result_in(folder: Path) -> EvalResult:
    facts = EvaluationFacts(
        model=None,
        data=EvaluatedMaps("a", "b"),
        labels={"liver": (1, 2)},
        num_cases=1,
        nsd_tolerance_mm=1.0,
        undefined_distances="left out",
        bootstrap=Bootstrap(1000, 0, "95 % percentile, over cases"),
        versions={"lunet": "test"},
    )
    summary = MetricSummary(
        "liver", "dice", 0.5, math.nan, 0.5, (math.nan, math.nan), 1, 0, (("c1", 0.5),)
    )
    scores = (CaseScore("c1", "liver", {"dice": 0.5, "assd": math.nan}, 1.25, 0.0),)
    return EvalResult(
        "a against b",
        scores,
        (summary,),
        (CaseFailed("c2", "is damaged", "mend it"),),
        facts,
        folder,
    )


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    written = result_in(tmp_path / "eval")
    write_evaluation(written, ("dice", "assd"))
    assert (tmp_path / "eval/metrics.csv").read_text() == HEADER + "c1,liver,0.5,nan,1.25,0\n"
    found = read_evaluation(tmp_path / "eval")
    assert (found.facts, found.failures, found.title) == (
        written.facts,
        written.failures,
        written.title,
    )
    assert str(found.scores) == str(written.scores)
    assert str(found.summaries) == str(written.summaries)


def test_a_table_of_another_tool_has_no_summary(tmp_path: Path) -> None:
    assert read_summary(tmp_path) is None
    (tmp_path / "summary.json").write_text('{"format": "lunet training 1"}')
    with pytest.raises(DataError, match="is not the summary of an evaluation"):
        read_summary(tmp_path)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("", "holds no case"),
        ("c1,liver,x,1,1,1\n", "line 2: dice is 'x', which is not a number"),
        ("c1,liver,1,1,-1,1\n", "line 2: prediction_ml is '-1', outside of"),
        (",liver,1,1,1,1\n", "line 2: case is empty"),
        ("c1,liver,1,1,1,1\nc1,liver,1,1,1,1\n", "line 3: liver of c1 is there twice"),
        ("c1,liver,1,1,1,1\nc1,spleen,1,1,1,1\nc2,liver,1,1,1,1\n", "has no row for spleen of c2"),
        ("c1,liver,1,1,1\n", "line 2: has 5 columns instead of 6"),
    ],
)
def test_a_damaged_table(rows: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(HEADER + rows)
    with pytest.raises(DataError, match=message):
        read_scores(tmp_path / "metrics.csv")


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "eval").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be made"):
        write_evaluation(result_in(tmp_path / "eval"), ("dice", "assd"))

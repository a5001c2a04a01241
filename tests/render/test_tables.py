"""Results as tables."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import RenderableType

from lunet_cli.render.console import PlainConsole
from lunet_cli.render.tables import (
    compare_table,
    export_table,
    predict_table,
    runtime_table,
    train_table,
)
from lunet_cli.results.evaluation import (
    ComparedRun,
    CompareResult,
    MetricSummary,
    PairedDifference,
)
from lunet_cli.results.exporting import Agreement, ExportResult
from lunet_cli.results.prediction import CasePredicted, PredictResult
from lunet_cli.results.runtimes import RuntimeChosen, RuntimeTrial
from lunet_cli.results.training import TrainResult

PREDICTED = CasePredicted("c", Path("out/c.nii"), {"a": 1.234}, 2.0, 1, 1, 0.0)
PREDICTION = PredictResult((), (PREDICTED,), (), (), "fp32 with torch", {"a": 1})


def words(table: RenderableType) -> str:
    console = PlainConsole(width=120, _environ={})
    with console.capture() as captured:
        console.print(table)
    return " ".join(captured.get().split())


def test_what_was_written_and_where() -> None:
    assert "c 1.23 2.0" in words(predict_table(PREDICTION))
    assert "written: out/c.nii" in words(predict_table(PREDICTION))
    other = replace(PREDICTED, case="d", output=Path("out/deep/d.nii"))
    several = replace(PREDICTION, predicted=(PREDICTED, other), skipped=(Path("e.nii"),))
    told = words(predict_table(several))
    assert "2 segmented, 1 there already, in fp32 with torch" in told
    assert told.endswith("written: out")


def test_choices_are_told_in_the_words_of_the_caller() -> None:
    def reword(text: str) -> str:
        return text.replace("`runtime=auto`", "--runtime auto")

    assert "as asked; --runtime auto tries others." in words(runtime_table(PREDICTION, reword))
    trials = (RuntimeTrial("onnx", 1e-6, "left out by `runtime=auto`"),)
    chosen = replace(PREDICTION, choice=RuntimeChosen("torch", "the fastest", trials))
    assert "onnx 1.0e-06 left out by --runtime auto" in words(runtime_table(chosen, reword))


def test_tiny_p_values_and_unknown_costs() -> None:
    runs = (
        ComparedRun("one", "a", 0.8, 5, 1000, 2_500_000_000, True, True),
        ComparedRun("two", "b", 0.7, 5, None, None, False, False),
    )
    difference = PairedDifference("two", "liver", -0.1, (-0.2, -0.05), 1e-9, 5, 1)
    told = words(compare_table(CompareResult("dice", runs, (difference,))))
    assert "liver two -0.1000 -0.2000 to -0.0500 < 0.0001 5 (1 left out)" in told
    assert "one a 0.8000 1,000 * 2.500 *" in told
    assert "two b 0.7000 Means" in told


@pytest.mark.parametrize(("value", "shown"), [(3.14159, "3.14 mm"), (math.nan, "undefined")])
def test_metrics_have_their_units(value: float, shown: str) -> None:
    row = MetricSummary("a", "hausdorff95", value, 0, value, (0, 0), 2, 0, ())
    result = TrainResult(Path("r"), "finished", "net", 10, (), None, 65.0, metrics=(row,))
    told = words(train_table(result))
    assert f"HD95 {shown}" in told
    assert "time 1 min 05 s" in told


def test_an_export_is_as_many_times_as_fast_as_its_times_say() -> None:
    agreement = Agreement("val cases", 3, 1e-6, 0.99991, 0.9998, eager_ms=30.0, exported_ms=12.0)
    result = ExportResult("n", "onnx", "fp32", "onnx", (Path("m.onnx"),), 2048, agreement)
    told = words(export_table(result))
    assert "12.0 ms with onnx, 30.0 ms in plain PyTorch (2.5 times as fast)" in told
    assert "size 2 kB" in told

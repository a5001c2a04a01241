from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest
from scipy import stats

from lunet_cli.engine.evaluation.compare import compare
from lunet_cli.errors import ConfigError, DataError

CASES = [f"c{index}" for index in range(8)]
BASE = [0.80, 0.82, 0.84, 0.86, 0.88, 0.90, 0.92, 0.94]


@pytest.fixture
def write_run(write_summary):
    """Write a run folder with its evaluation."""

    def write(
        folder: Path, values: dict[str, list[float]], *, parameters: int = 100, flops: int = 100
    ) -> Path:
        write_table(folder, values)
        write_summary(
            folder / "eval/val", folder.name, parameters=parameters, conv_flops_at_64=flops
        )
        return folder

    return write


def write_table(folder: Path, values: dict[str, list[float]]) -> None:
    place = folder / "eval" / "val"
    place.mkdir(parents=True)
    with (place / "metrics.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["case", "label", "dice", "prediction_ml", "reference_ml"])
        for label, of_label in values.items():
            writer.writerows(
                [case, label, value, 1, 1] for case, value in zip(CASES, of_label, strict=False)
            )


def test_paired_difference_by_hand(tmp_path: Path, write_run) -> None:
    steps = [0.01, 0.02, 0.03, 0.04, -0.01, 0.02, 0.01, 0.0]
    a = write_run(tmp_path / "a", {"x": BASE})
    b = write_run(
        tmp_path / "b", {"x": [value + step for value, step in zip(BASE, steps, strict=True)]}
    )
    (row,) = compare([a, b]).differences
    assert (row.run, row.label, row.num_cases, row.num_left_out) == ("b", "x", 8, 0)
    assert row.mean == pytest.approx(sum(steps) / 8)
    assert row.interval[0] < row.mean < row.interval[1]
    # Seven cases differ. Computed from sign and rank by scipy on exact steps.
    assert row.p_value == pytest.approx(
        stats.wilcoxon([round(step, 2) for step in steps[:-1]]).pvalue, abs=0.02
    )


def test_equal_runs_do_not_differ(tmp_path: Path, write_run) -> None:
    a, b = (write_run(tmp_path / name, {"x": BASE}) for name in "ab")
    (row,) = compare([a, b]).differences
    assert (row.mean, row.interval, row.p_value) == (0, (0, 0), 1)


def test_clear_difference_is_significant_and_adjusted_for_the_number_of_runs(
    tmp_path: Path, write_run
) -> None:
    a = write_run(tmp_path / "a", {"x": BASE})
    better = [
        write_run(tmp_path / name, {"x": [value + 0.02 + i / 1000 for i, value in enumerate(BASE)]})
        for name in "bc"
    ]
    (alone,) = compare([a, better[0]]).differences
    assert alone.p_value == pytest.approx(2 / 2**8)  # all eight of one sign
    assert [row.p_value for row in compare([a, *better]).differences] == pytest.approx(
        [4 / 2**8] * 2
    )


def test_labels_and_their_mean(tmp_path: Path, write_run) -> None:
    a = write_run(tmp_path / "a", {"x": BASE, "y": BASE})
    b = write_run(tmp_path / "b", {"x": [value + 0.04 for value in BASE], "y": BASE})
    rows = compare([a, b]).differences
    assert [row.label for row in rows] == ["x", "y", "mean of labels"]
    assert [row.mean for row in rows] == pytest.approx([0.04, 0, 0.02])


def test_only_labels_that_all_runs_have_are_compared(tmp_path: Path, write_run) -> None:
    a = write_run(tmp_path / "a", {"x": BASE, "y": BASE})
    b = write_run(tmp_path / "b", {"x": BASE, "z": [0.0] * 8})
    result = compare([a, b])
    assert [row.label for row in result.differences] == ["x"]
    assert [row.value for row in result.runs] == pytest.approx([0.87, 0.87])


def test_cases_of_one_run_only_and_undefined_ones_are_left_out(tmp_path: Path, write_run) -> None:
    a = write_run(tmp_path / "a", {"x": BASE})
    b = write_run(tmp_path / "b", {"x": [math.nan, *BASE[1:6]]})
    (row,) = compare([a, b]).differences
    assert (row.num_cases, row.num_left_out) == (5, 3)


def test_pareto_front(tmp_path: Path, write_run) -> None:
    runs = [
        write_run(tmp_path / "small", {"x": [0.8] * 8}, parameters=10, flops=50),
        write_run(tmp_path / "worse", {"x": [0.7] * 8}, parameters=20, flops=20),
        write_run(tmp_path / "large", {"x": [0.9] * 8}, parameters=99, flops=99),
        write_run(tmp_path / "twin", {"x": [0.9] * 8}, parameters=99, flops=100),
    ]
    rows = compare(runs).runs
    assert [row.value for row in rows] == pytest.approx([0.8, 0.7, 0.9, 0.9])
    assert [row.on_parameter_front for row in rows] == [True, False, True, True]
    assert [row.on_flop_front for row in rows] == [True, True, True, False]


def test_means_are_over_the_cases_that_all_runs_have(tmp_path: Path, write_run) -> None:
    a = write_run(tmp_path / "a", {"x": [0.6, 0.9]}, parameters=10)
    b = write_run(tmp_path / "b", {"x": [math.nan, 0.8]}, parameters=10)
    rows = compare([a, b]).runs
    assert [row.value for row in rows] == [0.9, 0.8]
    assert [row.num_cases for row in rows] == [1, 1]
    assert [row.on_parameter_front for row in rows] == [True, False]


@pytest.mark.parametrize(
    ("metric", "setting"),
    [("nsd", "nsd_tolerance_mm"), ("assd", "undefined_distances"), ("dice", "")],
)
def test_evaluations_with_other_settings(
    metric: str, setting: str, tmp_path: Path, write_run, write_summary
) -> None:
    runs = [write_run(tmp_path / name, {"x": BASE}) for name in "ab"]
    for value, run in enumerate(runs):
        place = run / "eval/val"
        write_summary(
            place, "a", nsd_tolerance_mm=float(value), undefined_distances=str(float(value))
        )
        table = (place / "metrics.csv").read_text()
        (place / "metrics.csv").write_text(
            table.replace("dice", {"assd": "assd_mm"}.get(metric, metric), 1)
        )
    if setting:
        with pytest.raises(DataError, match=f"different settings: {setting} is 0.0 and 1.0"):
            compare(runs, metric=metric)
    else:
        assert compare(runs, metric=metric).differences[0].mean == 0


def test_what_cannot_be_compared(tmp_path: Path, write_run) -> None:
    a = write_run(tmp_path / "a", {"x": BASE})
    (tmp_path / "untouched").mkdir()
    with pytest.raises(DataError, match="has no evaluation 'val'") as caught:
        compare([a, tmp_path / "untouched"])
    assert caught.value.hint == f"`evaluate({tmp_path / 'untouched'})`"
    with pytest.raises(DataError, match="has no evaluation 'test'") as caught:
        compare([a, a], evaluation="test")
    assert caught.value.hint == "There are val: `evaluation=NAME`"
    with pytest.raises(DataError, match="there is no such folder"):
        compare([a, tmp_path / "missing"])
    with pytest.raises(ConfigError, match="at least two runs"):
        compare([a])
    with pytest.raises(ConfigError, match="`metric=dise`: unknown metric"):
        compare([a, a], metric="dise")
    with pytest.raises(DataError, match="has no column hausdorff95_mm"):
        compare([a, a], metric="hausdorff95")
    with pytest.raises(DataError, match="the runs have no label in common"):
        compare([a, write_run(tmp_path / "b", {"y": BASE})])
    apart = write_run(tmp_path / "c", {"x": BASE})
    table = apart / "eval/val/metrics.csv"
    table.write_text(
        table.read_text().replace("c", "d").replace("dase", "case").replace("dide", "dice")
    )
    table.write_text(
        table.read_text().replace("predidtion", "prediction").replace("referende", "reference")
    )
    with pytest.raises(DataError, match="have no case in common for which Dice is defined"):
        compare([a, apart])
    (a / "eval/val/metrics.csv").write_text("something,else\n1,2\n")
    with pytest.raises(DataError, match="is not a table of metrics"):
        compare([a, a])

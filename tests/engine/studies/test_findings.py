"""What trainings that have ended tell together, by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lunet_cli.config.options import BenchOptions
from lunet_cli.config.run import RunConfig
from lunet_cli.engine.benchmarking import benchmark
from lunet_cli.engine.run_folder import RunFolder
from lunet_cli.engine.studies.findings import find, mean_dice
from lunet_cli.engine.studies.latency import Latencies, measure_latencies
from lunet_cli.engine.studies.plan import Planner
from lunet_cli.engine.studies.study import with_vary
from lunet_cli.errors import DeviceError
from lunet_cli.records.evaluation import read_evaluation
from lunet_cli.results.benchmarking import BenchResult, BenchRow
from lunet_cli.results.training_studies import TrainingStudy

NETWORKS = {"model.architecture": ["lunet_small_1f", "unet_small_1f"]}


class Written:
    """A study whose trainings are written."""

    def __init__(self, config: RunConfig, vary: dict[str, Any] = NETWORKS) -> None:
        self.config = with_vary(config, vary)
        self.folder = RunFolder.of(config)
        self.lean, self.wide, *_ = self.variants = Planner(self.config).grid()

    def find(self, latencies: Latencies | None = None) -> TrainingStudy:
        return find(self.folder, self.config, self.variants, latencies or Latencies())


@pytest.fixture
def written(tmp_path: Path, tiny_config: Callable[..., RunConfig]) -> Written:
    return Written(tiny_config(tmp_path, "study.seeds=2"))


def test_means_spread_and_differences(written: Written, write_studied: Any) -> None:
    first, second = written.lean.runs
    write_studied(first, {"a": 0.5, "b": 0.7, "c": 0.6})
    write_studied(second, {"a": 0.6, "b": 0.8, "c": 0.4})
    third, fourth = written.wide.runs
    write_studied(third, {"a": 0.6, "b": 0.7, "c": 0.8, "d": 0.1}, parameters=22_362)
    write_studied(fourth, {"a": 0.7, "b": 0.8, "c": 0.8}, parameters=22_362)
    found = written.find()
    lean, wide = found.variants
    # Case d was not measured by all.
    assert (found.num_cases, found.num_left_out) == (3, 1)
    assert [trial.value for trial in found.trials] == pytest.approx([0.6, 0.6, 0.7, 2.3 / 3])
    assert lean.value.mean == pytest.approx(0.6)
    assert (wide.value.low, wide.value.high) == pytest.approx((0.7, 2.3 / 3))
    assert (lean.change, lean.p_value) == (None, None)
    assert wide.change is not None
    # Of a: 0.1 with both seeds, of b: 0, of c: 0.2 and 0.4.
    assert wide.change.mean == pytest.approx((0.1 + 0 + 0.3) / 3)
    low, high = wide.change.interval
    assert (low, high) == pytest.approx((0.0, 0.3))
    assert (wide.change.num_cases, wide.change.num_seeds) == (3, 2)
    # Of two cases that differ, both are above zero: one of 2^2 ways, and so is none.
    assert wide.p_value == pytest.approx(0.5)
    assert [row.on_parameter_front for row in found.variants] == [True, True]
    assert [row.on_flop_front for row in found.variants] == [False, True]
    rows = written.folder.study.read_text().splitlines()
    assert rows[0] == "trial,variant,model.architecture,seed,folds,parameters,flops,cases,dice"
    assert rows[1].startswith(
        "lunet_small_1f_seed1,lunet_small_1f,lunet_small_1f,1,1,686,1000000000,3,0.6"
    )


def test_what_has_not_ended_does_not_count(written: Written, write_studied: Any) -> None:
    assert written.find().variants == ()
    assert not written.folder.path.exists()
    write_studied(written.lean.runs[0], {"a": 0.5})
    other = written.wide.runs[1]
    write_studied(other, {"a": 0.9})
    # A training that went on has another model than was measured.
    other.folder.best.write_bytes(b"newer")
    found = written.find()
    assert [trial.trial for trial in found.trials] == ["lunet_small_1f_seed1"]
    assert found.pictures == ()
    assert not written.folder.comparison.exists()
    assert math.isnan(mean_dice(written.lean))


def test_damaged_tables_are_measured_again(written: Written, write_studied: Any) -> None:
    run = written.lean.runs[0]
    write_studied(run, {"a": 0.5})
    assert run.is_done
    (run.folder.evaluation("val") / "metrics.csv").write_text("nothing")
    assert written.find().trials == ()
    assert not run.is_done


def test_folds_are_one_table(
    tmp_path: Path, tiny_config: Callable[..., RunConfig], write_studied: Any
) -> None:
    settings = ("study.fold=all", "study.seeds=1", "data.split.num_folds=2")
    written = Written(tiny_config(tmp_path, *settings))
    for variant, dice in ((written.lean, 0.5), (written.wide, 0.75)):
        zero, one = variant.runs
        write_studied(zero, {"a": dice, "b": dice})
        write_studied(one, {"c": dice})
    lean, wide = written.find().variants
    assert (lean.value.mean, wide.value.mean) == pytest.approx((0.5, 0.75))
    assert mean_dice(written.wide) == pytest.approx(0.75)
    table = read_evaluation(written.wide.trials[0].folder.path)
    assert [score.case for score in table.scores] == ["a", "a", "b", "b", "c", "c"]


def test_latencies_are_those_of_the_files(written: Written, write_studied: Any) -> None:
    for variant in written.variants:
        for run in variant.runs:
            write_studied(run, {"a": 0.5, "b": 0.25})
    best = written.wide.runs[0].folder.best.resolve()
    found = written.find(Latencies({best: 12.5}, "ms on cpu", "a machine"))
    assert [row.latency_ms for row in found.variants] == [None, 12.5]
    # One of two is no picture.
    assert [picture.cost.partition(" ")[0] for picture in found.pictures] == ["parameters", "FLOPs"]


def test_latencies_are_measured_once_of_one_network_each(
    written: Written,
    write_studied: Any,
    make_row: Callable[..., BenchRow],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for variant in written.variants:
        for run in variant.runs:
            write_studied(run, {"a": 0.5, "b": 0.25})
    asked: list[BenchOptions] = []

    def measure(options: BenchOptions, *, on_event: object) -> BenchResult:
        asked.append(options)
        rows = []
        for scale, path in enumerate(options.targets, start=1):
            row = make_row(path.parent.name, "torch", "fp32", scale=scale)
            rows.append(replace(row, source=str(path)))
        return BenchResult(tuple(rows), (), (), "a machine", {"lunet": "test"}, "")

    monkeypatch.setattr(benchmark, "benchmark", measure)

    def latencies() -> Latencies:
        return measure_latencies(written.folder, written.config, written.variants, lambda _: None)

    first, second = latencies(), latencies()
    assert first == second
    (options,) = asked
    assert options.sizes == ((64, 64, 64),)
    found = written.find(first)
    assert [row.latency_ms for row in found.variants] == [12_345.6, 2 * 12_345.6]
    assert found.machine == "a machine"
    assert found.pictures[-1].cost == "median latency in ms, 64 x 64 x 64 voxels on cpu, 2 threads"

    def fail(options: BenchOptions, *, on_event: object) -> BenchResult:
        raise DeviceError("no device")

    written.folder.bench.write_text("damaged")
    monkeypatch.setattr(benchmark, "benchmark", fail)
    assert latencies() == Latencies()  # No reason to lose a study.

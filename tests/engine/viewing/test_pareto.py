"""Networks by quality and cost, from run folders and files."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from lunet_cli.engine.viewing.pareto import pareto
from lunet_cli.errors import ConfigError, DataError
from lunet_cli.records.bench import BenchRecord
from lunet_cli.records.comparison import ComparisonRecord
from lunet_cli.results.benchmarking import BenchResult, BenchRow, Latency
from lunet_cli.results.evaluation import ComparedRun, CompareResult


@pytest.fixture
def evaluated(write_summary):
    """Write a run folder with what `lunet eval` leaves in it."""

    def write(folder: Path, dice: float, parameters: int, name: str) -> Path:
        write_table(folder, dice)
        place = folder / "eval" / "val"
        write_summary(place, name, parameters=parameters, conv_flops_at_64=10 * parameters)
        return folder

    return write


def write_table(folder: Path, dice: float) -> None:
    place = folder / "eval" / "val"
    place.mkdir(parents=True)
    lines = "".join(f"case{index},liver,{dice + 0.01 * index},1,1\n" for index in range(3))
    (place / "metrics.csv").write_text(
        f"case,label,dice,prediction_ml,reference_ml\n{lines}", encoding="utf-8"
    )


@pytest.fixture
def runs(tmp_path: Path, evaluated) -> list[Path]:
    kinds = [("lean", 0.8, 100), ("large", 0.9, 10_000), ("worse", 0.7, 20_000)]
    return [evaluated(tmp_path / name, dice, number, f"{name}_net") for name, dice, number in kinds]


def row(
    arch: str, median: float, source: str | None = None, size: int = 64, **changes: Any
) -> BenchRow:
    values: dict[str, Any] = {
        "arch": arch,
        "source": source,
        "mode": "forward",
        "input_shape": (1, 1, size, size, size),
        "out_channels": 1,
        "runtime": "torch",
        "precision": "fp32",
        "device": "cpu",
        "num_threads": 2,
        "parameters": 1,
        "macs": 1,
        "flops": 2,
        "ptflops_macs": 1,
        "size_on_disk_bytes": 1,
        "activation_mib": 1.0,
        "latency_ms": Latency(median, 0.0, median),
        "num_runs": 10,
        "throughput_per_s": 1.0,
        "gflop_per_s": 1.0,
        "peak_share": 0.1,
        "bandwidth_share": 0.1,
        "peak_memory_mib": 1.0,
        "energy_j": None,
    }
    return BenchRow(**values | changes)


def compare_file(
    path: Path, metric: str, values: list[tuple[str, float | None, int | None]]
) -> Path:
    runs = tuple(
        ComparedRun(
            n,
            n,
            math.nan if v is None else v,
            3,
            c,
            1,
            on_parameter_front=False,
            on_flop_front=False,
        )
        for n, v, c in values
    )
    ComparisonRecord.of(CompareResult(metric, runs, ())).write(path)
    return path


def bench_file(path: Path, rows: list[BenchRow]) -> Path:
    BenchRecord.of(BenchResult(tuple(rows), (), (), "a machine", {"lunet": "test"}, "")).write(path)
    return path


def test_runs_by_ascending_cost_with_their_front(runs: list[Path]) -> None:
    found = pareto([*reversed(runs)])
    assert [(p.name, p.cost, p.on_front) for p in found.points] == [
        ("lean", 100, True),
        ("large", 10_000, True),
        ("worse", 20_000, False),
    ]
    assert [p.quality for p in found.points] == pytest.approx([0.81, 0.91, 0.71])
    assert (found.quality, found.cost) == ("mean Dice", "parameters")
    assert [p.cost for p in pareto(runs, cost="flops").points] == [1_000, 100_000, 200_000]


def test_latency_comes_from_the_checkpoint_or_else_the_preset(
    runs: list[Path], tmp_path: Path
) -> None:
    own = str(runs[0] / "best_model.pt")
    file = bench_file(
        tmp_path / "bench.json",
        [
            row("lean_net", 9.0),
            row("lean_net", 5.0, own),
            row("lean_net", 7.0, own),
            row("large_net", 3.0),
        ],
    )
    found = pareto([*runs, file], cost="latency")
    assert [(p.name, p.cost, p.on_front) for p in found.points] == [
        ("large", 3.0, True),
        ("lean", 5.0, False),
    ]


def test_a_saved_comparison_is_enough(tmp_path: Path) -> None:
    values = [("a", 0.8, 100), ("b", 0.7, 50), ("c", None, 10), ("d", 0.6, None)]
    found = pareto([compare_file(tmp_path / "compare.json", "hausdorff95", values)])
    assert not found.higher_is_better
    assert [(p.name, p.on_front) for p in found.points] == [("b", True), ("a", False)]
    assert found.left_out == ("c: no HD95", "d: no known parameters"), "nothing is lost in silence"


def test_a_difference_is_as_bad_as_it_is_far_from_zero(tmp_path: Path) -> None:
    values = [("under", -0.5, 100), ("over", 0.3, 200), ("good", -0.1, 300)]
    found = pareto([compare_file(tmp_path / "compare.json", "relative_volume_difference", values)])
    assert (found.quality, found.higher_is_better) == ("|mean RVD|", False)
    assert [(p.quality, p.on_front) for p in found.points] == [
        (0.5, True),
        (0.3, True),
        (0.1, True),
    ]


def test_latencies_may_come_from_a_file_per_run(runs: list[Path], tmp_path: Path) -> None:
    files = [
        bench_file(tmp_path / f"{net}.json", [row(net, ms), row(net, 0.1, mode="training step")])
        for net, ms in (("lean_net", 5.0), ("large_net", 3.0))
    ]
    found = pareto([*runs, *files], cost="latency")
    assert [(p.name, p.cost) for p in found.points] == [("large", 3.0), ("lean", 5.0)], (
        "training steps do not count"
    )
    assert found.cost == "median latency in ms, 64 x 64 x 64 voxels on cpu, 2 threads"
    assert found.left_out == ("worse: no known latency",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not valid JSON"),
        ("[]", "is not a comparison of runs, but a list"),
        (
            '{"metric": "dice", "runs": [{"run": "a"}]}',
            "is not a comparison of runs: runs.0.architecture is",
        ),
        (
            '{"metric": "beauty", "runs": [], "differences": []}',
            "is not a comparison of runs: metric: ",
        ),
        ('{"format": "lunet bench 2"}', "is not a measurement of networks: rows is missing"),
        (
            '{"format": "lunet bench 1"}',
            "a measurement of networks has format 1 there, this lunet reads format 2",
        ),
        (
            '{"format": "lunet comparison 2"}',
            "a comparison of runs has format 2 there, this lunet reads format 1",
        ),
    ],
)
def test_files_that_are_something_else(
    runs: list[Path], tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "other.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        pareto([*runs, path])


def test_what_cannot_be_drawn(runs: list[Path], tmp_path: Path, evaluated) -> None:
    with pytest.raises(ConfigError, match="alone makes no front"):
        pareto(runs[:1])
    with pytest.raises(DataError, match="0 of 3 networks have both Dice and latency") as caught:
        pareto(runs, cost="latency")
    assert "`benchmark(RUN, RUN, save=bench.json)`" in caught.value.hint
    for change, words in (
        ({"size": 32}, "2 sizes"),
        ({"device": "cuda"}, "2 devices"),
        ({"num_threads": 1}, "2 numbers"),
    ):
        unlike = bench_file(
            tmp_path / "bench.json", [row("lean_net", 1), row("lean_net", 1, **change)]
        )
        with pytest.raises(ConfigError, match=f"latencies of {words}"):
            pareto([*runs, unlike], cost="latency")
    with pytest.raises(ConfigError, match="holds latencies"):
        pareto([*runs, unlike])
    with pytest.raises(ConfigError, match="only latencies"):
        pareto([bench_file(tmp_path / "bench.json", [])], cost="latency")
    with pytest.raises(ConfigError, match="is there twice"):
        pareto([*runs, compare_file(tmp_path / "compare.json", "dice", [("lean", 0.5, 7)])])
    file = compare_file(tmp_path / "compare.json", "dice", [("a", 0.5, 7), ("b", 0.6, 8)])
    with pytest.raises(ConfigError, match="holds dice, and not hausdorff95"):
        pareto([file], metric="hausdorff95")
    with pytest.raises(ConfigError, match="`evaluation`: goes with run folders"):
        pareto([file], evaluation="test")
    with pytest.raises(DataError, match="there is no such folder"):
        pareto([tmp_path / "absent"])
    other = evaluated(tmp_path / "other", 0.5, 7, "other_net")
    table = other / "eval" / "val" / "metrics.csv"
    table.write_text(
        table.read_text(encoding="utf-8")
        .replace("case", "patient")
        .replace("patient,", "case,", 1),
        encoding="utf-8",
    )
    with pytest.raises(DataError, match="no case in common"):
        pareto([runs[0], other])
    with pytest.raises(DataError, match=r"absent[.]json: there is no such file"):
        pareto([*runs, tmp_path / "absent.json"])

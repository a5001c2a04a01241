from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from lunet_cli.engine.benchmarking.comparison import beside, load_saved, save_result, with_ratios
from lunet_cli.errors import DataError, OutputError
from lunet_cli.records.files import require_place
from lunet_cli.results.benchmarking import BenchResult, BenchRow, Latency

ROW = BenchRow(
    arch="lunet_small_4f",
    source=None,
    mode="forward",
    input_shape=(1, 1, 64, 64, 64),
    out_channels=1,
    runtime="eager",
    precision="fp32",
    device="cpu",
    num_threads=2,
    parameters=9929,
    macs=567_924_736,
    flops=1_135_849_472,
    ptflops_macs=589_754_368,
    size_on_disk_bytes=83_375,
    activation_mib=39.6,
    latency_ms=Latency(100.0, 2.0, 104.0),
    num_runs=10,
    throughput_per_s=10.0,
    gflop_per_s=11.4,
    peak_share=0.1,
    bandwidth_share=0.02,
    peak_memory_mib=339.2,
    energy_j=None,
)


def make_row(median: float, **changes: object) -> BenchRow:
    return replace(ROW, latency_ms=Latency(median, 0.0, median), **changes)


def ratios(rows: list[BenchRow], baseline: str | None) -> list[float | None]:
    return [row.ratio for row in with_ratios(rows, baseline)[0]]


def test_first_row_is_the_baseline_if_none_is_named() -> None:
    rows = [make_row(100), make_row(25, runtime="torch"), make_row(400, arch="unet_small_4f")]
    assert ratios(rows, None) == [1, 4, 0.25]
    assert with_ratios(rows, None)[1] == "lunet_small_4f eager fp32"


def test_each_row_takes_the_baseline_of_its_network_and_precision() -> None:
    lean = [make_row(100), make_row(20, precision="bf16"), make_row(50, runtime="torch")]
    lean += [make_row(10, runtime="torch", precision="bf16")]
    rows = lean + [
        replace(row, arch="unet_small_4f", latency_ms=Latency(200, 0, 200)) for row in lean[::2]
    ]
    assert ratios(rows, "eager") == [1, 1, 2, 2, 1, 1]
    assert ratios(rows, "lunet_small_4f/eager/fp32") == [1, 5, 2, 10, 0.5, 0.5]
    assert ratios(rows, "fp32 / unet_small_4f / torch") == [2, 10, 4, 20, 1, 1]


def test_baseline_of_the_same_size_is_closer_than_one_of_another() -> None:
    small = (1, 1, 32, 32, 32)
    rows = [
        make_row(100),
        make_row(10, input_shape=small),
        make_row(5, input_shape=small, runtime="torch"),
    ]
    assert ratios(rows, "eager") == [1, 1, 2]


def test_no_row_is_the_baseline() -> None:
    rows, words = with_ratios([ROW], "onnx")
    assert (rows, words) == ([ROW], "")
    assert with_ratios([], None) == ([], "")


def save(path: Path, *rows: BenchRow) -> Path:
    save_result(BenchResult(rows, (), (), "a machine", {"lunet": "test"}, ""), path)
    return path


def test_saved_rows_stand_beside_the_same_new_rows(tmp_path: Path) -> None:
    saved = load_saved(save(tmp_path / "old.json", make_row(100), make_row(40, runtime="torch")))
    new = [
        make_row(50, runtime="torch"),
        make_row(90),
        make_row(5, num_threads=1),
        make_row(5, mode="training step"),
    ]
    assert [(row.before_ms, row.before_ratio) for row in beside(new, saved)] == [
        (40, 1.25),
        (100, 0.9),
        (None, None),
        (None, None),
    ]
    assert (saved.machine, saved.remarks(beside(new, saved), "a machine")) == ("a machine", [])


def test_remarks_on_a_comparison_that_says_little(tmp_path: Path) -> None:
    saved = load_saved(save(tmp_path / "old.json", make_row(100)))
    remarks = saved.remarks([make_row(50, runtime="torch")], "another machine")
    assert [remark.partition(" ")[2] for remark in remarks] == [
        "was measured on another machine: a machine",
        "has none of these rows",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not valid JSON"),
        ("{", "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
        ("[]", "is not a measurement of networks, but a list"),
        ('{"rows": []}', "is not a measurement of networks"),
        ('{"format": "lunet comparison 1"}', "is not a measurement of networks"),
        ('{"format": "lunet bench 1"}', "has format 1 there, this lunet reads format 2"),
        ('{"format": "lunet bench 2"}', "rows is missing"),
        ('{"format": "lunet bench 2", "rows": [{}]}', "rows.0.arch is missing"),
    ],
)
def test_broken_file_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "old.json"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        load_saved(path)
    assert caught.value.message.startswith(f"{path}: ")
    assert "\n" not in caught.value.message


def test_row_without_a_time_is_damaged(tmp_path: Path) -> None:
    path = save(tmp_path / "old.json", ROW)
    values = json.loads(path.read_text())
    values["rows"][0]["latency_ms"]["median"] = 0.0
    path.write_text(json.dumps(values))
    with pytest.raises(DataError, match=r"rows[.]0: its median is not a time"):
        load_saved(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file"):
        load_saved(tmp_path / "absent.json")
    with pytest.raises(OutputError, match="there is no folder"):
        require_place(tmp_path / "absent" / "new.json")
    with pytest.raises(OutputError, match="is a folder"):
        require_place(tmp_path)

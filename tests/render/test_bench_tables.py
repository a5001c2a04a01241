from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.console import Console

from lunet_cli.render.bench_tables import bench_table
from lunet_cli.results.benchmarking import BenchResult, BenchRow, Roofline


def render(*rows: BenchRow, width: int) -> str:
    roofline = Roofline("cpu", 2, "fp32", 183.0, 33.6)
    console = Console(width=width, file=io.StringIO(), highlight=False)
    console.print(bench_table(BenchResult(rows, (), (roofline,), "a machine", {}, "eager")))
    printed: str = console.file.getvalue()  # type: ignore[attr-defined]
    return printed


@pytest.mark.parametrize("width", [80, 120])
def test_table_has_every_number_whole(make_row: Callable[..., BenchRow], width: int) -> None:
    rows = [
        make_row("unetpp_large_24f", "torch-compile", "bf16", scale=1),
        make_row("lunetpp_large_24f", "eager", "fp32", scale=1.25, parameters=637_153),
    ]
    printed = render(*rows, width=width)
    assert max(map(len, printed.splitlines())) <= width
    words = set(printed.split())
    costs = {"5,340,889", "637,153", "20.5", "102", "204", "1234"}
    speeds = {"12346", "1234", "23457", "0.0812", "1654", "98.7", "12.3", "14321", "1.00"}
    slower = {"15432", "1543", "29321", "0.065", "1323", "1.25"}
    assert costs | speeds | slower <= words, printed
    assert {
        "unetpp_large_24f",
        "lunetpp_large_24f",
        "torch-compile",
        "eager",
        "bf16",
        "fp32",
    } <= words


def test_what_all_rows_share_stands_above_them(make_row: Callable[..., BenchRow]) -> None:
    printed = render(
        make_row("a", "torch", "fp32", scale=1), make_row("b", "eager", "fp32", scale=1), width=80
    )
    assert (
        printed.splitlines()[0]
        == "forward pass, 64x64x64, batch 1, 1 to 1 channels, fp32, on cpu, 2 threads"
    )
    assert printed.count("fp32") == 2, "in the head and beside the roofline"


def test_table_says_how_it_counts_and_compares(make_row: Callable[..., BenchRow]) -> None:
    printed = render(make_row("a", "torch", "fp32", scale=1), width=80)
    assert "1 MAC = 2 FLOP" in printed
    assert "times as fast: as eager" in printed
    assert "183 GFLOP/s in fp32 and 33.6 GB/s" in " ".join(printed.split())


def test_table_of_a_comparison(make_row: Callable[..., BenchRow]) -> None:
    row = replace(make_row("a", "torch", "fp32", scale=1), before_ms=6172.8, before_ratio=2.0)
    (line,) = [line for line in render(row, width=80).splitlines() if "6173" in line]
    assert line.split() == ["a", "6173", "12346", "2.00"]

from __future__ import annotations

from dataclasses import replace

from lunet_cli.config.presets import parse_preset
from lunet_cli.engine.benchmarking.row_plan import RowPlan
from lunet_cli.engine.benchmarking.targets import BenchTarget

PLAN = RowPlan(
    target=BenchTarget(arch="lunet_small_1f", spec=parse_preset("lunet_small_1f").spec),
    shape=(1, 1, 16, 32, 48),
    runtime="torch",
    precision="bf16",
    device="cpu",
    num_threads=1,
    mode="forward",
    warmup_runs=1,
    timed_runs=2,
)


def test_row_in_words() -> None:
    assert str(PLAN) == "lunet_small_1f, torch bf16 on cpu, 16x32x48, 1 thread"
    batch = replace(PLAN, shape=(3, 1, 16, 32, 48), num_threads=2)
    assert str(batch) == "lunet_small_1f, torch bf16 on cpu, 3 x 16x32x48, 2 threads"
    unsettled = replace(PLAN, runtime="auto", precision="auto")
    assert str(unsettled) == "lunet_small_1f, auto on cpu, 16x32x48, 1 thread"


def test_precision_that_is_not_settled_counts_as_the_largest() -> None:
    assert PLAN.largest_precision == "bf16"
    assert replace(PLAN, precision="auto").largest_precision == "fp32"

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lunet_cli.config.options import BenchOptions
from lunet_cli.engine.benchmarking import plan as planning
from lunet_cli.engine.benchmarking.memory import Need
from lunet_cli.engine.benchmarking.plan import group_rows, plan_rows
from lunet_cli.errors import ConfigError, DataError, DeviceError, LunetError


def lean(**changes: Any) -> BenchOptions:
    """One small network, with these options."""
    return BenchOptions(**{"architectures": ("lunet_small_1f",), "sizes": (16,), **changes})


def test_grid_has_every_combination() -> None:
    options = BenchOptions(
        architectures=("lunet_small_1f", "unet_small_1f"),
        sizes=((16, 16, 16), (32, 16, 16)),
        batch_sizes=(1, 2),
        channels=(1, 3),
        classes=(4,),
        threads=(1, 2),
        runtimes=("eager", "torch"),
    )
    plans = [row.plan for row in plan_rows(options)[0]]
    assert len(plans) == len(set(plans)) == 2 * 2 * 2 * 2 * 2 * 2
    assert {plan.shape for plan in plans} == {
        (batch, channels, depth, 16, 16)
        for batch in (1, 2)
        for channels in (1, 3)
        for depth in (16, 32)
    }
    assert {(plan.target.spec.in_channels, plan.target.spec.out_channels) for plan in plans} == {
        (1, 4),
        (3, 4),
    }


def test_defaults() -> None:
    (row,), warnings = plan_rows(BenchOptions(architectures=("lunet_small_1f",), devices=("cpu",)))
    plan = row.plan
    assert (plan.shape, plan.runtime, plan.precision, plan.mode) == (
        (1, 1, 64, 64, 64),
        "torch",
        "fp32",
        "forward",
    )
    assert (plan.warmup_runs, plan.timed_runs, warnings) == (3, 10, [])


def test_benchmark_section_is_honoured_and_options_override_it(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(
        "model:\n  architecture: unet_small_1f\n  in_channels: 2\n  out_channels: 3\n"
        "benchmark:\n  warmup_runs: 1\n  timed_runs: 4\n  input_size: [2, 2, 16, 32, 48]\n"
    )
    plan = plan_rows(BenchOptions(targets=(config,)))[0][0].plan
    assert (plan.shape, plan.warmup_runs, plan.timed_runs) == ((2, 2, 16, 32, 48), 1, 4)
    assert (plan.target.arch, plan.target.spec.out_channels) == ("unet_small_1f", 3)
    options = BenchOptions(
        targets=(config,), sizes=((16, 16, 16),), batch_sizes=(1,), warmup_runs=0, timed_runs=9
    )
    plan = plan_rows(options)[0][0].plan
    assert (plan.shape, plan.warmup_runs, plan.timed_runs) == ((1, 2, 16, 16, 16), 0, 9)


def test_size_below_the_stride_names_the_smallest() -> None:
    with pytest.raises(ConfigError, match=r"size 64x8x64: .* at least 16 voxels") as caught:
        plan_rows(lean(sizes=((64, 8, 64),)))
    assert "`sizes=16`" in caught.value.hint


def test_one_voxel_cannot_be_normalised_in_training() -> None:
    with pytest.raises(ConfigError, match="one voxel is left"):
        plan_rows(lean(training=True))
    assert plan_rows(lean(training=True, batch_sizes=(2,)))[0]


def test_memory_of_the_machine_is_not_enough() -> None:
    options = lean(sizes=((4096, 4096, 4096),), batch_sizes=(16,))
    with pytest.raises(
        DataError, match=r"needs about [\d,.]+ GiB, and this machine has [\d,.]+ GiB"
    ):
        plan_rows(options)


def test_what_a_runtime_cannot_is_left_out_while_others_remain() -> None:
    options = lean(runtimes=("torch", "onnx"), precisions=("fp32", "fp16"), devices=("cpu",))
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    rows, warnings = plan_rows(options)
    assert [(row.plan.runtime, row.plan.precision) for row in rows] == [
        ("torch", "fp32"),
        ("onnx", "fp32"),
    ]
    assert [str(warning) for warning in warnings] == [
        "warning: left out: precision fp16: is not available on this cpu"
    ]
    with pytest.raises(DeviceError, match="precision fp16: is not available on this cpu"):
        plan_rows(lean(precisions=("fp16",), devices=("cpu",)))


def test_runtime_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lunet_cli.engine.runtimes.runtime.find_spec", lambda name: None)
    with pytest.raises(LunetError) as caught:
        plan_rows(lean(runtimes=("onnx",)))
    assert "onnxruntime" in caught.value.message
    assert "lunet[onnx]" in caught.value.hint


@pytest.mark.parametrize("runtime", ["onnx", "openvino", "auto"])
def test_runtimes_that_cannot_train(runtime) -> None:
    with pytest.raises(
        ConfigError, match=f"`training=True`: the runtime {runtime} computes forward passes only"
    ):
        plan_rows(lean(training=True, runtimes=(runtime,), batch_sizes=(2,)))


def test_groups_fit_into_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "available", lambda device: Need(100.0, 0.0))
    (row,) = plan_rows_of_any_size(monkeypatch)
    rows = [replace(row, need=Need(mib, 0.0)) for mib in (30, 30, 1, 90, 10, 50)]
    assert [[member.need.host for member in group] for group in group_rows(rows)] == [
        [30, 30],
        [1],
        [90],
        [10, 50],
    ]


def plan_rows_of_any_size(monkeypatch: pytest.MonkeyPatch) -> list[planning.PlannedRow]:
    monkeypatch.setattr(planning, "_require_memory", lambda row: None)
    return plan_rows(lean())[0]

from __future__ import annotations

import csv
import io
import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lunet_cli.cli.bench import SORT_KEYS
from lunet_cli.results.benchmarking import BenchResult, BenchRow
from lunet_cli.results.events import CaseFailed

CallLunet = Callable[..., "subprocess.CompletedProcess[str]"]
TINY = ("--size", "16", "--runs", "2", "--warmup", "1", "--threads", "1", "--device", "cpu")
KEYS: dict[str, Any] = {
    "arch": str,
    "input_shape": list,
    "runtime": str,
    "precision": str,
    "device": str,
    "num_threads": int,
    "parameters": int,
    "macs": int,
    "flops": int,
    "latency_ms": dict,
    "throughput_per_s": float,
    "peak_memory_mib": float,
    "size_on_disk_bytes": int,
    "peak_share": float,
    "mode": str,
    "ptflops_macs": int,
    "activation_mib": float,
    "gflop_per_s": float,
    "bandwidth_share": float,
    "energy_j": float | None,
    "num_runs": int,
    "ratio": float,
}


@pytest.fixture(scope="module")
def measured(
    run_lunet, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[dict[str, Any]], Path, str]:
    """Rows of a real measurement, the file that it saved, and what it said meanwhile."""
    folder = tmp_path_factory.mktemp("bench")
    names = ("--arch", "lunet_small_1f", "--arch", "unet_small_1f")
    done = run_lunet(
        "bench", *names, *TINY, "--sort", "name", "--json", "--save", "old.json", cwd=folder
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), folder / "old.json", done.stderr


def test_json_rows_have_the_agreed_keys_and_types(measured) -> None:
    rows, _, _ = measured
    assert [row["arch"] for row in rows] == ["lunet_small_1f", "unet_small_1f"]
    for row in rows:
        assert {
            key: value
            for key, value in row.items()
            if key in KEYS and not isinstance(value, KEYS[key])
        } == {}
        assert row.keys() >= KEYS.keys()
        assert set(row["latency_ms"]) == {"median", "iqr", "p95"}
        assert row["input_shape"] == [1, 1, 16, 16, 16]
        assert row["num_runs"] == 2
    assert rows[0]["ratio"] == 1


def test_progress_goes_to_stderr(measured) -> None:
    _, _, progress = measured
    assert "2 rows, in turns" in progress
    assert "prepared 2 of 2: unet_small_1f, torch fp32 on cpu, 16x16x16, 1 thread" in progress
    assert "timed" not in progress, "a short measurement needs no sign of life"


def test_saved_file_has_machine_versions_and_rooflines(measured) -> None:
    rows, path, _ = measured
    saved = json.loads(path.read_text())
    assert saved["rows"] == rows
    assert saved["machine"]
    assert {"lunet", "torch", "python"} <= saved["versions"].keys()
    (roofline,) = saved["rooflines"]
    assert roofline["gflop_per_s"] > 0
    assert roofline["copy_gb_per_s"] > 0


def pretend(
    monkeypatch: pytest.MonkeyPatch, *rows: BenchRow, failures: tuple[CaseFailed, ...] = ()
) -> None:
    """Let the job return these rows at once."""
    result = BenchResult(rows, failures, (), "a machine", {}, "")
    monkeypatch.setattr(
        "lunet_cli.engine.benchmarking.benchmark.benchmark", lambda options, *, on_event: result
    )


def test_compare_puts_the_saved_rows_beside_the_new(
    make_row: Callable[..., BenchRow], call_lunet: CallLunet, monkeypatch, tmp_path: Path
) -> None:
    pretend(monkeypatch, make_row("lunet_small_1f", "torch", "fp32", scale=1))
    assert call_lunet("bench", *ONE, "--save", "old.json", cwd=tmp_path).returncode == 0
    pretend(monkeypatch, make_row("lunet_small_1f", "torch", "fp32", scale=0.5))
    done = call_lunet("bench", *ONE, "--csv", "--compare", "old.json", cwd=tmp_path)
    (row,) = csv.DictReader(io.StringIO(done.stdout))
    assert (row["input_shape"], row["before_ms"], row["before_ratio"]) == (
        "1x1x64x64x64",
        "12345.6",
        "0.5",
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_comparison_without_a_common_row_is_said(
    make_row: Callable[..., BenchRow], call_lunet: CallLunet, monkeypatch, tmp_path: Path
) -> None:
    pretend(monkeypatch, make_row("lunet_small_1f", "torch", "fp32", scale=1))
    call_lunet("bench", *ONE, "--save", "old.json", cwd=tmp_path)
    pretend(monkeypatch, make_row("unet_small_1f", "torch", "fp32", scale=1))
    done = call_lunet("bench", *ONE, "--compare", "old.json", cwd=tmp_path)
    assert "warning: old.json has none of these rows" in done.stderr


def test_row_that_fails_ends_with_exit_code_1(
    make_row: Callable[..., BenchRow], call_lunet: CallLunet, monkeypatch, tmp_path: Path
) -> None:
    row = make_row("lunet_small_1f", "torch", "fp32", scale=1)
    pretend(monkeypatch, row, failures=(CaseFailed("another", "another: it died"),))
    done = call_lunet("bench", *ONE, "--json", cwd=tmp_path)
    assert done.returncode == 1
    assert [found["arch"] for found in json.loads(done.stdout)] == ["lunet_small_1f"]


def test_nothing_measured(call_lunet: CallLunet, monkeypatch, tmp_path: Path) -> None:
    pretend(monkeypatch, failures=(CaseFailed("one", "one: it died"),))
    outputs = [
        call_lunet("bench", *ONE, *option, cwd=tmp_path).stdout
        for option in ([], ["--json"], ["--csv"])
    ]
    assert outputs == ["nothing was measured\n", "[]\n", ""]


BAD_CONFIG = "model:\n  architecture: lunet_small_4f\n channels: 1\n"
ONE = ("--arch", "lunet_small_1f")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "nothing to measure: name a CONFIG, a CHECKPOINT, or presets"),
        (
            ("--arch", "lunet_smal_4f"),
            2,
            "'lunet_smal_4f' is not a preset. Did you mean lunet_small_4f",
        ),
        (("--family", "lunnet"), 2, "--family lunnet: unknown family. Did you mean lunet"),
        ((*ONE, "--size", "8"), 2, "size 8x8x8: lunet_small_1f halves each axis"),
        ((*ONE, "--size", "64x64"), 2, "'64x64' is not a size"),
        ((*ONE, "--size", "0"), 2, "--size"),
        ((*ONE, "--size", "4096", "--batch-size", "64"), 1, "needs about"),
        ((*ONE, "--runtime", "tensorrt"), 2, "'tensorrt'"),
        ((*ONE, "--precision", "int8"), 2, "found 'int8'"),
        ((*ONE, "--device", "tpu"), 2, "'tpu'"),
        (
            (*ONE, "--device", "cpu", "--precision", "fp16"),
            1,
            "precision fp16: is not available on this cpu",
        ),
        (
            (*ONE, "--train", "--runtime", "onnx"),
            2,
            "--train: the runtime onnx computes forward passes only",
        ),
        ((*ONE, "--train", "--size", "16"), 2, "--train with size 16x16x16: one voxel is left"),
        ((*ONE, "--sort", "beauty"), 2, "--sort beauty: unknown column"),
        ((*ONE, "--baseline", "onnx"), 2, "--baseline onnx: no row is that"),
        ((*ONE, "--json", "--csv"), 2, "--json and --csv: choose one"),
        ((*ONE, "--save", "absent/new.json"), 1, "absent/new.json: there is no folder absent"),
        ((*ONE, "--compare", "absent.json"), 1, "absent.json: there is no such file"),
        ((*ONE, "--compare", "bad.yaml"), 1, "bad.yaml: is not valid JSON"),
        (("bad.yaml",), 2, "bad.yaml:3: is not valid YAML"),
        (("absent.yaml",), 2, "absent.yaml: there is no such file"),
        (("absent.pt",), 1, "absent.pt: there is no such"),
        (("bad.pt",), 1, "bad.pt: "),
    ],
)
def test_mistake_is_one_line(
    call_lunet: CallLunet, tmp_path: Path, arguments, code: int, message: str
) -> None:
    (tmp_path / "bad.yaml").write_text(BAD_CONFIG)
    (tmp_path / "bad.pt").write_bytes(b"not a checkpoint")
    done = call_lunet("bench", *arguments, cwd=tmp_path)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert (done.returncode, len(errors), done.stdout) == (code, 1, ""), done.stderr
    assert message in errors[0]


@pytest.mark.parametrize(
    "option", ["--threads", "--batch-size", "--runs", "--channels", "--classes"]
)
def test_zero_is_refused(call_lunet: CallLunet, tmp_path: Path, option: str) -> None:
    done = call_lunet("bench", *ONE, option, "0", cwd=tmp_path)
    assert done.returncode == 2
    assert option in done.stderr


def test_every_sort_key_orders_rows_from_good_to_bad(make_row: Callable[..., BenchRow]) -> None:
    good = make_row("a", "torch", "fp32", scale=1)
    bad = replace(
        make_row("b", "torch", "fp32", scale=2, parameters=9_999_999),
        macs=10**12,
        flops=2 * 10**12,
        size_on_disk_bytes=10**9,
        activation_mib=9e9,
        peak_memory_mib=9e9,
    )
    assert [name for name, key in SORT_KEYS.items() if not key(good) < key(bad)] == []

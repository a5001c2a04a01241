"""Manipulated files of run folders through the commands that read them."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Call = Callable[..., "subprocess.CompletedProcess[str]"]
DEEP = "[" * 100_000 + "]" * 100_000
ODD_VALUES = [
    *(
        None,
        True,
        -1,
        0,
        1,
        10**9,
        10**40,
        -(10**400),
        1e300,
        float("nan"),
        float("inf"),
        "",
        "\x1b[31m",
        "a" * 200_000,
    ),
    *([], {}, [[]], [1, 2], {"a": 1}, "nan", "../../etc", "\ud800", [None] * 3, {"": {}}),
]
ODD_FIELDS = [
    *(
        "",
        "nan",
        "inf",
        "-inf",
        "1e300",
        "-1",
        "1_0",
        "9" * 5000,
        "x",
        "a" * 131_073,
        '"',
        "\0",
        "\x1b[31m",
        "0x10",
    ),
    *("1,2", "\n", "\r", "é", "1e-320", "True", " ", "=1+1"),
]
ODD_FILES: list[bytes] = [
    *(
        b"",
        b"\0",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe\0",
        b"a",
        b",,,\n,,,\n",
        b"\xef\xbb\xbf{}",
        b"1" * 5000,
    ),
    *(
        DEEP.encode(),
        b'{"a":' * 100_000,
        b'"' + b"a" * 300_000,
        b"a,b\n" + b"a" * 131_073,
        b"[" + b"1," * 500_000 + b"1]",
    ),
]


def change_json(text: str, rng: np.random.Generator) -> bytes:
    """One value of a JSON file changed or left out."""
    values = json.loads(text)
    container, key = values, None
    while True:
        keys = list(container) if isinstance(container, dict) else list(range(len(container)))
        if not keys:
            break
        key = keys[int(rng.integers(len(keys)))]
        if not isinstance(container[key], dict | list) or rng.random() < 0.3:
            break
        container = container[key]
    if key is None or not container:
        return b"{}"
    if rng.random() < 0.25:
        del container[key]
    else:
        container[key] = ODD_VALUES[int(rng.integers(len(ODD_VALUES)))]
    return json.dumps(values).encode()


def change_table(text: str, rng: np.random.Generator) -> bytes:
    """One field, line or column of a table changed, doubled or left out."""
    lines = [line.split(",") for line in text.splitlines()]
    row = int(rng.integers(len(lines)))
    column = int(rng.integers(len(lines[row])))
    match rng.choice(["field", "field", "field", "header", "drop", "double", "more", "torn"]):
        case "field":
            lines[row][column] = ODD_FIELDS[int(rng.integers(len(ODD_FIELDS)))]
        case "header":
            lines[0][column] = str(rng.choice(["", "epoch", "case", "dice", "other"]))
        case "drop":
            del lines[row][column]
        case "double":
            lines.insert(row, list(lines[row]))
        case "more":
            lines[row].append("1")
        case _:
            joined = "\n".join(",".join(line) for line in lines)
            return joined[: int(rng.integers(1, len(joined)))].encode()
    return ("\n".join(",".join(line) for line in lines) + "\n").encode()


def change_bytes(text: str, rng: np.random.Generator) -> bytes:
    data = bytearray(text.encode())
    for _ in range(int(rng.integers(1, 8))):
        data[int(rng.integers(len(data)))] = int(rng.integers(256))
    return bytes(data)


def manipulate(path: Path, rng: np.random.Generator) -> str:
    """Change a file, and say how."""
    text = path.read_text(encoding="utf-8")
    how = str(rng.choice(["content", "content", "content", "content", "bytes", "odd", "kind"]))
    if how == "bytes":
        path.write_bytes(change_bytes(text, rng))
    elif how == "odd":
        path.write_bytes(ODD_FILES[int(rng.integers(len(ODD_FILES)))])
    elif how == "kind":
        path.unlink()
        if rng.random() < 0.5:
            path.mkdir()
    elif path.suffix == ".json":
        path.write_bytes(change_json(text, rng))
    else:
        path.write_bytes(change_table(text, rng))
    return f"{path.name}: {how}"


@pytest.fixture(scope="module")
def pair(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two evaluated runs, a measurement and a comparison of them, and a table of channels."""
    from lunet_cli.engine.evaluation.compare import compare
    from lunet_cli.records.bench import BenchRecord
    from lunet_cli.records.comparison import ComparisonRecord
    from lunet_cli.results.benchmarking import BenchResult, BenchRow, Latency, Roofline

    folder = tmp_path_factory.mktemp("pair")
    runs = [Path(shutil.copytree(trained_run, folder / name)) for name in ("one", "two")]
    ComparisonRecord.of(compare(runs)).write(folder / "compare.json")
    rows = tuple(
        BenchRow("lunet_small_4f", str(run / "best_model.pt"), "forward", (1, 1, 64, 64, 64), 1,
                 "torch", "fp32", "cpu", 1, 9929, 10, 20, 12, 80_000, 39.6,
                 Latency(5.0 + i, 0.1, 6.0), 10, 10.0, 1.0, 0.1, 0.1, 300.0, None)
        for i, run in enumerate(runs)
    )  # fmt: skip
    roofline = Roofline("cpu", 1, "fp32", 10.0, 10.0)
    BenchRecord.of(BenchResult(rows, (), (roofline,), "a machine", {"lunet": "test"}, "")).write(
        folder / "bench.json"
    )
    (runs[0] / "channels.csv").write_text(
        "step,first,second\n0,4,8\n1,4,7\n2,3,7\n", encoding="utf-8"
    )
    return folder


COMMANDS: dict[str, list[list[str]]] = {
    "one/history.csv": [
        ["viz", "curves", "one", "two"],
        ["viz", "curves", "one", "-o", "a.png"],
        ["report", "one"],
    ],
    "one/manifest.json": [
        ["eval", "one", "--metric", "dice"],
        ["report", "one"],
        ["viz", "slices", "one", "-o", "a.png"],
    ],
    "one/training.json": [["viz", "curves", "one", "two"], ["report", "one"]],
    "one/config.yaml": [["report", "one"]],
    "one/channels.csv": [["viz", "channels", "one"], ["viz", "channels", "one", "-o", "a.png"]],
    "one/eval/val/metrics.csv": [
        ["compare", "one", "two"],
        ["viz", "pareto", "one", "two"],
        ["report", "one"],
    ],
    "one/eval/val/summary.json": [
        ["compare", "one", "two"],
        ["viz", "pareto", "one", "two"],
        ["report", "one"],
    ],
    "compare.json": [
        ["viz", "pareto", "compare.json"],
        ["viz", "pareto", "compare.json", "-o", "a.png"],
    ],
    "bench.json": [
        ["viz", "pareto", "one", "two", "bench.json", "--cost", "latency"],
        ["viz", "pareto", "one", "two", "bench.json", "--cost", "latency", "-o", "a.png"],
    ],
}
# Reports are drawn anew each time, which takes a second.
SLOW_SHARE = 0.15


def test_manipulated_files(
    num_attacks: Any, pair: Path, tmp_path: Path, call_lunet: Call, require_calm: Any
) -> None:
    rng = np.random.default_rng(5)
    names = list(COMMANDS)
    for number in range(num_attacks(60, 450)):
        name = names[number % len(names)]
        folder = tmp_path / "runs"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(pair, folder)
        attack = f"{number} {manipulate(folder / name, rng)}"
        fast = [
            command
            for command in COMMANDS[name]
            if command[0] in ("viz", "compare") and command[1] != "slices"
        ]
        commands = fast if fast and rng.random() > SLOW_SHARE else COMMANDS[name]
        command = commands[int(rng.integers(len(commands)))]
        start = time.process_time()
        try:
            done = call_lunet(*command, cwd=folder)
        except BaseException as error:
            raise AssertionError(f"{command} after {attack}") from error
        require_calm(done, seconds=time.process_time() - start, attack=f"{command} after {attack}")
        assert sum(line.startswith("error: ") for line in done.stderr.splitlines()) <= 1, (
            done.stderr
        )


def test_a_damaged_measurement_is_refused_before_anything_is_measured(
    num_attacks: Any, pair: Path, tmp_path: Path, call_lunet: Call, require_calm: Any
) -> None:
    rng = np.random.default_rng(6)
    path = tmp_path / "bench.json"
    for number in range(num_attacks(4, 20)):
        path.write_bytes(ODD_FILES[int(rng.integers(len(ODD_FILES)))])
        start = time.process_time()
        done = call_lunet("bench", "--arch", "lunet_small_1f", "--compare", path, cwd=tmp_path)
        require_calm(done, seconds=time.process_time() - start, attack=number)
        assert done.returncode == 1, done.stderr

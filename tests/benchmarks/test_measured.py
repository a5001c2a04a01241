from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import psutil
import pytest

Load = Callable[[str], ModuleType]


def test_measured_takes_the_last_line_and_memory_of_children(load: Load, tmp_path: Path) -> None:
    measured = load("measured")
    child = "import time; kept = b'x' * (96 << 20); time.sleep(1.2)"
    program = (
        "import json, subprocess, sys\n"
        f"subprocess.run([sys.executable, '-c', {child!r}], check=True)\n"
        "print('noise')\nprint(json.dumps({'dice': 0.5}))"
    )

    took = measured.run_measured(
        [sys.executable, "-c", program], tmp_path / "logs" / "a.log", interval_s=0.1
    )

    assert took.found == {"dice": 0.5}
    assert took.seconds > 1
    assert 96 < took.peak.own_mib <= took.peak.resident_mib < 400


@pytest.mark.parametrize(
    ("said", "named"),
    [("noise", "no such plan"), ("error: too few minutes", "error: too few minutes")],
)
def test_measured_names_what_went_wrong(load: Load, tmp_path: Path, said: str, named: str) -> None:
    measured = load("measured")
    log = tmp_path / "a.log"
    program = f"import sys; print({said!r}); print('no such plan'); sys.exit(3)"

    with pytest.raises(measured.CommandFailedError) as caught:
        measured.run_measured([sys.executable, "-c", program], log)

    assert str(caught.value) == f"{named} (exit code 3, see {log})"


def test_a_benchmark_that_is_ended_ends_what_it_measures(tmp_path: Path) -> None:
    child = "import os, sys, time; print(os.getpid(), flush=True); time.sleep(60)"
    program = (
        "import sys; from pathlib import Path; from measured import *; leave_at_sigterm()\n"
        f"run_measured([sys.executable, '-c', {child!r}], Path('a.log'))"
    )
    command = [sys.executable, "-c", program]
    benchmarks = Path(__file__).parents[2] / "benchmarks"
    parent = subprocess.Popen(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(benchmarks)}
    )
    log = tmp_path / "a.log"
    while not log.exists() or not log.read_text().strip():
        assert parent.poll() is None
        time.sleep(0.05)

    parent.terminate()

    assert parent.wait(20) == 128 + signal.SIGTERM
    assert not psutil.pid_exists(int(log.read_text()))

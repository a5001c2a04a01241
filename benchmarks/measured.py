"""A command in a process of its own: its seconds, and the peak memory of all its processes.

Memory is sampled from `/proc`, so Linux only. Pages that processes share count once.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

# Each look at memory takes some milliseconds, which are not to be missed by what is measured.
INTERVAL_S = 1.0


@dataclass
class Peak:
    """The largest samples of memory.

    Args:
        resident_mib: All that lies in memory, pages of mapped files included.
        own_mib: Without mapped files, which the system can take back at any time.
    """

    resident_mib: float = 0.0
    own_mib: float = 0.0


@dataclass(frozen=True)
class Measured:
    """What a command took.

    Args:
        found: The JSON object in its last line, empty if there is none.
        seconds: From start to end.
        peak: Memory of the process and all its children.
    """

    found: dict[str, Any]
    seconds: float
    peak: Peak


class CommandFailedError(Exception):
    """A command ended with an error; the message has the last line that it said."""


def run_measured(
    command: Sequence[str | Path],
    log: Path,
    environment: Mapping[str, str] | None = None,
    *,
    interval_s: float = INTERVAL_S,
) -> Measured:
    """Run a command to its end, and end all its processes if this one is interrupted.

    Args:
        command: The program and its arguments.
        log: Where it writes what it says; both channels.
        environment: Variables beside those of this process.
        interval_s: Seconds between two looks at memory.

    Raises:
        CommandFailedError: It ended with an error.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    begin = time.perf_counter()
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            [str(part) for part in command],
            env={**os.environ, **(environment or {})},
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        peak, ended = Peak(), threading.Event()
        watcher = threading.Thread(target=_watch, args=(process.pid, peak, ended, interval_s))
        watcher.start()
        try:
            process.wait()
        finally:
            _end_session(process)
            ended.set()
            watcher.join()
    seconds = time.perf_counter() - begin
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["(silent)"]
    if process.returncode:
        # Ours say what is wrong before a hint.
        told = [line for line in lines if line.startswith("error: ")] or lines
        raise CommandFailedError(f"{told[-1]} (exit code {process.returncode}, see {log})")
    found = {}
    if lines[-1].startswith("{"):
        found = json.loads(lines[-1])
    return Measured(found, seconds, peak)


def leave_at_sigterm() -> None:
    """Let the signal that ends a program end what it has started, too."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


def _end_session(process: subprocess.Popen[bytes]) -> None:
    """End what is left: all after an interruption, and workers that outlive their parent."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


def _watch(pid: int, peak: Peak, ended: threading.Event, interval_s: float) -> None:
    while not ended.wait(interval_s):
        resident, own = _memory_mib(pid)
        peak.resident_mib = max(peak.resident_mib, resident)
        peak.own_mib = max(peak.own_mib, own)


def _memory_mib(pid: int) -> tuple[float, float]:
    """Resident memory of a process and its descendants, with and without mapped files."""
    try:
        parent = psutil.Process(pid)
        family = [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0.0, 0.0
    kib = {"Pss": 0, "Pss_File": 0}
    for process in family:
        try:
            text = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="utf-8")
        except OSError:  # It has ended.
            continue
        for line in text.splitlines():
            name, _, rest = line.partition(":")
            if name in kib:
                kib[name] += int(rest.split()[0])
    return kib["Pss"] / 1024, (kib["Pss"] - kib["Pss_File"]) / 1024

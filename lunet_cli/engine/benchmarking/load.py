"""How busy the machine is with other things, which no number of passes can average away."""

from __future__ import annotations

import os
import time
from pathlib import Path

_STAT = Path("/proc/stat")
_SECONDS = 0.3


def busy_cores() -> float | None:
    """CPU cores that are at work while this process waits a moment; None where the system does not tell."""
    before = _busy_seconds()
    start = time.perf_counter()
    time.sleep(_SECONDS)
    after = _busy_seconds()
    if before is None or after is None:
        return None
    return (after - before) / (time.perf_counter() - start)


def _busy_seconds() -> float | None:
    """CPU time of all processes since the machine was started."""
    if not _STAT.is_file():
        return None
    # user, nice, system, idle, iowait, irq, softirq, steal: see proc_stat(5).
    ticks = [int(field) for field in _STAT.read_text(encoding="ascii").splitlines()[0].split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")

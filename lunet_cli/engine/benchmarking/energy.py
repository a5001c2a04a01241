"""Energy that the processor has taken, where Linux lets a user read it."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path("/sys/class/powercap")


class EnergyMeter:
    """The energy counters of all processor packages (RAPL).

    Args:
        folder: Where Linux shows them.
    """

    def __init__(self, folder: Path = _FOLDER) -> None:
        # Packages only (intel-rapl:0): their parts (intel-rapl:0:1) are counted in them.
        self._counters = [
            zone / "energy_uj"
            for zone in sorted(folder.glob("intel-rapl:*"))
            if zone.name.count(":") == 1
        ]
        self._start = self._read()

    def joules(self) -> float | None:
        """Energy since the last call or the beginning; None where it cannot be read."""
        before, self._start = self._start, self._read()
        if before is None or self._start is None:
            return None
        total = 0
        for counter, start, end in zip(self._counters, before, self._start, strict=True):
            total += end - start if end >= start else end - start + self._range(counter)
        return total / 1e6

    def _read(self) -> list[int] | None:
        try:
            return [int(counter.read_text(encoding="ascii")) for counter in self._counters] or None
        except (OSError, ValueError):  # readable for root alone on most machines
            return None

    @staticmethod
    def _range(counter: Path) -> int:
        """Where a counter starts again at 0."""
        return int((counter.parent / "max_energy_range_uj").read_text(encoding="ascii"))

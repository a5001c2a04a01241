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
        zones = sorted(folder.glob("intel-rapl:*"))
        self._packages = [zone for zone in zones if zone.name.count(":") == 1]
        self._start = self._read()

    def joules(self) -> float | None:
        """Energy since the last call or the beginning; None where it cannot be read."""
        before, self._start = self._start, self._read()
        if not before or not self._start:
            return None
        total = 0
        for package, start, end in zip(self._packages, before, self._start, strict=True):
            total += end - start
            # A counter that is full starts again at 0.
            if end < start:
                total += int((package / "max_energy_range_uj").read_text(encoding="ascii"))
        return total / 1e6

    def _read(self) -> list[int]:
        """Microjoules of each package; empty where they cannot be read."""
        counts = []
        try:
            for package in self._packages:
                counts.append(int((package / "energy_uj").read_text(encoding="ascii")))
        # Since 2020 they are readable for root alone on most machines (CVE-2020-8694).
        except (OSError, ValueError):
            return []
        return counts

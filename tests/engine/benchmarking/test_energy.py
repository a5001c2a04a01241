from __future__ import annotations

from pathlib import Path

from lunet_cli.engine.benchmarking.energy import EnergyMeter


def write_zone(folder: Path, name: str, microjoules: int) -> None:
    (folder / name).mkdir(exist_ok=True)
    (folder / name / "energy_uj").write_text(f"{microjoules}\n")
    (folder / name / "max_energy_range_uj").write_text("9000000\n")


def test_energy_of_all_packages_without_their_parts(tmp_path: Path) -> None:
    for name in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0"):
        write_zone(tmp_path, name, 1_000_000)
    meter = EnergyMeter(tmp_path)
    write_zone(tmp_path, "intel-rapl:0", 3_500_000)
    write_zone(tmp_path, "intel-rapl:1", 2_000_000)
    write_zone(tmp_path, "intel-rapl:0:0", 2_000_000)
    assert meter.joules() == 3.5
    assert meter.joules() == 0


def test_counter_that_starts_again(tmp_path: Path) -> None:
    write_zone(tmp_path, "intel-rapl:0", 8_000_000)
    meter = EnergyMeter(tmp_path)
    write_zone(tmp_path, "intel-rapl:0", 500_000)
    assert meter.joules() == 1.5


def test_no_counter(tmp_path: Path) -> None:
    assert EnergyMeter(tmp_path).joules() is None
    assert EnergyMeter(tmp_path / "absent").joules() is None

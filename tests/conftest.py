"""What several test modules share: the published figures of the presets, and the real command line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

RunLunet = Callable[..., "subprocess.CompletedProcess[str]"]


class PresetFacts(NamedTuple):
    """Figures of one preset with one image and one output channel; the FLOPs are for 1x1x64x64x64."""

    name: str
    parameters: int
    conv_flops: int


# Measured on the release of Lean Unet (arXiv:2512.03834), in its order.
PRESETS = [
    PresetFacts("unet_small_4f", 353_949, 1_909_194_752),
    PresetFacts("unet_small_3f", 199_336, 1_084_932_096),
    PresetFacts("unet_small_2f", 88_807, 491_978_752),
    PresetFacts("unet_small_1f", 22_362, 130_334_720),
    PresetFacts("lunet_small_4f", 9_929, 1_135_849_472),
    PresetFacts("lunet_small_3f", 5_650, 649_925_376),
    PresetFacts("lunet_small_2f", 2_569, 298_642_432),
    PresetFacts("lunet_small_1f", 686, 82_000_640),
    PresetFacts("unet_large_24f", 4_802_521, 92_629_106_688),
    PresetFacts("unet_large_12f", 1_202_029, 23_245_357_056),
    PresetFacts("unet_large_6f", 301_207, 5_855_379_456),
    PresetFacts("lunet_large_24f", 373_777, 57_693_241_344),
    PresetFacts("lunet_large_12f", 94_009, 14_511_390_720),
    PresetFacts("lunet_large_6f", 23_785, 3_671_887_872),
    PresetFacts("unetpp_small_4f", 410_849, 6_623_592_448),
    PresetFacts("unetpp_small_3f", 231_400, 3_736_780_800),
    PresetFacts("unetpp_small_2f", 103_109, 1_670_578_176),
    PresetFacts("unetpp_small_1f", 25_976, 424_984_576),
    PresetFacts("lunetpp_small_4f", 22_961, 4_829_589_504),
    PresetFacts("lunetpp_small_3f", 13_012, 2_727_654_144),
    PresetFacts("lunetpp_small_2f", 5_869, 1_222_077_440),
    PresetFacts("lunetpp_small_1f", 1_532, 312_859_392),
    PresetFacts("unetpp_large_24f", 5_340_889, 204_214_370_304),
    PresetFacts("unetpp_large_12f", 1_336_861, 51_141_672_960),
    PresetFacts("unetpp_large_6f", 335_035, 12_829_458_432),
    PresetFacts("lunetpp_large_24f", 637_153, 153_122_045_952),
    PresetFacts("lunetpp_large_12f", 160_033, 38_368_591_872),
    PresetFacts("lunetpp_large_6f", 40_381, 9_636_188_160),
    PresetFacts("mednext_small", 102_725, 797_904_896),
]


@pytest.fixture(scope="session")
def facts() -> dict[str, PresetFacts]:
    """The published figures by preset name, in the published order."""
    return {preset.name: preset for preset in PRESETS}


@pytest.fixture(params=PRESETS, ids=lambda preset: preset.name)
def preset_facts(request: pytest.FixtureRequest) -> PresetFacts:
    """The published figures of one preset; a test that takes this runs once for each of the 29."""
    return request.param


@pytest.fixture(scope="session")
def run_lunet() -> RunLunet:
    """Run the installed `lunet` with the given arguments in a process of its own."""
    program = shutil.which("lunet", path=str(Path(sys.executable).parent))
    assert program is not None, "the command lunet is not installed beside the Python that runs the tests"
    environment = {key: value for key, value in os.environ.items() if key != "FORCE_COLOR"} | {"NO_COLOR": "1"}

    def run(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        command = [program, *map(str, arguments)]
        return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, encoding="utf-8", timeout=600)

    return run


@pytest.fixture(scope="session")
def hippocampus() -> Path:
    """The folder of the hippocampus volumes; skips where it is absent."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data" / "hippocampus"
    folder = Path(os.environ.get("LUNET_TEST_DATA") or beside)
    if not (folder / "dataset.json").is_file():
        pytest.skip(f"no hippocampus volumes in {folder}; set LUNET_TEST_DATA to their folder")
    return folder

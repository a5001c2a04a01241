"""How long the views take beyond starting the program, side by side as whole processes.

    python benchmarks/viewing.py RUN

draws a history of 10,000 epochs and one of 10 in turns, in the terminal and as a picture, and
writes the report of RUN with its cases evaluated anew.
"""

from __future__ import annotations

import math
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from lunet_cli.engine.provenance import versions
from lunet_cli.engine.run_folder import RunFolder
from lunet_cli.results.training import EpochRecord

ROUNDS = 5


def write_history(folder: Path, num_epochs: int) -> Path:
    """A run folder with a history of the usual shape."""
    folder.mkdir()
    records = []
    for epoch in range(1, num_epochs + 1):
        dice = 0.9 - 0.8 * math.exp(-epoch / 500) + 0.01 * math.sin(epoch)
        labels = {"anterior": dice + 0.01, "posterior": dice - 0.01}
        records.append(EpochRecord(epoch, 1 - dice, 1.05 - dice, dice, labels, 0.01, 3.5))
    RunFolder(folder).write_history(records)
    return folder


def seconds(arguments: Sequence[str | Path]) -> float:
    """Wall time of a `lunet` command as a process of its own."""
    program = str(Path(sys.executable).parent / "lunet")
    start = time.perf_counter()
    subprocess.run([program, *map(str, arguments)], check=True, capture_output=True)
    return time.perf_counter() - start


def main(run: Path) -> None:
    print(", ".join(f"{name} {version}" for name, version in versions().items()))
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        long, short = write_history(place / "long", 10_000), write_history(place / "short", 10)
        ways: dict[str, list[str | Path]] = {
            "terminal": [],
            "picture": ["-o", place / "curves.png"],
        }
        for what, options in ways.items():
            times = [
                (
                    seconds(["viz", "curves", long, *options]),
                    seconds(["viz", "curves", short, *options]),
                )
                for _ in range(ROUNDS)
            ]
            ten_thousand, ten = (statistics.median(column) for column in zip(*times, strict=True))
            print(
                f"{what}: 10,000 epochs {ten_thousand:.2f} s, 10 epochs {ten:.2f} s, "
                f"{ten_thousand - ten:.2f} s more"
            )
        copy = shutil.copytree(run, place / "run")
        shutil.rmtree(copy / "eval", ignore_errors=True)
        page = place / "report.html"
        took = seconds(["report", copy, "-o", page])
        print(
            f"report of {run}, its cases evaluated: {took:.1f} s, "
            f"{page.stat().st_size / 1e6:.2f} MB"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))

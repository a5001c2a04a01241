"""The `experiment` section: what a run is called and where it is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from lunet_cli.config.base import PlainPath, Section

# A name that every file system takes and no shell reads as more than a word. File systems take
# 255 bytes; the rest is room for the endings of files that are being written.
RunName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$", max_length=200)]


class ExperimentConfig(Section):
    """Name, seed and place of a run."""

    name: RunName = "experiment"
    """Name of the run folder: letters, digits and `._+-`."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42
    """Start of all random numbers: initial weights, patches, augmentation, dropout and the
    split."""

    output_dir: PlainPath = Path("runs")
    """Folder that holds the run folders; a relative path starts where the command is started."""

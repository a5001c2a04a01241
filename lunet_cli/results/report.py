"""What a report about a run holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lunet_cli.results.evaluation import EvalResult
from lunet_cli.results.training import TrainingCourse
from lunet_cli.results.views import LabeledVolume


@dataclass(frozen=True)
class ReportCase:
    """A case that is shown.

    Args:
        role: Why it is shown: `worst`, `median` or `best`.
        volume: The part of it around its labels.
        first: Index in the whole volume of the first slice shown, along z, y and x.
        steps: Voxels of the whole volume per voxel shown, along z, y and x.
    """

    role: str
    volume: LabeledVolume
    first: tuple[int, int, int]
    steps: tuple[int, int, int]


@dataclass(frozen=True)
class RunReport:
    """Everything about a run.

    Args:
        run_dir: Its folder.
        course: How the training went.
        config: Its configuration, as YAML.
        manifest: What it was made with: versions, machine, split, network.
        outcome: How it ended, and what was measured then.
        evaluation: Case by case; None where it could not be had.
        cases: The worst, the median and the best.
        cautions: What is missing, and why.
        commands: Purpose and command line of each step that repeats it.
        made: When, with which version.
    """

    run_dir: Path
    course: TrainingCourse
    config: str
    manifest: dict[str, Any]
    outcome: dict[str, Any]
    evaluation: EvalResult | None
    cases: tuple[ReportCase, ...]
    cautions: tuple[str, ...]
    commands: tuple[tuple[str, str], ...]
    made: str

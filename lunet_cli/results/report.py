"""What a report about a run holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lunet_cli.results.evaluation import EvalResult
from lunet_cli.results.training import TrainingHistory
from lunet_cli.results.views import LabeledVolume, PruningView


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
class RunOrigin:
    """What a run was made of and with.

    Args:
        architecture: Name of the network.
        num_parameters: Its parameters.
        data_root: Folder of the data; None for the phantom, or for a folder of each side.
        num_train: Training cases.
        num_val: Validation cases.
        details: Name and value of all that is worth knowing besides: versions, machine, seed,
            commit.
    """

    architecture: str
    num_parameters: int
    data_root: str | None
    num_train: int
    num_val: int
    details: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class RunReport:
    """Everything about a run.

    Args:
        run_dir: Its folder.
        history: How the training went.
        config: Its configuration, as YAML.
        origin: What it was made of and with; None where that is not known.
        outcome: How it ended, in a word or two; empty before.
        evaluation: Case by case; None where it could not be had.
        cases: The worst, the median and the best.
        warnings: What is missing, and why.
        made: When, with which version.
        pruning: How its network was pruned; None where it was not.
    """

    run_dir: Path
    history: TrainingHistory
    config: str
    origin: RunOrigin | None
    outcome: str
    evaluation: EvalResult | None
    cases: tuple[ReportCase, ...]
    warnings: tuple[str, ...]
    made: str
    pruning: PruningView | None = None

"""What a prediction reports and returns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lunet_cli.results.events import CaseFailed, Event
from lunet_cli.results.runtimes import RuntimeChosen
from lunet_cli.results.words import format_seconds, plural


@dataclass(frozen=True)
class PredictionStarted(Event):
    """The first window is about to run."""

    num_cases: int
    num_windows: int
    plan: str

    def __str__(self) -> str:
        work = f"{plural(self.num_cases, 'case')}, {plural(self.num_windows, 'window')}"
        return f"{work}, computing in {self.plan}"


@dataclass(frozen=True)
class WindowDone(Event):
    """Windows went through the network, of all those of all cases."""

    num_done: int
    num_windows: int
    case: str

    def __str__(self) -> str:
        return f"{self.case}: {self.num_done} of {self.num_windows} windows"


@dataclass(frozen=True)
class CasePredicted(Event):
    """A case was segmented and its file written.

    Args:
        case: Its name.
        output: The label map.
        volume_ml: Volume of each label, with what other labels cover of it.
        seconds: From reading to writing.
        num_done: Cases finished so far.
        num_cases: Cases of this command.
        seconds_left: Estimated time for the rest.
    """

    case: str
    output: Path
    volume_ml: dict[str, float]
    seconds: float
    num_done: int
    num_cases: int
    seconds_left: float

    @property
    def is_empty(self) -> bool:
        """Whether no voxel has a label."""
        return not any(self.volume_ml.values())

    @property
    def remark(self) -> str:
        """What a reader should not overlook; empty if there is nothing."""
        # An empty mask may be right, and is more often a sign of a wrong window or orientation.
        if self.is_empty:
            return "empty: no voxel of any label"
        return ""

    def __str__(self) -> str:
        told = f"{self.num_done}/{self.num_cases} {self.output}"
        if self.remark:
            told += f": {self.remark}"
        return f"{told}, {self.seconds:.1f} s, {format_seconds(self.seconds_left)} left"


@dataclass(frozen=True)
class PlannedCase:
    """What a prediction would take.

    Args:
        case: Its name.
        output: Where the label map would be written.
        size: Voxels (D, H, W) as stored.
        grid: Voxels (D, H, W) that the network works on.
        window: Voxels (D, H, W) of a window.
        num_windows: Windows.
        memory_mib: Estimated peak of the process.
        seconds: Estimated time in the network, in a dry run.
        flows: Whether the volume goes through in one exact pass; a window is then the planes that
            are sent in at once.
    """

    case: str
    output: Path
    size: tuple[int, int, int]
    grid: tuple[int, int, int]
    window: tuple[int, int, int]
    num_windows: int
    memory_mib: float
    seconds: float | None = None
    flows: bool = False


@dataclass(frozen=True)
class PredictResult:
    """What a prediction ended with.

    Args:
        planned: What was to do; of a dry run, this is all.
        predicted: Cases that were segmented.
        skipped: Label maps that were there already.
        failures: Cases that could not be used.
        plan: How it was computed.
        values: Label value that stands for each label.
        choice: Why it was computed that way, if it was left open.
    """

    planned: tuple[PlannedCase, ...]
    predicted: tuple[CasePredicted, ...]
    skipped: tuple[Path, ...]
    failures: tuple[CaseFailed, ...]
    plan: str
    values: dict[str, int]
    choice: RuntimeChosen | None = None

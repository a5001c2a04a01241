"""What a service and a watched folder report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lunet_cli.results.events import Event
from lunet_cli.results.words import plural


@dataclass(frozen=True)
class Listening(Event):
    """A service can be called.

    Args:
        address: Its URL.
        models: Names of its models.
    """

    address: str
    models: tuple[str, ...]

    def __str__(self) -> str:
        return f"listening on {self.address} with {', '.join(self.models)}"


@dataclass(frozen=True)
class ServiceEnding(Event):
    """A service was asked to end.

    Args:
        num_jobs: Accepted jobs that are finished first.
    """

    num_jobs: int

    def __str__(self) -> str:
        if self.num_jobs == 0:
            return "ending"
        return f"ending once {plural(self.num_jobs, 'job')} are finished; again to end at once"


@dataclass(frozen=True)
class ServiceEnded(Event):
    """A service has ended, and left nothing behind."""

    def __str__(self) -> str:
        return "ended"


@dataclass(frozen=True)
class Watching(Event):
    """A drop folder is looked at.

    Args:
        inbox: Where scans come.
        output: Where masks go.
        model: Name of the model.
    """

    inbox: Path
    output: Path
    model: str

    def __str__(self) -> str:
        return f"watching {self.inbox} with {self.model}; masks go to {self.output}"


@dataclass(frozen=True)
class ScanFinished(Event):
    """A scan of a drop folder is done.

    Args:
        scan: Its name.
        output: Its mask.
        seconds: How long it took.
        volumes_ml: Volume of each label.
    """

    scan: str
    output: Path
    seconds: float
    volumes_ml: dict[str, float]

    def __str__(self) -> str:
        found = ", ".join(f"{name} {volume:.2f} ml" for name, volume in self.volumes_ml.items())
        return f"{self.scan}: {found} ({self.seconds:.1f} s)"

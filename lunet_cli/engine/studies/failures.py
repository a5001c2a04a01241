"""Notes about trainings that failed, so that no process tries what another one tried in vain."""

from __future__ import annotations

import contextlib
from pathlib import Path

from lunet_cli.errors import DataError, OutputError
from lunet_cli.records.training_study import FailureRecord
from lunet_cli.results.studies import TrialFailed

_NOTE = "failure.json"


class FailureNotes:
    """Failures since this process began.

    A note that was there before is of an earlier session, whose failures are tried again. Notes
    are told apart by their content and not by clocks, which differ between machines.

    Args:
        folder: Has a folder for each training.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._old: dict[Path, str] = {}
        for path in folder.rglob(_NOTE):
            with contextlib.suppress(DataError):
                self._old[path] = FailureRecord.read(path).failed

    def new(self, name: str) -> TrialFailed | None:
        """How a training has failed elsewhere in the meantime; None where it has not."""
        path = self._path(name)
        if not path.exists():
            return None
        try:
            note = FailureRecord.read(path)
        except DataError:  # Damaged, or just removed by who tries it again.
            return None
        if self._old.get(path) == note.failed:
            return None
        return TrialFailed(name, note.message, note.hint)

    def write(self, failure: TrialFailed) -> None:
        """Note a failure; without a note, others try it too."""
        with contextlib.suppress(OutputError):
            FailureRecord.of(failure).write(self._path(failure.trial))

    def forget(self, name: str) -> None:
        """Take a note back, since the training is tried again."""
        with contextlib.suppress(OSError):
            self._path(name).unlink()

    def _path(self, name: str) -> Path:
        return self._folder / name / _NOTE

"""How long a job may take, looked at whenever a window is done."""

from __future__ import annotations

import time

from lunet_cli.engine.serving.problems import OutOfTimeError, StopJob
from lunet_cli.results.events import Event
from lunet_cli.results.prediction import WindowDone


class Deadline:
    """Ends a job that takes too long.

    Args:
        scan: What messages call the scan.
        seconds: How long its job may take from now on.
    """

    def __init__(self, scan: str, seconds: float) -> None:
        self._scan, self._seconds = scan, seconds
        self._end = time.monotonic() + seconds

    def look_at(self, event: Event) -> None:
        """Take an event of the job.

        Raises:
            StopJob: It is too late.
        """
        # After its last window, only the mask is left to be written.
        if not isinstance(event, WindowDone) or event.num_done >= event.num_windows:
            return
        if time.monotonic() > self._end:
            raise StopJob(
                OutOfTimeError(
                    f"{self._scan}: takes longer than {self._seconds:g} s",
                    hint="Crop it, or ask who runs the service for a higher `job_seconds`.",
                )
            )

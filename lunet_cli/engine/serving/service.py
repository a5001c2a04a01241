"""The service behind its doors: accepts jobs, works on one after the other, and forgets them."""

from __future__ import annotations

import math
import queue
import shutil
import statistics
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lunet_cli.config.options import ServeOptions
from lunet_cli.engine.serving.answers import ServiceState
from lunet_cli.engine.serving.jobs import Job
from lunet_cli.engine.serving.problems import (
    EndingError,
    NoRoomError,
    NotFoundError,
    QueueFullError,
    unexpected,
)
from lunet_cli.engine.serving.served_models import ServedModel
from lunet_cli.engine.serving.uploads import remove
from lunet_cli.errors import LunetError
from lunet_cli.results.words import plural

OnEnd = Callable[[Job], None]
_REMEMBERED = 20  # Jobs of which the usual time is known.
_WARM_SIZE = (64, 64, 64)
_LOOK_SECONDS = 0.2


def ignore_end(job: Job) -> None:
    """Take a job that has ended and do nothing with it."""


class Service:
    """Models in memory, a queue, and one thread that computes.

    Networks use all cores by themselves, so that two volumes at once would only take the memory of
    both. Jobs are looked at from other threads; `_lock` guards the list of them.

    Args:
        models: By name.
        options: What is borne.
        folder: Where uploads and results lie.
        on_end: Called with each job that has ended, in the thread that computes.
    """

    def __init__(
        self,
        models: dict[str, ServedModel],
        options: ServeOptions,
        folder: Path,
        *,
        on_end: OnEnd = ignore_end,
    ) -> None:
        self.models, self.options, self.folder = models, options, folder
        self._on_end = on_end
        self._waiting: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()
        self._places = 0
        self._took: deque[float] = deque(maxlen=_REMEMBERED)
        self._is_warm, self._is_ending = threading.Event(), threading.Event()
        self._hurries = threading.Event()
        self._worker = threading.Thread(target=self._work, name="lunet-worker", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._worker.start()

    @property
    def state(self) -> ServiceState:
        """`ready`, or why it is not."""
        if self._is_ending.is_set():
            return "ending"
        return "ready" if self._is_warm.is_set() else "warming up"

    @property
    def queue_length(self) -> int:
        """Jobs that wait, are worked on or are being received."""
        return self._places

    def reserve(self) -> Path:
        """Take a place in the queue, before a byte of an upload is received.

        Returns:
            A folder for the upload. `release` gives the place back, unless `submit` has taken it.

        Raises:
            EndingError: The service ends.
            QueueFullError: There is no place.
            NoRoomError: There is no place on the disk either.
        """
        if self._is_ending.is_set():
            raise EndingError("the service is ending", hint="Send it again when it is back.")
        with self._lock:
            if self._places >= self.options.max_queue:
                waiting = plural(self._places, "job")
                raise QueueFullError(
                    f"{waiting} wait already, as many as may", seconds=self.usual_wait()
                )
            self._places += 1
        try:
            self._require_room()
            return Path(tempfile.mkdtemp(prefix="job-", dir=self.folder))
        except OSError as error:
            self._give_back()
            raise NoRoomError(f"nothing can be stored ({error.strerror or error})") from None
        except NoRoomError:
            self._give_back()
            raise

    def release(self, folder: Path) -> None:
        """Give back a place, and remove what has been received."""
        self._give_back()
        remove(folder)

    def submit(self, job: Job) -> None:
        """Let a job with a reserved place wait for its turn.

        Raises:
            EndingError: The service ends.
        """
        with self._lock:
            if self._is_ending.is_set():
                raise EndingError("the service is ending", hint="Send it again when it is back.")
            self._jobs[job.id] = job
        self._waiting.put(job)

    def find(self, job_id: str) -> Job:
        """The job of an id.

        Raises:
            NotFoundError: There is none, or it has been forgotten.
        """
        self.forget_old()
        with self._lock:
            job = self._jobs.get(job_id)
        if job is None:
            raise NotFoundError(
                "there is no such job",
                hint=f"Results wait {self.options.keep_seconds:g} s to be fetched.",
            )
        return job

    def position(self, job: Job) -> int:
        """Jobs before one."""
        with self._lock:
            before = 0
            for other in self._jobs.values():
                if other is job:
                    break
                before += not other.is_over
        return 0 if job.is_over else before

    def forget(self, job: Job) -> None:
        """Stop a job if it is still to do, and remove its files."""
        with self._lock:
            self._jobs.pop(job.id, None)
        if job.is_over:
            remove(job.folder)
        else:
            job.stop()  # The worker removes what it forgets.

    def forget_old(self) -> None:
        """Remove results that nobody has fetched in time."""
        oldest = time.monotonic() - self.options.keep_seconds
        with self._lock:
            jobs = list(self._jobs.values())
        for job in jobs:
            if job.is_over and job.ended_at < oldest:
                self.forget(job)

    def usual_wait(self) -> int:
        """Seconds until a place will be free, by what the last jobs took."""
        return max(1, math.ceil(statistics.fmean(self._took))) if self._took else 1

    def hurry(self) -> None:
        """Let `end` wait for nothing more."""
        self._hurries.set()

    def end(self) -> None:
        """Accept no more jobs, and let those that were accepted finish in time.

        What is finished can still be fetched until then. What is not, is told to whoever waits.
        """
        with self._lock:
            self._is_ending.set()
        until = time.monotonic() + self.options.grace_seconds
        while time.monotonic() < until and self._untold():
            if self._hurries.wait(_LOOK_SECONDS):
                break
        for job in self._unfinished():
            job.stop(EndingError("the service has ended before this job", hint="Send it again."))
        self._waiting.put(None)
        self._worker.join(timeout=self.options.grace_seconds + 1)

    def _unfinished(self) -> list[Job]:
        with self._lock:
            return [job for job in self._jobs.values() if not job.is_over]

    def _untold(self) -> list[Job]:
        with self._lock:
            return [job for job in self._jobs.values() if not (job.is_over and job.is_told)]

    def _give_back(self) -> None:
        with self._lock:
            self._places -= 1

    def _require_room(self) -> None:
        needed = self.options.max_upload_mib * 2**20
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise NoRoomError(
                f"{free / 2**20:,.0f} MiB are free where uploads lie, fewer than one may have"
            )

    def _work(self) -> None:
        self._warm_up()
        while (job := self._waiting.get()) is not None:
            try:
                job.run()
            except Exception as error:  # A bug of ours ends one job, and not the service.
                job.fail(unexpected(error))
            self._took.append(time.monotonic() - job.started_at)
            self._give_back()
            remove_inputs(job)
            self._on_end(job)
            with self._lock:
                is_forgotten = job.id not in self._jobs
            if is_forgotten:
                remove(job.folder)

    def _warm_up(self) -> None:
        """Send something through each network: the first pass prepares what later ones use."""
        for model in self.models.values():
            channels = model.predictor.card.network.in_channels
            window = model.predictor.models[0].window or _WARM_SIZE
            edges = [min(edge, most) for edge, most in zip(window, _WARM_SIZE, strict=True)]
            image = np.zeros((channels, *edges), np.float32)
            try:
                model.predictor.predict(image)
            except LunetError:
                continue  # What it cannot bear here, it says of the first scan.
        self._is_warm.set()


def remove_inputs(job: Job) -> None:
    """Remove what was sent, which nobody needs any more."""
    for path in job.inputs:
        if path.is_dir():
            remove(path)
        else:
            path.unlink(missing_ok=True)

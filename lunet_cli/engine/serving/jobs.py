"""One job of a service: a scan and a model, from its files to its result."""

from __future__ import annotations

import secrets
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from lunet_cli.config.options import OutputOptions
from lunet_cli.config.vocabulary import OutputSuffix
from lunet_cli.engine.inference.predict import predict
from lunet_cli.engine.serving.answers import JobState, JobStatus
from lunet_cli.engine.serving.deadline import Deadline
from lunet_cli.engine.serving.problems import (
    CancelledError,
    NoRoomError,
    StopJob,
    as_sent,
    without_folder,
)
from lunet_cli.engine.serving.served_models import ServedModel
from lunet_cli.errors import DataError, LunetError
from lunet_cli.results.events import CaseFailed, Event, WarningIssued
from lunet_cli.results.prediction import WindowDone

MASKS = "masks"


@dataclass(frozen=True)
class Wish:
    """What is to be made of a scan.

    Args:
        suffix: Format of the mask.
        probabilities: Whether a map per label is made too.
        labelmap: See `OutputOptions`.
        series: See `OutputOptions`.
        postprocess: See `OutputOptions`.
    """

    suffix: OutputSuffix
    probabilities: bool = False
    labelmap: bool = False
    series: str | None = None
    postprocess: tuple[str, ...] = ()

    def options(self, folder: Path) -> OutputOptions:
        """The same for `predict`.

        Raises:
            ConfigError: They do not fit together.
        """
        return OutputOptions(output=folder / MASKS, **vars(self))


@dataclass(frozen=True)
class Result:
    """What has come out.

    Args:
        files: The mask, then a probability map per label if they were asked for.
        labels: The value of each label.
        volumes_ml: The volume of each label.
        seconds: From beginning to end.
    """

    files: tuple[Path, ...]
    labels: dict[str, int]
    volumes_ml: dict[str, float]
    seconds: float


@dataclass(eq=False)
class Job:
    """A scan that somebody has sent.

    Args:
        model: What segments it.
        scan: What its sender calls it.
        inputs: Its files.
        folder: The folder of this job, which goes with it.
        wish: What is to be made of it.
        limit_seconds: How long it may take.
        id: What nobody can guess.
        state: How far it is.
        future: What becomes of it.
        remarks: What a person should know about the scan.
        started_at: When it began, by the clock that never goes back.
        ended_at: When it ended.
        is_told: Whether its sender has been told how it ended.
    """

    model: ServedModel
    scan: str
    inputs: list[Path]
    folder: Path
    wish: Wish
    limit_seconds: float
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    state: JobState = "waiting"
    future: Future[Result] = field(default_factory=Future)
    remarks: list[str] = field(default_factory=list)
    started_at: float = 0.0
    ended_at: float = 0.0
    is_told: bool = False
    _progress: float = 0.0
    _told: threading.Event = field(default_factory=threading.Event)
    _reason: LunetError | None = None

    @property
    def is_over(self) -> bool:
        """Whether it has ended, however."""
        return self.future.done()

    def status(self, position: int) -> JobStatus:
        """How far it is.

        Args:
            position: Jobs before it.
        """
        status = JobStatus(
            job=self.id,
            state=self.state,
            model=self.model.name,
            scan=self.scan,
            progress=self._progress,
            position=position,
            remarks=tuple(self.remarks),
        )
        if not self.is_over:
            return status
        error = self.future.exception()
        if isinstance(error, LunetError):
            return status.model_copy(update={"error": error.message, "hint": error.hint})
        result = self.future.result()
        found = {"seconds": result.seconds, "labels": result.labels, "progress": 1.0}
        return status.model_copy(update=found | {"volumes_ml": result.volumes_ml})

    def stop(self, reason: LunetError | None = None) -> None:
        """Let it end at its next window; one that waits does not begin."""
        self._reason = reason or CancelledError("the job was cancelled")
        self._told.set()

    def run(self) -> None:
        """Do it; whatever happens becomes of `future`."""
        try:
            self.started_at = time.monotonic()
            self._require_wanted()
            self.state = "running"
            self._end("done", result=self._predict())
        except StopJob as stopped:
            self._end("cancelled", error=stopped.reason)
        except LunetError as error:
            self._end("failed", error=error)

    def fail(self, error: LunetError) -> None:
        """Let it end with an error that came from outside of it."""
        self._end("failed", error=error)

    def _predict(self) -> Result:
        start = time.perf_counter()
        predictor, output = self.model.predictor, self.wish.options(self.folder)
        deadline = Deadline(self.scan, self.limit_seconds)

        def on_event(event: Event) -> None:
            self._on_event(event)
            deadline.look_at(event)

        done = predict(predictor, self.inputs, output, on_event=on_event)
        if done.failures:
            raise self._told_plainly(done.failures[0])
        if not done.predicted:
            raise DataError("the upload: holds nothing to segment")
        case = done.predicted[0]
        maps = sorted(case.output.parent.glob(f"*_prob_*{self.wish.suffix}"))
        seconds = time.perf_counter() - start
        return Result((case.output, *maps), dict(done.values), dict(case.volume_ml), seconds)

    def _told_plainly(self, failure: CaseFailed) -> LunetError:
        message = self._plain(failure.message)
        kind: type[LunetError] = DataError
        if "No space left on device" in failure.message:
            kind = NoRoomError
        return kind(message, self._plain(failure.hint))

    def _plain(self, text: str) -> str:
        return without_folder(as_sent(text, self.inputs, self.scan), self.folder)

    def _on_event(self, event: Event) -> None:
        self._require_wanted()
        if isinstance(event, WindowDone):
            self._progress = event.num_done / event.num_windows
        if isinstance(event, WarningIssued):
            self.remarks.append(self._plain(event.text))

    def _require_wanted(self) -> None:
        if self._told.is_set() and self._reason is not None:
            raise StopJob(self._reason)

    def _end(
        self, state: JobState, *, result: Result | None = None, error: LunetError | None = None
    ) -> None:
        self.state, self.ended_at = state, time.monotonic()
        if result is not None:
            self.future.set_result(result)
        else:
            self.future.set_exception(error or CancelledError("the job was cancelled"))

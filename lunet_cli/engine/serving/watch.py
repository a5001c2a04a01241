"""The job `watch`: a drop folder of which each scan is finished exactly once."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from lunet_cli.config.options import OutputOptions, WatchOptions
from lunet_cli.engine.data.volume import stem
from lunet_cli.engine.inference.inputs import find_inputs, output_suffix
from lunet_cli.engine.inference.outputs import suffix_of
from lunet_cli.engine.inference.predict import predict
from lunet_cli.engine.serving.deadline import Deadline
from lunet_cli.engine.serving.drop_folder import DropFolder, Scan, content_of
from lunet_cli.engine.serving.problems import StopJob, unexpected, without_folder
from lunet_cli.engine.serving.served_models import ServedModel
from lunet_cli.errors import ConfigError, DataError, LunetError, OutputError
from lunet_cli.records.files import require_makeable
from lunet_cli.records.watching import ScanRecord
from lunet_cli.results.events import CaseFailed, Event, WarningIssued
from lunet_cli.results.prediction import PredictResult
from lunet_cli.results.serving import ScanFinished, Watching

OnEvent = Callable[[Event], None]
LOCKS = ".lunet"
_LONGEST_PAUSE = 1.0
# What comes in two files is written as one.
_ONE_FILE = {".nhdr": ".nrrd", ".mhd": ".mha"}


def watch(
    model: ServedModel,
    inbox: Path,
    output: OutputOptions,
    options: WatchOptions,
    *,
    stop: threading.Event,
    on_event: OnEvent = lambda event: None,
) -> None:
    """Segment what is dropped into a folder, until `stop` is set.

    A scan is a file, a folder with a DICOM series, or the files of its channels. Beside each mask
    lies a record, which says what has become of the scan, and why there is no mask of one that
    cannot be used. A scan that changes afterwards is done again. Several processes may watch one
    folder.

    Args:
        model: What segments.
        inbox: Where scans come; nothing is written or removed there.
        output: The folder for masks, and what is written.
        options: How the folder is watched, and what a scan may cost; one that is beyond it gets a
            record of a failure.
        stop: Lets the scan that is worked on finish, and ends.
        on_event: Called with what happens.

    Raises:
        ConfigError: One folder lies within the other, or the output cannot be so.
        DataError: `inbox` cannot be listed.
        OutputError: The folder for masks cannot be made, or its file system has no locks.
    """
    _require_apart(inbox, output.output)
    watcher = _Watcher(model, inbox, output, options, stop, on_event)
    watcher.require_place()
    on_event(Watching(inbox, output.output, model.name))
    while not stop.is_set():
        is_idle = watcher.look()
        if options.once and is_idle:
            return
        stop.wait(min(_LONGEST_PAUSE, options.settle_seconds / 2))


def _require_apart(inbox: Path, output: Path) -> None:
    one, other = inbox.resolve(), output.resolve()
    if one == other or one in other.parents or other in one.parents:
        raise ConfigError(
            f"{output}: masks may not lie with the scans, or they would be taken for some",
            hint="Name two folders of which none lies in the other.",
        )


class _Watcher:
    """See `watch`."""

    def __init__(
        self,
        model: ServedModel,
        inbox: Path,
        output: OutputOptions,
        options: WatchOptions,
        stop: threading.Event,
        on_event: OnEvent,
    ) -> None:
        self._model, self._output, self._stop, self._on_event = model, output, stop, on_event
        self._folder, self._limits = output.output, options
        channels = model.predictor.card.network.in_channels
        self._drop = DropFolder(inbox, num_channels=channels, settle_seconds=options.settle_seconds)
        # What needs no second look at its record: the content that is done with.
        self._over: dict[str, str] = {}

    def require_place(self) -> None:
        """Make the folder of masks.

        Raises:
            OutputError: It cannot be made, or its file system has no locks.
        """
        require_makeable(self._folder)
        try:
            (self._folder / LOCKS).mkdir(parents=True, exist_ok=True)
            with FileLock(self._folder / LOCKS / ".probe", fallback_to_soft=False):
                pass
        except OSError as error:
            raise OutputError(
                f"{self._folder}: cannot be written or locked ({error.strerror or error})",
                hint="Choose a folder for the masks on a file system with locks.",
            ) from None

    def look(self) -> bool:
        """Do each scan that is ready; return whether nothing is left to wait for."""
        is_idle = True
        for scan, is_settled in list(self._drop.scans()):
            if self._stop.is_set():
                return True
            if self._over.get(scan.name) == scan.content:
                continue
            if not is_settled:
                is_idle = False
            elif not self._try(scan):
                is_idle = False  # Another process has it, and may be killed.
        return is_idle

    def _try(self, scan: Scan) -> bool:
        """Do a scan unless it is done; return False if it has to be looked at again."""
        mask = self._folder / self._mask_name(scan)
        with self._held(mask) as lock:
            if lock is None:
                return False  # Another process has it, and may be killed.
            # Only now: another process may have finished it a moment ago.
            if not self._is_over(scan) and not self._do(scan, mask):
                return False
            # While it is held: nobody takes a file that is about to go.
            lock.unlink(missing_ok=True)
        self._over[scan.name] = scan.content
        return True

    def _mask_name(self, scan: Scan) -> str:
        path = scan.paths[0]
        usual = _ONE_FILE.get(path.suffix.lower()) or output_suffix(path) or ".nii.gz"
        name = stem(path)
        if len(scan.paths) > 1:
            name = stem(path.with_name(scan.name))
        return f"{name}{self._output.suffix or usual}"

    @contextlib.contextmanager
    def _held(self, mask: Path) -> Iterator[Path | None]:
        """The right to write a mask, which the system takes back from a process that dies."""
        path = self._folder / LOCKS / f"{mask.name}.lock"
        lock = FileLock(path, fallback_to_soft=False)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            yield None
            return
        try:
            yield path
        finally:
            lock.release()

    def _record_path(self, scan: Scan) -> Path:
        return self._folder / f"{scan.name}.json"

    def _found_record(self, scan: Scan) -> ScanRecord | None:
        """The record of a scan of that name, of whatever content; None if there is none."""
        path = self._record_path(scan)
        return ScanRecord.read(path) if path.exists() else None

    def _is_over(self, scan: Scan) -> bool:
        try:
            record = self._found_record(scan)
        except LunetError as error:
            # Somebody's own file, over which nothing is written.
            self._on_event(CaseFailed(scan.name, error.message, error.hint))
            return True
        if record is None or record.content != scan.content:
            return False
        return record.state != "working"

    def _do(self, scan: Scan, mask: Path) -> bool:
        """Segment a scan and write down what became of it; False if it changed meanwhile."""
        record = ScanRecord(
            state="working",
            scan=scan.paths[0].name,
            content=scan.content,
            model=self._model.name,
            networks=self._model.predictor.digests,
            mask=mask.name,
        )
        try:
            self._require_ours(scan, mask)
            record.write(self._record_path(scan))
            self._remove_earlier(mask)
            record = self._segmented(scan, mask, record)
        except StopJob as stopped:
            record = _failed(record, stopped.reason)
        except LunetError as error:
            record = _failed(record, error)
        except Exception as error:  # One scan with a bug of ours does not end the watch.
            record = _failed(record, unexpected(error))
        if content_of(list(scan.paths)) != scan.content:
            return False
        record.write(self._record_path(scan))
        self._tell(record, mask)
        return True

    def _require_ours(self, scan: Scan, mask: Path) -> None:
        """Raise if a mask is there that is not of this scan.

        Raises:
            OutputError: It is.
        """
        record = self._found_record(scan)
        is_ours = record is not None and record.mask == mask.name
        if mask.exists() and not is_ours:
            raise OutputError(
                f"{mask.name}: is there already and is not of this scan",
                hint="Rename the scan, or remove the mask and the record of the scan.",
            )

    def _remove_earlier(self, mask: Path) -> None:
        """Remove what was made of an earlier content: nobody shall take it for the new one's."""
        mask.unlink(missing_ok=True)
        suffix = suffix_of(mask) or ""
        beginning = glob.escape(mask.name.removesuffix(suffix))
        for path in self._folder.glob(f"{beginning}_prob_*{suffix}"):
            path.unlink()

    def _require_bearable(self, scan: Scan) -> None:
        """Raise if a scan has too many voxels, before one of them is read.

        Raises:
            TooLargeError: It has.
        """
        channels = self._model.predictor.card.network.in_channels
        cases, _ = find_inputs(scan.paths, num_channels=channels, series=self._output.series)
        for case in cases:
            self._model.require_bearable(case, limit=self._limits.max_voxels)

    def _segmented(self, scan: Scan, mask: Path, record: ScanRecord) -> ScanRecord:
        """Segment a scan in a folder apart, and move what came out to its place."""
        self._require_bearable(scan)
        start, remarks = time.perf_counter(), list[str]()
        apart = self._folder / LOCKS / f"{mask.name}.work"
        shutil.rmtree(apart, ignore_errors=True)  # Of a process that was killed.
        suffix = suffix_of(mask)
        output = self._output.model_copy(update={"output": apart, "suffix": suffix})
        try:
            done = self._predicted(scan, output, remarks)
            case = done.predicted[0]
            _move(case.output, mask)
        finally:
            shutil.rmtree(apart, ignore_errors=True)
        found = {"labels": dict(done.values), "volumes_ml": dict(case.volume_ml)}
        facts = {"seconds": time.perf_counter() - start, "remarks": tuple(remarks)}
        return record.model_copy(update={"state": "done", **found, **facts})

    def _predicted(self, scan: Scan, output: OutputOptions, remarks: list[str]) -> PredictResult:
        """What comes of the only scan; what there is to remark on it goes to `remarks`."""
        deadline = Deadline(scan.name, self._limits.job_seconds)

        def on_event(event: Event) -> None:
            deadline.look_at(event)
            if isinstance(event, WarningIssued):
                remarks.append(event.text)

        done = predict(self._model.predictor, scan.paths, output, on_event=on_event)
        if done.failures:
            failure = done.failures[0]
            raise DataError(without_folder(failure.message, output.output), hint=failure.hint)
        if len(done.predicted) != 1:
            raise DataError(
                f"{scan.name}: holds {len(done.predicted)} scans",
                hint="Drop a folder for each of them.",
            )
        return done

    def _tell(self, record: ScanRecord, mask: Path) -> None:
        if record.error is not None:
            self._on_event(CaseFailed(record.scan, record.error, record.hint or ""))
            return
        found = record.volumes_ml or {}
        self._on_event(ScanFinished(record.scan, mask, record.seconds or 0.0, found))


def _move(found: Path, mask: Path) -> None:
    """Move a mask and its probability maps to their place; the mask last: where it is, all is."""
    suffix = suffix_of(mask) or ""
    stem_here, stem_there = found.name.removesuffix(suffix), mask.name.removesuffix(suffix)
    for path in found.parent.glob(f"{glob.escape(stem_here)}_prob_*{suffix}"):
        os.replace(path, mask.with_name(stem_there + path.name.removeprefix(stem_here)))
    os.replace(found, mask)


def _failed(record: ScanRecord, error: LunetError) -> ScanRecord:
    told = {"state": "failed", "mask": "", "error": " ".join(error.lines), "hint": error.hint}
    return record.model_copy(update=told)

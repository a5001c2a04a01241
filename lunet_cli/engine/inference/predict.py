"""The job `predict`: from files and folders to label maps in the patient's own space."""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from lunet_cli.engine.data.reading import read_header, read_image
from lunet_cli.engine.data.volume import Geometry
from lunet_cli.engine.data.writing import remove_partial_folder, write_volume
from lunet_cli.engine.inference.inputs import InputCase, find_inputs
from lunet_cli.engine.inference.outputs import (
    CaseOutput,
    OutputOptions,
    find_outputs,
    require_absent,
    require_whole,
    require_writable,
)
from lunet_cli.engine.inference.postprocessing import postprocess
from lunet_cli.engine.inference.predictor import Predictor, errors_of
from lunet_cli.engine.inference.record import (
    describe_prediction,
    remove_prediction_record,
    require_same_prediction,
    write_prediction_record,
)
from lunet_cli.errors import DataError, LunetError
from lunet_cli.results.events import CaseFailed, Event, Notice, WarningIssued, warnings_to
from lunet_cli.results.prediction import (
    CasePredicted,
    PlannedCase,
    PredictionStarted,
    PredictResult,
    WindowDone,
)
from lunet_cli.results.runtimes import RuntimeChosen
from lunet_cli.results.words import plural

OnEvent = Callable[[Event], None]
_PROBE = (64, 64, 64)


def predict_files(
    predictor: Predictor,
    inputs: Sequence[Path],
    output: OutputOptions,
    *,
    dry_run: bool = False,
    on_event: OnEvent = lambda event: None,
) -> PredictResult:
    """Segment volumes and write their label maps, each on the grid of its file.

    A case that cannot be used is reported and the others go on. Files appear whole, one after the
    other, so that a command that was stopped at any moment goes on with `resume`.

    Args:
        predictor: The networks.
        inputs: Files, folders of files, DICOM series folders, or folders of those.
        output: What is written, and where.
        dry_run: Only plan: read headers, estimate memory and time, write nothing.
        on_event: Called with what happens.

    Raises:
        OutputError: Label maps are there already and `resume` is not set.
        ConfigError: `output.order` does not fit the labels.
    """
    values = predictor.card.labels.painted_values(output.order)
    cases, failures = find_inputs(
        inputs,
        num_channels=predictor.card.network.in_channels,
        series=output.series,
        on_event=on_event,
    )
    outputs = find_outputs(cases, output, predictor.card.labels.names, num_inputs=len(inputs))
    index, count = output.shard
    if count > 1:
        on_event(Notice(f"share {index + 1} of {count} of {plural(len(cases), 'case')}"))
    mine = list(zip(cases, outputs, strict=True))[index::count]
    skipped = [files.label_map for _, files in mine if output.resume and files.is_done]
    record = describe_prediction(predictor, output)
    if not dry_run:
        (require_whole if output.resume else require_absent)([files for _, files in mine])
        for warning in require_same_prediction(output, record, num_present=len(skipped)):
            on_event(WarningIssued(warning))
    for warning in predictor.warnings():
        on_event(WarningIssued(warning))
    planned: list[_Task] = []
    for case, files in mine:
        if files.label_map in skipped:
            continue
        try:
            planned.append(_Task(case, files, _plan(predictor, case, files, on_event)))
        except LunetError as error:
            failures.append(CaseFailed(case.name, error.message, error.hint))
            on_event(failures[-1])
    result = PredictResult(
        tuple(task.plan for task in planned),
        (),
        tuple(skipped),
        tuple(failures),
        str(predictor.ensemble),
        values,
    )
    if dry_run:
        seconds = _seconds_per_voxel(predictor)
        timed = [
            replace(plan, seconds=seconds * plan.num_windows * math.prod(plan.window))
            for plan in result.planned
        ]
        return replace(result, planned=tuple(timed))
    require_writable([task.files for task in planned])
    if planned:
        write_prediction_record(output, record)
    ours = {task.files.label_map for task in planned}
    others = [pair for pair in zip(cases, outputs, strict=True) if pair[1].label_map not in ours]
    num_elsewhere = _count_windows(predictor, others)
    job = _Job(predictor, output, planned, num_elsewhere, on_event)
    try:
        predicted = job.run()
    finally:
        _tidy_up(output, [files for _, files in mine])
    return replace(
        result,
        predicted=tuple(predicted),
        failures=(*failures, *job.failures),
        plan=str(predictor.ensemble),
        choice=job.choice,
    )


def _tidy_up(output: OutputOptions, outputs: Sequence[CaseOutput]) -> None:
    """Leave nothing but results, also of an earlier command that was killed."""
    remove_prediction_record(output)
    for folder in {files.label_map.parent for files in outputs}:
        remove_partial_folder(folder)


@dataclass(frozen=True)
class _Task:
    """A case to do."""

    case: InputCase
    files: CaseOutput
    plan: PlannedCase


class _Job:
    """The cases of one command on their way."""

    def __init__(
        self,
        predictor: Predictor,
        output: OutputOptions,
        tasks: Sequence[_Task],
        num_elsewhere: int,
        on_event: OnEvent,
    ) -> None:
        self._predictor, self._output, self._tasks, self._on_event = (
            predictor,
            output,
            tasks,
            on_event,
        )
        self._num_windows = sum(task.plan.num_windows for task in tasks)
        # What is done already, or by another share, counts as well: the runtime must not depend on
        # that.
        self._job_windows = self._num_windows + num_elsewhere
        self.failures: list[CaseFailed] = []
        self.choice: RuntimeChosen | None = None

    def run(self) -> list[CasePredicted]:
        if not self._tasks:
            return []
        self._on_event(
            PredictionStarted(len(self._tasks), self._num_windows, str(self._predictor.ensemble))
        )
        predicted: list[CasePredicted] = []
        start, num_done = time.perf_counter(), 0
        for number, task in enumerate(self._tasks, start=1):
            task_start, num_before = time.perf_counter(), num_done
            num_done += task.plan.num_windows
            try:
                volumes = self._predict(task, num_before)
            except LunetError as error:
                self.failures.append(CaseFailed(task.case.name, error.message, error.hint))
                self._on_event(self.failures[-1])
                continue
            now = time.perf_counter()
            left = (now - start) * (self._num_windows - num_done) / num_done
            event = CasePredicted(
                task.case.name,
                task.files.label_map,
                volumes,
                now - task_start,
                number,
                len(self._tasks),
                left,
            )
            predicted.append(event)
            self._on_event(event)
        return predicted

    def _predict(self, task: _Task, num_done: int) -> dict[str, float]:
        """Read, segment and write one case; return the volume of each label in ml."""
        case, files = task.case, task.files
        channels = read_image(case.images)

        def on_window() -> None:
            nonlocal num_done
            num_done += 1
            self._on_event(WindowDone(num_done, self._num_windows, case.name))

        shape = (len(files.maps), *Geometry.of(channels[0]).size)
        with _array_on_disk(files.label_map.parent, shape) as maps:
            with errors_of(case.images[0]):
                segmentation = self._predictor.segment(
                    channels,
                    probabilities=maps,
                    job_windows=self._job_windows,
                    on_choice=self._on_choice,
                    on_window=on_window,
                )
                del channels
                postprocess(segmentation, self._output.steps)
            with _all_or_none(files):
                for path, probability in zip(files.maps, () if maps is None else maps, strict=True):
                    write_volume(probability, segmentation.geometry, path)
                # The label map comes last: where it is, the case is whole.
                write_volume(
                    segmentation.label_map(self._output.order),
                    segmentation.geometry,
                    files.label_map,
                )
        voxel_ml = math.prod(segmentation.geometry.spacing_mm) / 1000
        names = segmentation.scheme.names
        return {
            name: np.count_nonzero(segmentation.mask(i)) * voxel_ml for i, name in enumerate(names)
        }

    def _on_choice(self, choice: RuntimeChosen) -> None:
        self.choice = choice
        self._on_event(choice)


@contextlib.contextmanager
def _all_or_none(files: CaseOutput) -> Iterator[None]:
    """Remove the probability maps of a case whose label map could not be written, for whatever reason."""
    try:
        yield
    except BaseException:
        for path in files.maps:
            path.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _array_on_disk(
    folder: Path, shape: tuple[int, ...]
) -> Iterator[npt.NDArray[np.float32] | None]:
    """An array in a nameless file, which takes no memory of its own and is gone with the process; None if empty."""
    if shape[0] == 0:
        yield None
        return
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(tempfile.TemporaryFile(dir=folder))
            _allocate(file.fileno(), 4 * math.prod(shape))
            array = np.memmap(file, np.float32, "r+", shape=shape)
        except OSError as error:
            raise DataError(f"{folder}: cannot be written ({error.strerror or error})") from None
        yield array


def _allocate(file: int, size: int) -> None:
    """Take the space on the disk now: a full disk kills a process that writes to a memory map."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
    else:
        os.truncate(file, size)


def _plan(
    predictor: Predictor, case: InputCase, files: CaseOutput, on_event: OnEvent
) -> PlannedCase:
    headers = [read_header(source, on_remark=warnings_to(on_event)) for source in case.images]
    stored = headers[0][0]
    with errors_of(case.images[0]):
        predictor.require_channels(sum(channels for _, channels in headers))
        windows = predictor.plan_windows(stored, with_probabilities=bool(files.maps))
    grid = predictor.card.preprocessing.place(stored).grid
    return PlannedCase(
        case.name,
        files.label_map,
        stored.size,
        grid.size,
        windows.window,
        windows.num_windows,
        windows.memory.total_mib,
    )


def _count_windows(predictor: Predictor, cases: Sequence[tuple[InputCase, CaseOutput]]) -> int:
    """Windows of cases that are done already or elsewhere, if the choice of a runtime asks for them."""
    if not predictor.ensemble.is_open:
        return 0
    total = 0
    for case, files in cases:
        with contextlib.suppress(
            LunetError
        ):  # A case that cannot be used is told where it is done.
            total += _plan(predictor, case, files, lambda event: None).num_windows
    return total


def _seconds_per_voxel(predictor: Predictor) -> float:
    """Time per voxel of a batch of windows of a size that every machine bears; the first pass warms up."""
    shape = (predictor.options.batch_size, predictor.card.network.in_channels, *_PROBE)
    image = torch.zeros(shape)
    with torch.inference_mode():
        predictor.ensemble.forward(image).cpu()
        start = time.perf_counter()
        predictor.ensemble.forward(image).cpu()
    return (time.perf_counter() - start) / (shape[0] * math.prod(_PROBE))

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
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from lunet_cli.config.options import OutputOptions
from lunet_cli.config.vocabulary import Size
from lunet_cli.engine.data.dicom_source import require_referable
from lunet_cli.engine.data.reading import open_channels, read_image
from lunet_cli.engine.data.stored_planes import StoredPlanes, can_read_planes, open_planes
from lunet_cli.engine.data.volume import Geometry
from lunet_cli.engine.data.writing import remove_partial_folder
from lunet_cli.engine.inference.bids_output import (
    bids_outputs,
    describe_dataset,
    name_of,
    require_own_dataset,
)
from lunet_cli.engine.inference.case_writer import CaseWriter, all_or_none
from lunet_cli.engine.inference.images import Location, as_paths
from lunet_cli.engine.inference.inputs import InputCase, find_inputs
from lunet_cli.engine.inference.load_model import ModelSource, as_predictor
from lunet_cli.engine.inference.outputs import (
    CaseOutput,
    find_outputs,
    require_absent,
    require_whole,
    require_writable,
)
from lunet_cli.engine.inference.postprocessing import Step, parse_step, postprocess
from lunet_cli.engine.inference.predictor import Predictor, WindowPlan
from lunet_cli.engine.inference.record import (
    describe_prediction,
    remove_prediction_record,
    require_same_prediction,
    write_prediction_record,
)
from lunet_cli.engine.inference.segmentation import (
    PlaneRelay,
    Receiver,
    Segmentation,
    SegmentationBuilder,
)
from lunet_cli.engine.inference.sliding_window import ArrayInput
from lunet_cli.engine.inference.stream import usual_planes
from lunet_cli.engine.inference.volume_errors import errors_of
from lunet_cli.engine.runtimes.runtime import require_packages
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

if TYPE_CHECKING:
    from lunet_cli.engine.inference.seg_output import SegWriter

OnEvent = Callable[[Event], None]
# Takes a moment on every machine, and long enough for its clock.
_PROBE: Size = (64, 64, 64)
# As many voxels, in planes that are large enough for what is done once for each.
_PROBE_OF_PLANES: Size = (16, 128, 128)


def predict(
    model: ModelSource,
    inputs: Location | Sequence[Location],
    output: OutputOptions | Location,
    *,
    dry_run: bool = False,
    on_event: OnEvent = lambda event: None,
) -> PredictResult:
    """Segment volumes and write their label maps, each on the grid of its file.

    A case that cannot be used is reported and the others go on. Files appear whole, one after the
    other, so that a command that was stopped at any moment goes on with `resume`.

    Args:
        model: What `load_model` has returned, or a path that it takes.
        inputs: Files, folders of files, DICOM series folders, or folders of those.
        output: What is written, and where; a path alone is a folder, or the file of one volume.
        dry_run: Only plan: read headers, estimate memory and time, write nothing.
        on_event: Called with what happens.

    Raises:
        OutputError: Label maps are there already and `resume` is not set.
        ConfigError: An option of `output` does not fit the labels.

    Example:
        >>> result = lunet.predict("runs/phantom", "images", "masks")
        >>> [case.output.name for case in result.predicted]
        ['patient_1.nii.gz']
    """
    predictor = as_predictor(model)
    if not isinstance(output, OutputOptions):
        output = OutputOptions(output=Path(output))
    job = _Job(predictor, output, on_event)
    job.find(as_paths(inputs))
    # Before headers are read, which takes minutes for thousands of DICOM files.
    if not dry_run:
        job.require_place()
    for warning in predictor.warnings():
        on_event(WarningIssued(warning))
    for notice in predictor.notices():
        on_event(Notice(notice))
    job.plan()
    if dry_run:
        return job.result(_with_times(job.planned, predictor))
    job.run()
    return job.result(job.planned)


@dataclass(frozen=True)
class _Case:
    """A volume, and the files that are made of it."""

    input: InputCase
    files: CaseOutput


@dataclass(frozen=True)
class _Task:
    """A case to do, and how it goes through the network."""

    case: _Case
    windows: WindowPlan
    grid: Size

    @property
    def planned(self) -> PlannedCase:
        """The same in the words of a result."""
        return PlannedCase(
            case=self.case.input.name,
            output=self.case.files.label_map,
            size=self.windows.size,
            grid=self.grid,
            window=self.windows.window,
            num_windows=self.windows.num_windows,
            memory_mib=self.windows.memory.total_mib,
            flows=self.windows.flows,
        )


@dataclass(frozen=True)
class _Work:
    """How a case goes through the networks, beside its plan; see `Predictor.segment`."""

    job_windows: int
    on_choice: Callable[[RuntimeChosen], None]
    on_window: Callable[[], None]

    def run(
        self, predictor: Predictor, planes: StoredPlanes, receiver: Receiver, plan: WindowPlan
    ) -> None:
        """Let the planes of a volume flow to a receiver."""
        flowing = predictor.segment_planes(
            planes,
            receiver,
            plan=plan,
            job_windows=self.job_windows,
            on_choice=self.on_choice,
            on_window=self.on_window,
        )
        for _ in flowing:
            pass


class _Job:
    """The cases of one command, from their names to their files.

    Args:
        predictor: The networks.
        output: What is written, and where.
        on_event: Called with what happens.

    Raises:
        ConfigError: A step or the order does not fit the labels.
    """

    def __init__(self, predictor: Predictor, output: OutputOptions, on_event: OnEvent) -> None:
        labels = predictor.card.labels
        self._predictor, self._output, self._on_event = predictor, output, on_event
        self._steps: list[Step] = [parse_step(text, labels.names) for text in output.postprocess]
        self._values = labels.painted_values(output.order)
        self._record = describe_prediction(predictor, self._steps, output)
        self._seg: SegWriter | None = None
        if output.is_seg:
            require_packages("dicom", "highdicom")
            # Only now: it loads the dictionary of codes, which takes a third of a second.
            from lunet_cli.engine.inference.seg_output import SegWriter

            self._seg = SegWriter.of(predictor, output, self._record)
            self._values = self._seg.numbers
        self._mine: list[_Case] = []  # of this share
        self._others: list[_Case] = []
        self._skipped: list[Path] = []
        self._tasks: list[_Task] = []
        self._predicted: list[CasePredicted] = []
        self._failures: list[CaseFailed] = []
        self._choice: RuntimeChosen | None = None

    @property
    def planned(self) -> list[PlannedCase]:
        """What is to do."""
        return [task.planned for task in self._tasks]

    def result(self, planned: Sequence[PlannedCase]) -> PredictResult:
        """What came out so far."""
        return PredictResult(
            planned=tuple(planned),
            predicted=tuple(self._predicted),
            skipped=tuple(self._skipped),
            failures=tuple(self._failures),
            plan=str(self._predictor.ensemble),
            values=self._values,
            choice=self._choice,
        )

    def find(self, paths: list[Path]) -> None:
        """Find the volumes and name their outputs.

        Raises:
            OutputError: The outputs cannot be called so.
        """
        output, card = self._output, self._predictor.card
        cases, self._failures = find_inputs(
            paths,
            num_channels=card.network.in_channels,
            series=output.series,
            on_event=self._on_event,
        )
        if output.bids:
            cases = self._named_as_bids(cases)
            outputs = bids_outputs(cases, output, card.labels.names)
        else:
            outputs = find_outputs(cases, output, card.labels.names, num_inputs=len(paths))
        self._take_share(cases, outputs)
        if output.resume:
            self._skipped = [case.files.label_map for case in self._mine if case.files.is_done]

    def _take_share(self, cases: Sequence[InputCase], outputs: Sequence[CaseOutput]) -> None:
        """Divide the cases into those of this process and those of others."""
        index, count = self._output.shard
        if count > 1:
            cases_in_all = plural(len(cases), "case")
            self._on_event(Notice(f"share {index + 1} of {count} of {cases_in_all}"))
        for number, (case, files) in enumerate(zip(cases, outputs, strict=True)):
            found = _Case(case, files)
            if number % count == index:
                self._mine.append(found)
            else:
                self._others.append(found)

    def _named_as_bids(self, cases: list[InputCase]) -> list[InputCase]:
        """Those whose derivatives can be named; the others are told."""
        named: list[InputCase] = []
        for case in cases:
            try:
                name_of(case)
            except LunetError as error:
                self._tell_failure(case, error)
            else:
                named.append(case)
        return named

    def require_place(self) -> None:
        """Raise if an output is in the way, or was made by another network.

        Raises:
            OutputError: It is.
        """
        outputs = [case.files for case in self._mine]
        if self._output.bids:
            require_own_dataset(self._output)
        if self._output.resume:
            require_whole(outputs)
        else:
            require_absent(outputs)
        num_present = len(self._skipped)
        for warning in require_same_prediction(self._output, self._record, num_present=num_present):
            self._on_event(WarningIssued(warning))

    def plan(self) -> None:
        """Look into the headers of what is to do."""
        for case in self._mine:
            if case.files.label_map in self._skipped:
                self._others.append(case)
                continue
            try:
                self._tasks.append(self._plan(case, self._on_event))
            except LunetError as error:
                self._fail(case, error)
                self._others.append(case)

    def _plan(self, case: _Case, on_event: OnEvent) -> _Task:
        images, predictor = case.input.images, self._predictor
        volumes = open_channels(images, on_remark=warnings_to(on_event))
        stored = volumes[0].geometry
        placement = predictor.card.preprocessing.place(stored)
        if self._seg is not None:
            require_referable(images[0])
        with errors_of(images[0]):
            predictor.require_channels(sum(volume.num_channels for volume in volumes))
            windows = predictor.plan_windows(
                stored,
                with_probabilities=bool(case.files.maps),
                reads_planes=can_read_planes(volumes, placement),
                keeps_result=bool(self._steps) or self._seg is not None,
            )
        return _Task(case, windows, placement.grid.size)

    def run(self) -> None:
        """Do what was planned.

        Raises:
            OutputError: A folder cannot be made or written.
        """
        require_writable([task.case.files for task in self._tasks])
        if self._tasks:
            write_prediction_record(self._output, self._record)
            self._describe_dataset()
        try:
            self._predict_all()
        finally:
            self._tidy_up()

    def _describe_dataset(self) -> None:
        """Say of a derivative of BIDS what it is."""
        if self._output.bids:
            models = self._predictor.models
            names = []
            for model, digest in zip(models, self._record.networks, strict=True):
                names.append(f"{model.architecture} (SHA-256 {digest})")
            cases = [task.case.input for task in self._tasks]
            describe_dataset(self._output.output, cases, self._values, names)

    def _predict_all(self) -> None:
        tasks, predictor = self._tasks, self._predictor
        if not tasks:
            return
        clock = _Clock(sum(task.windows.num_windows for task in tasks))
        # What is done already, or by another share, counts as well: the choice of a runtime must
        # not depend on that.
        job_windows = clock.num_windows + self._count_windows_of_others()
        self._on_event(PredictionStarted(len(tasks), clock.num_windows, str(predictor.ensemble)))
        for number, task in enumerate(tasks, start=1):
            start, num_before = time.perf_counter(), clock.num_done
            clock.num_done += task.windows.num_windows
            try:
                volumes_ml = self._predict(task, num_before, clock.num_windows, job_windows)
            except LunetError as error:
                self._fail(task.case, error)
                continue
            event = CasePredicted(
                case=task.case.input.name,
                output=task.case.files.label_map,
                volume_ml=volumes_ml,
                seconds=time.perf_counter() - start,
                num_done=number,
                num_cases=len(tasks),
                seconds_left=clock.seconds_left(),
            )
            self._predicted.append(event)
            self._on_event(event)

    def _predict(
        self, task: _Task, num_done: int, num_windows: int, job_windows: int
    ) -> dict[str, float]:
        """Read, segment and write one case; return the volume of each label in ml."""
        case = task.case.input

        def on_window() -> None:
            nonlocal num_done
            num_done += 1
            self._on_event(WindowDone(num_done, num_windows, case.name))

        work = _Work(job_windows, self._on_choice, on_window)
        if not task.windows.keeps_result:
            return self._relay(task, work)
        shape = (len(task.case.files.maps), *task.windows.size)
        with _array_on_disk(task.case.files.label_map.parent, shape) as maps:
            return self._write(self._segment(task, maps, work), task.case)

    def _write(self, segmentation: Segmentation, case: _Case) -> dict[str, float]:
        """Write a case as a whole; return the volume of each label in ml."""
        if self._seg is not None:
            with all_or_none(case.files):
                self._seg.write(segmentation, case.files, case.input.images[0])
            return segmentation.volumes_ml()
        writer = self._writer(case.files, segmentation.geometry)
        with writer.writing():
            writer.put_all(segmentation)
        return writer.volumes_ml()

    def _segment(
        self, task: _Task, maps: npt.NDArray[np.float32] | None, work: _Work
    ) -> Segmentation:
        """A case as a whole, cleaned."""
        images, plan = task.case.input.images, task.windows
        if plan.reads_planes:
            with errors_of(images[0], *images), open_planes(images) as planes:
                placement = self._predictor.card.preprocessing.place(planes.geometry)
                builder = SegmentationBuilder(placement, self._predictor.card.labels, maps)
                work.run(self._predictor, planes, builder, plan)
            segmentation = builder.result
        else:
            channels = read_image(images)
            with errors_of(images[0]):
                segmentation = self._predictor.segment(
                    channels,
                    plan=plan,
                    probabilities=maps,
                    job_windows=work.job_windows,
                    on_choice=work.on_choice,
                    on_window=work.on_window,
                )
            del channels  # The volume would stay in memory while components are found.
        with errors_of(images[0]):
            postprocess(segmentation, self._steps)
        return segmentation

    def _relay(self, task: _Task, work: _Work) -> dict[str, float]:
        """Read, decide and write a case plane by plane; return the volume of each label in ml."""
        images, files, predictor = task.case.input.images, task.case.files, self._predictor
        with errors_of(images[0], *images, *files.files), open_planes(images) as planes:
            writer = self._writer(files, planes.geometry)
            relay = PlaneRelay(
                predictor.card.preprocessing.place(planes.geometry),
                predictor.card.labels,
                writer.put,
                with_probabilities=bool(files.maps),
            )
            with writer.writing():
                work.run(predictor, planes, relay, task.windows)
        return writer.volumes_ml()

    def _writer(self, files: CaseOutput, geometry: Geometry) -> CaseWriter:
        return CaseWriter(files, geometry, self._predictor.card.labels, self._output.order)

    def _on_choice(self, choice: RuntimeChosen) -> None:
        self._choice = choice
        self._on_event(choice)

    def _fail(self, case: _Case, error: LunetError) -> None:
        self._tell_failure(case.input, error)

    def _tell_failure(self, case: InputCase, error: LunetError) -> None:
        failure = CaseFailed(case.name, error.message, error.hint)
        self._failures.append(failure)
        self._on_event(failure)

    def _count_windows_of_others(self) -> int:
        """Windows of cases that are done already or elsewhere, if the choice of a runtime asks."""
        if not self._predictor.ensemble.is_open:
            return 0
        total = 0
        for case in self._others:
            # A case that cannot be used is told where it is done.
            with contextlib.suppress(LunetError):
                total += self._plan(case, lambda event: None).windows.num_windows
        return total

    def _tidy_up(self) -> None:
        """Leave nothing but results, also of an earlier command that was killed."""
        remove_prediction_record(self._output)
        for folder in {case.files.label_map.parent for case in self._mine}:
            remove_partial_folder(folder)


class _Clock:
    """How long the windows that are left will take, by those that are done."""

    def __init__(self, num_windows: int) -> None:
        self.num_windows, self.num_done = num_windows, 0
        self._start = time.perf_counter()

    def seconds_left(self) -> float:
        """Estimated time for the rest; at least one window is done."""
        taken = time.perf_counter() - self._start
        return taken * (self.num_windows - self.num_done) / self.num_done


@contextlib.contextmanager
def _array_on_disk(
    folder: Path, shape: tuple[int, ...]
) -> Iterator[npt.NDArray[np.float32] | None]:
    """An array in a nameless file, or None if it would be empty.

    It takes no memory of its own, and is gone with the process.
    """
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


def _with_times(planned: Sequence[PlannedCase], predictor: Predictor) -> list[PlannedCase]:
    """Plans with the time that their windows would take in the network."""
    rates: dict[bool, float] = {}
    timed: list[PlannedCase] = []
    for plan in planned:
        if plan.flows not in rates:
            rates[plan.flows] = _seconds_per_voxel(predictor, flows=plan.flows)
        num_voxels = plan.num_windows * math.prod(plan.window)
        timed.append(replace(plan, seconds=rates[plan.flows] * num_voxels))
    return timed


def _seconds_per_voxel(predictor: Predictor, *, flows: bool) -> float:
    """Time per voxel of a batch of windows, or of one pass, in sizes that every machine bears."""
    count, channels = predictor.options.batch_size, predictor.card.network.in_channels
    probe = _PROBE
    if flows:
        count, probe = 1, _PROBE_OF_PLANES
    images = torch.zeros(count, channels, *probe)

    def run() -> None:
        if predictor.one_pass is None or not flows:
            predictor.ensemble.forward(images).cpu()
            return
        for _ in predictor.one_pass.logits(
            ArrayInput(images[0].numpy()),
            least=probe,
            rows=(0, probe[1]),
            per_step=usual_planes(probe),
            plan=predictor.ensemble.plan,
        ):
            pass

    with torch.inference_mode():
        run()  # The first pass warms up.
        start = time.perf_counter()
        run()
    return (time.perf_counter() - start) / (count * math.prod(probe))

"""The job `predict`: from files and folders to label maps in the patient's own space."""

from __future__ import annotations

import contextlib
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from lunet_cli.engine.data.volume import read_header, read_image
from lunet_cli.engine.data.writing import PARTIAL, remove_partial_folder, write_volume
from lunet_cli.engine.inference.inputs import InputCase, find_inputs, output_suffix
from lunet_cli.engine.inference.postprocessing import Step, postprocess
from lunet_cli.engine.inference.predictor import Predictor
from lunet_cli.engine.inference.segmentation import Segmentation
from lunet_cli.errors import DataError, LunetError, OutputError
from lunet_cli.results import (
    CaseFailed,
    CasePredicted,
    Event,
    PlannedCase,
    PredictionStarted,
    PredictResult,
    WindowDone,
)

OnEvent = Callable[[Event], None]


@dataclass(frozen=True)
class OutputOptions:
    """What is written, and where.

    Args:
        path: A folder, or for a single case the name of the file.
        suffix: Format such as `.nii.gz`; None takes that of each input.
        probabilities: Whether a map per label is written too, as NAME_prob_LABEL.
        steps: How segmentations are cleaned.
        order: Order in which regions that overlap are painted; None takes that of the configuration.
        resume: Whether label maps that are there are skipped; otherwise they are in the way.
        shard: Which share of the cases is done, counted from 0, and how many shares there are.
        series: Which DICOM series is taken where a folder has several.
    """

    path: Path
    suffix: str | None = None
    probabilities: bool = False
    steps: tuple[Step, ...] = ()
    order: tuple[str, ...] | None = None
    resume: bool = False
    shard: tuple[int, int] = (0, 1)
    series: str | None = None


def predict_files(
    predictor: Predictor,
    inputs: Sequence[Path],
    output: OutputOptions,
    *,
    dry_run: bool = False,
    on_event: OnEvent = lambda event: None,
) -> PredictResult:
    """Segment volumes and write their label maps, each on the grid of its file.

    A case that cannot be used is reported and the others go on. Files appear whole, one after the other, so that a
    command that was stopped at any moment goes on with `resume`.

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
    cases, failures = find_inputs(inputs, num_channels=predictor.card.network.in_channels, series=output.series)
    index, count = output.shard
    cases = cases[index::count]
    targets = _targets(cases, output, num_inputs=len(inputs))
    if index > 0:
        failures = []  # The first share tells what could not be used.
    for failure in failures:
        on_event(failure)
    present = [path for path in targets if path.exists()]
    if present and not (output.resume or dry_run):
        more = f" and {len(present) - 1} more" if len(present) > 1 else ""
        raise OutputError(
            f"{present[0]}: is there already{more}, and is not overwritten",
            hint="Go on with what is missing: --resume. Or write elsewhere: -o FOLDER",
        )
    skipped = present if output.resume else []
    planned: list[tuple[InputCase, PlannedCase]] = []
    for case, target in zip(cases, targets, strict=True):
        if target in skipped:
            continue
        try:
            planned.append((case, _plan(predictor, case, target, output)))
        except LunetError as error:
            failures.append(CaseFailed(case.name, error.message, error.hint))
            on_event(failures[-1])
    result = PredictResult(
        tuple(plan for _, plan in planned), (), tuple(skipped), tuple(failures), str(predictor.plan), values
    )
    if dry_run:
        return replace(result, window_ms=_time_window(predictor, planned))
    job = _Job(predictor, output, planned, on_event)
    predicted = job.run()
    return replace(result, predicted=tuple(predicted), failures=(*failures, *job.failures))


class _Job:
    """The cases of one command on their way."""

    def __init__(
        self,
        predictor: Predictor,
        output: OutputOptions,
        planned: Sequence[tuple[InputCase, PlannedCase]],
        on_event: OnEvent,
    ) -> None:
        self._predictor, self._output, self._planned, self._on_event = predictor, output, planned, on_event
        self._num_windows = sum(plan.num_windows for _, plan in planned)
        self._num_done = 0
        self.failures: list[CaseFailed] = []

    def run(self) -> list[CasePredicted]:
        if not self._planned:
            return []
        self._on_event(PredictionStarted(len(self._planned), self._num_windows, str(self._predictor.plan)))
        predicted: list[CasePredicted] = []
        start, windows_left = time.perf_counter(), self._num_windows
        for number, (case, plan) in enumerate(self._planned, start=1):
            case_start = time.perf_counter()
            windows_left -= plan.num_windows
            try:
                volumes = self._predict(case, plan)
            except LunetError as error:
                self._fail(CaseFailed(case.name, error.message, error.hint))
                continue
            except (MemoryError, RuntimeError) as error:  # PyTorch raises the latter where memory does not suffice.
                reason = str(error).strip().splitlines()[0] if str(error).strip() else "out of memory"
                self._fail(CaseFailed(case.name, f"{case.images[0]}: {reason}", "Try --max-memory or --batch-size 1."))
                continue
            finally:
                self._num_done = self._num_windows - windows_left
            now = time.perf_counter()
            left = (now - start) * windows_left / max(1, self._num_done)
            event = CasePredicted(case.name, plan.output, volumes, now - case_start, number, len(self._planned), left)
            predicted.append(event)
            self._on_event(event)
        for folder in {plan.output.parent for _, plan in self._planned}:
            remove_partial_folder(folder)
        return predicted

    def _fail(self, failure: CaseFailed) -> None:
        self.failures.append(failure)
        self._on_event(failure)

    def _predict(self, case: InputCase, plan: PlannedCase) -> dict[str, float]:
        """Read, segment and write one case; return the volume of each label in ml."""
        channels = read_image(case.images)
        done = self._num_done

        def on_window() -> None:
            nonlocal done
            done += 1
            self._on_event(WindowDone(done, self._num_windows, case.name))

        with self._probability_maps(plan) as maps:
            with _naming(case):
                segmentation = self._predictor.segment(channels, probabilities=maps, on_window=on_window)
            del channels
            postprocess(segmentation, self._output.steps)
            return self._write(segmentation, plan.output)

    @contextlib.contextmanager
    def _probability_maps(self, plan: PlannedCase) -> Iterator[npt.NDArray[np.float32] | None]:
        """An array in a nameless file, which takes no memory of its own and is gone with the process."""
        if not self._output.probabilities:
            yield None
            return
        folder = plan.output.parent / PARTIAL
        shape = (len(self._predictor.card.labels.regions), *plan.size)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as file:
                yield np.memmap(file, np.float32, "w+", shape=shape)
        except OSError as error:
            raise DataError(f"{folder}: cannot be written ({error.strerror or error})") from None

    def _write(self, segmentation: Segmentation, path: Path) -> dict[str, float]:
        scheme = segmentation.scheme
        if segmentation.probabilities is not None:
            suffix = output_suffix(path) or ""
            base = path.name.removesuffix(suffix)
            for name, probability in zip(scheme.names, segmentation.probabilities, strict=True):
                write_volume(
                    probability, segmentation.geometry, path.with_name(f"{base}_prob_{name.replace(' ', '_')}{suffix}")
                )
        labels = segmentation.label_map(self._output.order)
        # The label map comes last: where it is, the case is whole.
        write_volume(labels, segmentation.geometry, path)
        voxel_ml = math.prod(segmentation.geometry.spacing_mm) / 1000
        values = scheme.painted_values(self._output.order)
        counts = np.bincount(labels.ravel(), minlength=max(values.values()) + 1)
        return {name: float(counts[values[name]]) * voxel_ml for name in scheme.names}


@contextlib.contextmanager
def _naming(case: InputCase) -> Iterator[None]:
    """Let errors of the predictor, which knows no files, say which one it is."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{case.images[0]}: {error.message}", hint=error.hint) from None


def _targets(cases: Sequence[InputCase], output: OutputOptions, *, num_inputs: int) -> list[Path]:
    suffix = output_suffix(output.path)
    if suffix is not None and not output.path.is_dir():
        if len(cases) == 1 and num_inputs == 1:
            return [output.path]
        if cases:
            raise OutputError(
                f"{output.path}: is the name of one file, and there are {len(cases)} cases",
                hint="Give a folder: -o FOLDER",
            )
    if output.path.is_file():
        raise OutputError(f"{output.path}: is a file, and no format that can be written", hint="Use .nii.gz.")
    return [output.path / f"{case.name}{output.suffix or case.suffix}" for case in cases]


def _plan(predictor: Predictor, case: InputCase, target: Path, output: OutputOptions) -> PlannedCase:
    headers = [read_header(source) for source in case.images]
    stored = headers[0][0]
    with _naming(case):
        predictor.require_channels(sum(channels for _, channels in headers))
        windows = predictor.plan_windows(stored, with_probabilities=output.probabilities)
    grid = predictor.card.preprocessing.place(stored).grid
    return PlannedCase(
        case.name, target, stored.size, grid.size, windows.window, windows.num_windows, windows.memory.total_mib
    )


def _time_window(predictor: Predictor, planned: Sequence[tuple[InputCase, PlannedCase]]) -> float | None:
    """Time of one window of the first case, in ms; the first pass warms up."""
    if not planned:
        return None
    num_windows = min(predictor.options.batch_size, planned[0][1].num_windows)
    image = torch.zeros(num_windows, predictor.card.network.in_channels, *planned[0][1].window)
    with torch.inference_mode():
        predictor.forward(image)
        start = time.perf_counter()
        predictor.forward(image)
    return 1000 * (time.perf_counter() - start) / num_windows

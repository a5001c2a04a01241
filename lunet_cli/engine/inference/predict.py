"""The job `predict`: from files and folders to label maps in the patient's own space."""

from __future__ import annotations

import contextlib
import math
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from lunet_cli.engine.data.volume import Geometry, read_header, read_image
from lunet_cli.engine.data.writing import PARTIAL, remove_partial_folder, write_volume
from lunet_cli.engine.inference.inputs import InputCase, find_inputs, output_suffix
from lunet_cli.engine.inference.postprocessing import Step, postprocess
from lunet_cli.engine.inference.predictor import Predictor, errors_of
from lunet_cli.engine.inference.segmentation import Segmentation
from lunet_cli.errors import DataError, LunetError, OutputError
from lunet_cli.results import (
    CaseFailed,
    CasePredicted,
    Event,
    Notice,
    PlannedCase,
    PredictionStarted,
    PredictResult,
    WindowDone,
)

OnEvent = Callable[[Event], None]
_PROBE = (64, 64, 64)


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
    maps = _map_names(predictor.card.labels.names) if output.probabilities else {}
    cases, failures = find_inputs(
        inputs, num_channels=predictor.card.network.in_channels, series=output.series, on_event=on_event
    )
    targets = _targets(cases, output, num_inputs=len(inputs))
    _require_not_inputs(cases, targets)
    index, count = output.shard
    if count > 1:
        on_event(Notice(f"share {index + 1} of {count} of {len(cases)} cases"))
    mine = list(zip(cases, targets, strict=True))[index::count]
    present = [target for _, target in mine if _is_done(target, maps.values())]
    if not (output.resume or dry_run):
        _require_absent([path for _, target in mine for path in _files(target, maps.values())])
    planned: list[tuple[InputCase, PlannedCase]] = []
    for case, target in mine:
        if output.resume and target in present:
            continue
        try:
            planned.append((case, _plan(predictor, case, target, output)))
        except LunetError as error:
            failures.append(CaseFailed(case.name, error.message, error.hint))
            on_event(failures[-1])
    result = PredictResult(
        tuple(plan for _, plan in planned),
        (),
        tuple(present) if output.resume else (),
        tuple(failures),
        str(predictor.plan),
        values,
    )
    if dry_run:
        seconds = _seconds_per_voxel(predictor)
        timed = [replace(plan, seconds=seconds * plan.num_windows * math.prod(plan.window)) for plan in result.planned]
        return replace(result, planned=tuple(timed))
    job = _Job(predictor, output, maps, planned, on_event)
    predicted = job.run()
    return replace(result, predicted=tuple(predicted), failures=(*failures, *job.failures))


class _Job:
    """The cases of one command on their way."""

    def __init__(
        self,
        predictor: Predictor,
        output: OutputOptions,
        maps: dict[str, str],
        planned: Sequence[tuple[InputCase, PlannedCase]],
        on_event: OnEvent,
    ) -> None:
        self._predictor, self._output, self._maps = predictor, output, maps
        self._planned, self._on_event = planned, on_event
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

        size = Geometry.of(channels[0]).size
        with self._probability_maps(plan.output.parent / PARTIAL, size) as maps:
            with errors_of(case.images[0]):
                segmentation = self._predictor.segment(channels, probabilities=maps, on_window=on_window)
                del channels
                postprocess(segmentation, self._output.steps)
            self._write(segmentation, plan.output)
        voxel_ml = math.prod(segmentation.geometry.spacing_mm) / 1000
        names = segmentation.scheme.names
        return {name: np.count_nonzero(segmentation.mask(i)) * voxel_ml for i, name in enumerate(names)}

    @contextlib.contextmanager
    def _probability_maps(self, folder: Path, size: tuple[int, int, int]) -> Iterator[npt.NDArray[np.float32] | None]:
        """An array in a nameless file, which takes no memory of its own and is gone with the process."""
        if not self._maps:
            yield None
            return
        shape = (len(self._maps), *size)
        with contextlib.ExitStack() as stack:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                file = stack.enter_context(tempfile.TemporaryFile(dir=folder))
                _allocate(file.fileno(), 4 * math.prod(shape))
                maps = np.memmap(file, np.float32, "r+", shape=shape)
            except OSError as error:
                raise DataError(f"{folder}: cannot be written ({error.strerror or error})") from None
            yield maps

    def _write(self, segmentation: Segmentation, path: Path) -> None:
        if segmentation.probabilities is not None:
            for ending, probability in zip(self._maps.values(), segmentation.probabilities, strict=True):
                write_volume(probability, segmentation.geometry, _map_path(path, ending))
        # The label map comes last: where it is, the case is whole.
        write_volume(segmentation.label_map(self._output.order), segmentation.geometry, path)


def _allocate(file: int, size: int) -> None:
    """Take the space on the disk now: a full disk kills a process that writes to a memory map."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
    else:
        os.truncate(file, size)


def _map_names(labels: Sequence[str]) -> dict[str, str]:
    """What the probability map of each label ends with, as a file name can."""
    endings: dict[str, str] = {}
    for index, name in enumerate(labels, start=1):
        plain = re.sub(r"[^\w.+-]+", "_", name)
        endings[name] = f"_prob_{plain if plain not in ' '.join(endings.values()) else f'{plain}_{index}'}"
    return endings


def _map_path(target: Path, ending: str) -> Path:
    suffix = output_suffix(target) or ""
    return target.with_name(f"{target.name.removesuffix(suffix)}{ending}{suffix}")


def _files(target: Path, endings: Iterable[str]) -> list[Path]:
    """All files of a case."""
    return [target, *(_map_path(target, ending) for ending in endings)]


def _is_done(target: Path, endings: Iterable[str]) -> bool:
    return all(path.exists() for path in _files(target, endings))


def _require_absent(paths: Sequence[Path]) -> None:
    present = [path for path in paths if path.exists()]
    if present:
        more = f" and {len(present) - 1} more" if len(present) > 1 else ""
        raise OutputError(
            f"{present[0]}: is there already{more}, and is not overwritten",
            hint="Go on with what is missing: --resume. Or write elsewhere: -o FOLDER",
        )


def _require_not_inputs(cases: Sequence[InputCase], targets: Sequence[Path]) -> None:
    sources = {str(Path(str(source)).resolve()) for case in cases for source in case.images}
    for target in targets:
        if str(target.resolve()) in sources:
            raise OutputError(f"{target}: is an input and would be the output too", hint="Write elsewhere: -o FOLDER")


def _targets(cases: Sequence[InputCase], output: OutputOptions, *, num_inputs: int) -> list[Path]:
    suffix = output_suffix(output.path)
    if not cases:
        return []
    if suffix is not None and not output.path.is_dir():
        if output.suffix not in (None, suffix):
            raise OutputError(
                f"{output.path}: is the name of a {suffix} file, and --format asks for {output.suffix}",
                hint="Leave one of them out.",
            )
        if len(cases) == 1 and num_inputs == 1:
            return [output.path]
        raise OutputError(
            f"{output.path}: is the name of one file, and there are {len(cases)} cases",
            hint="Give a folder: -o FOLDER",
        )
    if output.path.is_file() or output.path.suffix.lower() in (".hdr", ".img", ".nhdr", ".mhd", ".dcm"):
        raise OutputError(f"{output.path}: is no format that can be written", hint="Use .nii.gz, .nii, .nrrd or .mha.")
    return [output.path / f"{case.name}{output.suffix or case.suffix}" for case in cases]


def _plan(predictor: Predictor, case: InputCase, target: Path, output: OutputOptions) -> PlannedCase:
    headers = [read_header(source) for source in case.images]
    stored = headers[0][0]
    with errors_of(case.images[0]):
        predictor.require_channels(sum(channels for _, channels in headers))
        windows = predictor.plan_windows(stored, with_probabilities=output.probabilities)
    grid = predictor.card.preprocessing.place(stored).grid
    return PlannedCase(
        case.name, target, stored.size, grid.size, windows.window, windows.num_windows, windows.memory.total_mib
    )


def _seconds_per_voxel(predictor: Predictor) -> float:
    """Time per voxel of a batch of windows of a size that every machine bears; the first pass warms up."""
    shape = (predictor.options.batch_size, predictor.card.network.in_channels, *_PROBE)
    image = torch.zeros(shape)
    with torch.inference_mode():
        predictor.forward(image).cpu()
        start = time.perf_counter()
        predictor.forward(image).cpu()
    return (time.perf_counter() - start) / (shape[0] * math.prod(_PROBE))

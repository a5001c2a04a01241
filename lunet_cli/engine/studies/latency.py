"""How long a pass takes of each network of a study, measured once all have been trained."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lunet_cli.config.options import BenchOptions
from lunet_cli.config.run import RunConfig
from lunet_cli.engine.run_folder import RunFolder
from lunet_cli.engine.run_lock import RunHeldError, hold_run
from lunet_cli.engine.studies.plan import Variant
from lunet_cli.engine.viewing.costed import circumstances
from lunet_cli.errors import DataError, LunetError
from lunet_cli.records.bench import BenchRecord
from lunet_cli.results.events import Event, Notice, WarningIssued
from lunet_cli.results.words import plural

OnEvent = Callable[[Event], None]

_PATIENCE_SECONDS = 0.5  # until it is looked again whether another process has measured


@dataclass(frozen=True)
class Latencies:
    """What was measured.

    Args:
        median_ms: Median time of a pass, by the file of the network.
        label: What it is, for an axis: with its unit, the input and the device.
        machine: The processor and accelerator.
    """

    median_ms: Mapping[Path, float] = field(default_factory=dict)
    label: str = ""
    machine: str = ""

    def of(self, network: Path | None) -> float | None:
        """That of a file; None where it was not measured."""
        if network is None:
            return None
        return self.median_ms.get(network.resolve())


def measure_latencies(
    folder: RunFolder,
    config: RunConfig,
    variants: Sequence[Variant],
    on_event: OnEvent,
) -> Latencies:
    """Measure the networks that have been trained, one of each combination, or read what is there.

    Of several processes, one measures and the others wait: times that are measured beside each
    other cannot be compared. What cannot be measured is no reason to lose a study.

    Args:
        folder: The folder of the study.
        config: What its trainings have in common; its section `benchmark` says how it is measured.
        variants: The combinations.
        on_event: Called with what happens.
    """
    networks = [network_of(variant) for variant in variants]
    paths = [path for path in networks if path is not None]
    while paths:
        try:
            with hold_run(folder.path, on_event):
                return _read_or_measure(folder.bench, config, paths, on_event)
        except RunHeldError:
            time.sleep(_PATIENCE_SECONDS)
        except LunetError as error:
            on_event(WarningIssued(f"latencies could not be measured: {error.message}"))
            break
    return Latencies()


def network_of(variant: Variant) -> Path | None:
    """The file of the first trained network of a combination; None before there is one."""
    for run in variant.runs:
        if run.is_done:
            return run.folder.best
    return None


def _read_or_measure(
    file: Path, config: RunConfig, paths: Sequence[Path], on_event: OnEvent
) -> Latencies:
    found = _read(file)
    missing = [path for path in paths if path.resolve() not in found.median_ms]
    if not missing:
        return found
    from lunet_cli.engine.benchmarking.benchmark import benchmark

    on_event(Notice(f"measuring how fast {plural(len(paths), 'network')} compute"))
    asked = config.benchmark
    options = BenchOptions(
        targets=tuple(paths),
        sizes=(asked.input_size[2:],),
        batch_sizes=(asked.input_size[0],),
        warmup_runs=asked.warmup_runs,
        timed_runs=asked.timed_runs,
    )
    measured = benchmark(options, on_event=on_event)
    BenchRecord.of(measured).write(file)
    return _latencies(BenchRecord.of(measured))


def _read(file: Path) -> Latencies:
    try:
        return _latencies(BenchRecord.read(file))
    except DataError:  # There is none, or it is damaged.
        return Latencies()


def _latencies(record: BenchRecord) -> Latencies:
    median_ms: dict[Path, float] = {}
    for row in record.rows:
        if row.source is not None:
            median_ms[Path(row.source).resolve()] = row.latency_ms.median
    label = f"median latency in ms{circumstances(record.rows)}"
    return Latencies(median_ms, label, record.machine)

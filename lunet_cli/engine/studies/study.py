"""The job `study`: many trainings, shared among processes, compared at the end."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lunet_cli.config.load import load_config
from lunet_cli.config.options import StudyOptions
from lunet_cli.config.run import RunConfig
from lunet_cli.config.study import checked_vary
from lunet_cli.engine.run_folder import RunFolder
from lunet_cli.engine.studies.findings import find
from lunet_cli.engine.studies.latency import Latencies, measure_latencies
from lunet_cli.engine.studies.plan import (
    Planner,
    Run,
    Variant,
    in_order,
    list_runs,
    require_as_asked,
    require_possible_runs,
)
from lunet_cli.engine.studies.runner import Runner, Source
from lunet_cli.engine.training.interrupts import InterruptGuard, unwinding
from lunet_cli.errors import ConfigError, OutputError
from lunet_cli.results.events import Event
from lunet_cli.results.studies import TrialFailed, TrialMoved
from lunet_cli.results.training_studies import RunListed, TrainingStudy

OnEvent = Callable[[Event], None]


def ignore(_: object) -> None:
    """Do nothing with an event."""


def study(
    config: RunConfig | Path | str,
    *,
    vary: Mapping[str, Any] | None = None,
    options: StudyOptions | None = None,
    on_event: OnEvent = ignore,
) -> TrainingStudy:
    """Train combinations of settings with several seeds, measure them, and compare them.

    Each training has a run folder in `<output_dir>/<name>`; what has ended there is taken as it is,
    what was interrupted goes on. Any number of processes may call this with the same configuration
    at once, also on several machines with a common folder: they share the trainings, and take over
    what a process leaves that dies. As trainings are processes of their own, a script that calls
    this needs `if __name__ == "__main__":`.

    Args:
        config: What all trainings have in common, and in its section `study` what they differ in: a
            configuration, its file, or the name of a shipped one.
        vary: Further keys in which they differ, each with its values.
        options: How they are worked on.
        on_event: Called with what happens.

    Returns:
        What all trainings have found that have ended, also written to `study.csv` and
        `comparison.json`; those that failed are in `failures`.

    Raises:
        LunetError: Of the kind that fits, before any training has begun.

    Example:
        Two networks, one epoch each, on built-in phantom volumes:

        >>> settings = ["experiment.name=two", "study.seeds=1", "training.epochs=1"]
        >>> settings += ["data.phantom.num_cases=6", "data.phantom.size=32"]
        >>> config = lunet.load_config("quickstart", settings)
        >>> networks = {"model.architecture": ["lunet_small_1f", "unet_small_1f"]}
        >>> found = lunet.study(config, vary=networks, options=lunet.StudyOptions(latency=False))
        >>> [(row.variant, row.parameters) for row in found.variants]
        [('lunet_small_1f', 692), ('unet_small_1f', 22368)]
    """
    _require_alone()
    config = with_vary(config, vary)
    options = options or StudyOptions()
    folder = RunFolder.of(config)
    folder.require_writable()
    _require_no_run(folder)
    source = _source(config, options, may_write=True)
    require_as_asked(source.variants())
    require_possible_runs(source.variants())
    with InterruptGuard() as guard:
        runner = Runner(
            source,
            folder.path,
            jobs=options.jobs,
            waits=options.wait,
            guard=guard,
            on_event=on_event,
        )
        runner.run()
    stopped_by, unfinished, latencies = guard.signal, runner.unfinished, Latencies()
    if options.latency and not stopped_by and not unfinished:
        try:
            # Here, Ctrl-C need not wait for anything to be saved.
            with unwinding():
                latencies = measure_latencies(folder, config, source.variants(), on_event)
        except KeyboardInterrupt:
            stopped_by = signal.SIGINT
    found = find(folder, config, source.variants(), latencies)
    return replace(
        found,
        failures=runner.failures,
        hopeless=tuple(source.hopeless()),
        unfinished=unfinished,
        signal=stopped_by,
    )


def list_trainings(
    config: RunConfig | Path | str,
    *,
    vary: Mapping[str, Any] | None = None,
    options: StudyOptions | None = None,
) -> tuple[RunListed, ...]:
    """The trainings of a study and how far they are; changes nothing.

    Of a search, those that have been chosen so far.

    Raises:
        LunetError: Of the kind that the study would raise before any training begins.
    """
    config = with_vary(config, vary)
    folder = RunFolder.of(config)
    folder.require_writable()
    _require_no_run(folder)
    source = _source(config, options or StudyOptions(), may_write=False)
    variants = source.variants()
    require_as_asked(variants)
    require_possible_runs(variants)
    return list_runs(variants)


def with_vary(config: RunConfig | Path | str, vary: Mapping[str, Any] | None) -> RunConfig:
    """The configuration with further keys in which trainings differ.

    Raises:
        ConfigError: They are not keys with values.
    """
    if not isinstance(config, RunConfig):
        config = load_config(config)
    if not vary:
        return config
    varied = {**config.study.vary, **checked_vary(vary)}
    study = config.study.model_copy(update={"vary": varied})
    return config.model_copy(update={"study": study})


class _Grid:
    """Every combination, all of which are known from the start.

    Args:
        planner: Makes them.
    """

    def __init__(self, planner: Planner) -> None:
        self._variants = planner.grid()
        self._runs = tuple(in_order(self._variants))

    def runs(self) -> Sequence[Run]:
        """All trainings, seed by seed."""
        return self._runs

    def extend(self) -> bool:
        """There are no others."""
        return False

    def num_to_come(self) -> int:
        """All are known."""
        return 0

    def is_hopeless(self, run: Run, moved: TrialMoved) -> bool:
        """Each is trained to its end: a table compares all with all."""
        return False

    def failures(self) -> Sequence[TrialFailed]:
        """All combinations have been checked before."""
        return ()

    def variants(self) -> Sequence[Variant]:
        """All combinations."""
        return self._variants

    def hopeless(self) -> Sequence[str]:
        """None is given up."""
        return ()


def _source(config: RunConfig, options: StudyOptions, *, may_write: bool) -> Source:
    planner = Planner(config)
    if config.study.search is None:
        _require_search_for(config, options)
        return _Grid(planner)
    planner.require_searchable()
    from lunet_cli.engine.studies.search import Search

    return Search(planner, options.storage, may_write=may_write)


def _require_search_for(config: RunConfig, options: StudyOptions) -> None:
    """Raise if something is asked of a study that only a search can do."""
    asked = ""
    if options.storage is not None:
        asked = "`storage`"
    elif config.study.stop_hopeless:
        asked = "`study.stop_hopeless`"
    if asked:
        raise ConfigError(
            f"{asked}: is for a search; a study that trains every combination shares its work by "
            "the run folders, and compares all of them at their end",
            hint="Search: `study.search=tpe`",
        )


def _require_alone() -> None:
    """Raise if a launcher has started several processes for one training."""
    world = os.environ.get("WORLD_SIZE", "")
    if world not in ("", "1"):
        raise ConfigError(
            f"WORLD_SIZE={world}: a launcher such as torchrun has started several processes for "
            "one training, and a study has many",
            hint="Start it without the launcher, as often as you like: all share the work.",
        )


def _require_no_run(folder: RunFolder) -> None:
    if folder.is_used:
        raise OutputError(
            f"{folder.path}: is the folder of one training, and a study needs its own",
            hint="Choose another `experiment.name`.",
        )

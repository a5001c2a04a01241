"""The job `plan`: from a folder to a configuration that says why it is as it is."""

from __future__ import annotations

import itertools
import json
import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lunet_cli.config.fit import network_spec
from lunet_cli.config.labels import resolve_regions
from lunet_cli.config.machine import kept_values, memory_bytes
from lunet_cli.config.network import NetworkSpec
from lunet_cli.config.network_cost import count_conv_flops
from lunet_cli.config.options import PlanOptions
from lunet_cli.config.planned import Setting, planned_config, planned_yaml
from lunet_cli.config.run import RunConfig
from lunet_cli.config.vocabulary import MIB, Size
from lunet_cli.engine.data.fingerprint import fingerprint
from lunet_cli.engine.data.nnunet_plans import NnunetPlan, read_nnunet_plan
from lunet_cli.engine.data.patches import batches
from lunet_cli.engine.data.splits import SPLIT_FILES
from lunet_cli.engine.networks.execution import resolve_device
from lunet_cli.engine.training.context import StepContext
from lunet_cli.engine.training.data_rules import (
    augmentation_rule,
    coarser_rule,
    find_nnunet_plans,
    foreground_rule,
    groups_of,
    intensity_rule,
    labels_rule,
    network_rule,
    rate_rule,
    smaller,
    spacing_rule,
    window_rule,
)
from lunet_cli.engine.training.gradients import Gradients
from lunet_cli.engine.training.interrupts import InterruptGuard
from lunet_cli.engine.training.loop import train_step, validate
from lunet_cli.engine.training.memory import step_mib
from lunet_cli.engine.training.setup import set_up
from lunet_cli.engine.training.state import TrainState
from lunet_cli.engine.training.verification import choose_plan
from lunet_cli.errors import ConfigError, DataError
from lunet_cli.records.files import write_atomically
from lunet_cli.records.fingerprint import Fingerprint
from lunet_cli.results.events import CaseRead, Event, Notice
from lunet_cli.results.words import format_seconds, plural

OnEvent = Callable[[Event], None]
_SHARE_OF_DEVICE = 0.5
# Twice the steps of a batch of 4 in about the same time, and a better network (docs/adr/0028).
_BATCH_SIZE = 2
_PROBED_SECONDS, _FEWEST_PROBED, _MOST_PROBED = 5.0, 3, 20
# Of the time that is left, for a machine that is busier later on. A training that is stopped
# earlier loses no more than that time: its rate stays the same, and its average is ready.
_RESERVE = 0.05
_USEFUL_EPOCHS = 10
# Many small steps are worth more than few large ones (docs/adr/0028), as long as a patch is no
# smaller than this; below the fewest steps, a training hardly begins.
_WANTED_STEPS, _FEWEST_STEPS, _COMFORTABLE_EDGE = 1000, 100, 64
# What a core reaches in training with few channels: 5 to 20 GFLOPS, by its instructions.
_CPU_FLOPS = 1e10
_VALIDATION_SHARE = 0.2
# Less than an epoch, so that a training of one is possible.
_WARMUP_STEPS, _MOST_WARMUP_EPOCHS = 80, 0.5

_RECIPE = (
    Setting(
        "training.optimizer",
        "soap",
        "Optimiser and average of the recipe that the shipped hippocampus.yaml has been measured "
        "with.",
    ),
    Setting("training.gradient_clip", 1.0),
    Setting(
        "training.ema_decay",
        0.998,
        "In place of a falling rate: the average of many networks is better than the last one.",
    ),
    Setting("training.loss.name", "auto", "Dice and cross-entropy."),
)


@dataclass(frozen=True)
class Plan:
    """A planned training.

    Args:
        config: The configuration.
        text: The same as YAML with the reason of each value.
        split: Case ids of both sides, where the data has no division that would be safe; it is
            written to the file that `data.split.file` names.
    """

    config: RunConfig
    text: str
    split: dict[str, list[str]] | None

    def write(self, path: Path) -> None:
        """Write the configuration, and beside it the split that it names."""
        if self.split is not None and self.config.data.split.file is not None:
            text = json.dumps(self.split, indent=2)
            write_atomically(self.config.data.split.file, lambda file: file.write(text.encode()))
        write_atomically(path, lambda file: file.write(self.text.encode()))


def _ignore(_: Event) -> None:
    """Do nothing with an event."""


def plan(
    root: Path | str,
    *,
    options: PlanOptions | None = None,
    name: str = "",
    split_file: Path | None = None,
    on_event: OnEvent = _ignore,
) -> Plan:
    """Look at a data set, measure steps on this machine, and choose a configuration.

    Args:
        root: The data set.
        options: What the training may use.
        name: Name of the run; that of the folder if empty.
        split_file: Where a division of the cases is written, if one is needed.
        on_event: Called with what is read and decided.

    Raises:
        DataError: Cases cannot be read, or nothing is labelled.
        ConfigError: Time or memory is too little.

    Example:
        >>> found = lunet.plan("images", options=lunet.PlanOptions(minutes=5))  # doctest: +SKIP
        >>> found.config.training.epochs  # doctest: +SKIP
        30
    """
    start, root, options = time.perf_counter(), Path(root).resolve(), options or PlanOptions()
    found = fingerprint(root, on_event=on_event)
    settings = list(_data_settings(found, root, name or planned_name(root)))
    division, split_settings = _division(found, root, split_file)
    settings += split_settings
    nnunet = _nnunet_plan(root, options)
    settings += _network_settings(found, options, nnunet)
    # A patch of nnU-Net's plan is taken as it is, if a training can begin with it.
    wanted_steps = _WANTED_STEPS if nnunet is None else _FEWEST_STEPS
    settings += _fitted(settings, found, options, wanted_steps, on_event)
    if nnunet is None:
        settings += _coarser(settings, found)
    measured = list(settings)
    if division is not None:  # Its file is not there yet, and any division takes as long.
        measured = [setting for setting in settings if setting.key != "data.split.file"]
    # Enough for a full batch, however few cases there are.
    batch = planned_config(settings).training.batch_size
    measured.append(Setting("training.patches_per_case", batch))
    settings += _time_settings(planned_config(measured), options, start, on_event)
    heading = (
        f"Planned by lunet for {root}: {plural(len(found.cases), 'case')}, {options.minutes:g} "
        "minutes on this machine. Each value can be changed."
    )
    return Plan(planned_config(settings), planned_yaml(settings, heading), division)


def planned_name(root: Path) -> str:
    """Name of the run for a data set: that of its folder, in letters that a run may have."""
    letters = [
        letter if letter.isascii() and letter.isalnum() else "_" for letter in root.resolve().name
    ]
    return "".join(letters).strip("_") or "planned"


def _data_settings(found: Fingerprint, root: Path, name: str) -> Iterator[Setting]:
    regions, why = labels_rule(found)
    if not regions:
        raise DataError(
            f"{root}: no voxel of any case is labelled, so there is nothing to learn",
            hint="Label maps hold whole numbers; 0 is background.",
        )
    if len(found.cases) < 2:
        raise DataError(
            f"{root}: holds a single case",
            hint="At least two are needed: one to learn from, one to validate on.",
        )
    yield Setting("experiment.name", name)
    yield Setting("data.root", str(root))
    yield Setting("data.dataset", found.layout, "Found by what lies in the folder.")
    labels: dict[str, object] = {label: list(values) for label, values in regions.items()}
    yield Setting("labels", labels, why)
    if found.ignored is not None:
        yield Setting("data.ignored_value", found.ignored, "dataset.json calls it ignore.")


def _division(
    found: Fingerprint, root: Path, split_file: Path | None
) -> tuple[dict[str, list[str]] | None, list[Setting]]:
    """Which cases validate, and the settings that say so."""
    for file in SPLIT_FILES:
        if (root / file).is_file():
            return None, [
                Setting("data.split.file", file, "It lies with the data: its first fold.")
            ]
    if not found.copies:
        why = "A fifth of the cases validates, as in five folds."
        return None, [Setting("data.split.val_fraction", 0.2, why)]
    groups = sorted(groups_of(found), key=len)
    if len(groups) < 2:
        raise DataError(f"{root}: all cases hold the same planes, so none can validate the others")
    num_val = max(1, round(0.2 * len(groups)))
    division = {
        "train": list(itertools.chain(*groups[num_val:])),
        "val": list(itertools.chain(*groups[:num_val])),
    }
    one, other = found.copies[0]
    why = f"{one} and {other} hold the same planes, and must stand on one side."
    path = str((split_file or Path(f"{planned_name(root)}_split.json")).resolve())
    return division, [Setting("data.split.file", path, why)]


def _nnunet_plan(root: Path, options: PlanOptions) -> NnunetPlan | None:
    if options.nnunet_plans is not None:
        return read_nnunet_plan(options.nnunet_plans)
    for path in find_nnunet_plans(root):
        if path.is_file():
            return read_nnunet_plan(path)
    return None


def _network_settings(
    found: Fingerprint, options: PlanOptions, nnunet: NnunetPlan | None
) -> Iterator[Setting]:
    spacing, is_resampled, why = spacing_rule(found, nnunet)
    yield Setting("preprocessing.spacing_mm", list(spacing) if is_resampled else None, why)
    yield from intensity_rule(found, nnunet)
    regions, _ = labels_rule(found)
    depth = statistics.median(grid[0] for grid in _grids(found, spacing))
    name, why = network_rule(len(regions), depth)
    if options.architecture is not None:
        name, why = options.architecture, "As asked for."
    yield Setting("model.architecture", name, why)
    yield Setting("model.drop_prob", 0.0, "Narrow networks have no channel to spare.")
    yield from _RECIPE
    config = planned_config([Setting("model.architecture", name)])
    spec = network_spec(config, in_channels=1, out_channels=1)
    yield Setting("training.learning_rate", *rate_rule(spec))
    yield Setting("augmentation.level", *augmentation_rule(spec))
    window, why = window_rule(_grids(found, spacing), spec.total_stride, nnunet)
    yield Setting("training.patch_size", list(window), why)
    batch_size, why = _BATCH_SIZE, "Small, for more steps in the same time."
    if nnunet is not None:
        batch_size, why = nnunet.batch_size, "As nnU-Net has planned."
    yield Setting("training.batch_size", batch_size, why)
    fraction, why = foreground_rule(len(regions), batch_size)
    yield Setting("training.foreground_fraction", fraction, why)


def _coarser(settings: list[Setting], found: Fingerprint) -> Iterator[Setting]:
    """The spacing again, where patches would see too little of a volume."""
    patch = planned_config(settings).training.patch_size
    spacing, _, _ = spacing_rule(found, None)
    coarser = coarser_rule(found, spacing, patch) if patch is not None else None
    if coarser is not None:
        yield Setting("preprocessing.spacing_mm", list(coarser[0]), coarser[1])


def _grids(found: Fingerprint, spacing: tuple[float, float, float]) -> list[Size]:
    """Voxels of each case at a spacing."""
    grids = []
    for case in found.cases:
        edges = np.array(case.size) * case.spacing_mm / np.array(spacing)
        depth, height, width = np.maximum(1, np.round(edges)).astype(int).tolist()
        grids.append((depth, height, width))
    return grids


def _fitted(
    settings: list[Setting],
    found: Fingerprint,
    options: PlanOptions,
    wanted_steps: int,
    on_event: OnEvent,
) -> list[Setting]:
    """Patch and batch size that a measured step has room for."""
    config = planned_config(settings)
    limit = options.memory_mib or _SHARE_OF_DEVICE * _device_mib(config)
    regions = dict(config.labels or {})
    _, activation = resolve_regions(regions, None, activation="auto", out_channels=None)
    num_logits = len(regions) + (activation == "softmax")
    spec = network_spec(config, in_channels=len(found.cases[0].channels), out_channels=num_logits)
    room = _Room(
        limit, (1 - _RESERVE) * (1 - _VALIDATION_SHARE) * 60 * options.minutes, wanted_steps
    )
    window, batch, needed = _size_of_step(config, spec, room)
    on_event(Notice(f"memory: a step takes {needed:,.0f} of {limit:,.0f} MiB (counted)"))
    by_key = {setting.key: setting for setting in settings}
    patch = by_key["training.patch_size"]
    if list(window) != patch.value:
        patch = Setting(patch.key, list(window), f"{patch.why} Shortened to fit memory and time.")
    why = by_key["training.batch_size"].why
    why += f" A step takes {needed:,.0f} MiB (counted), {limit:,.0f} MiB are allowed."
    return [patch, Setting("training.batch_size", batch, why)]


@dataclass(frozen=True)
class _Room:
    """MiB that a step may take, seconds for all steps, and how many steps are wanted in these."""

    mib: float
    seconds: float
    wanted_steps: int

    def takes(self, step_seconds: float, window: Size) -> bool:
        """Whether steps of this patch are fast enough, by a rough count."""
        if step_seconds <= self.seconds / self.wanted_steps:
            return True
        return max(window) <= _COMFORTABLE_EDGE and step_seconds <= self.seconds / _FEWEST_STEPS


def _size_of_step(config: RunConfig, spec: NetworkSpec, room: _Room) -> tuple[Size, int, float]:
    """Patch, batch and MiB of a step: smaller batches first, then smaller patches.

    Args:
        config: Names the network and its optimiser.
        spec: The network.
        room: What it may take. Time is counted roughly: it is not measured before it is known to
            end.

    Raises:
        ConfigError: Not even the smallest has room, or is fast enough.
    """
    stride, batch = spec.total_stride, config.training.batch_size
    window: Size | None = config.training.patch_size or (stride, stride, stride)
    needed = 0.0
    while window is not None:
        # Not even tried where a lower bound is too much.
        needed = 4 * batch * kept_values(spec, window) / MIB
        if needed <= room.mib:
            needed = step_mib(spec, window, batch, config.training)
        if needed <= room.mib and room.takes(_rough_seconds(config, spec, window, batch), window):
            return window, batch, needed
        if batch > 2:
            batch //= 2
        else:
            window = smaller(window, stride)
    raise _too_much(config, needed, room.mib)


def _too_much(config: RunConfig, needed: float, limit: float) -> ConfigError:
    """What to say where a step of the smallest patch takes too many MiB, or too long."""
    hint = "smaller network: `architecture=lunet_small_4f`"
    network = config.model.architecture
    if needed <= limit:
        return ConfigError(
            f"`minutes`: {network} is too slow for that here, even with the smallest patch",
            hint=f"Give it more time, or take a {hint}",
        )
    return ConfigError(
        f"`memory_mib`: a step of {network} takes {needed:,.0f} MiB with the smallest patch, and "
        f"{limit:,.0f} MiB are there",
        hint=f"Take a {hint}",
    )


def _rough_seconds(config: RunConfig, spec: NetworkSpec, window: Size, batch: int) -> float:
    """About how long a step takes on a CPU; other devices are fast enough for any plan."""
    if resolve_device(config.training.device) != "cpu":
        return 0.0
    # The way back takes twice as long as the way there.
    flops = 3 * batch * count_conv_flops(spec, window)
    return flops / (_CPU_FLOPS * torch.get_num_threads())


def _device_mib(config: RunConfig) -> float:
    if resolve_device(config.training.device) == "cuda":
        return torch.cuda.mem_get_info()[1] / MIB
    return min(memory_bytes(), 2**40) / MIB


@dataclass(frozen=True)
class _Pace:
    """Measured seconds of a step with its loading, of a validation, and of all that is before."""

    step: float
    validation: float
    beginning: float
    num_train: int


def _time_settings(
    config: RunConfig, options: PlanOptions, start: float, on_event: OnEvent
) -> Iterator[Setting]:
    pace = _measure(config, on_event)
    spent = time.perf_counter() - start
    # The training reads and checks once more what was read here, and measures its end.
    left = 60 * options.minutes - spent - pace.beginning - 2 * pace.validation
    batch = config.training.batch_size
    patches = _patches_per_case(pace, batch, left)
    steps = math.ceil(pace.num_train * patches / batch)
    epoch = steps * pace.step + pace.validation
    epochs = math.floor(left * (1 - _RESERVE) / epoch)
    if epochs < 1:
        needed = (60 * options.minutes - left + epoch / (1 - _RESERVE)) / 60
        raise ConfigError(
            f"`minutes`: {options.minutes:g} are too few for one epoch: reading the data takes "
            f"{format_seconds(pace.beginning)}, an epoch {format_seconds(epoch)}",
            hint=f"Set `minutes={math.ceil(needed * 1.2)}` or more.",
        )
    if epochs < _USEFUL_EPOCHS:
        on_event(Notice(f"time for {plural(epochs, 'epoch')} only; more minutes will give more"))
    why = f"So that validation takes about a fifth of the time: {plural(steps, 'step')} an epoch."
    yield Setting("training.patches_per_case", patches, why)
    warmup = round(min(_WARMUP_STEPS / steps, _MOST_WARMUP_EPOCHS), 3)
    yield Setting("training.warmup_epochs", warmup, "The rate rises before it stays.")
    why = f"{options.minutes:g} minutes: a step takes {pace.step:.2f} s, a validation"
    why += f" {pace.validation:.1f} s (measured); {_RESERVE:.0%} is kept for a busier machine."
    yield Setting("training.epochs", epochs, why)
    most = round(max(left, epoch) / 60, 2)
    yield Setting("training.max_minutes", most, "Where the machine is slower still, it stops then.")


def _patches_per_case(pace: _Pace, batch: int, left: float) -> int:
    """So many that validation takes about a fifth of the time, and enough epochs are left."""
    fewest = math.ceil(batch / pace.num_train)
    step_seconds = math.ceil(pace.num_train / batch) * pace.step
    if pace.validation <= _VALIDATION_SHARE * step_seconds:
        return fewest
    wanted = pace.validation / (_VALIDATION_SHARE * step_seconds)
    # A validation that takes long is worth fewer epochs: two at least, so that one can be chosen.
    num_epochs = max(2, min(_USEFUL_EPOCHS, _VALIDATION_SHARE * left / pace.validation))
    possible = (left * (1 - _RESERVE) / num_epochs - pace.validation) / step_seconds
    return max(fewest, math.floor(min(wanted, possible)))


def _measure(config: RunConfig, on_event: OnEvent) -> _Pace:
    """Run some steps and one validation of a training that is thrown away."""
    start = time.perf_counter()

    def on_reading(event: Event) -> None:
        if isinstance(event, CaseRead):  # The training tells all else once more.
            on_event(event)

    setup = set_up(config, on_reading)
    network = setup.new_network()
    chosen, _ = choose_plan(config.training, network, setup.first_batch, setup.loss, on_event)
    context = StepContext(setup, chosen)
    state = TrainState.fresh(network, config.training, chosen)
    beginning = time.perf_counter() - start
    step = _step_seconds(state, context)
    last = time.perf_counter()
    with InterruptGuard() as guard:
        validate(state.network, context, guard)
    validation = time.perf_counter() - last
    return _Pace(step, validation, beginning, len(setup.train))


def _step_seconds(state: TrainState, context: StepContext) -> float:
    """Mean seconds of a step with the loading of its batch."""
    gradients, seconds = Gradients(state, context), list[float]()
    while sum(seconds) < _PROBED_SECONDS and len(seconds) < _MOST_PROBED:
        context.setup.sampler.epoch, context.setup.sampler.first_step = len(seconds), 0
        last = time.perf_counter()
        for batch in batches(context.setup.loader):
            train_step(state, gradients, [batch], context, 1e-4)
            now = time.perf_counter()
            seconds.append(now - last)
            last = now
            if sum(seconds) >= _PROBED_SECONDS and len(seconds) > 2 * _FEWEST_PROBED:
                break
    # The first steps choose kernels and fill caches.
    return statistics.fmean(seconds[_FEWEST_PROBED:] or seconds[-1:])

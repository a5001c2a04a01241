"""From a configuration to everything that a training needs, all checked and nothing written."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lunet_cli.config.fit import (
    choose_window,
    network_spec,
    require_channels,
    require_deep_enough,
    require_full_batch,
    require_work_for,
)
from lunet_cli.config.foresight import require_startable
from lunet_cli.config.machine import batch_mistakes
from lunet_cli.config.run import RunConfig
from lunet_cli.config.training import fitting_loss
from lunet_cli.config.vocabulary import Size
from lunet_cli.engine.checkpoints.checkpoint import ModelCard
from lunet_cli.engine.data.cache import CacheKind, CaseStore, choose_cache
from lunet_cli.engine.data.cases import Case
from lunet_cli.engine.data.comparing import Expectations, compare_cases, warn
from lunet_cli.engine.data.labels import LabelScheme, labels_for
from lunet_cli.engine.data.mistakes import Mistakes
from lunet_cli.engine.data.patches import (
    Batch,
    EpochSampler,
    Failure,
    PatchDataset,
    batches,
    make_loader,
)
from lunet_cli.engine.data.preprocessing import Preprocessing
from lunet_cli.engine.data.splits import Split, load_cases
from lunet_cli.engine.networks import build_network
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.networks.execution import resolve_device
from lunet_cli.engine.process_group import ALONE, ProcessGroup, processes_here
from lunet_cli.engine.training.losses import Loss, make_loss
from lunet_cli.errors import ConfigError, DataError, LunetError
from lunet_cli.results.check import CaseFindings
from lunet_cli.results.events import CaseRead, Event, Notice, WarningIssued
from lunet_cli.results.words import plural


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What configuration and data decide about a training.

    Args:
        config: The configuration.
        card: The network and its use.
        split: The cases of both sides.
        layout: Name of the data layout.
        train: Training cases.
        val: Validation cases.
        loader: Training batches.
        sampler: The order of the training patches.
        loss: The loss.
        cache: Where volumes are kept.
        cache_mib: Size of all preprocessed volumes.
    """

    config: RunConfig
    card: ModelCard
    split: Split
    layout: str
    train: CaseStore
    val: CaseStore
    loader: DataLoader[Batch | Failure]
    sampler: EpochSampler
    loss: Loss
    cache: CacheKind
    cache_mib: float

    def new_network(self) -> SegmentationNetwork:
        """A network with weights drawn from the seed of the configuration."""
        torch.manual_seed(self.config.experiment.seed)
        return build_network(self.card.network)

    def first_batch(self) -> tuple[Tensor, Tensor]:
        """Images and targets of the first step."""
        self.sampler.epoch, self.sampler.first_step = 0, 0
        image, label = next(batches(self.loader))
        return image, self.card.labels.encode(label)


@dataclass(frozen=True, kw_only=True)
class _ReadCases:
    """The data of a training, every case of which has been read and found usable.

    Args:
        split: The cases of both sides.
        layout: Name of the data layout.
        labels: The labels.
        preprocessing: Applied to each case.
        train: Training cases.
        val: Validation cases.
        cache: Where volumes are kept.
        shapes: Shapes (C, D, H, W) of all images.
    """

    split: Split
    layout: str
    labels: LabelScheme
    preprocessing: Preprocessing
    train: CaseStore
    val: CaseStore
    cache: CacheKind
    shapes: list[tuple[int, ...]]


def set_up(
    config: RunConfig,
    on_event: Callable[[Event], None],
    *,
    may_write: bool = True,
    group: ProcessGroup = ALONE,
) -> Setup:
    """Find, split, read and check all cases, and describe the network that fits them.

    Args:
        config: The configuration.
        on_event: Called with what is found and decided.
        may_write: Whether preprocessed volumes may be kept in files.
        group: The processes that train together.

    Raises:
        DataError: Something is wrong with the data; the message has a line for each case.
        ConfigError: The configuration does not fit the data or the machine.
    """
    require_startable(config)
    require_work_for(config, group.size)
    read = _read_cases(config, on_event, may_write=may_write)
    channels = read.shapes[0][0]
    require_channels(config, channels)
    largest = tuple(np.max(read.shapes, axis=0)[1:].tolist())
    spec = network_spec(config, in_channels=channels, out_channels=read.labels.num_channels)
    window = choose_window(config, largest, spec.total_stride)
    require_deep_enough(config, spec, window, num_train=len(read.train), num_processes=group.size)
    device = resolve_device(config.training.device)
    too_large = batch_mistakes(config, spec, window, on_cpu=device == "cpu")
    if too_large:
        raise ConfigError(too_large[0])
    sampler = EpochSampler(
        num_cases=len(read.train),
        patches_per_case=config.training.patches_per_case,
        batch_size=config.training.batch_size,
        seed=config.experiment.seed,
        batches_per_step=config.training.accumulate_batches,
        rank=group.rank,
        num_shares=group.size,
    )
    return Setup(
        config=config,
        card=ModelCard(spec, read.labels, read.preprocessing, window),
        split=read.split,
        layout=read.layout,
        train=read.train,
        val=read.val,
        loader=_loader(config, read.train, window, sampler, device),
        sampler=sampler,
        loss=make_loss(config.training.loss, read.labels.activation, read.labels.names),
        cache=read.cache,
        cache_mib=sum(_kept_bytes(shape, config) for shape in read.shapes) / 2**20,
    )


def _loader(
    config: RunConfig, train: CaseStore, window: Size, sampler: EpochSampler, device: str
) -> DataLoader[Batch | Failure]:
    dataset = PatchDataset(
        train,
        patch_size=window,
        foreground_fraction=config.training.foreground_fraction,
        augmentation=config.augmentation,
        seed=config.experiment.seed,
    )
    return make_loader(
        dataset,
        sampler,
        num_workers=config.data.num_workers,
        # PyTorch warns where there is nothing to copy to.
        pin_memory=config.data.pin_memory and device == "cuda",
        persistent_workers=config.data.persistent_workers,
    )


def _read_cases(
    config: RunConfig, on_event: Callable[[Event], None], *, may_write: bool
) -> _ReadCases:
    mistakes = Mistakes()
    case_set, split = load_cases(config.data, seed=config.experiment.seed, mistakes=mistakes)
    labels = labels_for(config, case_set)
    # Where cases are left out, their number says nothing about the batches of the mended set.
    if not mistakes:
        require_full_batch(config, len(split.train))
    _tell_findings(config, case_set.layout, split, labels, on_event)
    for remark in case_set.remarks:
        on_event(WarningIssued(remark))
    preprocessing = Preprocessing.from_config(config.preprocessing)

    def store_of(cases: Sequence[Case], kind: CacheKind) -> CaseStore:
        return CaseStore(
            case_set,
            cases,
            preprocessing,
            labels,
            kind=kind,
            folder=config.data.cache_dir or config.experiment.output_dir / ".cache",
            precision=config.data.cache_precision,
        )

    cases = split.train + split.val
    cache = _choose_cache(config, cases, store_of(cases, "none"))
    if cache == "disk" and not may_write:
        cache = "none"
    train, val = store_of(split.train, cache), store_of(split.val, cache)
    expected = Expectations(config.preprocessing, labels, split)
    return _ReadCases(
        split=split,
        layout=case_set.layout,
        labels=labels,
        preprocessing=preprocessing,
        train=train,
        val=val,
        cache=cache,
        shapes=_scan((train, val), expected, on_event, mistakes),
    )


def _tell_findings(
    config: RunConfig,
    layout: str,
    split: Split,
    labels: LabelScheme,
    on_event: Callable[[Event], None],
) -> None:
    num_val = plural(len(split.val), "validation case")
    counts = f"{len(split.train)} training and {num_val}"
    # Asked before anything is told: it raises where the loss does not fit the labels.
    loss_name = fitting_loss(config.training.loss.name, labels.activation)
    on_event(Notice(f"data: {layout}, {counts} ({split.origin})"))
    if config.training.loss.name == "auto":
        why = f"auto, with a {labels.activation} of {', '.join(labels.names)}"
        on_event(Notice(f"loss: {loss_name} ({why})"))


def _choose_cache(config: RunConfig, cases: Sequence[Case], store: CaseStore) -> CacheKind:
    """Where the volumes are kept, judged by one of them; `store` keeps none."""
    if config.data.cache != "auto":
        return config.data.cache
    shape = _first_shape(store)
    if shape is None:
        return "none"
    limit = config.data.cache_limit_mib // processes_here()
    size = _kept_bytes(shape, config)
    return choose_cache(len(cases), "auto", limit_mib=limit, case_bytes=size)


def _kept_bytes(shape: tuple[int, ...], config: RunConfig) -> int:
    """Bytes of a prepared case: its image (C, D, H, W) and its labels in uint8."""
    number = 4 if config.data.cache_precision == "fp32" else 2
    return number * math.prod(shape) + math.prod(shape[1:])


def _first_shape(store: CaseStore) -> tuple[int, ...] | None:
    """The image (C, D, H, W) of a case to judge the others by; None where none can be used."""
    for index in range(len(store)):
        with contextlib.suppress(LunetError):  # The scan of all cases tells it.
            # Large volumes lie on the disk since an earlier run.
            return store.kept_shape(index) or store.shape(index)
    return None


def _scan(
    stores: Sequence[CaseStore],
    expected: Expectations,
    on_event: Callable[[Event], None],
    mistakes: Mistakes,
) -> list[tuple[int, ...]]:
    """Read and check every case, and return the shapes of their images.

    Raises:
        DataError: With everything that is wrong with the cases.
    """
    total, done = sum(map(len, stores)), 0
    shapes: dict[str, tuple[int, ...]] = {}

    def report() -> None:
        nonlocal done
        done += 1
        on_event(CaseRead(done, total))

    for store in stores:
        shapes |= store.scan(report, mistakes)
    found: list[CaseFindings] = []
    for store in stores:
        for index, case in enumerate(store.cases):
            if case.case_id in shapes:
                found.append(store.findings(index))
    _compare(found, expected, on_event, mistakes)
    mistakes.require_none()
    return list(shapes.values())


def _compare(
    found: Sequence[CaseFindings],
    expected: Expectations,
    on_event: Callable[[Event], None],
    mistakes: Mistakes,
) -> None:
    """Warn of what is odd about single cases and all together; note what cannot be trained with."""
    problems = list(itertools.chain(*(case.problems for case in found)))
    for problem in compare_cases(found, expected):
        if problem.is_error:
            mistakes.add(DataError(problem.text, hint=problem.hint))
        else:
            problems.append(problem)
    warn(problems, on_event)

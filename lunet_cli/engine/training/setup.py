"""From a configuration to everything that a training needs, all checked and nothing written."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

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
from lunet_cli.engine.data.cases import Case, CaseSet
from lunet_cli.engine.data.comparing import Expectations, compare_cases, warn
from lunet_cli.engine.data.content import CONTENTS
from lunet_cli.engine.data.labels import LabelScheme, labels_for
from lunet_cli.engine.data.mistakes import Mistakes
from lunet_cli.engine.data.patches import (
    Batch,
    EpochSampler,
    Failure,
    JoinedStores,
    PatchDataset,
    batches,
    make_loader,
)
from lunet_cli.engine.data.preprocessing import Preprocessing
from lunet_cli.engine.data.splits import Split, load_cases
from lunet_cli.engine.networks import build_network
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.networks.execution import ExecutionPlan, resolve_device
from lunet_cli.engine.process_group import ALONE, ProcessGroup, processes_here
from lunet_cli.engine.training.distillation import Teacher
from lunet_cli.engine.training.losses import Loss, make_loss
from lunet_cli.engine.training.teachers import TeacherSource, find_teacher
from lunet_cli.engine.training.unlabelled import find_unlabelled
from lunet_cli.errors import ConfigError, DataError, LunetError
from lunet_cli.records.manifest import RecordedTeacher
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
        unlabelled: Cases that train without labels; None where there are none.
        teacher: What is learned from beside the labels; None where these are all.
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
    unlabelled: CaseStore | None = None
    teacher: TeacherSource | None = None
    loader: DataLoader[Batch | Failure]
    sampler: EpochSampler
    loss: Loss
    cache: CacheKind
    cache_mib: float

    @property
    def learned_labels(self) -> LabelScheme:
        """The labels of training patches, with a value for those of unlabelled cases."""
        labels = self.card.labels
        return labels if self.unlabelled is None else labels.with_unlabelled

    @property
    def unlabelled_cases(self) -> tuple[Case, ...]:
        """Those that train without labels."""
        return () if self.unlabelled is None else self.unlabelled.cases

    def start_teacher(self, plan: ExecutionPlan) -> Teacher | None:
        """The teacher, ready for a student that is computed by `plan`; None where there is none."""
        if self.teacher is None:
            return None
        return self.teacher.start(self.config.distillation, self.card.labels, plan)

    def recorded_teacher(self) -> RecordedTeacher | None:
        """The teacher by its content; None where there is none."""
        if self.teacher is None:
            return None
        cases = (*self.train.cases, *self.unlabelled_cases)
        return self.teacher.record(cases, cache_folder(self.config) / CONTENTS)

    def new_network(self) -> SegmentationNetwork:
        """A network with weights drawn from the seed of the configuration."""
        torch.manual_seed(self.config.experiment.seed)
        return build_network(self.card.network)

    def first_batch(self) -> tuple[Tensor, Tensor]:
        """Images and targets of the first step."""
        self.sampler.epoch, self.sampler.first_step = 0, 0
        image, label, _ = next(batches(self.loader))
        return image, self.learned_labels.encode(label)


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
        unlabelled: Cases that train without labels; None where there are none.
        cache: Where volumes are kept.
        shapes: Shapes (C, D, H, W) of all images.
    """

    split: Split
    layout: str
    labels: LabelScheme
    preprocessing: Preprocessing
    train: CaseStore
    val: CaseStore
    unlabelled: CaseStore | None
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
    teacher = find_teacher(config.distillation)
    read = _read_cases(config, teacher, on_event, may_write=may_write)
    channels = read.shapes[0][0]
    require_channels(config, channels)
    largest = tuple(np.max(read.shapes, axis=0)[1:].tolist())
    spec = network_spec(config, in_channels=channels, out_channels=read.labels.num_channels)
    window = choose_window(config, largest, spec.total_stride)
    num_train = len(read.train) + (0 if read.unlabelled is None else len(read.unlabelled))
    require_deep_enough(config, spec, window, num_train=num_train, num_processes=group.size)
    device = resolve_device(config.training.device)
    too_large = batch_mistakes(config, spec, window, on_cpu=device == "cpu")
    if too_large:
        raise ConfigError(too_large[0])
    sampler = EpochSampler(
        num_cases=num_train,
        patches_per_case=config.training.patches_per_case,
        batch_size=config.training.batch_size,
        seed=config.experiment.seed,
        batches_per_step=config.training.accumulate_batches,
        rank=group.rank,
        num_shares=group.size,
    )
    card = ModelCard(spec, read.labels, read.preprocessing, window)
    if teacher is not None:
        teacher.require_fitting(card)
        for remark in teacher.remarks(read.split.val, window):
            on_event(remark)
    return Setup(
        config=config,
        card=card,
        split=read.split,
        layout=read.layout,
        train=read.train,
        val=read.val,
        unlabelled=read.unlabelled,
        teacher=teacher,
        loader=_loader(config, read, window, sampler, device),
        sampler=sampler,
        loss=make_loss(config.training.loss, read.labels.activation, read.labels.names),
        cache=read.cache,
        cache_mib=sum(_kept_bytes(shape, config) for shape in read.shapes) / 2**20,
    )


def _loader(
    config: RunConfig, read: _ReadCases, window: Size, sampler: EpochSampler, device: str
) -> DataLoader[Batch | Failure]:
    store: CaseStore | JoinedStores = read.train
    unlabelled_value = 0
    if read.unlabelled is not None:
        store = JoinedStores(read.train, read.unlabelled)
        unlabelled_value = read.labels.with_unlabelled.ignored or 0
    dataset = PatchDataset(
        store,
        patch_size=window,
        foreground_fraction=config.training.foreground_fraction,
        augmentation=config.augmentation,
        seed=config.experiment.seed,
        unlabelled_value=unlabelled_value,
    )
    return make_loader(
        dataset,
        sampler,
        num_workers=config.data.num_workers,
        # PyTorch warns where there is nothing to copy to.
        pin_memory=config.data.pin_memory and device == "cuda",
        persistent_workers=config.data.persistent_workers,
    )


def cache_folder(config: RunConfig) -> Path:
    """Where preprocessed volumes are kept, if they are kept in files."""
    return config.data.cache_dir or config.experiment.output_dir / ".cache"


def _read_cases(
    config: RunConfig,
    teacher: TeacherSource | None,
    on_event: Callable[[Event], None],
    *,
    may_write: bool,
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

    def store_of(of: CaseSet, kind: CacheKind) -> CaseStore:
        return CaseStore(
            of,
            of.cases,
            preprocessing,
            labels,
            kind=kind,
            folder=cache_folder(config),
            precision=config.data.cache_precision,
        )

    cases = split.train + split.val
    shape = _first_shape(store_of(replace(case_set, cases=cases), "none"))
    training, others = _taught(
        replace(case_set, cases=split.train),
        _unlabelled_cases(config, cases, shape, on_event, mistakes),
        teacher,
        labels,
        mistakes,
    )
    additional = () if others is None else others.cases
    cache = _choose_cache(config, len(cases) + len(additional), shape)
    if cache == "disk" and not may_write:
        cache = "none"
    train = store_of(training, cache)
    val = store_of(replace(case_set, cases=split.val), cache)
    unlabelled = None if others is None else store_of(others, cache)
    # Whether a copy of a validation case trains, with labels or without, is told.
    sides = replace(split, train=split.train + additional)
    expected = Expectations(config.preprocessing, labels, sides)
    stores = tuple(store for store in (train, val, unlabelled) if store is not None)
    return _ReadCases(
        split=split,
        layout=case_set.layout,
        labels=labels,
        preprocessing=preprocessing,
        train=train,
        val=val,
        unlabelled=unlabelled,
        cache=cache,
        shapes=_scan(stores, expected, on_event, mistakes),
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


def _unlabelled_cases(
    config: RunConfig,
    labelled: Sequence[Case],
    shape: tuple[int, ...] | None,
    on_event: Callable[[Event], None],
    mistakes: Mistakes,
) -> CaseSet | None:
    """The volumes without labels, if the configuration names a folder of them.

    Args:
        config: The configuration.
        labelled: The cases that train and validate.
        shape: Of the image (C, D, H, W) of one of them; None where none can be used.
        on_event: Called with what is found.
        mistakes: Gathers what is wrong with the folder.
    """
    folder = config.distillation.unlabelled_dir
    if folder is None or shape is None:
        return None
    with mistakes.gathering():
        found = find_unlabelled(folder, labelled, num_channels=shape[0], on_event=on_event)
        on_event(Notice(f"unlabelled: {plural(len(found.cases), 'volume')} of {folder}"))
        return found
    return None


def _taught(
    training: CaseSet,
    unlabelled: CaseSet | None,
    teacher: TeacherSource | None,
    labels: LabelScheme,
    mistakes: Mistakes,
) -> tuple[CaseSet, CaseSet | None]:
    """Both sets with what the teacher has for each of their cases."""
    if teacher is None:
        return training, unlabelled
    num_train = len(training.cases)
    others = () if unlabelled is None else unlabelled.cases
    together = replace(training, cases=training.cases + others)
    with mistakes.gathering():
        attached = teacher.attached(together, labels)
        training = replace(attached, cases=attached.cases[:num_train])
        if unlabelled is not None:
            others = attached.cases[num_train:]
            unlabelled = replace(unlabelled, cases=others, soft_maps=attached.soft_maps)
    return training, unlabelled


def _choose_cache(config: RunConfig, num_cases: int, shape: tuple[int, ...] | None) -> CacheKind:
    """Where the volumes are kept, judged by the shape of one of them."""
    if config.data.cache != "auto":
        return config.data.cache
    if shape is None:
        return "none"
    limit = config.data.cache_limit_mib // processes_here()
    size = _kept_bytes(shape, config)
    return choose_cache(num_cases, "auto", limit_mib=limit, case_bytes=size)


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

"""From a configuration to everything that a training needs, with all checks made and nothing written."""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lunet_cli.config.fit import (
    choose_window,
    network_spec,
    require_channels,
    require_deep_enough,
    require_full_batch,
)
from lunet_cli.config.foresight import require_startable
from lunet_cli.config.machine import batch_mistakes
from lunet_cli.config.run import RunConfig
from lunet_cli.config.training import fitting_loss
from lunet_cli.engine.checkpoints.checkpoint import ModelCard
from lunet_cli.engine.data.cases import Case
from lunet_cli.engine.data.labels import LabelScheme, resolve_labels
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
from lunet_cli.engine.data.store import CacheKind, CaseStore, PreparedCase, choose_cache
from lunet_cli.engine.networks import build_network
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.networks.execution import resolve_device
from lunet_cli.engine.training.losses import Loss, make_loss
from lunet_cli.errors import ConfigError, DataError, LunetError
from lunet_cli.results.events import CaseRead, Event, Notice, warnings_to
from lunet_cli.results.words import plural


@dataclass(frozen=True)
class Setup:
    """What a training works with.

    Args:
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

    def new_network(self, seed: int) -> SegmentationNetwork:
        """A network with weights drawn from `seed`; leaves the generator seeded for the training."""
        torch.manual_seed(seed)
        return build_network(self.card.network)

    def first_batch(self) -> tuple[Tensor, Tensor]:
        """Images and targets of the first step."""
        self.sampler.epoch, self.sampler.first_step = 0, 0
        image, label = next(batches(self.loader))
        return image, self.card.labels.encode(label)


class _ReadCases(NamedTuple):
    """The data of a training, every case of which has been read and found usable.

    Args:
        split: The cases of both sides.
        layout: Name of the data layout.
        scheme: The labels.
        preprocessing: Applied to each case.
        train: Training cases.
        val: Validation cases.
        cache: Where volumes are kept.
        shapes: Shapes (C, D, H, W) of all images.
    """

    split: Split
    layout: str
    scheme: LabelScheme
    preprocessing: Preprocessing
    train: CaseStore
    val: CaseStore
    cache: CacheKind
    shapes: list[tuple[int, ...]]


def set_up(
    config: RunConfig, on_event: Callable[[Event], None], *, may_write: bool = True
) -> Setup:
    """Find, split, read and check all cases, and describe the network that fits them.

    Args:
        config: The configuration.
        on_event: Called with what is found and decided.
        may_write: Whether preprocessed volumes may be kept in files.

    Raises:
        DataError: Something is wrong with the data; the message has a line for each case.
        ConfigError: The configuration does not fit the data or the machine.
    """
    require_startable(config)
    read = _read_cases(config, on_event, may_write=may_write)
    channels = read.shapes[0][0]
    require_channels(config, channels)
    depth, height, width = (max(shape[axis] for shape in read.shapes) for axis in (1, 2, 3))
    spec = network_spec(config, in_channels=channels, out_channels=read.scheme.num_channels)
    window = choose_window(config, (depth, height, width), spec.total_stride)
    require_deep_enough(config, spec, window, num_train=len(read.train))
    device = resolve_device(config.training.device)
    too_large = batch_mistakes(config, spec, window, on_cpu=device == "cpu")
    if too_large:
        raise ConfigError(too_large[0])
    seed = config.experiment.seed
    dataset = PatchDataset(
        read.train,
        patch_size=window,
        foreground_fraction=config.training.foreground_fraction,
        augmentation=config.augmentation,
        seed=seed,
    )
    sampler = EpochSampler(
        num_cases=len(read.train),
        patches_per_case=config.training.patches_per_case,
        batch_size=config.training.batch_size,
        seed=seed,
    )
    loader = make_loader(
        dataset,
        sampler,
        num_workers=config.data.num_workers,
        pin_memory=config.data.pin_memory
        and device == "cuda",  # PyTorch warns where there is nothing to copy to.
        persistent_workers=config.data.persistent_workers,
    )
    return Setup(
        ModelCard(spec, read.scheme, read.preprocessing, window),
        read.split,
        read.layout,
        read.train,
        read.val,
        loader,
        sampler,
        make_loss(config.training.loss, read.scheme.activation),
        read.cache,
        sum(map(_kept_bytes, read.shapes)) / 2**20,
    )


def _read_cases(
    config: RunConfig, on_event: Callable[[Event], None], *, may_write: bool
) -> _ReadCases:
    mistakes = Mistakes()
    case_set, split = load_cases(config.data, seed=config.experiment.seed, mistakes=mistakes)
    scheme = resolve_labels(
        config.labels,
        case_set.labels,
        activation=config.model.activation,
        out_channels=config.model.out_channels,
    )
    loss_name = fitting_loss(config.training.loss.name, scheme.activation)
    if not mistakes:
        require_full_batch(config, len(split.train))
    on_event(
        Notice(
            f"data: {case_set.layout}, {len(split.train)} training and {plural(len(split.val), 'validation case')} "
            f"({split.origin})"
        )
    )
    if config.training.loss.name == "auto":
        on_event(
            Notice(
                f"loss: {loss_name} (auto, with a {scheme.activation} of {', '.join(scheme.names)})"
            )
        )
    preprocessing = Preprocessing.from_config(config.preprocessing)

    def store_of(cases: Sequence[Case], kind: CacheKind) -> CaseStore:
        folder = config.experiment.output_dir / ".cache"
        return CaseStore(case_set, cases, preprocessing, scheme, kind=kind, folder=folder)

    cases = split.train + split.val
    sample = _first_usable(store_of(cases, "none"))
    cache: CacheKind = "none"
    if sample is not None:
        cache = choose_cache(
            cases, config.data.cache, limit_mib=config.data.cache_limit_mib, sample=sample
        )
    if cache == "disk" and not may_write:
        cache = "none"
    train, val = store_of(split.train, cache), store_of(split.val, cache)
    shapes = _scan((train, val), on_event, mistakes)
    return _ReadCases(split, case_set.layout, scheme, preprocessing, train, val, cache, shapes)


def _kept_bytes(shape: tuple[int, ...]) -> int:
    """Bytes of a prepared case: its image (C, D, H, W) in fp32 and its labels in uint8."""
    return 4 * math.prod(shape) + math.prod(shape[1:])


def _first_usable(store: CaseStore) -> PreparedCase | None:
    """A case to judge the others by; None where not one of them can be used."""
    for index in range(len(store)):
        with contextlib.suppress(LunetError):  # The scan of all cases tells it.
            return store[index]
    return None


def _scan(
    stores: Sequence[CaseStore], on_event: Callable[[Event], None], mistakes: Mistakes
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
        shapes |= store.scan(report, mistakes, warnings_to(on_event))
    counts = Counter(shape[0] for shape in shapes.values())
    usual = counts.most_common(1)[0][0] if counts else 0
    for name, shape in shapes.items():
        if shape[0] != usual:
            mistakes.add(
                DataError(
                    f"case {name}: number of image channels {shape[0]}, of other cases {usual}",
                    hint="All cases need the same number of channels.",
                )
            )
    mistakes.require_none()
    return list(shapes.values())

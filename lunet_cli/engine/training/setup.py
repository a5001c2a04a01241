"""From a configuration to everything that a training needs, with all checks made and nothing written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lunet_cli.config.network import NetworkSpec
from lunet_cli.config.presets import parse_preset
from lunet_cli.config.run import RunConfig
from lunet_cli.engine.checkpoints.checkpoint import ModelCard
from lunet_cli.engine.data.labels import LabelScheme, resolve_labels
from lunet_cli.engine.data.patches import (
    Batch,
    EpochSampler,
    Failure,
    PatchDataset,
    Size,
    batches,
    make_loader,
)
from lunet_cli.engine.data.preprocessing import Preprocessing
from lunet_cli.engine.data.splits import Split, load_cases
from lunet_cli.engine.data.store import CacheKind, CaseStore, choose_cache
from lunet_cli.engine.networks import build_network
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.training.losses import Loss, make_loss
from lunet_cli.errors import ConfigError, DataError
from lunet_cli.results.events import CaseRead, Event, Notice, cautions_to
from lunet_cli.results.words import plural

_WHOLE_VOLUME_VOXELS = 128**3
_PATCH_EDGE = 96


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


def set_up(config: RunConfig, on_event: Callable[[Event], None], *, may_write: bool = True) -> Setup:
    """Find, split, read and check all cases, and describe the network that fits them.

    Args:
        config: The configuration.
        on_event: Called with what happens.
        may_write: Whether preprocessed volumes may go to files; if not, those that would are read anew each time.

    Raises:
        DataError: Something is wrong with the data; the message names the file.
        ConfigError: The configuration does not fit the data.
    """
    data, seed = config.data, config.experiment.seed
    case_set, split = load_cases(data, seed=seed)
    scheme = resolve_labels(
        config.labels, case_set.labels, activation=config.model.activation, out_channels=config.model.out_channels
    )
    _check_loss(config, scheme)
    _check_batch_size(config, len(split.train))
    on_event(
        Notice(
            f"data: {case_set.layout}, {len(split.train)} training and {plural(len(split.val), 'validation case')} "
            f"({split.origin})"
        )
    )
    preprocessing = Preprocessing.from_config(config.preprocessing)
    probe = CaseStore(case_set, split.train[:1], preprocessing, scheme, kind="none", folder=_cache_folder(config))
    cases = split.train + split.val
    sample = probe[0]
    cache = choose_cache(cases, data.cache, limit_mib=data.cache_limit_mib, sample=sample)
    if cache == "disk" and not may_write:
        cache = "none"
    train, val = (
        CaseStore(case_set, side, preprocessing, scheme, kind=cache, folder=_cache_folder(config))
        for side in (split.train, split.val)
    )
    shapes = _scan(train, val, on_event)
    channels = _common_channels(shapes, config, [case.case_id for case in cases])
    depth, height, width = (max(shape[axis] for shape in shapes) for axis in (1, 2, 3))
    _check_benchmark(config, channels)
    spec = _network_spec(config, scheme, channels)
    window = choose_window(config, (depth, height, width), spec.total_stride)
    if spec.topology != "mednext":
        _check_bottleneck(config, window, spec.total_stride, num_patches=len(split.train))
    dataset = PatchDataset(
        train,
        patch_size=window,
        foreground_fraction=config.training.foreground_fraction,
        augmentation=config.augmentation,
        seed=seed,
    )
    sampler = EpochSampler(
        num_cases=len(train),
        patches_per_case=config.training.patches_per_case,
        batch_size=config.training.batch_size,
        seed=seed,
    )
    loader = make_loader(
        dataset,
        sampler,
        num_workers=data.num_workers,
        pin_memory=data.pin_memory,
        persistent_workers=data.persistent_workers,
    )
    card = ModelCard(spec, scheme, preprocessing, window)
    loss = make_loss(config.training.loss, scheme.activation)
    cache_mib = len(cases) * (sample.image.nbytes + sample.label.nbytes) / 2**20
    return Setup(card, split, case_set.layout, train, val, loader, sampler, loss, cache, cache_mib)


def choose_window(config: RunConfig, largest: Size, stride: int) -> Size:
    """Patch size: what the configuration says, or else whole volumes, or else patches of a fixed edge.

    Args:
        config: The configuration.
        largest: Largest edge of any case, per axis.
        stride: The network's total stride; a size that is not given is rounded up to a multiple of it.
    """
    if config.training.patch_size is not None:
        return config.training.patch_size
    is_small = largest[0] * largest[1] * largest[2] <= _WHOLE_VOLUME_VOXELS
    edges = largest if is_small else tuple(min(edge, _PATCH_EDGE) for edge in largest)
    depth, height, width = (-(-edge // stride) * stride for edge in edges)
    return depth, height, width


def _cache_folder(config: RunConfig) -> Path:
    return config.experiment.output_dir / ".cache"


def _scan(train: CaseStore, val: CaseStore, on_event: Callable[[Event], None]) -> list[tuple[int, ...]]:
    total, done, shapes = len(train) + len(val), 0, []

    def report() -> None:
        nonlocal done
        done += 1
        on_event(CaseRead(done, total))

    for store in (train, val):
        shapes += [shape for shape, _ in store.scan(report, cautions_to(on_event))]
    return shapes


def _common_channels(shapes: list[tuple[int, ...]], config: RunConfig, case_ids: list[str]) -> int:
    counts = {shape[0]: name for shape, name in zip(shapes, case_ids, strict=True)}
    if len(counts) > 1:
        (a, first), (b, second) = list(counts.items())[:2]
        raise DataError(
            f"case {first} has {plural(a, 'channel')}, case {second} has {b}", hint="All need the same number."
        )
    found = next(iter(counts))
    if config.model.in_channels not in (None, found):
        raise ConfigError(
            f"model.in_channels: {config.model.in_channels}, but the images have {found}",
            hint="Remove model.in_channels to take the number that the data has.",
        )
    return found


def _network_spec(config: RunConfig, scheme: LabelScheme, in_channels: int) -> NetworkSpec:
    return replace(
        parse_preset(config.model.architecture).spec,
        in_channels=in_channels,
        out_channels=scheme.num_channels,
        dropout=config.model.drop_prob,
    )


def _check_loss(config: RunConfig, scheme: LabelScheme) -> None:
    loss = config.training.loss.name
    if loss in ("ce", "dice_ce") and scheme.activation != "softmax":
        raise ConfigError(
            f"training.loss.name: {loss} needs exclusive classes, and the labels {', '.join(scheme.names)} are trained "
            "with a sigmoid",
            hint="Use dice, bce or dice_bce, or set model.activation: softmax.",
        )
    if loss in ("bce", "dice_bce") and scheme.activation != "sigmoid":
        raise ConfigError(
            f"training.loss.name: {loss} needs independent channels, and the labels {', '.join(scheme.names)} are "
            "trained with a softmax",
            hint="Use dice, ce or dice_ce, or set model.activation: sigmoid.",
        )


def _check_benchmark(config: RunConfig, in_channels: int) -> None:
    size = config.benchmark.input_size
    if config.benchmark.enabled and size[1] != in_channels:
        raise ConfigError(
            f"benchmark.input_size: {list(size)} has {plural(size[1], 'channel')}, and the images have {in_channels}",
            hint="The order is batch, channels, depth, height, width.",
        )


def _check_batch_size(config: RunConfig, num_train: int) -> None:
    num_patches = num_train * config.training.patches_per_case
    if config.training.batch_size > num_patches:
        raise ConfigError(
            f"training.batch_size: {config.training.batch_size} is more than the {num_patches} patches of an epoch "
            f"({num_train} training cases x patches_per_case {config.training.patches_per_case})",
            hint=f"Set training.batch_size={num_patches} or less, or raise training.patches_per_case.",
        )


def _check_bottleneck(config: RunConfig, window: Size, stride: int, *, num_patches: int) -> None:
    """Batch normalisation needs more than one value per channel at the deepest level of the smallest batch."""
    smallest = num_patches * config.training.patches_per_case % config.training.batch_size or config.training.batch_size
    voxels = smallest
    for edge in window:
        voxels *= -(-edge // stride)
    if voxels < 2:
        raise ConfigError(
            f"training.patch_size: {' x '.join(map(str, window))} leaves one voxel at the deepest level (stride "
            f"{stride}) of a batch of 1, too little for batch normalisation",
            hint=f"Use patches of at least {2 * stride} voxels along one axis, or larger batches.",
        )

"""What can be known of a configuration before a volume is read: for `config check` and `train`."""

from __future__ import annotations

import itertools
import math
import shutil
from pathlib import Path

from lunet_cli.config.data import PHANTOM_LABELS, PHANTOM_NAME, DataConfig
from lunet_cli.config.description import read_description, require_apart, require_folder
from lunet_cli.config.distillation import DistillationConfig
from lunet_cli.config.fit import (
    choose_window,
    count_validation,
    network_spec,
    require_channels,
    require_deep_enough,
    require_full_batch,
)
from lunet_cli.config.grouping import group_names
from lunet_cli.config.labels import Activation, Regions, resolve_regions
from lunet_cli.config.machine import GIB, memory_bytes, require_possible
from lunet_cli.config.run import RunConfig
from lunet_cli.config.training import fitting_loss
from lunet_cli.config.vocabulary import Size
from lunet_cli.errors import ConfigError, DataError

_VALUE_BYTES = 5  # An image in fp32 and its labels in uint8.


def require_startable(config: RunConfig) -> None:
    """Raise if a training of this configuration could not start on this machine.

    Raises:
        LunetError: Of the kind that the training would raise.
    """
    require_possible(config)
    require_files(config.data)
    _require_teacher(config.distillation)
    if config.labels is not None:
        _resolve(config, None)
    if config.data.uses_phantom:
        _require_fit_of_phantom(config)


def require_files(data: DataConfig) -> None:
    """Raise if a folder or file that the section `data` names is not one.

    Raises:
        DataError: With its name and the nearest one.
        ConfigError: Two are the same.
    """
    for folder in (data.root, data.train_dir, data.val_dir):
        if folder is not None:
            require_folder(folder)
    if data.train_dir is not None and data.val_dir is not None:
        require_apart(data.train_dir, data.val_dir)
    splits_file = data.split.path_below(data.root)
    if splits_file is not None:
        read_description(splits_file)


def _require_teacher(config: DistillationConfig) -> None:
    """Raise if nothing lies where the section `distillation` says.

    Raises:
        DataError: With its name.
    """
    if config.unlabelled_dir is not None:
        require_folder(config.unlabelled_dir)
    for path in config.teacher:
        # A bare word may be the name of a model, which is looked up when it is loaded.
        if not path.exists() and (len(path.parts) > 1 or path.suffix):
            raise DataError(
                f"distillation.teacher: there is no {path}",
                hint="Name a run folder, a checkpoint, a model, or a folder of probability maps.",
            )


def _resolve(config: RunConfig, known: Regions | None) -> tuple[Regions, Activation]:
    """The labels and their activation, for which the configuration has a loss."""
    model = config.model
    regions, activation = resolve_regions(
        config.labels, known, activation=model.activation, out_channels=model.out_channels
    )
    fitting_loss(config.training.loss.name, activation)
    return regions, activation


def _require_fit_of_phantom(config: RunConfig) -> None:
    data = config.data
    regions, activation = _resolve(config, PHANTOM_LABELS)
    _require_names_of_phantom(regions)
    require_channels(config, 1)
    edge = _edge_of_phantom(config)
    case_ids = [PHANTOM_NAME.format(index) for index in range(data.phantom.num_cases)]
    if data.split.group_pattern is not None:
        group_names(data.split.group_pattern, case_ids)
    # How many cases of each group or of a file validate is known once the cases are read.
    num_train = data.phantom.num_cases
    if data.split.file is None and data.split.group_pattern is None:
        num_train -= count_validation(data.split, num_train)
        require_full_batch(config, num_train)
    spec = network_spec(
        config, in_channels=1, out_channels=len(regions) + (activation == "softmax")
    )
    window = choose_window(config, edge, spec.total_stride)
    require_deep_enough(config, spec, window, num_train=num_train)
    _require_room_for_phantom(config, math.prod(edge))


def _require_names_of_phantom(regions: Regions) -> None:
    unnamed = set(itertools.chain(*PHANTOM_LABELS.values()))
    unnamed.difference_update(*regions.values())
    if unnamed:
        raise ConfigError(
            f"labels: label values {', '.join(map(str, sorted(unnamed)))} not configured, and the "
            "built-in volumes hold them",
            hint="Name them, or leave the section labels out.",
        )


def _edge_of_phantom(config: RunConfig) -> Size:
    """Voxels of a preprocessed volume; those that are built have 1 mm."""
    size = config.data.phantom.size
    spacing = config.preprocessing.spacing_mm or (1.0, 1.0, 1.0)
    depth, height, width = (max(1, round(size / wanted)) for wanted in spacing)
    return depth, height, width


def _require_room_for_phantom(config: RunConfig, num_voxels: int) -> None:
    data = config.data
    each = _VALUE_BYTES * num_voxels
    total = each * data.phantom.num_cases
    what = (
        f"data.phantom: {data.phantom.num_cases} volumes of {num_voxels:,} voxels need "
        f"{total / GIB:,.0f} GiB"
    )
    fits_limit = total <= data.cache_limit_mib * 2**20
    in_memory = data.cache == "memory" or (data.cache == "auto" and fits_limit)
    # Volumes that are not kept in memory pass through it one by one.
    needed = each
    if in_memory:
        needed = total
    if needed > memory_bytes():
        raise ConfigError(
            f"{what}, and this machine has {memory_bytes() / GIB:,.0f} GiB of memory",
            hint="Take fewer or smaller ones, or a coarser preprocessing.spacing_mm.",
        )
    if in_memory or data.cache == "none":
        return
    place = _existing(config.experiment.output_dir.absolute())
    free = shutil.disk_usage(place).free
    if total > free:
        raise ConfigError(
            f"{what}, and {place} has {free / GIB:,.0f} GiB free",
            hint="Take fewer or smaller ones, or data.cache=none.",
        )


def _existing(folder: Path) -> Path:
    """The folder, or else the next one above it that exists."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder

"""Whether a configuration fits its cases: rules on numbers, asked as soon as these are known.

`lunet config check` asks them about the built-in volumes, a training about those that it has read.
"""

from __future__ import annotations

import math
from dataclasses import replace

from lunet_cli.config.data import SplitConfig
from lunet_cli.config.network import NetworkSpec
from lunet_cli.config.presets import parse_preset
from lunet_cli.config.run import RunConfig
from lunet_cli.config.vocabulary import WHOLE_VOLUME_VOXELS, WINDOW_EDGE, Size
from lunet_cli.errors import ConfigError, DataError
from lunet_cli.results.words import plural

# A fifth, as much as one of the five folds that are usual in the field (nnU-Net).
DEFAULT_VAL_FRACTION = 0.2


def network_spec(config: RunConfig, *, in_channels: int, out_channels: int) -> NetworkSpec:
    """The network of a configuration, for so many image and logit channels."""
    return replace(
        parse_preset(config.model.architecture).spec,
        in_channels=in_channels,
        out_channels=out_channels,
        dropout=config.model.drop_prob,
        widths=config.model.widths or (),
    )


def choose_window(config: RunConfig, largest: Size, stride: int) -> Size:
    """Patch size: that of the configuration, or else whole volumes, or patches of a fixed edge.

    Args:
        config: The configuration.
        largest: Largest edge of any case, per axis.
        stride: The network's total stride; a size that is not given is rounded up to a multiple of
            it.
    """
    if config.training.patch_size is not None:
        return config.training.patch_size
    longest = WINDOW_EDGE
    if math.prod(largest) <= WHOLE_VOLUME_VOXELS:
        longest = max(largest)
    depth, height, width = (math.ceil(min(edge, longest) / stride) * stride for edge in largest)
    return depth, height, width


def count_validation(split: SplitConfig, num_groups: int) -> int:
    """How many of so many groups of cases validate, where no file says it.

    Raises:
        ConfigError: There are fewer groups than folds.
        DataError: They cannot be divided.
    """
    counted = plural(num_groups, unit_of(split))
    if split.fold is not None:
        if num_groups < split.num_folds:
            raise ConfigError(
                f"data.split.num_folds: {split.num_folds} folds of {counted}, and each fold needs "
                "one"
            )
        return len(range(split.fold, num_groups, split.num_folds))
    if num_groups < 2:
        raise DataError(
            f"{counted} cannot be divided into training and validation",
            hint="At least two are needed: one to learn from, one to validate on.",
        )
    # A given fraction is above 0.
    fraction = split.val_fraction or DEFAULT_VAL_FRACTION
    return min(max(1, round(fraction * num_groups)), num_groups - 1)


def unit_of(split: SplitConfig) -> str:
    """What is divided, one of it in words."""
    return "case" if split.group_pattern is None else "group"


def require_channels(config: RunConfig, found: int) -> None:
    """Raise if the configuration names another number of image channels than the `found` one.

    Raises:
        ConfigError: With the key.
    """
    if config.model.in_channels not in (None, found):
        raise ConfigError(
            f"model.in_channels: {config.model.in_channels}, but the images have {found}",
            hint="Remove model.in_channels to take the number that the data has.",
        )
    size = config.benchmark.input_size
    if config.benchmark.enabled and size[1] != found:
        raise ConfigError(
            f"benchmark.input_size: {list(size)} has {plural(size[1], 'channel')}, and the images "
            f"have {found}",
            hint="The order is batch, channels, depth, height, width.",
        )


def require_full_batch(config: RunConfig, num_train: int) -> None:
    """Raise if a batch is larger than an epoch.

    Raises:
        ConfigError: With the largest possible size.
    """
    num_patches = num_train * config.training.patches_per_case
    if config.training.batch_size > num_patches:
        raise ConfigError(
            f"training.batch_size: {config.training.batch_size} is more than the {num_patches} "
            f"patches of an epoch ({num_train} training cases x patches_per_case "
            f"{config.training.patches_per_case})",
            hint=f"Set training.batch_size={num_patches} or less, or raise "
            "training.patches_per_case.",
        )


def require_work_for(config: RunConfig, num_processes: int) -> None:
    """Raise if a batch has fewer patches than there are processes to share it.

    Raises:
        ConfigError: With the smallest possible size.
    """
    if config.training.batch_size < num_processes:
        raise ConfigError(
            f"training.batch_size: {config.training.batch_size} is shared by {num_processes} "
            "processes, and leaves some without work",
            hint=f"Set `training.batch_size={num_processes}` or more, or start fewer processes.",
        )


def require_deep_enough(
    config: RunConfig, spec: NetworkSpec, window: Size, *, num_train: int, num_processes: int = 1
) -> None:
    """Raise if the smallest batch leaves batch normalisation a single value per channel.

    Args:
        config: The configuration.
        spec: The network.
        window: Size of the patches.
        num_train: Training cases.
        num_processes: Processes that share each batch.

    Raises:
        ConfigError: With the smallest possible patch.
    """
    if spec.topology == "mednext":  # Its group normalisation takes any size.
        return
    batch_size = config.training.batch_size
    smallest = num_train * config.training.patches_per_case % batch_size or batch_size
    if not config.training.sync_batch_norm:
        smallest = max(1, smallest // num_processes)
    stride = spec.total_stride
    # The variance of one value is 0: PyTorch refuses to normalise a batch that has no second one.
    is_one_voxel = max(window) <= stride
    if smallest == 1 and is_one_voxel:
        raise ConfigError(
            f"training.patch_size: {' x '.join(map(str, window))} leaves one voxel at the deepest "
            f"level (stride {stride}) of a batch of 1, too little for batch normalisation",
            hint=f"Use patches of at least {2 * stride} voxels along one axis, or larger batches.",
        )

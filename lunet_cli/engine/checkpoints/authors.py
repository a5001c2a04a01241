"""Weights of the authors' release of Lean Unet, brought to the names of our networks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from lunet_cli.config.network import NetworkSpec
from lunet_cli.engine.checkpoints.tensors import plain_tensors, require_finite, require_fitting
from lunet_cli.engine.networks.blocks import SegmentationNetwork

# Each pattern gives the block of ours, and through `index` the place of a unit in it: their numbers
# are ranked, so that it does not matter whether they count from 0 or from 1.
_LAYER = r"(?P<part>conv|bn)(?P<index>\d+)\.(?P<leaf>\w+)"
_UNITS = (
    (re.compile(r"encoders\.(?P<a>\d+)\.enc\d+_" + _LAYER), "encoders.{a}"),
    (re.compile(r"bottleneck\.bottleneck_" + _LAYER), "encoders.{deepest}"),
    (re.compile(r"decoders\.(?P<a>\d+)\.dec(?:\d+|_final)_" + _LAYER), "decoders.{a}"),
    (re.compile(r"nested_blocks\.(?P<a>\d+_\d+)\.node_\d+_\d+_" + _LAYER), "nested.{a}"),
)
_SEGMENTER = re.compile(r"segmenter\.seg_(?P<part>conv|bn)\.(?P<leaf>\w+)")
_MEDNEXT = (
    (re.compile(r"enc_block_(\d+)\.(.+)"), r"encoders.\1.\2"),
    (re.compile(r"down_(\d+)\.(.+)"), r"downs.\1.\2"),
    (re.compile(r"up_(\d+)\.(.+)"), r"ups.\1.\2"),
    (re.compile(r"dec_block_(\d+)\.(.+)"), r"decoders.\1.\2"),
)


def is_authors_checkpoint(values: Mapping[str, object]) -> bool:
    """Whether a loaded file has the keys of the authors' checkpoints."""
    weights = values.get("model_state_dict")
    return isinstance(weights, dict) and holds_tensors_only(weights)


def holds_tensors_only(values: Mapping[str, object]) -> bool:
    """Whether values are a state dictionary, as far as can be told from their types."""
    return all(isinstance(value, Tensor) for value in values.values())


def authors_weights(values: Mapping[str, object], path: Path) -> dict[str, Tensor]:
    """The weights of an authors' checkpoint under their own names.

    Raises:
        CheckpointError: A name is not text, or a tensor is not plain.
    """
    weights = plain_tensors(values["model_state_dict"], "its weights", path)
    # DataParallel, with which some of theirs were trained, puts this before each name.
    return {name.removeprefix("module."): tensor for name, tensor in weights.items()}


def load_authors_weights(
    values: Mapping[str, object], network: SegmentationNetwork, path: Path
) -> None:
    """Put the weights of an authors' checkpoint into `network`.

    Args:
        values: The loaded file.
        network: A network of the same architecture and channels.
        path: Where the file lies, for messages.

    Raises:
        CheckpointError: The weights are of another architecture, or not finite.
    """
    ours = rename_authors_weights(authors_weights(values, path), network.spec)
    require_fitting(ours, network, path)
    require_finite(ours, path)
    network.load_state_dict(ours)


def rename_authors_weights(theirs: dict[str, Tensor], spec: NetworkSpec) -> dict[str, Tensor]:
    """Rename a state dictionary of the authors; names that fit no rule stay as they are."""
    if spec.topology == "mednext":
        return {_rename_mednext(name): tensor for name, tensor in theirs.items()}
    indices: dict[str, set[int]] = {}
    for name in theirs:
        if (unit := _match_unit(name, spec)) is not None:
            indices.setdefault(unit[0], set()).add(unit[1])
    renamed = {}
    for name, tensor in theirs.items():
        unit = _match_unit(name, spec)
        if unit is not None:
            block, index, leaf = unit
            renamed[f"{block}.{sorted(indices[block]).index(index)}.{leaf}"] = tensor
        elif match := _SEGMENTER.fullmatch(name):
            renamed[f"head.0.{_part(match['part'])}.{match['leaf']}"] = tensor
        else:
            renamed[re.sub(r"^out_conv\.", "head.1.", name)] = tensor
    return renamed


def _match_unit(name: str, spec: NetworkSpec) -> tuple[str, int, str] | None:
    for pattern, block in _UNITS:
        if match := pattern.fullmatch(name):
            place = block.format(a=match.groupdict().get("a"), deepest=spec.num_levels - 1)
            return place, int(match["index"]), f"{_part(match['part'])}.{match['leaf']}"
    return None


def _part(name: str) -> str:
    if name == "bn":
        return "norm"
    return name


def _rename_mednext(name: str) -> str:
    for pattern, replacement in _MEDNEXT:
        if pattern.fullmatch(name):
            return pattern.sub(replacement, name)
    return name

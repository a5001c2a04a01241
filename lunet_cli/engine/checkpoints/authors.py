"""Weights of the authors' release of Lean Unet, brought to the names of our networks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from torch import Tensor

from lunet_cli.config.network import NetworkSpec
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.errors import CheckpointError

# Each pattern gives the block of ours, and through `index` the place of a unit in it: their numbers are ranked, so
# that it does not matter whether they count from 0 or from 1.
_UNITS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), block)
    for pattern, block in (
        (r"encoders\.(?P<a>\d+)\.enc\d+_(?P<part>conv|bn)(?P<index>\d+)\.(?P<leaf>\w+)", "encoders.{a}"),
        (r"bottleneck\.bottleneck_(?P<part>conv|bn)(?P<index>\d+)\.(?P<leaf>\w+)", "encoders.{deepest}"),
        (r"decoders\.(?P<a>\d+)\.dec(?:\d+|_final)_(?P<part>conv|bn)(?P<index>\d+)\.(?P<leaf>\w+)", "decoders.{a}"),
        (
            r"nested_blocks\.(?P<a>\d+_\d+)\.node_\d+_\d+_(?P<part>conv|bn)(?P<index>\d+)\.(?P<leaf>\w+)",
            "nested.{a}",
        ),
    )
)
_SEGMENTER = re.compile(r"segmenter\.seg_(?P<part>conv|bn)\.(?P<leaf>\w+)")
_MEDNEXT = (
    (re.compile(r"enc_block_(\d+)\.(.+)"), r"encoders.\1.\2"),
    (re.compile(r"down_(\d+)\.(.+)"), r"downs.\1.\2"),
    (re.compile(r"up_(\d+)\.(.+)"), r"ups.\1.\2"),
    (re.compile(r"dec_block_(\d+)\.(.+)"), r"decoders.\1.\2"),
)


def is_authors_checkpoint(values: dict[str, Any]) -> bool:
    """Whether a loaded file has the keys of the authors' checkpoints."""
    weights = values.get("model_state_dict")
    return isinstance(weights, dict) and all(isinstance(value, Tensor) for value in weights.values())


def load_authors_weights(values: dict[str, Any], network: SegmentationNetwork, path: Path) -> None:
    """Put the weights of an authors' checkpoint into `network`.

    Args:
        values: The loaded file.
        network: A network of the same architecture and channels.
        path: Where the file lies, for messages.

    Raises:
        CheckpointError: The weights are of another architecture.
    """
    theirs = {name.removeprefix("module."): tensor for name, tensor in values["model_state_dict"].items()}
    ours = rename_authors_weights(theirs, network.spec)
    check_weights(ours, network, path)
    network.load_state_dict(ours)


def check_weights(weights: dict[str, Tensor], network: SegmentationNetwork, path: Path) -> None:
    """Compare names and shapes with those of `network`.

    Raises:
        CheckpointError: They differ; the message names the first difference.
    """
    expected = network.state_dict()
    problems = [f"{name} is missing" for name in expected if name not in weights]
    problems += [f"{name} is unknown" for name in weights if name not in expected]
    problems += [
        f"{name} has shape {tuple(tensor.shape)}, expected {tuple(expected[name].shape)}"
        for name, tensor in weights.items()
        if name in expected and tensor.shape != expected[name].shape
    ]
    if problems:
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise CheckpointError(
            f"{path}: its weights are not those of this network ({network.spec.family}, channels "
            f"{', '.join(map(str, network.spec.channels))}): {problems[0]}{more}",
            hint="Name the network it was trained with: --arch, or model.architecture, in_channels and out_channels.",
        )


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
    return "norm" if name == "bn" else name


def _rename_mednext(name: str) -> str:
    for pattern, replacement in _MEDNEXT:
        if pattern.fullmatch(name):
            return pattern.sub(replacement, name)
    return name

"""Checkpoints: what they hold, how they are written and read."""

from __future__ import annotations

import io
import pickle
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lunet_cli.config.network import NetworkSpec
from lunet_cli.engine.data.labels import LabelScheme
from lunet_cli.engine.data.preprocessing import Preprocessing
from lunet_cli.engine.files import write_atomically
from lunet_cli.errors import CheckpointError

FORMAT_VERSION = 2
_MARK = "lunet_format_version"


@dataclass(frozen=True)
class ModelCard:
    """All that is needed to use a network on new volumes.

    Args:
        network: The network.
        labels: The meaning of its channels.
        preprocessing: What happens to a volume before it.
        window: Voxels (D, H, W) that it sees at once.
    """

    network: NetworkSpec
    labels: LabelScheme
    preprocessing: Preprocessing
    window: tuple[int, int, int]

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "network": self.network.to_dict(),
            "labels": self.labels.to_dict(),
            "preprocessing": self.preprocessing.to_dict(),
            "window": list(self.window),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelCard:
        """The inverse of `to_dict`."""
        depth, height, width = values["window"]
        return cls(
            NetworkSpec.from_dict(values["network"]),
            LabelScheme.from_dict(values["labels"]),
            Preprocessing.from_dict(values["preprocessing"]),
            (depth, height, width),
        )


@dataclass(frozen=True)
class Checkpoint:
    """A trained network, and optionally the state of its training.

    Args:
        card: What the network is and how it is used.
        weights: Its state dictionary; of the averaged weights where an average is kept and this is a best model.
        epoch: Epochs that the weights have seen.
        config: The configuration of the run as plain values.
        versions: Versions of lunet, Python and the libraries that wrote it.
        execution: How it was computed while it trained and validated (see `ExecutionPlan.to_dict`).
        training: State of the training (see `TrainState.to_dict`); None in a model that is for use only.
    """

    card: ModelCard
    weights: dict[str, Tensor]
    epoch: int
    config: dict[str, Any]
    versions: dict[str, str]
    execution: dict[str, Any]
    training: dict[str, Any] | None = field(default=None)


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint that `torch.load(..., weights_only=True)` can read.

    Raises:
        OutputError: The file cannot be written.
    """
    values = {
        _MARK: FORMAT_VERSION,
        **checkpoint.card.to_dict(),
        "weights": checkpoint.weights,
        "epoch": checkpoint.epoch,
        "config": checkpoint.config,
        "versions": checkpoint.versions,
        "execution": checkpoint.execution,
        "training": checkpoint.training,
    }
    buffer = io.BytesIO()
    torch.save(values, buffer)
    write_atomically(path, lambda file: file.write(buffer.getbuffer()))


def load_checkpoint(path: Path, values: dict[str, Any] | None = None) -> Checkpoint:
    """Read a checkpoint of lunet.

    Args:
        path: The file.
        values: What `load_values` has read from it already, if so.

    Raises:
        CheckpointError: The file is missing, damaged, no checkpoint, or of a newer format.
    """
    values = load_values(path) if values is None else values
    version = values.get(_MARK)
    if version is None:
        raise CheckpointError(f"{path}: is no checkpoint of lunet", hint="Checkpoints lie in the run folder: last.pt")
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: has checkpoint format {version}, this lunet reads format {FORMAT_VERSION}",
            hint="Use the version of lunet that wrote it.",
        )
    try:
        return Checkpoint(
            ModelCard.from_dict(values),
            values["weights"],
            values["epoch"],
            values["config"],
            values["versions"],
            values["execution"],
            values["training"],
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: the checkpoint is incomplete ({error!r})") from None


def load_values(path: Path) -> dict[str, Any]:
    """Read a file of tensors and plain values, without running any code it may carry.

    Raises:
        CheckpointError: The file is missing, damaged, or holds anything else.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of pickles that it then refuses
            values = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: there is no such checkpoint") from None
    except IsADirectoryError:
        raise CheckpointError(f"{path}: is a folder, not a checkpoint") from None
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"{path}: holds more than tensors and plain values, or is no checkpoint; it was not loaded",
            hint="Such a file can run any code when it is opened. Save its state dictionary alone, then try again.",
        ) from None
    except Exception as error:  # on damaged bytes, torch.load may raise anything from AssertionError to struct.error
        reason = (str(error).splitlines() or [repr(error)])[0]
        raise CheckpointError(f"{path}: is damaged or no checkpoint ({reason})") from None
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: is no checkpoint (it holds a {type(values).__name__})")
    return values

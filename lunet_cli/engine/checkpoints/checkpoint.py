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
from lunet_cli.engine.checkpoints.tensors import plain_tensors
from lunet_cli.engine.checkpoints.training_state import require_training_state
from lunet_cli.engine.data.labels import LabelScheme
from lunet_cli.engine.data.preprocessing import Normalization, Preprocessing
from lunet_cli.errors import CheckpointError
from lunet_cli.records.checkpoint import (
    CHECKPOINT_MARK,
    CHECKPOINT_VERSION,
    CheckpointHeader,
    Modes,
)
from lunet_cli.records.files import require_file, require_stored_archive, write_atomically
from lunet_cli.records.network_card import CardRecord, Execution, KeptConfig
from lunet_cli.records.record import parse_values

_HINT = "Checkpoints lie in the run folder: best_model.pt, last.pt"
_TENSORS = ("weights", "training")


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

    def to_dict(self) -> dict[str, object]:
        """Plain values."""
        return {
            "network": self.network.to_dict(),
            "labels": self.labels.to_dict(),
            "preprocessing": self.preprocessing.to_dict(),
            "window": list(self.window),
        }

    def to_record(self) -> CardRecord:
        """The card as it is kept in files."""
        return parse_values(CardRecord, self.to_dict(), "the network", error=CheckpointError)

    @classmethod
    def of(cls, record: CardRecord) -> ModelCard:
        """The card that a checkpoint, exported file or manifest holds."""
        regions = tuple(record.labels.regions.items())
        labels = LabelScheme(regions, record.labels.activation, record.labels.ignored)
        prepare = record.preprocessing
        normalization = Normalization(**dict(prepare.normalization))
        preprocessing = Preprocessing(prepare.orientation, prepare.spacing_mm, normalization)
        return cls(record.network, labels, preprocessing, record.window)


@dataclass(frozen=True)
class Checkpoint:
    """A trained network, and optionally the state of its training.

    Args:
        card: What the network is and how it is used.
        weights: Its state dictionary; of the averaged weights where an average is kept and this is
            a best model.
        epoch: Epochs that the weights have seen.
        config: The configuration of the run.
        versions: Versions of lunet, Python and the libraries that wrote it.
        execution: How it was computed while it trained and validated.
        training: State of the training (see `TrainState.to_dict`); None in a model that is for use
            only.
        modes: Dice in windows and in one pass; None where it was not measured.
    """

    card: ModelCard
    weights: dict[str, Tensor]
    epoch: int
    config: KeptConfig
    versions: dict[str, str]
    execution: Execution
    training: dict[str, Any] | None = field(default=None)
    modes: Modes | None = None


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint that `torch.load(..., weights_only=True)` can read.

    Raises:
        OutputError: The file cannot be written.
    """
    values = {
        CHECKPOINT_MARK: CHECKPOINT_VERSION,
        **checkpoint.card.to_dict(),
        "weights": checkpoint.weights,
        "epoch": checkpoint.epoch,
        "config": checkpoint.config.root,
        "versions": checkpoint.versions,
        "execution": dict(checkpoint.execution),
        "training": checkpoint.training,
        "modes": None if checkpoint.modes is None else dict(checkpoint.modes),
    }
    # Into memory first: what goes wrong while it is pickled leaves no half of a file.
    buffer = io.BytesIO()
    torch.save(values, buffer)
    write_atomically(path, lambda file: file.write(buffer.getbuffer()))


def load_checkpoint(path: Path, values: dict[str, Any] | None = None) -> Checkpoint:
    """Read a checkpoint of lunet; all of it is of the right types and sizes afterwards.

    Args:
        path: The file.
        values: What `load_values` has read from it already, if so.

    Raises:
        CheckpointError: The file is missing, damaged, not a checkpoint, or of a newer format.
    """
    if values is None:
        values = load_values(path)
    if CHECKPOINT_MARK not in values:
        raise CheckpointError(f"{path}: is not a checkpoint of lunet", hint=_HINT)
    plain = {name: value for name, value in values.items() if name not in _TENSORS}
    header = parse_values(CheckpointHeader, plain, str(path), error=CheckpointError)
    for name in _TENSORS:
        if name not in values:
            raise CheckpointError(
                f"{path}: is not a checkpoint of lunet: {name} is missing", hint=_HINT
            )
    weights = plain_tensors(values["weights"], "weights", path)
    training = values["training"]
    if training is not None:
        training = require_training_state(training, weights, header.epoch, path)
    card = ModelCard.of(header)
    return Checkpoint(
        card,
        weights,
        header.epoch,
        header.config,
        header.versions,
        header.execution,
        training,
        header.modes,
    )


def load_values(path: Path) -> dict[str, Any]:
    """Read a file of tensors and plain values, without running any code it may carry.

    Raises:
        CheckpointError: The file is missing, damaged, or holds anything else.
    """
    require_file(path, what="checkpoint", error=CheckpointError, hint=_HINT)
    require_stored_archive(path, what="checkpoint", error=CheckpointError)
    try:
        with warnings.catch_warnings():
            # torch warns of pickles that it then refuses.
            warnings.simplefilter("ignore")
            values = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"{path}: holds more than tensors and plain values, or is not a checkpoint; "
            "it was not loaded",
            hint="Such a file can run any code when it is opened. Save its state dictionary alone, "
            "then try again.",
        ) from None
    # On damaged bytes, torch.load may raise anything from AssertionError to struct.error.
    except Exception as error:
        reason = (str(error).splitlines() or [repr(error)])[0]
        raise CheckpointError(f"{path}: is damaged or not a checkpoint ({reason[:200]})") from None
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: is not a checkpoint (it holds a {type(values).__name__})")
    return values

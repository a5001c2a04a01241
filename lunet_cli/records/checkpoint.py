"""The plain values of a checkpoint; its tensors are checked in `engine.checkpoints`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from lunet_cli.records.network_card import CardRecord, Execution, KeptConfig, Versions
from lunet_cli.records.record import Record
from lunet_cli.results.numbers import Undefinable

CHECKPOINT_VERSION = 2
CHECKPOINT_MARK = "lunet_format_version"

# More epochs or steps than any training takes, and few enough to compute with.
_Count = Annotated[int, Field(ge=0, le=1_000_000_000)]


class Modes(Record):
    """Mean validation Dice of a network, by how volumes went through it.

    Args:
        windows: In windows.
        one_pass: In one pass.
        share_larger: Share of the cases that are larger than the window; the others go through it
            either way.
    """

    what: ClassVar[str] = "the modes of a network"

    windows: Annotated[float, Field(ge=0, le=1)]
    one_pass: Annotated[float, Field(ge=0, le=1)]
    share_larger: Annotated[float, Field(gt=0, le=1)]


class CheckpointHeader(CardRecord):
    """A checkpoint without its weights and without the state of its training."""

    what: ClassVar[str] = "a checkpoint of lunet"
    mark: ClassVar[str] = CHECKPOINT_MARK
    written_by: ClassVar[str] = "Checkpoints lie in the run folder: best_model.pt, last.pt"
    is_always_marked: ClassVar[bool] = True

    lunet_format_version: int = CHECKPOINT_VERSION
    epoch: _Count
    config: KeptConfig
    versions: Versions
    execution: Execution
    modes: Modes | None = None


class ScalerState(Record):
    """The scaling of the loss in fp16; all None elsewhere."""

    scale: Annotated[float, Field(gt=0)] | None = None
    growth_factor: Annotated[float, Field(gt=1)] | None = None
    backoff_factor: Annotated[float, Field(gt=0, lt=1)] | None = None
    growth_interval: Annotated[int, Field(ge=1)] | None = None
    growth_tracker: Annotated[_Count | None, Field(alias="_growth_tracker")] = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        # A scaler that is switched off saves nothing, and torch takes no part of one.
        if 0 < len(self.model_fields_set) < len(type(self).model_fields):
            raise ValueError("values of the scaler are missing")
        return self


class TrainingHeader(Record):
    """The state of a training without its tensors."""

    what: ClassVar[str] = "the state of a training"

    step: _Count
    loss_sum: Undefinable
    seconds: Annotated[float, Field(ge=0)]
    scaler: ScalerState

"""What a network is and how it is used: in checkpoints, exported files and manifests."""

from __future__ import annotations

import json
import math
from itertools import chain
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    JsonValue,
    RootModel,
    ValidationError,
    model_validator,
)

from lunet_cli.config.label_codes import SNOMED, CodeCategory, Side
from lunet_cli.config.labels import MOST_OVERLAPPING_REGIONS
from lunet_cli.config.network import NetworkSpec
from lunet_cli.config.network_cost import require_buildable
from lunet_cli.config.preprocessing import Orientation, PositiveSpacing
from lunet_cli.config.run import RunConfig
from lunet_cli.errors import CheckpointError
from lunet_cli.records.record import Record, first_mistake

# 1024^3; whole volumes that large have been trained on nowhere.
_MOST_WINDOW_VOXELS = 1 << 30

Versions = dict[str, str]
# The longest scans have about 2,000 slices.
_Edge = Annotated[int, Field(ge=1, le=4096)]
_RegionName = Annotated[str, Field(min_length=1, max_length=1000)]
# Label maps hold at most 16 bits per voxel.
_RegionValues = Annotated[tuple[Annotated[int, Field(ge=1, le=65535)], ...], Field(min_length=1)]


def _fitting_window(window: tuple[int, int, int]) -> tuple[int, int, int]:
    if math.prod(window) > _MOST_WINDOW_VOXELS:
        raise ValueError(f"{' x '.join(map(str, window))} voxels are more than any window has")
    return window


def _buildable(spec: NetworkSpec) -> NetworkSpec:
    require_buildable(spec)
    return spec


Window = Annotated[tuple[_Edge, _Edge, _Edge], AfterValidator(_fitting_window)]
Network = Annotated[NetworkSpec, AfterValidator(_buildable)]


class LabelRegions(Record):
    """Named regions of label values, and how output channels stand for them."""

    regions: Annotated[dict[_RegionName, _RegionValues], Field(min_length=1)]
    activation: Literal["sigmoid", "softmax"]
    ignored: Annotated[int, Field(ge=1, le=65535)] | None = None

    @property
    def num_channels(self) -> int:
        """Logit channels that a network needs."""
        has_background = self.activation == "softmax"
        return len(self.regions) + has_background

    @model_validator(mode="after")
    def _possible(self) -> Self:
        values = list(chain.from_iterable(self.regions.values()))
        if self.activation == "softmax" and len(set(values)) < len(values):
            raise ValueError("softmax needs regions that share no value")
        if self.activation == "sigmoid" and len(self.regions) > MOST_OVERLAPPING_REGIONS:
            raise ValueError(
                f"{len(self.regions)} overlapping regions are more than {MOST_OVERLAPPING_REGIONS}"
            )
        return self


class NormalizationRecord(Record):
    """How intensities are brought to a common scale; the window counts for `ct_window` only."""

    name: Literal["zscore", "ct_window", "minmax", "none"]
    window_level: float
    window_width: Annotated[float, Field(gt=0)]


class PreprocessingRecord(Record):
    """What happens to a volume before the network; null keeps what is stored."""

    orientation: Orientation | None
    spacing_mm: tuple[PositiveSpacing, PositiveSpacing, PositiveSpacing] | None
    normalization: NormalizationRecord


class Execution(Record):
    """How a network was computed when it was validated."""

    device: Literal["cpu", "cuda", "mps"]
    precision: Literal["fp32", "bf16", "fp16"]
    channels_last: bool
    compile: bool


class CardRecord(Record):
    """All that is needed to use a network on new volumes.

    Args:
        network: The network.
        labels: The meaning of its channels.
        preprocessing: What happens to a volume before it.
        window: Voxels (D, H, W) that it sees at once.
    """

    network: Network
    labels: LabelRegions
    preprocessing: PreprocessingRecord
    window: Window

    @model_validator(mode="after")
    def _fits_labels(self) -> Self:
        if self.network.out_channels != self.labels.num_channels:
            regions = f"{len(self.labels.regions)} regions with {self.labels.activation}"
            raise ValueError(
                f"labels: {regions} need {self.labels.num_channels} channels, and the network has "
                f"{self.network.out_channels}"
            )
        return self


class _KeptModel(Record):
    architecture: str | None = None


class _KeptAugmentation(Record):
    enabled: bool | None = None
    flip_probability: float | None = None


class KeptCode(Record):
    """The code of a label; see `config.label_codes`."""

    code: str
    scheme: str = SNOMED
    meaning: str | None = None
    category: CodeCategory = "anatomical-structure"
    side: Side | None = None


class _Kept(Record):
    """The part of a configuration that is of use whatever version of lunet has written it."""

    model: _KeptModel = _KeptModel()
    augmentation: _KeptAugmentation = _KeptAugmentation()
    label_codes: dict[str, KeptCode] = {}


class KeptConfig(RootModel[dict[str, JsonValue]]):
    """The configuration of a training, kept beside its network; it may be of an older lunet."""

    model_config = ConfigDict(strict=True, frozen=True)

    @classmethod
    def of(cls, config: RunConfig) -> Self:
        """The configuration as plain values."""
        return cls(config.model_dump(mode="json"))

    @property
    def architecture(self) -> str | None:
        """Name of the preset."""
        return self._kept().model.architecture

    @property
    def mirrors(self) -> bool:
        """Whether the training saw mirrored volumes."""
        augmentation = self._kept().augmentation
        return augmentation.enabled is not False and bool(augmentation.flip_probability)

    @property
    def label_codes(self) -> dict[str, KeptCode]:
        """Codes of labels, of those that have one."""
        return self._kept().label_codes

    def resolve(self, place: str) -> RunConfig:
        """The configuration as this lunet understands it.

        Raises:
            CheckpointError: It is of another version.
        """
        try:
            return RunConfig.model_validate(self.root)
        except ValidationError as error:
            raise CheckpointError(
                f"{place}: its configuration is not that of this lunet ({first_mistake(error)})",
                hint="Name a labelled data set, `data=FOLDER`, or use the version of lunet that "
                "wrote it.",
            ) from None

    @model_validator(mode="after")
    def _well_formed(self) -> Self:
        self._kept()
        return self

    def _kept(self) -> _Kept:
        # By way of JSON, since strict validation of Python values takes no list for a tuple.
        return _Kept.model_validate_json(json.dumps(self.root))

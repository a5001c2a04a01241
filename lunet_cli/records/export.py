"""What an exported file says about its network; docs/export.md describes it for others."""

from __future__ import annotations

from typing import ClassVar, Literal

from lunet_cli.config.vocabulary import FileFormat, WeightPrecision
from lunet_cli.records.network_card import CardRecord, Execution, KeptConfig, Versions
from lunet_cli.records.record import Record
from lunet_cli.results.exporting import Agreement

EXPORT_VERSION = 1


class TensorDescription(Record):
    """The name, axes and type of an input or output."""

    name: str
    axes: tuple[str, ...]
    dtype: str


class ExportMetadata(CardRecord):
    """The text inside an exported file."""

    what: ClassVar[str] = "the description of an exported network"
    mark: ClassVar[str] = "lunet_export_version"
    written_by: ClassVar[str] = "Export again: `export(RUN)`."
    is_always_marked: ClassVar[bool] = True

    lunet_export_version: int = EXPORT_VERSION
    architecture: str
    format: FileFormat
    weights: WeightPrecision
    input: TensorDescription
    output: TensorDescription
    activation: Literal["sigmoid", "softmax"]
    label_values: dict[str, int]
    takes_whole_volumes: bool
    execution: Execution | None
    config: KeptConfig | None
    versions: Versions


class ExportDescription(ExportMetadata):
    """The file beside an exported one: the same, and how it compares with PyTorch.

    Args:
        agreement: The comparison.
        machine: Where it was made.
    """

    agreement: Agreement
    machine: str

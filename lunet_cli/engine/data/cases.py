"""Cases and the data sets that they belong to."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import SimpleITK as sitk  # noqa: N813

from lunet_cli.engine.data.mistakes import Mistakes
from lunet_cli.engine.data.reading import OnRemark, ignore_remark, read_image, read_label
from lunet_cli.engine.data.volume import Geometry
from lunet_cli.errors import DataError


@dataclass(frozen=True)
class Case:
    """One volume.

    Args:
        case_id: Unique name within the data set.
        images: One path per channel, or a single four-dimensional file; empty for a phantom.
        label: Path of the label map; None for a phantom, and where nobody has labelled the volume.
        maps: Files of probabilities that a network learns from beside the label map.
    """

    case_id: str
    images: tuple[Path, ...] = ()
    label: Path | None = None
    maps: tuple[Path, ...] = ()

    @property
    def is_unlabelled(self) -> bool:
        """Whether there is no label map, and none can be made."""
        return self.label is None and bool(self.images)


class CaseReader(Protocol):
    """Reads the image channels and the label map of a case."""

    def __call__(
        self, case: Case, on_remark: OnRemark = ...
    ) -> tuple[list[sitk.Image], sitk.Image]:
        """Return three-dimensional channels and a uint16 label map.

        `on_remark` is told what is odd about their files.
        """


class MapReader(Protocol):
    """Reads the probability maps of a case, see `MapsOfRegions`."""

    @property
    def origin(self) -> str:
        """Who writes such files, in words."""

    def read(self, files: Sequence[Path], grid: Geometry) -> list[sitk.Image]:
        """Probabilities of each region that is learned, on the grid of the image, float32."""


@dataclass(frozen=True, kw_only=True)
class CaseSet:
    """All cases of a data set and what the data set says about itself.

    Args:
        cases: Cases in a stable order.
        reader: How to read one.
        labels: Names and values of the labels; None if the data set does not say.
        layout: Name of the layout.
        root: Folder that relative names start at; None for the phantom.
        remarks: What a person should know about what was found.
        ignored: Value of voxels that nobody has labelled; None if the data set names none.
        soft_maps: Reads the maps of its cases; None where they have none.
    """

    cases: tuple[Case, ...]
    reader: CaseReader
    labels: dict[str, tuple[int, ...]] | None
    layout: str
    root: Path | None
    remarks: tuple[str, ...] = ()
    ignored: int | None = None
    soft_maps: MapReader | None = None

    @property
    def names(self) -> frozenset[str]:
        """Ids of the cases."""
        return frozenset(case.case_id for case in self.cases)


@contextlib.contextmanager
def naming(case: Case) -> Iterator[None]:
    """Let what SimpleITK or memory cannot do within the block be an error of the case.

    One such case must not keep what is wrong with the others from being told.

    Raises:
        DataError: With the case, its files and the reason.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:  # SimpleITK raises a RuntimeError for anything.
        files = ", ".join(map(str, case.images))
        raise DataError(f"case {case.case_id} ({files}): {error!r}") from error


def read_unlabelled(
    case: Case, on_remark: OnRemark = ignore_remark
) -> tuple[list[sitk.Image], sitk.Image]:
    """Read the image of a case that has no label map, and give it one of zeros."""
    channels = read_image(case.images, on_remark=on_remark)
    label = sitk.Image(channels[0].GetSize(), sitk.sitkUInt16)
    label.CopyInformation(channels[0])
    return channels, label


def read_case_files(
    case: Case, on_remark: OnRemark = ignore_remark
) -> tuple[list[sitk.Image], sitk.Image]:
    """Read a case from its files; see `CaseReader`."""
    if case.label is None:
        raise DataError(f"case {case.case_id} has no label map")
    mistakes = Mistakes()  # Whoever mends one file wants to know of the other.
    with mistakes.gathering():
        channels = read_image(case.images, on_remark=on_remark)
    with mistakes.gathering():
        label = read_label(case.label, on_remark=on_remark)
    mistakes.require_none()
    return channels, label

"""The job `fingerprint`: what a data set holds, from its voxels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813
from scipy import ndimage

from lunet_cli.engine.data.cases import Case, CaseSet
from lunet_cli.engine.data.copies import find_copies, plane_sums
from lunet_cli.engine.data.dataset_json import has_dataset_json, read_dataset_json
from lunet_cli.engine.data.layouts import find_cases
from lunet_cli.engine.data.mistakes import Mistakes
from lunet_cli.engine.data.survey import survey
from lunet_cli.engine.data.volume import Geometry, along_patient
from lunet_cli.errors import DataError, LunetError
from lunet_cli.records.fingerprint import Fingerprint
from lunet_cli.results.events import CaseRead, Event, warnings_to
from lunet_cli.results.fingerprint import CaseFacts, ChannelFacts, ValueFacts

Array = npt.NDArray[Any]
_PERCENTILES = (0.5, 50.0, 99.5)  # As nnU-Net clips CT.
_TOUCHING = np.ones((3, 3, 3), dtype=bool)


def _ignore(_: Event) -> None:
    """Do nothing with an event."""


def fingerprint(
    root: Path | str, *, layout: str = "auto", on_event: Callable[[Event], None] = _ignore
) -> Fingerprint:
    """Read all labelled cases of a folder and describe them.

    As many cases are in memory at a time as there are cores and room.

    Args:
        root: The data set.
        layout: Name of its layout; `auto` looks at what is there.
        on_event: Called with each case that has been read.

    Raises:
        DataError: The folder is no data set, or cases cannot be read; a line for each.

    Example:
        >>> found = lunet.fingerprint("images")  # doctest: +SKIP
        >>> found.cases[0].spacing_mm  # doctest: +SKIP
        (3.0, 0.8, 0.8)
    """
    root, mistakes = Path(root), Mistakes()
    case_set = find_cases(root, layout, mistakes)
    facts: list[CaseFacts] = []
    planes: dict[str, list[str]] = {}

    def look(case: Case) -> tuple[CaseFacts, list[str]]:
        return _describe(case_set, case, on_event)

    for number, found in enumerate(survey(case_set.cases, look), start=1):
        if isinstance(found, LunetError):
            mistakes.add(found)
        else:
            facts.append(found[0])
            planes[found[0].case_id] = found[1]
        on_event(CaseRead(number, len(case_set.cases)))
    mistakes.require_none()
    return Fingerprint(
        layout=case_set.layout,
        labels=case_set.labels,
        ignored=case_set.ignored,
        channel_names=_channel_names(root),
        cases=tuple(facts),
        copies=tuple(find_copies(planes)),
    )


def _channel_names(root: Path) -> tuple[str, ...]:
    if not has_dataset_json(root):
        return ()
    return read_dataset_json(root).channel_names


def _describe(
    case_set: CaseSet, case: Case, on_event: Callable[[Event], None]
) -> tuple[CaseFacts, list[str]]:
    """The facts of a case, and the sums of its planes."""
    images, label_image = case_set.reader(case, warnings_to(on_event))
    stored = Geometry.of(images[0])
    if label_image.GetSize() != images[0].GetSize():
        sizes = f"{label_image.GetSize()} against {images[0].GetSize()}"
        raise DataError(
            f"case {case.case_id}: label map and image differ in size (x, y, z): {sizes}"
        )
    placement = along_patient(stored)
    label = placement.orient(sitk.GetArrayViewFromImage(label_image))
    if case_set.ignored is not None:
        label = np.where(label == case_set.ignored, 0, label)
    channels = [placement.orient(sitk.GetArrayViewFromImage(image)) for image in images]
    mask = label > 0
    facts = CaseFacts(
        case_id=case.case_id,
        size=placement.oriented_size,
        spacing_mm=placement.oriented_spacing_mm,
        orientation=sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(
            stored.direction
        ),
        dtype=str(channels[0].dtype),
        channels=tuple(_channel_facts(channel, mask) for channel in channels),
        values=tuple(_value_facts(label, placement.oriented_spacing_mm)),
    )
    return facts, plane_sums(channels)


def _channel_facts(channel: Array, mask: Array) -> ChannelFacts:
    voxels = channel[mask]
    if not voxels.size:
        voxels = channel.reshape(-1)
    low, middle, high = np.percentile(voxels, _PERCENTILES).tolist()
    return ChannelFacts(
        low=float(channel.min()),
        high=float(channel.max()),
        percentiles=(low, middle, high),
        mean=float(voxels.mean(dtype=np.float64)),
        std=float(voxels.std(dtype=np.float64)),
    )


def _value_facts(label: Array, spacing_mm: tuple[float, float, float]) -> list[ValueFacts]:
    voxel_ml = float(np.prod(spacing_mm)) / 1000
    found = []
    values = np.flatnonzero(np.bincount(label.reshape(-1)))
    # A box for each value: to look for the pieces of 100 small organs in all of a body takes long.
    boxes = ndimage.find_objects(label.astype(np.int32)) if values.any() else []
    for value in values[values > 0].tolist():
        inside = label[boxes[value - 1]] == value
        number = int(np.count_nonzero(inside))
        _, num_components = ndimage.label(inside, structure=_TOUCHING)
        found.append(
            ValueFacts(
                value=value,
                num_voxels=number,
                volume_ml=number * voxel_ml,
                num_components=num_components,
            )
        )
    return found

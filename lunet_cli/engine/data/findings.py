"""A look at one case: what is wrong with it, and what it is compared with others by."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813

from lunet_cli.engine.data.cases import Case, CaseSet
from lunet_cli.engine.data.copies import plane_sums, sum_of
from lunet_cli.engine.data.labels import LabelScheme
from lunet_cli.engine.data.volume import Geometry, along_patient
from lunet_cli.errors import DataError, LunetError
from lunet_cli.results.check import CaseFindings, Problem, ProblemKind, problems_of

Array = npt.NDArray[Any]
_MOST_NAMED = 6  # Labels in a hint.


@dataclass(frozen=True)
class Examined:
    """A case that can be used.

    Args:
        channels: Image channels, of one grid.
        label: The label map on the same grid, uint16.
        findings: What was found in them.
    """

    channels: list[sitk.Image]
    label: sitk.Image
    findings: CaseFindings


def examine(case: Case, case_set: CaseSet, scheme: LabelScheme | None) -> Examined | list[Problem]:
    """Read a case and look at all of it.

    Args:
        case: The case.
        case_set: Its data set.
        scheme: The labels that may occur; None allows any.

    Returns:
        The case; or what keeps it from being used.
    """
    remarks: list[str] = []
    try:
        channels, label = case_set.reader(case, remarks.append)
    except LunetError as error:
        return problems_of(error, "file", case.case_id)
    values = present_values(label)
    if scheme is not None and scheme.ignored in values:
        values.remove(scheme.ignored)
    mistakes = _mistakes(case, channels[0], label, values, scheme)
    if mistakes:
        return mistakes
    return Examined(channels, label, _findings(case, channels, label, values, remarks))


def _mistakes(
    case: Case,
    image: sitk.Image,
    label: sitk.Image,
    values: Sequence[int],
    scheme: LabelScheme | None,
) -> list[Problem]:
    """What keeps files that can be read from being used."""
    problems: list[Problem] = []
    try:
        require_same_grid(case, image, label)
    except DataError as error:
        problems += problems_of(error, "grid", case.case_id)
    try:
        if scheme is not None:
            require_known_values(str(case.label), values, scheme, may_name=True)
    except DataError as error:
        problems += problems_of(error, "labels", case.case_id)
    return problems


def present_values(label: sitk.Image) -> list[int]:
    """The values of a label map of unsigned integers, ascending, without background."""
    # Plane by plane: sorting a whole CT takes ten seconds, and counting it 8 bytes per voxel.
    found: set[int] = set()
    for plane in sitk.GetArrayViewFromImage(label):
        found.update(np.flatnonzero(np.bincount(plane.ravel())).tolist())
    return sorted(found - {0})


def require_known_values(
    name: str, values: Sequence[int], scheme: LabelScheme, *, may_name: bool = False
) -> None:
    """Raise if a label map holds values that belong to no region.

    Args:
        name: Where the label map comes from.
        values: Its values, see `present_values`.
        scheme: The labels that may occur.
        may_name: Whether they are configured still, so that a value can be named; a trained network
            has its own.

    Raises:
        DataError: It does; with `name`.
    """
    unknown = scheme.unknown_values(values)
    if unknown:
        known = ", ".join(f"{region}: {list(values)}" for region, values in scheme.regions)
        noun = "label value" if len(unknown) == 1 else "label values"
        listed = ", ".join(map(str, unknown[:5]))
        raise DataError(
            f"{name}: {noun} {listed} not configured (labels are {known})",
            hint=_naming_hint(unknown, scheme) if may_name else "Correct the label map.",
        )


def _naming_hint(unknown: list[int], scheme: LabelScheme) -> str:
    """How the unknown values are named, together with those that are known."""
    # Named labels replace those of the data set, so all of them are given.
    if len(unknown) + len(scheme.regions) > _MOST_NAMED:
        return (
            "Correct the label map, or name all values in the section labels (labels.NAME: VALUE)."
        )
    settings = []
    for name, values in scheme.regions:
        value = values[0] if len(values) == 1 else list(values)
        settings.append(f"`labels.{name}={value}`")
    for one in unknown:
        name = "NAME" if len(unknown) == 1 else f"NAME{one}"
        settings.append(f"`labels.{name}={one}`")
    return f"Correct the label map, or name the value ({' '.join(settings)})."


def require_same_grid(case: Case, image: sitk.Image, label: sitk.Image) -> None:
    """Raise if the label map of a case does not lie on the grid of its image.

    Raises:
        DataError: It does not; the message says in what it differs.
    """
    differences = Geometry.of(label).differences(Geometry.of(image))
    if differences:
        raise DataError(
            f"{case.label}: does not lie on the grid of its image {case.images[0].name}: "
            f"{'; '.join(differences)}",
            hint="Resample the label map onto the image (nearest neighbour), or correct its "
            "header.",
        )


def _findings(
    case: Case,
    channels: Sequence[sitk.Image],
    label: sitk.Image,
    values: Sequence[int],
    remarks: Sequence[str],
) -> CaseFindings:
    placement = along_patient(Geometry.of(channels[0]))
    arrays = [placement.orient(sitk.GetArrayViewFromImage(image)) for image in channels]
    looks = [_Look(array) for array in arrays]
    return CaseFindings(
        case=case.case_id,
        problems=tuple(_oddities(case, looks, values, remarks)),
        num_channels=len(channels),
        spacing_mm=placement.oriented_spacing_mm,
        lows=tuple(look.low for look in looks),
        spreads=tuple(look.spread for look in looks),
        values=tuple(values),
        planes=tuple(plane_sums(arrays)),
        label_sum=sum_of(list(sitk.GetArrayViewFromImage(label))) if values else "",
    )


def _oddities(
    case: Case, looks: Sequence[_Look], values: Sequence[int], remarks: Sequence[str]
) -> Iterator[Problem]:
    for remark in remarks:
        yield _odd(case, "header", remark, "If that is not so, write the header anew.")
    for index, look in enumerate(looks):
        if look.low == look.high:
            text = f"channel {index} of the image has the value {look.low:g} everywhere"
            yield _odd(case, "intensities", text, "Replace it, or leave the case out.")
    if not values and not case.is_unlabelled:
        hint = "Intended for a healthy case; else label it, or leave it out."
        yield _odd(case, "labels", f"{case.label}: nothing is labelled", hint)


def _odd(case: Case, kind: ProblemKind, text: str, hint: str = "") -> Problem:
    return Problem(case=case.case_id, kind=kind, is_error=False, text=text, hint=hint)


class _Look:
    """Range and spread of a channel (D, H, W), plane by plane: doubles of all of it need room."""

    def __init__(self, array: Array) -> None:
        self.low, self.high = math.inf, -math.inf
        total = squares = 0.0
        for plane in array:
            self.low = min(self.low, float(plane.min()))
            self.high = max(self.high, float(plane.max()))
            values = plane.astype(np.float64)
            total += float(values.sum())
            squares += float(np.vdot(values, values))
        mean = total / array.size
        self.spread = math.sqrt(max(0.0, squares / array.size - mean * mean))

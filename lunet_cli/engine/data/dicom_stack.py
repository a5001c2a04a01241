"""Whether planes are one volume, in which order, and on which grid."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lunet_cli.engine.data.dicom_planes import Plane
from lunet_cli.engine.data.volume import Geometry, in_words
from lunet_cli.engine.data.volume_file import checked_geometry, damaged
from lunet_cli.errors import DataError

_Floats = npt.NDArray[np.float64]
# Cosines are stored with some five digits.
_SAME_COSINE = 1e-3
# Positions are rounded, so small differences of distances are common.
_UNEVEN = 0.1
# Sideways, a stack may wander by less than half a pixel, which no voxel notices.
_SHIFT_PIXELS = 0.5
# Planes nearer than this part of the usual distance lie at one place.
_SAME_PLACE = 0.01


def stack(source: object, planes: Sequence[Plane]) -> tuple[list[Plane], Geometry, list[str]]:
    """Put planes into the order of their positions, and say on which grid they lie.

    Args:
        source: Where they come from, for messages.
        planes: At least one.

    Returns:
        The planes in order, the grid, and remarks.

    Raises:
        DataError: They differ in size, spacing or orientation; lie at one place or at unequal
            distances; or are shifted against each other, as those of a tilted gantry are.
    """
    _require_equal_pixels(source, planes)
    _require_equal_axes(source, planes)
    across, down = np.array(planes[0].orientation[:3]), np.array(planes[0].orientation[3:])
    normal = np.cross(across, down)
    places = np.array([np.dot(plane.position, normal) for plane in planes])
    order = np.argsort(places, kind="stable")
    ordered, places = [planes[index] for index in order], places[order]
    remarks: list[str] = []
    between_rows, between_columns = planes[0].spacing
    if len(planes) > 1:
        distance = _even_distance(source, ordered, places)
        _require_straight(source, ordered, normal * distance, pixel=min(planes[0].spacing))
    elif planes[0].thickness > 0:
        distance = planes[0].thickness
    else:
        distance = 1.0
        remarks.append(f"{source}: has one slice and does not say its thickness; taken as 1 mm")
    geometry = checked_geometry(
        source,
        sizes=(planes[0].size[1], planes[0].size[0], len(planes)),
        spacing_mm=(between_columns, between_rows, distance),
        origin_mm=ordered[0].position,
        direction=np.column_stack([across, down, normal]),
    )
    return ordered, geometry, remarks


def _require_equal_pixels(source: object, planes: Sequence[Plane]) -> None:
    """Refuse planes of different sizes, or with pixels of different sizes."""
    sizes = dict.fromkeys(f"{plane.size[1]} x {plane.size[0]}" for plane in planes)
    if len(sizes) > 1:
        listed = ", ".join(sizes)
        raise damaged(source, f"its slices differ in size ({listed} pixels)")
    spacings = np.array([plane.spacing for plane in planes])
    if not (spacings > 0).all():
        raise damaged(source, f"its Pixel Spacing is {in_words(spacings.min(axis=0))}")
    # Spacings are decimals of some digits, rounded slice by slice by some writers.
    if not np.allclose(spacings, spacings[0], rtol=1e-3, atol=0):
        raise damaged(source, "its slices differ in their pixel spacing")


def _require_equal_axes(source: object, planes: Sequence[Plane]) -> None:
    """Refuse planes that are not parallel, and axes that are not at right angles."""
    axes = np.array([plane.orientation for plane in planes])
    if np.ptp(axes, axis=0).max() > _SAME_COSINE:
        raise DataError(
            f"{source}: the slices of its DICOM series have several orientations",
            hint="Is it a localizer, or are two scans mixed? "
            "Keep the slices of one scan in the folder.",
        )
    across, down = axes[0, :3], axes[0, 3:]
    lengths = np.array([across @ across, down @ down])
    if not np.allclose(lengths, 1, rtol=0, atol=_SAME_COSINE) or abs(across @ down) > _SAME_COSINE:
        raise damaged(
            source,
            f"its Image Orientation Patient is not two axes at right angles ({in_words(axes[0])})",
        )


def _even_distance(source: object, planes: Sequence[Plane], places: _Floats) -> float:
    """The distance between neighbours along their normal, in mm."""
    distances = np.diff(places)
    # The median: one gap or one slice too many does not move it.
    typical = float(np.median(distances))
    same = distances < _SAME_PLACE * max(typical, 1e-6)
    if same.any():
        raise _at_one_place(source, planes, places, int(np.argmax(same)))
    if np.ptp(distances) > _UNEVEN * distances.mean():
        worst = int(np.argmax(np.abs(distances - typical)))
        raise DataError(
            f"{source}: the {len(planes)} slices of its DICOM series lie {distances.min():g} to "
            f"{distances.max():g} mm apart; {distances[worst]:g} mm between {_name(planes[worst])} "
            f"and {_name(planes[worst + 1])}",
            hint="Is a slice missing, damaged or there twice? Copy the series again, "
            "or resample it to equal distances.",
        )
    return float(places[-1] - places[0]) / (len(planes) - 1)


def _at_one_place(
    source: object, planes: Sequence[Plane], places: _Floats, index: int
) -> DataError:
    # To a micrometre: positions of repeats differ by rounding at most.
    num_places = len(set(np.round(places, 3).tolist()))
    if num_places > 1 and len(planes) % num_places == 0:
        return DataError(
            f"{source}: holds {len(planes) // num_places} images at each of {num_places} places: "
            "several times, echoes or b-values are not one volume",
            hint="Split the series into one folder for each volume.",
        )
    return DataError(
        f"{source}: {_name(planes[index])} and {_name(planes[index + 1])} lie at the same place",
        hint="Is a slice there twice? Keep one of them.",
    )


def _require_straight(
    source: object, planes: Sequence[Plane], step: _Floats, *, pixel: float
) -> None:
    """Refuse a sheared stack, whose slices no grid with right angles holds in their places."""
    positions = np.array([plane.position for plane in planes])
    sideways = positions - positions[0] - np.arange(len(planes))[:, None] * step
    # What a position deviates along the normal, `_even_distance` has judged.
    sideways -= np.outer(sideways @ step, step) / (step @ step)
    shifts = np.linalg.norm(sideways, axis=1)
    if shifts.max() <= _SHIFT_PIXELS * pixel:
        return
    per_slice = float(shifts[-1]) / (len(planes) - 1)
    even = np.outer(np.arange(len(planes)), sideways[-1] / (len(planes) - 1))
    is_even = np.allclose(sideways, even, atol=pixel)
    if is_even and per_slice > 0:
        angle = math.degrees(math.atan2(per_slice, float(np.linalg.norm(step))))
        raise DataError(
            f"{source}: its slices are shifted by {per_slice:.3g} mm each against the one below "
            f"(a gantry tilted by {angle:.1f} degrees), so its voxels are not at right angles",
            hint="Resample it to right angles first; dcm2niix does so.",
        )
    worst = int(np.argmax(shifts))
    raise DataError(
        f"{source}: {_name(planes[worst])} lies {shifts[worst]:.3g} mm beside the stack of the "
        "others",
        hint="Are two scans mixed? Keep the slices of one scan in the folder.",
    )


def _name(plane: Plane) -> str:
    if plane.number is not None:
        return plane.file.name
    return f"frame {plane.frame + 1} of {plane.file.name}"

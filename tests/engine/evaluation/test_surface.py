from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from lunet_cli.engine.evaluation.surface import (
    Mask,
    assd,
    field_of_view_diagonal_mm,
    hausdorff,
    hausdorff95,
    nsd,
    surface,
)

Spacing = tuple[float, float, float]


def _box(shape: tuple[int, int, int], *edges: tuple[int, int]) -> Mask:
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(first, stop) for first, stop in edges)] = True
    return mask


def _voxel(shape: tuple[int, int, int], *place: int) -> Mask:
    return _box(shape, *((edge, edge + 1) for edge in place))


def _brute_surface(mask: Mask) -> npt.NDArray[np.int64]:
    """Voxels of a mask of which a neighbour across a face is not in it, one by one."""
    inside = {tuple(place) for place in np.argwhere(mask).tolist()}
    steps = [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)]
    return np.array(
        [
            p
            for p in sorted(inside)
            if any((p[0] + dz, p[1] + dy, p[2] + dx) not in inside for dz, dy, dx in steps)
        ]
    )


def _brute_hausdorff95(prediction: Mask, reference: Mask, spacing_mm: Spacing) -> float:
    one, two = (_brute_surface(mask) * np.array(spacing_mm) for mask in (prediction, reference))
    distances = np.sqrt(((one[:, None] - two[None]) ** 2).sum(axis=-1))
    return max(np.percentile(distances.min(axis=1), 95), np.percentile(distances.min(axis=0), 95))


@pytest.mark.parametrize(
    ("edges", "expected"),
    [
        (((1, 2), (1, 2), (1, 2)), 1),
        (((1, 3), (1, 3), (1, 3)), 8),
        (((1, 4), (1, 4), (1, 4)), 26),  # 27 without the one in the middle
        (((1, 5), (1, 5), (1, 6)), 80 - 2 * 2 * 3),
        (((0, 3), (0, 3), (0, 3)), 26),  # the border of the array counts as outside
        (((0, 7), (0, 7), (0, 7)), 343 - 125),
    ],
)
def test_surface_of_a_box_is_its_shell(edges: tuple[tuple[int, int], ...], expected: int) -> None:
    mask = _box((7, 7, 7), *edges)
    found = surface(mask)
    assert np.count_nonzero(found) == expected
    assert not (found & ~mask).any()


def test_surface_includes_the_walls_of_a_hole() -> None:
    mask = _box((7, 7, 7), (0, 7), (0, 7), (0, 7))
    mask[3, 3, 3] = False
    assert np.count_nonzero(surface(mask)) == (343 - 125) + 6


def test_equal_masks_have_no_distance() -> None:
    mask = _box((8, 8, 8), (2, 6), (1, 7), (3, 5))
    assert hausdorff95(mask, mask.copy(), (3.0, 1.0, 0.5)) == 0


@pytest.mark.parametrize(
    ("spacing_mm", "place", "expected"),
    [
        ((1.0, 1.0, 1.0), (2, 1, 0), math.sqrt(5)),
        ((3.0, 1.0, 0.5), (2, 3, 4), 7.0),  # 6, 3 and 2 mm
        ((2.5, 1.0, 1.0), (2, 0, 0), 5.0),
        ((1.0, 1.0, 0.7), (0, 0, 4), 2.8),
        ((1.0, 1.0, 0.7), (0, 0, 0), 0.0),
    ],
)
def test_single_voxels_are_their_distance_apart(
    spacing_mm: Spacing, place: tuple[int, int, int], expected: float
) -> None:
    shape = (5, 5, 5)
    assert hausdorff95(_voxel(shape, 0, 0, 0), _voxel(shape, *place), spacing_mm) == pytest.approx(
        expected
    )


@pytest.mark.parametrize(("axis", "expected"), [(0, 3.0), (1, 1.5), (2, 0.5)])
def test_shifted_cube_is_its_shift_away(axis: int, expected: float) -> None:
    cube = _box((8, 8, 8), (2, 6), (2, 6), (2, 6))
    # 16 of 56 surface voxels, the face left behind, are a whole step away: more than 5 %.
    assert hausdorff95(np.roll(cube, 1, axis), cube, (3.0, 1.5, 0.5)) == pytest.approx(expected)


def test_smaller_cube_inside_a_larger_one() -> None:
    # 2 mm between the faces. Of the 602 outer voxels the 8 corners are sqrt(12) mm away, the 24
    # beside them on the edges sqrt(4 + 4 + 1) and the 84 others on the edges sqrt(8): the
    # percentile lies between voxels 570 and 571 (of 0 to 601), which are the two nearest of the 32
    # on top.
    outer, inner = (
        _box((13, 13, 13), (1, 12), (1, 12), (1, 12)),
        _box((13, 13, 13), (3, 10), (3, 10), (3, 10)),
    )
    assert hausdorff95(inner, outer, (1.0, 1.0, 1.0)) == pytest.approx(3.0, abs=1e-5)


def test_percentile_drops_the_farthest_and_the_worse_direction_counts() -> None:
    # From the line to the voxel the distances are 0, 1, ..., 20 mm, of which 19 is the 95th
    # percentile; back it is 0.
    line, voxel = _box((3, 3, 23), (1, 2), (1, 2), (1, 22)), _voxel((3, 3, 23), 1, 1, 1)
    assert hausdorff95(line, voxel, (1.0, 1.0, 1.0)) == pytest.approx(19)
    assert hausdorff95(voxel, line, (1.0, 1.0, 1.0)) == pytest.approx(19)


def test_one_stray_voxel_among_many_does_not_count() -> None:
    cube = _box((20, 20, 20), (2, 7), (2, 7), (2, 7))
    assert hausdorff95(cube | _voxel((20, 20, 20), 18, 18, 18), cube, (1.0, 1.0, 1.0)) == 0


@pytest.mark.parametrize("edge", [1, 2, 3, 6])
def test_masks_that_fill_the_array(edge: int) -> None:
    full = np.ones((edge, edge, edge), dtype=bool)
    assert hausdorff95(full, full.copy(), (1.0, 1.0, 1.0)) == 0
    corner = _voxel(full.shape, 0, 0, 0)
    assert hausdorff95(full, corner, (2.0, 1.0, 1.0)) == pytest.approx(
        _brute_hausdorff95(full, corner, (2.0, 1.0, 1.0)), abs=1e-5
    )


def test_empty_masks() -> None:
    empty, cube = _box((4, 4, 4), (0, 0), (0, 0), (0, 0)), _box((4, 4, 4), (1, 3), (1, 3), (1, 3))
    assert hausdorff95(empty, empty.copy(), (1.0, 1.0, 1.0)) == 0
    assert math.isnan(hausdorff95(empty, cube, (1.0, 1.0, 1.0)))
    assert math.isnan(hausdorff95(cube, empty, (1.0, 1.0, 1.0)))


def test_field_of_view_does_not_matter() -> None:
    one, two = _box((6, 6, 6), (0, 3), (0, 4), (1, 6)), _box((6, 6, 6), (2, 6), (1, 6), (0, 3))
    spacing_mm = (2.0, 1.0, 0.5)
    wide = hausdorff95(np.pad(one, 4), np.pad(two, 4), spacing_mm)
    assert hausdorff95(one, two, spacing_mm) == pytest.approx(wide, abs=1e-5)


@pytest.mark.parametrize("density", [0.05, 0.3, 0.7, 0.95])
@pytest.mark.parametrize("seed", range(12))
def test_random_masks_match_all_pairs_of_surface_voxels(seed: int, density: float) -> None:
    rng = np.random.default_rng([seed, int(100 * density)])
    shape = tuple(rng.integers(1, 8, 3))
    prediction, reference = rng.random((2, *shape)) < density
    prediction[0, 0, 0] = reference[-1, -1, -1] = True
    z, y, x = rng.choice([0.5, 0.9, 1.0, 2.5, 3.0], 3).tolist()
    expected = _brute_hausdorff95(prediction, reference, (z, y, x))
    assert hausdorff95(prediction, reference, (z, y, x)) == pytest.approx(expected, abs=1e-4)
    assert np.argwhere(surface(prediction)).tolist() == _brute_surface(prediction).tolist()


def test_cube_in_a_cube_by_hand() -> None:
    # Faces 2 mm apart: 602 outer surface voxels, 218 inner ones (7^3 - 5^3), which are all 2 mm
    # from the outer ones. Of the outer ones, 6 x 49 lie above the inner faces at 2 mm; the nearest
    # of the others is the inner edge or corner.
    outer, inner = (
        _box((13, 13, 13), (1, 12), (1, 12), (1, 12)),
        _box((13, 13, 13), (3, 10), (3, 10), (3, 10)),
    )
    assert hausdorff(inner, outer, (1.0, 1.0, 1.0)) == pytest.approx(math.sqrt(12))
    # Above the faces, or one step beyond them: sqrt(2^2 + 1) and sqrt(2^2 + 1 + 1) come from the
    # rim of each face.
    distances = _brute_distances(outer, inner, (1.0, 1.0, 1.0))
    total = sum(distances) + 218 * 2.0
    assert assd(inner, outer, (1.0, 1.0, 1.0)) == pytest.approx(total / (602 + 218))
    assert nsd(inner, outer, (1.0, 1.0, 1.0), tolerance_mm=2.0) == pytest.approx(
        (6 * 49 + 218) / (602 + 218)
    )
    assert nsd(inner, outer, (1.0, 1.0, 1.0), tolerance_mm=1.9) == 0
    assert nsd(inner, outer, (1.0, 1.0, 1.0), tolerance_mm=3.5) == 1


def _brute_distances(one: Mask, two: Mask, spacing_mm: Spacing) -> list[float]:
    """From each surface voxel of `one` to the nearest of `two`, over all pairs."""
    a, b = (_brute_surface(mask) * np.array(spacing_mm) for mask in (one, two))
    return np.sqrt(((a[:, None] - b[None]) ** 2).sum(axis=-1)).min(axis=1).tolist()


def test_shifted_cube_has_the_mean_and_the_share_of_its_two_faces() -> None:
    cube = _box((8, 8, 8), (2, 6), (2, 6), (2, 6))
    moved = np.roll(cube, 1, 0)
    # Of the 56 surface voxels, the face of 16 left behind is 3 mm away; so is that in front on the
    # way back. Inside the volume, each 2 x 2 middle of a face that has become inner is 1.5 or 0.5
    # mm from the side walls' rings, or on one.
    forth, back = (
        _brute_distances(moved, cube, (3.0, 1.5, 0.5)),
        _brute_distances(cube, moved, (3.0, 1.5, 0.5)),
    )
    assert hausdorff(moved, cube, (3.0, 1.5, 0.5)) == pytest.approx(3.0)
    assert assd(moved, cube, (3.0, 1.5, 0.5)) == pytest.approx(sum(forth + back) / 112)
    within = sum(distance <= 1.0 for distance in forth + back)
    assert nsd(moved, cube, (3.0, 1.5, 0.5)) == pytest.approx(within / 112)
    assert within == 112 - 32


def test_spheres_are_their_difference_of_radii_apart() -> None:
    spacing_mm = (1.0, 0.5, 0.25)
    z, y, x = np.indices((48, 96, 192)) * np.array(spacing_mm).reshape(3, 1, 1, 1)
    distance = np.sqrt((z - 24) ** 2 + (y - 24) ** 2 + (x - 24) ** 2)
    small, large = distance < 15, distance < 20
    # Voxel centres lie within half of a voxel's diagonal of the sphere, 0.57 mm.
    for metric in (hausdorff, hausdorff95, assd):
        assert metric(small, large, spacing_mm) == pytest.approx(5.0, abs=0.6)
    assert nsd(small, large, spacing_mm, tolerance_mm=6.2) == 1
    assert nsd(small, large, spacing_mm, tolerance_mm=3.8) == 0


def test_empty_masks_of_the_other_distances() -> None:
    empty, cube = _box((4, 4, 4), (0, 0), (0, 0), (0, 0)), _box((4, 4, 4), (1, 3), (1, 3), (1, 3))
    for metric in (hausdorff, assd):
        assert metric(empty, empty.copy(), (1.0, 1.0, 1.0)) == 0
        assert math.isnan(metric(empty, cube, (1.0, 1.0, 1.0)))
        assert math.isnan(metric(cube, empty, (1.0, 1.0, 1.0)))
    assert nsd(empty, empty.copy(), (1.0, 1.0, 1.0)) == 1
    assert nsd(empty, cube, (1.0, 1.0, 1.0)) == nsd(cube, empty, (1.0, 1.0, 1.0)) == 0


def test_diagonal_of_the_field_of_view() -> None:
    assert field_of_view_diagonal_mm((3, 4, 6), (1.0, 1.0, 2.0)) == pytest.approx(13)

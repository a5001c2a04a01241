"""Voxels that move: held against `grid_sample` of PyTorch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from scipy.interpolate import BSpline

from lunet_cli.engine.data import warping
from lunet_cli.engine.data.warping import affine_coordinates, smooth_field, warp

SIZE = (9, 14, 11)


@pytest.mark.parametrize("slab_voxels", [1, 14 * 11 * 4, 10**6])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32])
def test_warping_is_that_of_torch(
    slab_voxels: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warping, "_SLAB_VOXELS", slab_voxels)
    torch.manual_seed(0)
    image, label = torch.randn(2, *SIZE), torch.randint(0, 200, SIZE).to(dtype)
    matrix = torch.eye(3) + 0.3 * torch.randn(3, 3)
    z, y, x = affine_coordinates(matrix, SIZE, (1.0, 2.0, 0.7))
    for coordinates in ((z, y, x), (z + torch.randn(SIZE), y - 20 * torch.randn(SIZE), x)):
        last_first = zip(reversed(coordinates), reversed(SIZE), strict=True)
        places = [(2 * axis + 1) / edge - 1 for axis, edge in last_first]
        grid = torch.stack([place.expand(SIZE) for place in places], dim=-1)[None]
        moved, moved_label = warp(image, label, coordinates)
        expected = F.grid_sample(image[None], grid, mode="bilinear", align_corners=False)[0]
        torch.testing.assert_close(moved, expected, atol=1e-4, rtol=0)
        nearest = F.grid_sample(
            label[None, None].double(), grid.double(), mode="nearest", align_corners=False
        )
        assert moved_label.dtype == dtype
        assert torch.equal(moved_label, nearest[0, 0].to(dtype))


def test_an_affine_map_turns_places_in_mm() -> None:
    matrix = torch.tensor([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]])
    z, y, x = affine_coordinates(matrix, (3, 5, 7), (2.0, 1.0, 1.0))
    # The voxel at the far end of y, 2 mm from the centre, comes from 2 mm along z: one voxel.
    assert z.expand(3, 5, 7)[1, 4, 0].item() == 2
    assert y.expand(3, 5, 7)[2, 0, 0].item() == 0
    assert x.expand(3, 5, 7)[0, 0].tolist() == list(range(7))
    # An axis that is not mixed in stays as small as it is.
    assert x.numel() == 7


def test_fields_are_the_splines_of_scipy() -> None:
    control = torch.randn(2, 6, 6, 6)
    field = smooth_field(control, (5, 7, 4))
    assert field.shape == (2, 5, 7, 4)
    expected = control.double().numpy()
    for axis, edge in enumerate((5, 7, 4), start=1):
        # Uniform knots; the first and the last piece of four control points lie at the ends.
        spline = BSpline(range(-3, 7), expected, 3, axis=axis)
        expected = spline(torch.linspace(0, 3, edge).numpy())
    torch.testing.assert_close(field, torch.from_numpy(expected).float(), atol=1e-5, rtol=0)


def test_a_constant_field_is_constant() -> None:
    field = smooth_field(torch.full((1, 5, 5, 5), 0.3), (8, 9, 10))
    torch.testing.assert_close(field, torch.full((1, 8, 9, 10), 0.3))

from __future__ import annotations

import itertools

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from torch import Tensor

from lunet_cli.engine.data.labels import LabelScheme
from lunet_cli.engine.data.preprocessing import Normalization, Preprocessing
from lunet_cli.engine.data.volume import Geometry
from lunet_cli.engine.inference.segmentation import Segmentation, SegmentationBuilder
from lunet_cli.errors import ConfigError

AXES = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
SRP = (0.0, -1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0)
KEEP = Normalization("none", 40.0, 400.0)
TWO = LabelScheme((("a", (1,)), ("b", (2,))), "softmax")
REGIONS = LabelScheme((("whole", (1, 2)), ("core", (1,))), "sigmoid")


def geometry(
    size: tuple[int, int, int], spacing: tuple[float, float, float], direction=AXES
) -> Geometry:
    return Geometry(size, spacing, (3.0, -5.0, 7.0), direction)


def segmentation(codes: list[int], scheme: LabelScheme) -> Segmentation:
    array = np.array(codes, dtype=np.uint8).reshape(1, 1, -1)
    return Segmentation(array, scheme, geometry(array.shape, (1.0, 1.0, 1.0)))


def by_itk(logits: Tensor, preprocessing: Preprocessing, stored: Geometry) -> np.ndarray:
    """Logits (K, D, H, W) of the network's grid, resampled linearly by ITK onto the stored grid."""
    grid = preprocessing.place(stored).grid
    channels = []
    for channel in logits.numpy():
        image = sitk.GetImageFromArray(channel)
        image.SetSpacing(grid.spacing_mm[::-1])
        image.SetOrigin(grid.origin_mm)
        image.SetDirection(grid.direction)
        resample = sitk.ResampleImageFilter()
        resample.SetSize(stored.size[::-1])
        resample.SetOutputSpacing(stored.spacing_mm[::-1])
        resample.SetOutputOrigin(stored.origin_mm)
        resample.SetOutputDirection(stored.direction)
        resample.SetInterpolator(sitk.sitkLinear)
        resample.UseNearestNeighborExtrapolatorOn()
        channels.append(sitk.GetArrayFromImage(resample.Execute(image)))
    return np.stack(channels)


@pytest.mark.parametrize("direction", [AXES, SRP])
@pytest.mark.parametrize("spacing_mm", [None, (1.0, 1.0, 1.0), (2.0, 0.7, 1.3), (0.9, 2.1, 3.0)])
@pytest.mark.parametrize("num_bands", [1, 3])
@pytest.mark.parametrize("chunk", [1, 4, 100])
def test_planes_are_put_together_as_itk_resamples_the_whole(
    direction: tuple[float, ...],
    spacing_mm: tuple[float, float, float] | None,
    num_bands: int,
    chunk: int,
) -> None:
    stored = geometry((9, 14, 11), (1.5, 1.0, 1.2), direction)
    preprocessing = Preprocessing("LPS", spacing_mm, KEEP)
    placement = preprocessing.place(stored)
    depth, height, width = placement.grid.size
    logits = torch.randn(3, depth, height, width, generator=torch.Generator().manual_seed(0))
    probabilities = np.zeros((2, *stored.size), np.float32)
    builder = SegmentationBuilder(placement, TWO, probabilities)
    edges = np.linspace(0, placement.oriented_size[1], num_bands + 1).astype(int).tolist()
    for first, stop in itertools.pairwise(edges):
        band = builder.band(first, stop)
        low, high = band.needed
        for plane in range(0, depth, chunk):
            band(logits[:, plane : plane + chunk, low:high], plane)
    expected = by_itk(logits, preprocessing, stored)
    # Beyond the last voxel's border, where sizes were rounded, ITK takes the nearest voxel along
    # all axes.
    centres = [
        (np.arange(size) + 0.5) * spacing
        for size, spacing in zip(
            placement.oriented_size, placement.oriented_spacing_mm, strict=True
        )
    ]
    z, y, x = (
        place < size * spacing
        for place, size, spacing in zip(
            centres, placement.grid.size, placement.grid.spacing_mm, strict=True
        )
    )
    beyond = np.zeros(stored.size, bool)
    placement.orient(beyond)[...] = ~(z[:, None, None] & y[:, None] & x)
    clear = (
        np.diff(np.sort(expected, axis=0)[1:], axis=0)[0] > 1e-4
    )  # A tie may fall to either side.
    clear &= ~beyond
    assert clear.mean() > 0.7
    assert np.array_equal(builder.result.codes[clear], expected.argmax(axis=0)[clear])
    wanted = torch.softmax(torch.from_numpy(expected), dim=0)[1:].numpy()
    np.testing.assert_allclose(probabilities[:, ~beyond], wanted[:, ~beyond], atol=1e-4)
    assert builder.result.geometry == stored


def test_masks_of_exclusive_labels() -> None:
    found = segmentation([0, 1, 2, 1], TWO)
    assert found.mask(0).ravel().tolist() == [False, True, False, True]
    assert found.mask(1).ravel().tolist() == [False, False, True, False]
    assert found.label_map().ravel().tolist() == [0, 1, 2, 1]


def test_masks_of_overlapping_regions() -> None:
    found = segmentation([0b00, 0b01, 0b11, 0b10], REGIONS)
    assert found.mask(0).ravel().tolist() == [False, True, True, False]
    assert found.mask(1).ravel().tolist() == [False, False, True, True]


def test_regions_are_painted_in_order_with_values_of_their_own() -> None:
    found = segmentation([0b00, 0b01, 0b11, 0b10], REGIONS)
    # whole is 2 where nothing covers it, since 1 is the value of core.
    assert found.label_map().ravel().tolist() == [0, 2, 1, 1]
    assert REGIONS.painted_values() == {"whole": 2, "core": 1}
    # The other way round, whole covers core, which keeps a number of its own where whole is not.
    assert found.label_map(("core", "whole")).ravel().tolist() == [0, 1, 1, 3]
    with pytest.raises(ConfigError, match="is not an order of the labels whole, core"):
        found.label_map(("core",))


def test_region_that_is_made_of_others_has_a_number_of_its_own() -> None:
    scheme = LabelScheme((("whole", (1, 2)), ("anterior", (1,)), ("posterior", (2,))), "sigmoid")
    assert scheme.painted_values() == {"whole": 3, "anterior": 1, "posterior": 2}
    assert segmentation([0b001, 0b011, 0b101], scheme).label_map().ravel().tolist() == [3, 1, 2]


def test_values_above_255_need_two_bytes() -> None:
    found = segmentation([0, 1], LabelScheme((("far", (300,)),), "sigmoid"))
    assert found.label_map().dtype == np.uint16
    assert found.label_map().ravel().tolist() == [0, 300]


def test_new_voxels_of_an_exclusive_label_come_from_the_background_only() -> None:
    found = segmentation([0, 1, 2, 1], TWO)
    found.replace_mask(0, np.array([True, False, True, True]).reshape(1, 1, 4))
    assert found.codes.ravel().tolist() == [1, 0, 2, 1]


def test_new_voxels_of_a_region_leave_the_others_alone() -> None:
    found = segmentation([0b00, 0b01, 0b11, 0b10], REGIONS)
    found.replace_mask(1, np.array([True, True, False, False]).reshape(1, 1, 4))
    assert found.codes.ravel().tolist() == [0b10, 0b11, 0b01, 0b00]


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
@pytest.mark.parametrize("count", [1, 8, 9, 16, 31])
def test_codes_hold_every_region(activation: str, count: int) -> None:
    scheme = LabelScheme(tuple((f"r{i}", (i + 1,)) for i in range(count)), activation)
    logits = torch.full((1, scheme.num_channels, 1, 1, count), -1.0)
    for i in range(count):
        logits[0, scheme.num_channels - count + i, 0, 0, i] = 1.0
    codes = scheme.codes(logits)[0].numpy()
    found = Segmentation(codes, scheme, geometry((1, 1, count), (1.0, 1.0, 1.0)))
    for i in range(count):
        assert np.flatnonzero(found.mask(i)).tolist() == [i]
        assert scheme.decode(logits)[0, i].numpy().tolist() == found.mask(i).tolist()


@pytest.mark.parametrize(
    ("spacing_mm", "count", "volume_ml"),
    [
        ((1.0, 1.0, 1.0), 1785, 1.785),  # 1.7850000000000001 as a product of floats
        ((float(np.float32(1.2)), float(np.float32(0.7)), float(np.float32(0.7))), 1000, 0.588),
        ((0.01, 0.01, 0.01), 1, 1e-9),
        ((5.0, 1.0, 1.0), 1_234_567, 6172.84),
    ],
)
def test_volumes_have_as_many_digits_as_voxel_sizes_bear(
    spacing_mm: tuple[float, float, float], count: int, volume_ml: float
) -> None:
    codes = np.ones((1, 1, count), np.uint8)
    found = Segmentation(codes, TWO, geometry((1, 1, count), spacing_mm))
    assert found.volumes_ml() == {"a": volume_ml, "b": 0.0}

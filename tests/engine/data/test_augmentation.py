from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from lunet_cli.config.augmentation import LEVELS, AugmentationConfig
from lunet_cli.engine.data import augmentation
from lunet_cli.engine.data.augmentation import augment

SHAPE = (5, 7, 9)
CENTRE = (2, 3, 4)


def _patch(dtype: torch.dtype = torch.uint8) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(7)
    label = torch.randint(0, 4, SHAPE, generator=generator).to(dtype)
    return torch.randn(2, *SHAPE, generator=generator), label


def _augment(
    image: Tensor,
    label: Tensor,
    *,
    draw: int = 0,
    spacing_mm: tuple[float, float, float] = (1, 1, 1),
    **options: Any,
) -> tuple[Tensor, Tensor]:
    config = AugmentationConfig.model_validate(options)
    generator = torch.Generator().manual_seed(draw)
    return augment(image, label, config, generator, spacing_mm=spacing_mm)


ALL = {
    name: 1
    for name in AugmentationConfig.model_fields
    if name.endswith("probability") and name != "flip_probability"
} | {"flip_probability": 0.5, "rotation_deg": 40}
PARTS = [name for name in ALL if name.endswith("probability") and name != "flip_probability"]
INTENSITIES = [name for name in PARTS if name[:6] not in ("affine", "elasti")]


def test_generator_alone_decides() -> None:
    image, label = _patch()
    first = _augment(image, label, draw=3, **ALL)
    torch.rand(5)
    again = _augment(image, label, draw=3, **ALL)
    other = _augment(image, label, draw=4, **ALL)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


def test_input_is_left_alone() -> None:
    image, label = _patch()
    before = image.clone(), label.clone()
    _augment(image, label, **ALL)
    assert torch.equal(image, before[0])
    assert torch.equal(label, before[1])


def test_nothing_asked_for_changes_nothing() -> None:
    image, label = _patch()
    found = _augment(image, label)
    assert torch.equal(found[0], image)
    assert torch.equal(found[1], label)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32])
def test_shapes_types_and_label_values_stay(dtype: torch.dtype) -> None:
    image, label = _patch(dtype)
    label = label * 60
    for draw in range(20):
        new_image, new_label = _augment(image, label, draw=draw, **ALL)
        assert new_image.shape == image.shape
        assert new_image.dtype == torch.float32
        assert new_label.shape == label.shape
        assert new_label.dtype == dtype
        assert set(new_label.unique().tolist()) <= {0, 60, 120, 180}


@pytest.mark.parametrize("part", PARTS)
def test_each_part_changes_images_and_only_moves_change_labels(part: str) -> None:
    image, label = _patch()
    new_image, new_label = _augment(image, label, elastic=0.49, **{part: 1})
    assert new_image.isfinite().all()
    assert not torch.equal(new_image, image)
    assert torch.equal(new_label, label) == (part in INTENSITIES)


@pytest.mark.parametrize("part", PARTS)
def test_each_part_bears_a_constant_image_of_one_voxel(part: str) -> None:
    image, label = torch.ones(2, 1, 1, 1), torch.ones(1, 1, 1, dtype=torch.uint8)
    for draw in range(5):
        new_image, new_label = _augment(image, label, draw=draw, **{part: 1})
        assert new_image.isfinite().all()
        assert new_image.shape == image.shape
        assert new_label.shape == label.shape


@pytest.mark.parametrize("level", ["light", "standard", "strong"])
def test_levels_change_what_they_say(level: str) -> None:
    image, label = _patch()
    changed = 0
    for draw in range(60):
        new_image, _ = _augment(image, label, draw=draw, level=level)
        changed += not torch.equal(new_image, image)
    assert changed > 20


def test_old_keys_mean_what_they_meant() -> None:
    light = LEVELS["light"]
    assert AugmentationConfig.model_validate({"enabled": True}).changes == light
    assert AugmentationConfig(level="strong", enabled=True).changes == LEVELS["strong"]
    assert not AugmentationConfig(level="strong", enabled=False).changes.any
    assert not AugmentationConfig().changes.any
    set_by_hand = {"enabled": True, "rotation_deg": 30, "flip_probability": 0.5}
    expected = replace(light, rotation_deg=30, flip_probability=0.5)
    assert AugmentationConfig.model_validate(set_by_hand).changes == expected


def test_only_the_named_axes_are_flipped() -> None:
    image, label = _patch()
    _, new_label = _augment(image, label, flip_probability=1, flip_axes=["x", "z"])
    assert torch.equal(new_label, label.flip([0, 2]))


def test_flip_probability_of_one_mirrors_every_axis() -> None:
    image, label = _patch()
    new_image, new_label = _augment(image, label, flip_probability=1)
    assert new_image[1, 0, 1, 2] == image[1, 4, 5, 6]
    assert torch.equal(new_image, image.flip([1, 2, 3]))
    assert torch.equal(new_label, label.flip([0, 1, 2]))


def test_axes_are_flipped_each_by_itself_and_label_with_image() -> None:
    _, label = _patch()
    image = label[None].float()
    seen = set()
    for draw in range(60):
        new_image, new_label = _augment(image, label, draw=draw, flip_probability=0.5)
        assert torch.equal(new_image[0], new_label.float())
        axes = [[], [0], [1], [2], [0, 1], [0, 2], [1, 2], [0, 1, 2]]
        seen |= {tuple(flips) for flips in axes if torch.equal(new_label, label.flip(flips))}
    assert len(seen) == 8


def test_affine_without_rotation_and_scale_is_the_identity() -> None:
    image, label = _patch()
    new_image, new_label = _augment(
        image, label, affine_probability=1, rotation_deg=0, scale=0, shear=0
    )
    torch.testing.assert_close(new_image, image, atol=1e-4, rtol=0)
    assert torch.equal(new_label, label)


SetAffine = Callable[[float, tuple[float, float, float]], None]


@pytest.fixture
def set_affine(monkeypatch: pytest.MonkeyPatch) -> SetAffine:
    """Fix what the affine change draws: the scale, then angles in the planes zy, zx and yx."""

    def fix(scale: float, degrees: tuple[float, float, float]) -> None:
        draws = iter([scale])
        for angle in degrees:
            draws = chain(draws, (angle, 0.0, 0.0))
        monkeypatch.setattr(augmentation._Draw, "within", lambda *_: next(draws))

    return fix


def _move(
    offset: tuple[int, int, int], spacing_mm: tuple[float, float, float] = (1, 1, 1)
) -> tuple[tuple[int, int, int], float]:
    """Put a point at an offset (z, y, x) from the centre; return where it goes, and its grey."""
    image, label = torch.zeros(1, *SHAPE), torch.zeros(SHAPE, dtype=torch.uint8)
    place = tuple(centre + step for centre, step in zip(CENTRE, offset, strict=True))
    image[0, *place], label[place] = 1.0, 1
    image, label = _augment(image, label, affine_probability=1, spacing_mm=spacing_mm)
    (found,) = label.nonzero().tolist()
    z, y, x = (new - centre for new, centre in zip(found, CENTRE, strict=True))
    return (z, y, x), float(image[0, *found])


@pytest.mark.parametrize(
    ("degrees", "offset", "expected"),
    [
        ((0, 0, 90), (0, 0, 2), (0, 2, 0)),
        ((0, 0, 90), (0, 3, 0), (0, 0, 3)),
        ((0, 0, 90), (1, 0, 0), (1, 0, 0)),
        ((0, 90, 0), (0, 0, 2), (2, 0, 0)),
        ((0, 90, 0), (2, 1, 0), (0, 1, 2)),
        ((90, 0, 0), (0, 2, 0), (2, 0, 0)),
        ((90, 0, 0), (-1, 0, 1), (0, 1, 1)),
    ],
)
def test_quarter_turn_moves_a_point_from_axis_to_axis_without_shear(
    degrees: tuple[float, float, float],
    offset: tuple[int, int, int],
    expected: tuple[int, int, int],
    set_affine: SetAffine,
) -> None:
    set_affine(0.0, degrees)
    found, intensity = _move(offset)
    # The sense of the turn is free, so signs are left out.
    assert tuple(map(abs, found)) == expected
    assert intensity == pytest.approx(1, abs=1e-3)


def test_two_quarter_turns_are_a_half_turn(set_affine: SetAffine) -> None:
    set_affine(0.0, (0, 0, 180))
    assert _move((1, 2, -3))[0] == (1, -2, 3)


def test_turns_are_in_mm(set_affine: SetAffine) -> None:
    set_affine(0.0, (0, 90, 0))
    image, label = torch.zeros(1, *SHAPE), torch.zeros(SHAPE, dtype=torch.uint8)
    image[0, 2, 3, 6] = 1.0
    options = {"affine_probability": 1, "spacing_mm": (2, 1, 1)}
    new_image, _ = _augment(image, label, **options)
    # 2 mm from the centre along x, and then along z, where that is one voxel.
    along_z = new_image[0, :, 3, 4].tolist()
    assert sorted(along_z) == pytest.approx([0, 0, 0, 0, 1], abs=1e-3)
    assert max(along_z) in (along_z[1], along_z[3])


def test_thick_slices_are_turned_in_their_plane_only(set_affine: SetAffine) -> None:
    set_affine(0.0, (90, 90, 90))
    assert _move((1, 0, 2), spacing_mm=(5, 1, 1))[0] in ((1, 2, 0), (1, -2, 0))


def test_turns_keep_handedness(set_affine: SetAffine) -> None:
    set_affine(0.0, (0, 0, 90))
    along_x, _ = _move((0, 0, 2))
    set_affine(0.0, (0, 0, 90))
    along_y, _ = _move((0, 2, 0))
    # A rotation takes x to +-y and y to -+x; a reflection would take both with the same sign.
    assert along_x[1] * along_y[2] == -4


def test_scale_enlarges_about_the_centre(set_affine: SetAffine) -> None:
    set_affine(1.0, (0, 0, 0))
    image = torch.zeros(1, *SHAPE)
    image[0, 2, 3, 5] = 1.0
    image[0, 2, 2, 4] = 2.0
    new_image, _ = _augment(image, torch.zeros(SHAPE, dtype=torch.uint8), affine_probability=1)
    assert float(new_image[0, 2, 3, 6]) == pytest.approx(1, abs=1e-3)
    assert float(new_image[0, 2, 1, 4]) == pytest.approx(2, abs=1e-3)


@pytest.mark.parametrize(("part", "index"), [("contrast", 0), ("brightness", 1)])
def test_contrast_is_a_gain_and_brightness_an_offset_within_the_limit(
    part: str, index: int
) -> None:
    image, label = _patch()
    found = []
    for draw in range(20):
        options = {f"{part}_probability": 1, part: 0.2}
        new_image, _ = _augment(image, label, draw=draw, **options)
        flat, new = image.flatten(), new_image.flatten()
        gain = float((new[1] - new[0]) / (flat[1] - flat[0]))
        offset = float(new[0] - gain * flat[0])
        torch.testing.assert_close(new, gain * flat + offset, atol=1e-4, rtol=0)
        changes = [gain - 1, offset]
        assert changes[1 - index] == pytest.approx(0, abs=1e-4)
        found.append(changes[index])
    assert max(map(abs, found)) <= 0.2001
    assert max(found) - min(found) > 0.1


def test_gamma_keeps_mean_and_deviation_and_the_order_of_intensities() -> None:
    image, label = _patch()
    new_image, _ = _augment(image, label, gamma_probability=1)
    for new, old in zip(new_image, image, strict=True):
        assert float(new.mean()) == pytest.approx(float(old.mean()), abs=1e-4)
        assert float(new.std()) == pytest.approx(float(old.std()), abs=1e-4)
        assert torch.equal(new.flatten().argsort(), old.flatten().argsort())


def test_blur_is_that_of_scipy() -> None:
    image = torch.zeros(1, 15, 15, 15)
    image[0, 7, 7, 7] = 1
    blurred = augmentation._blur(image, 0.8, (2.0, 1.0, 1.0))
    expected = ndimage.gaussian_filter(image[0].numpy(), (0.4, 0.8, 0.8), truncate=2.6)
    assert np.abs(blurred[0].numpy() - expected).max() < 0.02
    assert float(blurred.sum()) == pytest.approx(1, abs=1e-4)


def test_coarse_images_lose_detail_along_the_fine_axes_only() -> None:
    image = (torch.arange(16) % 2).float().expand(1, 4, 16, 16)
    coarse = augmentation._coarsen(image, 2.0, (2.0, 1.0, 1.0))
    assert float(coarse.std()) < 0.1
    along_z = image.movedim(3, 1)
    torch.testing.assert_close(augmentation._coarsen(along_z, 2.0, (2.0, 1.0, 1.0)), along_z)


def test_noise_stays_below_its_limit_and_off_the_label() -> None:
    image, label = torch.zeros(1, 20, 20, 20), torch.zeros(20, 20, 20, dtype=torch.uint8)
    stds = []
    for draw in range(10):
        new_image, new_label = _augment(image, label, draw=draw, noise_probability=1, noise_std=0.5)
        assert torch.equal(new_label, label)
        stds.append(float(new_image.std()))
    assert max(stds) < 0.52
    assert max(stds) - min(stds) > 0.1


def test_changes_happen_about_as_often_as_asked() -> None:
    image, label = _patch()
    changed = sum(
        not torch.equal(_augment(image, label, draw=draw, contrast_probability=0.3)[0], image)
        for draw in range(200)
    )
    assert 40 <= changed <= 80

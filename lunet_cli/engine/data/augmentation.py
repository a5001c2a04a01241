"""Random changes to one training patch, drawn from a generator of its own.

All that moves voxels is one map of coordinates, so that an image is interpolated once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lunet_cli.config.augmentation import AugmentationConfig, Changes
from lunet_cli.engine.data.warping import affine_coordinates, smooth_field, warp

Spacing = tuple[float, float, float]
_AXES = ("z", "y", "x")
# Beyond it, as in nnU-Net, a rotation would mix slices that lie far apart.
_MOST_ANISOTROPY = 3.0
# Of B-splines, along each axis: elastic ones lie a third of the patch apart, those of a bias field
# a half.
_ELASTIC_POINTS, _BIAS_POINTS = 6, 5


def augment(
    image: Tensor,
    label: Tensor,
    config: AugmentationConfig,
    generator: torch.Generator,
    *,
    spacing_mm: Spacing = (1.0, 1.0, 1.0),
    num_soft: int = 0,
) -> tuple[Tensor, Tensor]:
    """Change a patch as `config` asks.

    Args:
        image: Normalised intensities (C, D, H, W), float32.
        label: Label values (D, H, W), integer.
        config: The section `augmentation`.
        generator: Source of all randomness.
        spacing_mm: Edges (z, y, x) of a voxel in mm.
        num_soft: How many of the last channels are probabilities: they move with the image, and
            their values stay.

    Returns:
        New image and label of the same shapes and types.
    """
    draw = _Draw(generator)
    changes = config.changes
    image, label = _flip(image, label, changes, config.flip_axes, draw)
    image, label = _move(image, label, changes, spacing_mm, draw)
    if num_soft == 0:
        return _recolor(image, changes, spacing_mm, draw), label
    recolored = _recolor(image[:-num_soft], changes, spacing_mm, draw)
    return torch.cat([recolored, image[-num_soft:]]), label


@dataclass(frozen=True)
class _Draw:
    """Random numbers; their order is part of what a seed means."""

    generator: torch.Generator

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * torch.rand((), generator=self.generator).item()

    def within(self, limit: float) -> float:
        return self.uniform(-limit, limit)

    def happens(self, probability: float) -> bool:
        # Nothing is drawn for what is off.
        return probability > 0 and self.uniform(0, 1) < probability

    def points(self, channels: int, number: int, limit: float) -> Tensor:
        """Numbers within the limit on a coarse grid (channels, number, number, number)."""
        shape = (channels, number, number, number)
        return limit * (2 * torch.rand(shape, generator=self.generator) - 1)


def _flip(
    image: Tensor, label: Tensor, changes: Changes, axes: Sequence[str], draw: _Draw
) -> tuple[Tensor, Tensor]:
    # Counted from the end, the axes of image and label are called alike.
    flips = []
    for axis in axes:
        if draw.happens(changes.flip_probability):
            flips.append(_AXES.index(axis) - 3)
    if not flips:
        return image, label
    return image.flip(flips), label.flip(flips)


def _move(
    image: Tensor, label: Tensor, changes: Changes, spacing_mm: Spacing, draw: _Draw
) -> tuple[Tensor, Tensor]:
    """Rotate, scale, shear and deform about the centre of the patch; zeros come in."""
    size = (image.shape[1], image.shape[2], image.shape[3])
    matrix = shifts = None
    if draw.happens(changes.affine_probability):
        matrix = _affine(changes, spacing_mm, draw)
    if draw.happens(changes.elastic_probability):
        shifts = draw.points(3, _ELASTIC_POINTS, changes.elastic)
    if matrix is None and shifts is None:
        return image, label
    if matrix is None:
        matrix = torch.eye(3)
    z, y, x = affine_coordinates(matrix, size, spacing_mm)
    if shifts is not None:
        # From shares of the way between control points to voxels.
        steps = torch.tensor(size).view(3, 1, 1, 1) / (_ELASTIC_POINTS - 3)
        moves = smooth_field(shifts * steps, size)
        z, y, x = z + moves[0], y + moves[1], x + moves[2]
    return warp(image, label, (z, y, x))


def _affine(changes: Changes, spacing_mm: Spacing, draw: _Draw) -> Tensor:
    """From places (z, y, x) in mm of the new patch to those of the old one."""
    matrix = torch.eye(3) / (1 + draw.within(changes.scale))
    for i, j in ((0, 1), (0, 2), (1, 2)):
        # Drawn in any case, so that a seed means the same for all cases of a data set.
        angle = math.radians(draw.within(changes.rotation_deg))
        shears = draw.within(changes.shear), draw.within(changes.shear)
        pair = spacing_mm[i], spacing_mm[j]
        if max(pair) > _MOST_ANISOTROPY * min(pair):
            continue
        step = torch.eye(3)
        step[i, i] = step[j, j] = math.cos(angle)
        step[i, j], step[j, i] = shears[0] - math.sin(angle), shears[1] + math.sin(angle)
        matrix = matrix @ step
    return matrix


def _recolor(image: Tensor, changes: Changes, spacing_mm: Spacing, draw: _Draw) -> Tensor:
    """Change the intensities, in the order in which a scanner would come to them."""
    if draw.happens(changes.bias_field_probability):
        image = _bias_field(image, changes.bias_field, draw)
    if draw.happens(changes.blur_probability):
        sigma = draw.uniform(changes.blur_sigma / 2, changes.blur_sigma)
        image = _blur(image, sigma, spacing_mm)
    if draw.happens(changes.low_resolution_probability):
        image = _coarsen(image, draw.uniform(1, changes.low_resolution), spacing_mm)
    if draw.happens(changes.noise_probability):
        std = draw.uniform(0, changes.noise_std)
        image = image + std * torch.randn(image.shape, generator=draw.generator)
    if draw.happens(changes.gamma_probability):
        image = _gamma(image, math.exp(draw.within(changes.gamma)))
    gain, offset = 1.0, 0.0
    if draw.happens(changes.contrast_probability):
        gain += draw.within(changes.contrast)
    if draw.happens(changes.brightness_probability):
        offset += draw.within(changes.brightness)
    if (gain, offset) == (1.0, 0.0):
        return image
    return image * gain + offset


def _bias_field(image: Tensor, strength: float, draw: _Draw) -> Tensor:
    """Multiply intensities, counted from the darkest, by a field that changes slowly."""
    size = (image.shape[1], image.shape[2], image.shape[3])
    factors = smooth_field(draw.points(1, _BIAS_POINTS, strength), size).exp()
    darkest = image.amin((1, 2, 3), keepdim=True)
    return darkest + (image - darkest) * factors


def _blur(image: Tensor, sigma: float, spacing_mm: Spacing) -> Tensor:
    """Convolve with a Gaussian of equal width in mm along all axes."""
    blurred = image[:, None]
    for axis, spacing in enumerate(spacing_mm):
        width = sigma * min(spacing_mm) / spacing
        radius = math.ceil(2 * width)
        # Narrower ones change a voxel by less than a hundredth of its neighbours.
        if width < 0.3:
            continue
        places = torch.arange(-radius, radius + 1)
        weights = torch.exp(-0.5 * (places / width) ** 2)
        shape = [1, 1, 1, 1, 1]
        shape[2 + axis] = len(places)
        padding = [0, 0, 0, 0, 0, 0]
        padding[4 - 2 * axis : 6 - 2 * axis] = [radius, radius]
        kernel = (weights / weights.sum()).view(shape)
        blurred = F.conv3d(F.pad(blurred, padding, mode="replicate"), kernel)
    return blurred[:, 0]


def _coarsen(image: Tensor, factor: float, spacing_mm: Spacing) -> Tensor:
    """Sample the nearest voxels of a coarser grid, and interpolate them back."""
    coarse_mm = factor * min(spacing_mm)
    size = (image.shape[1], image.shape[2], image.shape[3])
    coarse = []
    for edge, spacing in zip(size, spacing_mm, strict=True):
        coarse.append(max(1, min(edge, round(edge * spacing / coarse_mm))))
    fewer = F.interpolate(image[None], size=coarse, mode="nearest-exact")
    return F.interpolate(fewer, size=size, mode="trilinear", align_corners=False)[0]


def _gamma(image: Tensor, power: float) -> Tensor:
    """Take intensities, brought to 0 to 1 in each channel, to a power; mean and deviation stay."""
    axes = (1, 2, 3)
    low, high = image.amin(axes, keepdim=True), image.amax(axes, keepdim=True)
    changed = ((image - low) / (high - low).clamp(min=1e-7)) ** power
    std, mean = torch.std_mean(image, axes, correction=0, keepdim=True)
    new_std, new_mean = torch.std_mean(changed, axes, correction=0, keepdim=True)
    return (changed - new_mean) * (std / new_std.clamp(min=1e-7)) + mean

"""Random changes to one training patch, drawn from a generator of its own."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lunet_cli.config.augmentation import AugmentationConfig


def augment(
    image: Tensor, label: Tensor, config: AugmentationConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Change a patch as `config` asks.

    Args:
        image: Normalised intensities (C, D, H, W), float32.
        label: Label values (D, H, W), integer.
        config: The section `augmentation`.
        generator: Source of all randomness.

    Returns:
        New image and label of the same shapes and types.
    """
    # Counted from the end, the axes of image and label are called alike. The order of the draws is
    # part of what a seed means: another one would give other patches.
    flips = [axis for axis in (-3, -2, -1) if _happens(config.flip_probability, generator)]
    if flips:
        image, label = image.flip(flips), label.flip(flips)
    if _happens(config.affine_probability, generator):
        image, label = _affine(image, label, config, generator)
    if _happens(config.contrast_probability, generator):
        gain = 1 + _symmetric(config.contrast, generator)
        offset = _symmetric(config.contrast, generator)
        image = image * gain + offset
    if _happens(config.noise_probability, generator):
        std = config.noise_std * _uniform(generator)
        image = image + std * torch.randn(image.shape, generator=generator)
    return image, label


def _affine(
    image: Tensor, label: Tensor, config: AugmentationConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Rotate about all axes and scale, in voxels, about the centre of the patch; zeros come in."""
    matrix = torch.eye(3) / (1 + _symmetric(config.scale, generator))
    for i, j in ((0, 1), (0, 2), (1, 2)):
        angle = math.radians(_symmetric(config.rotation_deg, generator))
        rotation = torch.eye(3)
        rotation[i, i] = rotation[j, j] = math.cos(angle)
        rotation[i, j], rotation[j, i] = -math.sin(angle), math.sin(angle)
        matrix = matrix @ rotation
    depth, height, width = image.shape[1:]
    # affine_grid counts every axis from -1 to 1, so that unequal edges would shear.
    edges = torch.tensor([width, height, depth], dtype=torch.float32)
    theta = F.pad(matrix * edges[None, :] / edges[:, None], (0, 1))[None]
    grid = F.affine_grid(theta, [1, 1, depth, height, width], align_corners=False)
    moved = F.grid_sample(image[None], grid, mode="bilinear", align_corners=False)[0]
    # A mixture of two label values is neither of them. float32 holds all that a uint16 can be.
    labels = label[None, None].float()
    moved_label = F.grid_sample(labels, grid, mode="nearest", align_corners=False)[0, 0]
    return moved, moved_label.to(label.dtype)


def _uniform(generator: torch.Generator) -> float:
    return torch.rand((), generator=generator).item()


def _symmetric(limit: float, generator: torch.Generator) -> float:
    return limit * (2 * _uniform(generator) - 1)


def _happens(probability: float, generator: torch.Generator) -> bool:
    return _uniform(generator) < probability

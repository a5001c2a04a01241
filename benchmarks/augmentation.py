"""CPU time of `standard` augmentation per patch, beside the same changes by other libraries.

    python benchmarks/augmentation.py [--size D H W] [--rounds N]
    python benchmarks/augmentation.py --picture docs/images/augmentation.png [--set KEY=VALUE ...]

One thread; rounds are interleaved, so that a drift of the machine meets all candidates alike.
MONAI and batchgeneratorsv2 are left out where they are not installed. The last line is the CPU time
of a training step of `lunet_small_4f`, per patch: what augmentation is a share of. A picture has a
row of patches for each level, all of the first training case of the quickstart with other settings.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lunet_cli.config.augmentation import LEVELS, AugmentationConfig, Level
from lunet_cli.config.load import load_config
from lunet_cli.config.presets import parse_preset
from lunet_cli.config.training import LossConfig
from lunet_cli.engine.data.augmentation import augment
from lunet_cli.engine.networks import build_network
from lunet_cli.engine.networks.execution import ExecutionPlan, usual_precision
from lunet_cli.engine.provenance import machine_name, versions
from lunet_cli.engine.training.losses import make_loss
from lunet_cli.engine.training.setup import set_up

BATCH, BATCHES, COLUMNS = 4, 6, 7
STANDARD = LEVELS["standard"]
ANGLE = math.radians(STANDARD.rotation_deg)
Candidate = Callable[[Tensor, Tensor], object]


def ours(level: Level) -> Candidate:
    """Each patch by `lunet_cli.engine.data.augmentation`."""
    config, generator = AugmentationConfig(level=level), torch.Generator().manual_seed(0)

    def run(images: Tensor, labels: Tensor) -> None:
        for image, label in zip(images, labels, strict=True):
            augment(image, label, config, generator)

    return run


def batched(images: Tensor, labels: Tensor) -> None:
    """A whole batch at once, as one would on a GPU: every patch pays for every part."""
    size, number = images.shape[2:], len(images)

    def happens(probability: float) -> Tensor:
        return (torch.rand(number, 1, 1, 1, 1) < probability).float()

    angles = (
        ANGLE * (2 * torch.rand(number, 3) - 1) * happens(STANDARD.affine_probability)[:, 0, 0, 0]
    )
    theta = torch.eye(3, 4).repeat(number, 1, 1)
    for axis, (i, j) in enumerate(((0, 1), (0, 2), (1, 2))):
        turn = torch.eye(3).repeat(number, 1, 1)
        turn[:, i, i] = turn[:, j, j] = angles[:, axis].cos()
        turn[:, i, j], turn[:, j, i] = -angles[:, axis].sin(), angles[:, axis].sin()
        theta[:, :, :3] = theta[:, :, :3] @ turn
    grid = F.affine_grid(theta, [number, 1, *size], align_corners=False)
    shifts = 0.1 * (2 * torch.rand(number, 3, 6, 6, 6) - 1) * happens(STANDARD.elastic_probability)
    grid = grid + F.interpolate(shifts, size=size, mode="trilinear").movedim(1, -1)
    images = F.grid_sample(images, grid, align_corners=False)
    F.grid_sample(labels[:, None].float(), grid, mode="nearest", align_corners=False)
    field = torch.rand(number, 1, 5, 5, 5) * happens(STANDARD.bias_field_probability)
    images = images * F.interpolate(0.3 * field, size=size, mode="trilinear").exp()
    coarse = F.interpolate(images, scale_factor=0.6)
    coarse = F.interpolate(coarse, size=size, mode="trilinear")
    images = torch.lerp(images, coarse, happens(STANDARD.low_resolution_probability))
    smooth = F.avg_pool3d(images, 3, 1, 1)
    images = torch.lerp(images, smooth, happens(STANDARD.blur_probability))
    images = images + 0.05 * torch.randn_like(images) * happens(STANDARD.noise_probability)
    low, high = images.amin((2, 3, 4), keepdim=True), images.amax((2, 3, 4), keepdim=True)
    changed = ((images - low) / (high - low)) ** 1.2 * (high - low) + low
    images = torch.lerp(images, changed, happens(STANDARD.gamma_probability))
    images * (1 + 0.1 * happens(STANDARD.contrast_probability)) + 0.1


def monai_transforms(size: tuple[int, int, int]) -> list[Any]:
    """The dictionary transforms of MONAI, with the probabilities and limits of `standard`."""
    from monai import transforms as m

    both = ["image", "label"]
    modes = ["bilinear", "nearest"]
    scale, shear = (STANDARD.scale,) * 3, (STANDARD.shear,) * 6
    return [
        m.RandAffined(
            both,
            prob=STANDARD.affine_probability,
            rotate_range=(ANGLE,) * 3,
            scale_range=scale,
            shear_range=shear,
            mode=modes,
            padding_mode="zeros",
        ),
        m.Rand3DElasticd(
            both,
            sigma_range=(5, 7),
            magnitude_range=(50, 100),
            prob=STANDARD.elastic_probability,
            spatial_size=size,
            mode=modes,
            padding_mode="zeros",
        ),
        m.RandBiasFieldd(["image"], coeff_range=(0, 0.3), prob=STANDARD.bias_field_probability),
        m.RandGaussianSmoothd(
            ["image"], (0.5, 1), (0.5, 1), (0.5, 1), prob=STANDARD.blur_probability
        ),
        m.RandSimulateLowResolutiond(
            ["image"], prob=STANDARD.low_resolution_probability, zoom_range=(0.5, 1)
        ),
        m.RandGaussianNoised(["image"], prob=STANDARD.noise_probability, std=0.1),
        m.RandAdjustContrastd(["image"], prob=STANDARD.gamma_probability, gamma=(0.74, 1.35)),
        m.RandScaleIntensityd(["image"], 0.25, prob=STANDARD.contrast_probability),
        m.RandShiftIntensityd(["image"], 0.25, prob=STANDARD.brightness_probability),
    ]


def of_monai(size: tuple[int, int, int]) -> Candidate:
    """Each patch by MONAI."""
    from monai.transforms.compose import Compose

    compose = Compose(monai_transforms(size))

    def run(images: Tensor, labels: Tensor) -> None:
        for image, label in zip(images, labels, strict=True):
            compose({"image": image, "label": label[None]})

    return run


def of_batchgenerators(size: tuple[int, int, int]) -> Candidate:
    """The transforms of nnU-Net, with the probabilities and limits of `standard`."""
    from batchgeneratorsv2.transforms.intensity.brightness import BrightnessAdditiveTransform
    from batchgeneratorsv2.transforms.intensity.contrast import BGContrast, ContrastTransform
    from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
    from batchgeneratorsv2.transforms.intensity.gaussian_noise import GaussianNoiseTransform
    from batchgeneratorsv2.transforms.local.brightness_gradient import (
        BrightnessGradientAdditiveTransform,
    )
    from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
    from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform
    from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
    from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
    from batchgeneratorsv2.transforms.utils.random import RandomTransform

    parts = [
        (GaussianNoiseTransform((0, 0.1)), STANDARD.noise_probability),
        (GaussianBlurTransform((0.5, 1.0)), STANDARD.blur_probability),
        (BrightnessAdditiveTransform(0, 0.15), STANDARD.brightness_probability),
        (ContrastTransform(BGContrast((0.75, 1.25)), True, True), STANDARD.contrast_probability),
        (
            SimulateLowResolutionTransform((0.5, 1), True, True, ()),
            STANDARD.low_resolution_probability,
        ),
        (GammaTransform((0.74, 1.35), 0, True, 1, 1), STANDARD.gamma_probability),
        (BrightnessGradientAdditiveTransform(20), STANDARD.bias_field_probability),
    ]
    spatial = SpatialTransform(
        size,
        0,
        False,
        p_elastic_deform=STANDARD.elastic_probability,
        p_rotation=STANDARD.affine_probability,
        rotation=(-ANGLE, ANGLE),
        p_scaling=STANDARD.affine_probability,
        scaling=(1 - STANDARD.scale, 1 + STANDARD.scale),
        p_synchronize_scaling_across_axes=1,
        mode_seg="nearest",
    )
    compose = ComposeTransforms(
        [spatial, *(RandomTransform(part, probability) for part, probability in parts)]
    )

    def run(images: Tensor, labels: Tensor) -> None:
        for image, label in zip(images, labels, strict=True):
            compose(image=image, segmentation=label[None].short())

    return run


def training_step(size: tuple[int, int, int]) -> Candidate:
    """A step of `lunet_small_4f` with two labels and their background."""
    spec = replace(parse_preset("lunet_small_4f").spec, out_channels=3)
    precision, _ = usual_precision(spec, "cpu")
    plan = ExecutionPlan("cpu", precision, channels_last=True, compile=False)
    network = plan.place(build_network(spec)).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    loss = make_loss(LossConfig(name="dice_ce"), "softmax")

    def run(images: Tensor, labels: Tensor) -> None:
        target = torch.stack([labels == value for value in range(3)], dim=1)
        with plan.autocast():
            logits = network(plan.place_image(images))
        optimizer.zero_grad()
        loss(logits, target).backward()
        optimizer.step()

    return run


def draw(path: Path, settings: list[str]) -> None:
    """Write a picture with a row of changed patches for each level."""
    from matplotlib.figure import Figure

    setup = set_up(load_config("quickstart", settings), lambda _: None)
    prepared = setup.train[0]
    image = torch.from_numpy(prepared.image.astype("float32"))
    label = torch.from_numpy(prepared.label)
    low, high = image.quantile(0.01).item(), image.quantile(0.995).item()
    areas = (label > 0).sum((1, 2))
    position = int(areas.argmax())
    levels: tuple[Level, ...] = ("none", "light", "standard", "strong")
    figure = Figure(figsize=(7, 7 * len(levels) / COLUMNS), dpi=150)
    axes = figure.subplots(len(levels), COLUMNS)
    for row, level in zip(axes, levels, strict=True):
        generator = torch.Generator().manual_seed(1)
        config = AugmentationConfig(level=level)
        for column, place in enumerate(row):
            changed, map_ = augment(image, label, config, generator, spacing_mm=prepared.spacing_mm)
            place.imshow(changed[0, position], cmap="gray", vmin=low, vmax=high)
            place.contour(map_[position] > 0, [0.5], colors=["#ff9f1c"], linewidths=0.8)
            place.set_xticks([])
            place.set_yticks([])
            if column == 0:
                place.set_ylabel(level)
    figure.subplots_adjust(left=0.05, right=1, bottom=0, top=1, wspace=0.03, hspace=0.03)
    figure.savefig(path)


def main() -> None:
    """Print a line for each candidate, or draw what the levels do."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", nargs=3, type=int, default=[48, 64, 48], metavar=("D", "H", "W"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--set", action="append", default=[])
    arguments = parser.parse_args()
    if arguments.picture is not None:
        draw(arguments.picture, arguments.set)
        return
    size = tuple(arguments.size)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    candidates: dict[str, Candidate] = {
        "lunet, light": ours("light"),
        "lunet, standard": ours("standard"),
        "lunet, strong": ours("strong"),
        "batched tensors, grid_sample": batched,
    }
    for name, package, make in (
        ("MONAI per sample", "monai", of_monai),
        ("batchgeneratorsv2", "batchgeneratorsv2", of_batchgenerators),
    ):
        if importlib.util.find_spec(package):
            candidates[name] = make(size)
    candidates["training step of lunet_small_4f"] = training_step(size)
    batches = []
    for _ in range(BATCHES):
        images = torch.randn(BATCH, 1, *size)
        batches.append((images, (images[:, 0] > 1).byte() + (images[:, 0] > 2).byte()))
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for index in range(arguments.rounds + 1):
        for name, run in candidates.items():
            start = time.process_time()
            for batch in batches:
                run(*batch)
            if index > 0:  # The first round warms up.
                times[name].append((time.process_time() - start) / BATCH / BATCHES)
    step = statistics.median(times["training step of lunet_small_4f"])
    print(f"{machine_name()}, {os.cpu_count()} cores, 1 thread; {versions()}")
    for name, values in times.items():
        # A mean, since what a patch costs is a matter of chance, and the mean is what a run pays.
        mean = statistics.fmean(values)
        print(
            f"{name:34} {1e3 * mean:7.2f} ms {1 / mean:8.1f} patches/s {mean / step:7.1%} of a step"
        )


if __name__ == "__main__":
    main()

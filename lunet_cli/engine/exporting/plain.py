"""Segment a volume by an exported network, with numpy and SimpleITK alone.

Usage: python use.py MODEL.onnx OUTPUT IMAGE [IMAGE_OF_NEXT_CHANNEL ...]
"""

import json
import sys
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813

Facts = dict[str, Any]
Run = Callable[[np.ndarray], np.ndarray]


def segment(channels: list[sitk.Image], facts: Facts, run: Run) -> sitk.Image:
    """Label map of images (x, y, z), one per channel; `run` computes arrays (1, C, z, y, x)."""
    prepare, stored = facts["preprocessing"], channels[0]
    grids = [bring_onto_grid(image, prepare) for image in channels]
    arrays = []
    for grid in grids:
        arrays.append(normalise(sitk.GetArrayFromImage(grid), prepare["normalization"]))
    logits = compute_in_windows(np.stack(arrays), facts, run)
    # With one more voxel around it, the grid encloses the outer corners of the stored volume.
    logits = np.pad(logits, [(0, 0), (1, 1), (1, 1), (1, 1)], mode="edge")
    image = sitk.GetImageFromArray(np.moveaxis(logits, 0, -1), isVector=True)
    image.SetSpacing(grids[0].GetSpacing())
    image.SetDirection(grids[0].GetDirection())
    image.SetOrigin(grids[0].TransformIndexToPhysicalPoint((-1, -1, -1)))
    image = sitk.Resample(
        image, stored, sitk.Transform(), sitk.sitkLinear, 0.0, image.GetPixelID(), True
    )
    logits = sitk.GetArrayFromImage(image).reshape(*stored.GetSize()[::-1], -1)
    labels = np.zeros(logits.shape[:3], np.uint16)
    for index, value in enumerate(facts["label_values"].values()):
        inside = logits[..., index] > 0
        if facts["activation"] == "softmax":  # which has the background as its class 0
            inside = logits.argmax(axis=-1) == index + 1
        labels[inside] = value
    result = sitk.GetImageFromArray(labels)
    result.CopyInformation(stored)
    return result


def bring_onto_grid(image: sitk.Image, prepare: Facts) -> sitk.Image:
    """The image in the orientation and spacing of the network."""
    if prepare["orientation"]:
        image = sitk.DICOMOrient(image, prepare["orientation"])
    if not prepare["spacing_mm"]:
        return image
    old, new = np.array(image.GetSpacing()), np.array(prepare["spacing_mm"][::-1])
    size = np.maximum(1, np.round(image.GetSize() * old / new)).astype(int).tolist()
    origin = image.TransformContinuousIndexToPhysicalPoint(((new / old - 1) / 2).tolist())
    place = (sitk.Transform(), sitk.sitkLinear, origin, new.tolist(), image.GetDirection())
    return sitk.Resample(image, size, *place, 0.0, sitk.sitkFloat32, True)


def normalise(array: np.ndarray, how: Facts) -> np.ndarray:
    """Intensities on the scale of the network."""
    low, width = {
        "zscore": (array.mean(dtype=float), array.std(dtype=float)),
        "minmax": (array.min(), float(array.max()) - float(array.min())),
        "ct_window": (how["window_level"] - how["window_width"] / 2, how["window_width"]),
        "none": (0.0, 1.0),
    }[how["name"]]
    array = (array.astype(np.float32) - float(low)) / max(float(width), 1e-8)
    return array.clip(0, 1) if how["name"] == "ct_window" else array


def compute_in_windows(array: np.ndarray, facts: Facts, run: Run) -> np.ndarray:
    """Logits (K, z, y, x) of an image (C, z, y, x), from overlapping windows under a bell."""
    size, window = array.shape[1:], facts["window"]
    if facts["takes_whole_volumes"]:
        window = size if np.prod(size) <= 128**3 else (96, 96, 96)
    lack = np.maximum(np.subtract(window, size), 0)
    array = np.pad(array, [(0, 0), *zip(lack // 2, lack - lack // 2, strict=True)])
    bells = [np.exp(-0.5 * ((np.arange(n) - (n - 1) / 2) / (n / 8)) ** 2) for n in window]
    weight = np.maximum(np.einsum("i,j,k", *bells), 1e-4).astype(np.float32)
    num_classes = len(facts["label_values"]) + (facts["activation"] == "softmax")
    total = np.zeros((num_classes, *array.shape[1:]), np.float32)
    weights = np.zeros(array.shape[1:], np.float32)
    for corner in product(*map(window_starts, array.shape[1:], window)):
        where = tuple(slice(first, first + n) for first, n in zip(corner, window, strict=True))
        total[:, *where] += run(array[None, :, *where])[0] * weight
        weights[where] += weight
    inside = tuple(slice(n, n + edge) for n, edge in zip(lack // 2, size, strict=True))
    return (total / weights)[:, *inside]


def window_starts(size: int, edge: int) -> list[int]:
    """First voxels of evenly spread windows along an axis."""
    count = -(-(size - edge) // max(1, edge // 2)) + 1
    return [round(i * (size - edge) / max(1, count - 1)) for i in range(count)]


if __name__ == "__main__":
    import onnxruntime

    model, target, *sources = sys.argv[1:]
    session = onnxruntime.InferenceSession(model)
    facts = json.loads(session.get_modelmeta().custom_metadata_map["lunet"])
    images = [sitk.ReadImage(source) for source in sources]
    sitk.WriteImage(
        segment(images, facts, lambda array: session.run(["logits"], {"image": array})[0]), target
    )

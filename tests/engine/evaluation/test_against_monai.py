"""Our metrics beside MONAI's, on masks of real volumes.

Dice, ASSD, NSD and HD95 are defined alike, down to the surface: voxels with a face neighbour
outside. What differs: MONAI calls empty masks NaN or infinite (here 1, 0 or undefined, by
definition), and keeps distances in float32.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch

from lunet_cli.engine.evaluation.masks import score_masks

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from monai import metrics as monai

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.filterwarnings(
        "ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning"
    ),
]


@pytest.mark.parametrize("seed", range(50))
def test_random_pairs_of_real_masks(seed: int, hippocampus: Path) -> None:
    """A mask against that of another case, or its own moved and worn, with any spacing."""
    rng = np.random.default_rng(seed)
    files = sorted((hippocampus / "labelsTr").glob("*.nii.gz"))
    one, two = (
        sitk.GetArrayFromImage(sitk.ReadImage(str(files[i])))
        for i in rng.choice(len(files), 2, replace=False)
    )
    value = int(rng.integers(1, 3))
    reference = one == value
    if seed % 2:
        size = np.minimum(one.shape, two.shape)
        box = tuple(slice(edge) for edge in size)
        reference, prediction = reference[box], two[box] == value
    else:
        worn = rng.random(one.shape) < 0.1
        prediction = np.roll(reference, tuple(rng.integers(-2, 3, 3)), (0, 1, 2)) ^ (
            worn & reference
        )
    assert prediction.any()
    assert reference.any()
    z, y, x = rng.choice([0.4, 0.7, 1.0, 1.5, 3.0], 3).tolist()
    tolerance_mm = float(rng.choice([0.5, 1.0, 2.0]))
    ours = score_masks(prediction, reference, (z, y, x), tolerance_mm=tolerance_mm)
    p, r = (
        torch.from_numpy(np.ascontiguousarray(mask))[None, None] for mask in (prediction, reference)
    )
    options = {"include_background": True, "spacing": (z, y, x)}
    theirs = {
        "dice": monai.compute_dice(p, r),
        "iou": monai.compute_iou(p, r),
        "hausdorff95": monai.compute_hausdorff_distance(p, r, percentile=95, **options),
        "hausdorff": monai.compute_hausdorff_distance(p, r, **options),
        "assd": monai.compute_average_surface_distance(p, r, symmetric=True, **options),
        "nsd": monai.compute_surface_dice(p, r, [tolerance_mm], **options),
    }
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(float(value), abs=1e-4), name

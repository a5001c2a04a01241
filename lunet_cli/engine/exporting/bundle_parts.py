"""What a MONAI bundle of a lunet network needs beside MONAI's own parts."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813
import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from monai.utils import convert_to_dst_type

from .plain import Facts, Run, segment

# NIfTI counts to the right and to the front (RAS), SimpleITK to the left and to the back (LPS).
_LPS_OF_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


class ExportedNetwork(torch.nn.Module):
    """A network that was exported by PyTorch, from images to logits; it cannot be trained."""

    def __init__(self, path: str, device: torch.device) -> None:
        super().__init__()
        program = torch.export.load(path)
        if device.type != "cpu":
            from torch.export.passes import move_to_device_pass

            program = move_to_device_pass(program, device)
        # In a tuple, since the module of a program refuses `eval()`, which engines call.
        self._graph = (program.module(check_guards=False),)
        self._device = device

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (B, K, z, y, x) of images (B, C, z, y, x)."""
        logits: torch.Tensor = self._graph[0](images.to(self._device))
        return logits


class VolumeInferer(Inferer):
    """Label maps of whole volumes: preprocessing, windows and labels as in `lunet predict`."""

    def __init__(self, facts: str) -> None:
        super().__init__()
        self._facts: Facts = json.loads(Path(facts).read_text(encoding="utf-8"))

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        """Label maps (B, 1, x, y, z) of images (B, C, x, y, z), which know where they lie."""
        if not isinstance(inputs, MetaTensor):
            raise TypeError("images have to know where they lie: load them with LoadImaged")
        maps = []
        for image in inputs:
            label_map = segment(_channels(image), self._facts, _run_of(network))
            maps.append(sitk.GetArrayFromImage(label_map).transpose(2, 1, 0)[None])
        return convert_to_dst_type(np.stack(maps), inputs, dtype=torch.int32)[0]


def find_images(folder: str, num_channels: int) -> list[dict[str, object]]:
    """Volumes of a folder, one for each case; several channels are NAME_0000, NAME_0001, ..."""
    files = sorted(map(str, Path(folder).glob("*.nii*")))
    if num_channels == 1:
        return [{"image": file} for file in files]
    cases: dict[str, list[str]] = {}
    for file in files:
        cases.setdefault(re.sub(r"_\d{4}(?=\.nii)", "", file), []).append(file)
    return [{"image": channels} for channels in cases.values()]


def _channels(image: MetaTensor) -> list[sitk.Image]:
    """The channels of an image (C, x, y, z), in the place that its affine says."""
    affine = _LPS_OF_RAS @ np.asarray(image.affine, dtype=float)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    channels = []
    for array in image.cpu().numpy():
        channel = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
        channel.SetSpacing(spacing.tolist())
        channel.SetOrigin(affine[:3, 3].tolist())
        channel.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
        channels.append(channel)
    return channels


def _run_of(network: Callable[..., Any]) -> Run:
    def run(array: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            logits: np.ndarray = network(torch.from_numpy(array)).float().cpu().numpy()
        return logits

    return run

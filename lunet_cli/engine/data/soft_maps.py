"""Folders of probability maps, of ours or of nnU-Net, which a network may learn from."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813

from lunet_cli.config.labels import Regions
from lunet_cli.engine.data.dataset_json import has_dataset_json, read_dataset_json
from lunet_cli.engine.data.disk import list_folder
from lunet_cli.engine.data.labels import LabelScheme
from lunet_cli.engine.data.nnunet_maps import read_channels, require_same_place
from lunet_cli.engine.data.reading import read_image
from lunet_cli.engine.data.translation import Translation
from lunet_cli.engine.data.volume import Geometry, has_volume_suffix, stem
from lunet_cli.errors import DataError

Floats = npt.NDArray[np.floating]
_MARK = "_prob_"
# Half-precision files and softmax in bf16 leave the interval by less, logits by far more.
_TOLERANCE = 0.01


def map_endings(labels: Sequence[str]) -> list[str]:
    """What the probability map of each label ends with: its name, as a file name can have it."""
    endings: list[str] = []
    for index, name in enumerate(labels, start=1):
        ending = _MARK + re.sub(r"[^\w.+-]+", "_", name)
        if ending in endings:
            ending = f"{ending}_{index}"
        endings.append(ending)
    return endings


@dataclass(frozen=True)
class SoftMaps(ABC):
    """A folder of probability maps.

    Args:
        folder: The folder.
        files: Its maps, by their names without suffix.
    """

    folder: Path
    files: dict[str, Path]

    @property
    @abstractmethod
    def origin(self) -> str:
        """Who writes such files, in words."""

    @abstractmethod
    def of_case(self, name: str, scheme: LabelScheme) -> tuple[Path, ...]:
        """The files that hold the probabilities of a case; none where one is missing."""

    @abstractmethod
    def expected(self, name: str, scheme: LabelScheme) -> Path:
        """A file that a case should have, for a message."""

    @abstractmethod
    def read(self, files: Sequence[Path], grid: Geometry, scheme: LabelScheme) -> list[sitk.Image]:
        """Probabilities of each region on the grid of the image, float32.

        Raises:
            DataError: They cannot be read, lie elsewhere, are of other labels or no probabilities.
        """


class OurMaps(SoftMaps):
    """A file for each case and label, as a prediction with probabilities writes them."""

    @property
    def origin(self) -> str:
        """See `SoftMaps`."""
        return "lunet"

    def of_case(self, name: str, scheme: LabelScheme) -> tuple[Path, ...]:
        """See `SoftMaps`."""
        names = [name + ending for ending in map_endings(scheme.names)]
        if not all(wanted in self.files for wanted in names):
            return ()
        return tuple(self.files[wanted] for wanted in names)

    def expected(self, name: str, scheme: LabelScheme) -> Path:
        """See `SoftMaps`."""
        for ending in map_endings(scheme.names):
            if name + ending not in self.files:
                break
        return self.folder / f"{name}{ending}.nii.gz"

    def read(self, files: Sequence[Path], grid: Geometry, scheme: LabelScheme) -> list[sitk.Image]:
        """See `SoftMaps`."""
        images = []
        for path in files:
            channels = read_image([path])
            differences = Geometry.of(channels[0]).differences(grid)
            if differences or len(channels) > 1:
                reason = "; ".join(differences) or f"{len(channels)} channels"
                raise DataError(f"{path}: does not lie on the grid of its image: {reason}")
            array = sitk.GetArrayFromImage(channels[0]).astype(np.float32)
            _require_probabilities(path, array)
            images.append(_image_of(array, channels[0]))
        return images


class NnunetMaps(SoftMaps):
    """`CASE.npz` with all classes or regions, and `CASE.pkl` beside it.

    References:
        nnU-Net 2, `nnunetv2/inference/export_prediction.py`.
    """

    @property
    def origin(self) -> str:
        """See `SoftMaps`."""
        return "nnU-Net"

    def of_case(self, name: str, scheme: LabelScheme) -> tuple[Path, ...]:
        """See `SoftMaps`."""
        path = self.files.get(name)
        if path is None:
            return ()
        beside = (path.with_suffix(".pkl"), self.folder / "dataset.json")
        return path, *filter(Path.is_file, beside)

    def expected(self, name: str, scheme: LabelScheme) -> Path:
        """See `SoftMaps`."""
        return self.folder / f"{name}.npz"

    def read(self, files: Sequence[Path], grid: Geometry, scheme: LabelScheme) -> list[sitk.Image]:
        """See `SoftMaps`."""
        path, *beside = files
        for properties in beside:
            if properties.suffix == ".pkl":
                require_same_place(properties, grid)
        channels = read_channels(path, grid)
        source = self._labels(path, len(channels))
        if source.num_channels != len(channels):
            raise DataError(
                f"{path}: has {len(channels)} channels, and its labels "
                f"({', '.join(source.names)}) need {source.num_channels}",
                hint=f"Put the dataset.json of the training beside it: {self.folder}",
            )
        _require_probabilities(path, channels, add_up=source.activation == "softmax")
        translation = Translation.between(source, scheme, str(path))
        regions = channels[len(channels) - len(source.regions) :]
        images = []
        for parts in translation.sums:
            total = sum((regions[part].astype(np.float32) for part in parts[1:]), start=0.0)
            images.append(_placed(regions[parts[0]].astype(np.float32) + total, grid))
        return images

    def _labels(self, path: Path, num_channels: int) -> LabelScheme:
        """What the channels mean: as nnU-Net reads its `dataset.json`, or else values 0, 1, 2."""
        values: Regions = {str(value): (value,) for value in range(1, num_channels)}
        if has_dataset_json(self.folder):
            values = read_dataset_json(self.folder).labels or {}
        if not values:
            raise DataError(f"{path}: has a single channel, and no label to stand for")
        if any(len(of) > 1 for of in values.values()):
            return LabelScheme(tuple(values.items()), "sigmoid")
        return LabelScheme(tuple(sorted(values.items(), key=lambda item: item[1])), "softmax")


@dataclass(frozen=True)
class MapsOfRegions:
    """A folder of probability maps, read as the probabilities of certain regions.

    Args:
        maps: The folder.
        scheme: The regions.
    """

    maps: SoftMaps
    scheme: LabelScheme

    @property
    def origin(self) -> str:
        """Who writes such files, in words."""
        return self.maps.origin

    def read(self, files: Sequence[Path], grid: Geometry) -> list[sitk.Image]:
        """See `SoftMaps`."""
        return self.maps.read(files, grid, self.scheme)


def find_soft_maps(folder: Path) -> SoftMaps | None:
    """The probability maps of a folder; None where it holds none."""
    arrays: dict[str, Path] = {}
    volumes: dict[str, Path] = {}
    for path in list_folder(folder):
        if path.suffix == ".npz":
            arrays[path.stem] = path
        elif has_volume_suffix(path) and _MARK in path.name:
            volumes[stem(path)] = path
    if arrays:
        return NnunetMaps(folder, arrays)
    return OurMaps(folder, volumes) if volumes else None


def _require_probabilities(path: Path, array: Floats, *, add_up: bool = False) -> None:
    """Raise if values are none, or where they should and classes do not add up to 1."""
    low, high = float(array.min()), float(array.max())
    if not (low >= -_TOLERANCE and high <= 1 + _TOLERANCE):  # NaN is not, either.
        raise DataError(
            f"{path}: holds values from {low:g} to {high:g}, which are no probabilities",
            hint="Write probabilities, not logits or label maps.",
        )
    if not add_up:
        return
    total = array.sum(axis=0, dtype=np.float32)
    if abs(float(total.min()) - 1) > _TOLERANCE or abs(float(total.max()) - 1) > _TOLERANCE:
        raise DataError(
            f"{path}: the probabilities of its classes add up to {total.min():g} to "
            f"{total.max():g}, and not to 1",
            hint="Regions that overlap are told from classes by the dataset.json beside the maps.",
        )


def _placed(array: Floats, grid: Geometry) -> sitk.Image:
    image = sitk.GetImageFromArray(np.clip(array, 0, 1))
    image.SetSpacing(grid.spacing_mm[::-1])
    image.SetOrigin(grid.origin_mm)
    image.SetDirection(grid.direction)
    return image


def _image_of(array: Floats, like: sitk.Image) -> sitk.Image:
    return _placed(array, Geometry.of(like))

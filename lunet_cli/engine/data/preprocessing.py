"""From a stored volume to the network's input: orientation, spacing and intensities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813

from lunet_cli.config.preprocessing import PreprocessingConfig
from lunet_cli.engine.data.intensities import Intensities, intensities_of
from lunet_cli.engine.data.volume import Geometry, LabelMap, Placement, Volume, place
from lunet_cli.errors import DataError

Floats = npt.NDArray[np.float32]
Scale = Callable[[npt.NDArray[Any]], Floats]
# Divides constant channels, which become zero then; real intensities differ by far more.
_FLOAT_TINY = 1e-8
_LARGEST_INPUT = 1e18  # Products of two such numbers still fit into float32.


@dataclass(frozen=True)
class Normalization:
    """How intensities are brought to a common scale, per volume and channel.

    Args:
        name: `zscore`: mean 0 and standard deviation 1; `ct_window`: the window to 0..1, clipped;
            `minmax`: 0..1; `none`: unchanged.
        window_level: Centre of the window in HU.
        window_width: Width of the window in HU.
    """

    name: Literal["zscore", "ct_window", "minmax", "none"]
    window_level: float
    window_width: float

    @property
    def looks_at_all(self) -> bool:
        """Whether all intensities have to be known before the first can be normalised."""
        return self.name != "ct_window"

    def fit(self, channel: npt.NDArray[Any]) -> Scale:
        """Take from a whole channel (D, H, W) what normalises any part of it to float32.

        A constant channel becomes zero, except with `none` and `ct_window`.

        Raises:
            DataError: What comes out is NaN, infinite, or so large that a network's sums would be.
        """
        if not self.looks_at_all:
            return self.fixed_scale()
        return self.scale(intensities_of(channel, with_moments=self.name == "zscore"))

    def scale(self, found: Intensities) -> Scale:
        """What normalises a channel of these intensities; see `fit`.

        Raises:
            DataError: What comes out is NaN, infinite, or so large that a network's sums would be.
        """
        scaling = self._scaling(found)
        # All scalings are monotone: where the extremes are sound, so is what lies between them.
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = np.abs(scaling(np.array([found.low, found.high])))
        if not (scaled <= _LARGEST_INPUT).all():
            raise DataError(
                f"its intensities, {found.low:g} to {found.high:g}, give no finite numbers that a "
                f"network can compute with (normalization {self.name})",
                hint="Are they right? Clip values that stand for missing or saturated voxels.",
            )
        return scaling

    def fixed_scale(self) -> Scale:
        """What normalises without a look at all intensities: it gives finite numbers for any."""
        low, width = self.window_level - self.window_width / 2, self.window_width
        return lambda part: np.clip((part.astype(np.float32) - low) / width, 0, 1)

    def _scaling(self, found: Intensities) -> Scale:
        if self.name == "none":
            return lambda part: part.astype(np.float32)
        offset, scale = found.mean, found.std
        if self.name == "minmax":
            offset, scale = found.low, found.high - found.low
        divisor = max(scale, _FLOAT_TINY)
        return lambda part: (part.astype(np.float32) - offset) / divisor

    def __call__(self, channel: npt.NDArray[Any]) -> Floats:
        """Normalise one whole channel (D, H, W)."""
        return self.fit(channel)(channel)


class NetworkInput:
    """A volume on the network's grid that is normalised part by part, when a part is asked for.

    Args:
        images: One image per channel, stored or on the network's grid already.
        placement: Where they lie.
        normalization: What happens to their intensities.
    """

    def __init__(
        self, images: list[sitk.Image], placement: Placement, normalization: Normalization
    ) -> None:
        self._images = images  # An array view of SimpleITK does not keep its image alive.
        self._channels = [_view(image, placement) for image in images]
        self._scalings = [normalization.fit(channel) for channel in self._channels]

    @property
    def num_channels(self) -> int:
        """Image channels."""
        return len(self._channels)

    @property
    def size(self) -> tuple[int, int, int]:
        """Voxels (D, H, W)."""
        depth, height, width = self._channels[0].shape
        return depth, height, width

    def crop(self, where: tuple[slice, ...]) -> Floats:
        """Normalised intensities (C, d, h, w) of a box."""
        parts = []
        for channel, scale in zip(self._channels, self._scalings, strict=True):
            parts.append(scale(channel[where]))
        return np.stack(parts)

    def whole(self) -> Floats:
        """Normalised intensities (C, D, H, W) of all of it."""
        return self.crop((slice(None),) * 3)


@dataclass(frozen=True)
class Preprocessing:
    """Everything that happens to a volume before the network; kept inside the checkpoint.

    Args:
        orientation: Direction in which x, y and z increase, such as `LPS`; None keeps the stored
            axes.
        spacing_mm: Voxel size (z, y, x) to resample to; None keeps the volume's own.
        normalization: What happens to intensities.
    """

    orientation: str | None
    spacing_mm: tuple[float, float, float] | None
    normalization: Normalization

    @classmethod
    def from_config(cls, config: PreprocessingConfig) -> Preprocessing:
        """The value that a configuration asks for."""
        return cls(
            config.orientation,
            config.spacing_mm,
            Normalization(**config.normalization.model_dump()),
        )

    def place(self, stored: Geometry) -> Placement:
        """The network's grid for a stored one."""
        return place(stored, self.orientation, self.spacing_mm)

    def apply(self, channels: list[sitk.Image]) -> tuple[NetworkInput, Placement]:
        """Bring the channels of a case onto the network's grid; only resampling copies voxels."""
        placement = self.place(Geometry.of(channels[0]))
        images = [_resample(channel, placement, sitk.sitkLinear) for channel in channels]
        return NetworkInput(images, placement, self.normalization), placement

    def apply_to_image(self, channels: list[sitk.Image]) -> Volume:
        """Turn the channels of a case into a volume of float32 (C, D, H, W)."""
        image, placement = self.apply(channels)
        return Volume(image.whole(), placement.grid)

    def apply_to_label(self, label: sitk.Image) -> LabelMap:
        """Turn a label map into an array uint16 (D, H, W) on the grid of the preprocessed image."""
        placement = self.place(Geometry.of(label))
        image = _resample(label, placement, sitk.sitkNearestNeighbor)
        return LabelMap(np.array(_view(image, placement)), placement.grid)

    def apply_to_maps(self, maps: list[sitk.Image]) -> npt.NDArray[np.float16]:
        """Turn maps of probabilities into an array (R, D, H, W) on the grid of the same image.

        Between voxels, they are interpolated linearly, as their image is.
        """
        placement = self.place(Geometry.of(maps[0]))
        images = [_resample(image, placement, sitk.sitkLinear) for image in maps]
        # float16 rounds probabilities by less than 0.0003.
        return np.stack([_view(image, placement).astype(np.float16) for image in images])

    def to_dict(self) -> dict[str, object]:
        """Plain values for a checkpoint."""
        values: dict[str, object] = asdict(self)
        if self.spacing_mm is not None:
            values["spacing_mm"] = list(self.spacing_mm)
        return values


def _resample(image: sitk.Image, placement: Placement, interpolator: int) -> sitk.Image:
    """The image on the network's grid, or as it is where its voxels are only to be reordered."""
    if not placement.is_resampled:
        return image
    grid = placement.grid
    resample = sitk.ResampleImageFilter()
    resample.SetSize(grid.size[::-1])
    resample.SetOutputSpacing(grid.spacing_mm[::-1])
    resample.SetOutputOrigin(grid.origin_mm)
    resample.SetOutputDirection(grid.direction)
    resample.SetInterpolator(interpolator)
    # Into an image of integers, ITK would round what lies between two voxels.
    if interpolator == sitk.sitkLinear:
        resample.SetOutputPixelType(sitk.sitkFloat32)
    # Else ITK puts zeros half a voxel wide around the volume, a rim that no scanner has measured.
    resample.UseNearestNeighborExtrapolatorOn()
    resampled: sitk.Image = resample.Execute(image)
    return resampled


def _view(image: sitk.Image, placement: Placement) -> npt.NDArray[Any]:
    """The voxels (D, H, W) of an image from `_resample` in the network's axes.

    They are valid while the image lives.
    """
    array: npt.NDArray[Any] = sitk.GetArrayViewFromImage(image)
    return array if placement.is_resampled else placement.orient(array)

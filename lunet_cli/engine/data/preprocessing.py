"""From a stored volume to the network's input: orientation, spacing, intensities."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813

from lunet_cli.config.preprocessing import PreprocessingConfig
from lunet_cli.engine.data.volume import Geometry, LabelMap, Volume

_FLOAT_TINY = 1e-8


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

    def __call__(self, channel: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Normalise one channel (D, H, W); a constant channel becomes zero, except with `none` and `ct_window`."""
        if self.name == "none":
            return channel
        if self.name == "ct_window":
            low = self.window_level - self.window_width / 2
            windowed: npt.NDArray[np.float32] = np.clip((channel - low) / self.window_width, 0, 1)
            return windowed.astype(np.float32)
        if self.name == "minmax":
            offset, scale = float(channel.min()), float(np.ptp(channel))
        else:
            offset, scale = float(channel.mean(dtype=np.float64)), float(channel.std(dtype=np.float64))
        scaled: npt.NDArray[np.float32] = ((channel - offset) / max(scale, _FLOAT_TINY)).astype(np.float32)
        return scaled


@dataclass(frozen=True)
class Preprocessing:
    """Everything that happens to a volume before the network; kept inside the checkpoint.

    Args:
        orientation: Direction in which x, y and z increase, such as `LPS`; None keeps the stored axes.
        spacing_mm: Voxel size (z, y, x) to resample to; None keeps the volume's own.
        normalization: What happens to intensities.
    """

    orientation: str | None
    spacing_mm: tuple[float, float, float] | None
    normalization: Normalization

    @classmethod
    def from_config(cls, config: PreprocessingConfig) -> Preprocessing:
        """The value that a configuration asks for."""
        return cls(config.orientation, config.spacing_mm, Normalization(**config.normalization.model_dump()))

    def apply_to_image(self, channels: list[sitk.Image]) -> Volume:
        """Turn the channels of a case into a volume of float32 (C, D, H, W)."""
        placed = [self._place(channel, sitk.sitkLinear) for channel in channels]
        arrays = [self.normalization(sitk.GetArrayFromImage(channel).astype(np.float32)) for channel in placed]
        return Volume(np.stack(arrays), Geometry.of(placed[0]))

    def apply_to_label(self, label: sitk.Image) -> LabelMap:
        """Turn a label map into an array uint16 (D, H, W) on the grid of the preprocessed image."""
        placed = self._place(label, sitk.sitkNearestNeighbor)
        return LabelMap(sitk.GetArrayFromImage(placed), Geometry.of(placed))

    def _place(self, image: sitk.Image, interpolator: int) -> sitk.Image:
        if self.orientation is not None:
            image = sitk.DICOMOrient(image, self.orientation)
        if self.spacing_mm is None:
            return image
        spacing = [float(edge) for edge in reversed(self.spacing_mm)]
        old_size, old_spacing = np.array(image.GetSize()), np.array(image.GetSpacing())
        size = np.maximum(1, np.round(old_size * old_spacing / spacing)).astype(int)
        # The outer corners stay in place, so the first voxel's centre moves by half the change in spacing.
        shift = (np.array(spacing) - old_spacing) / 2
        direction = np.array(image.GetDirection()).reshape(3, 3)
        resample = sitk.ResampleImageFilter()
        resample.SetSize([int(edge) for edge in size])
        resample.SetOutputSpacing(spacing)
        resample.SetOutputOrigin((np.array(image.GetOrigin()) + direction @ shift).tolist())
        resample.SetOutputDirection(image.GetDirection())
        resample.SetInterpolator(interpolator)
        resample.UseNearestNeighborExtrapolatorOn()
        resampled: sitk.Image = resample.Execute(image)
        return resampled

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        values = asdict(self)
        values["spacing_mm"] = None if self.spacing_mm is None else list(self.spacing_mm)
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Preprocessing:
        """The inverse of `to_dict`."""
        spacing = values["spacing_mm"]
        return cls(
            values["orientation"],
            None if spacing is None else tuple(spacing),
            Normalization(**values["normalization"]),
        )

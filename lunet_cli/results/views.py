"""What is looked at: volumes with their labels, slices of them, networks among others, prunings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

AXES = ("axial", "coronal", "sagittal")
# The patient's sides at the left, right, top and bottom of slices across each axis, as
# `LabeledVolume.cut` turns them.
_SIDES = (("R", "L", "A", "P"), ("R", "L", "S", "I"), ("A", "P", "S", "I"))
FALSE_NEGATIVE, FALSE_POSITIVE, WRONG_LABEL = 1, 2, 3
"""Values of `Slice.errors`: reference only, prediction only, one label taken for another."""

# The rows and columns of slices across each axis.
_OTHER_AXES = ((1, 2), (0, 2), (0, 1))
# What fits in a line of 80 columns.
_MOST_DICE, _WORST_DICE = 6, 3
# A percentile needs no more.
_MOST_SAMPLES = 1 << 20

LabelImage = npt.NDArray[np.unsignedinteger]


def paint_masks(masks: Iterable[npt.NDArray[np.bool_]], shape: tuple[int, ...]) -> LabelImage:
    """Per voxel the index of its mask, from 1 on, or 0.

    Where masks overlap, it is that of the later one. One mask is in memory at a time, if they are
    made one by one.
    """
    painted: LabelImage = np.zeros(shape, dtype=np.uint8)
    for index, mask in enumerate(masks, start=1):
        # The 256th index does not fit into a byte; few volumes have so many.
        if index == 256:
            painted = painted.astype(np.uint16)
        painted[mask] = index
    return painted


@dataclass(frozen=True)
class LabeledVolume:
    """A volume to look at, with its axes along the patient.

    z runs upwards, y to the back, x to the left (LPS).

    Args:
        name: What it is called.
        image: Intensities (D, H, W).
        spacing_mm: Voxel size (z, y, x).
        labels: Names of the labels.
        reference: Per voxel (D, H, W) the index of its label from 1 on, or 0; None if there is
            none.
        prediction: The same of a prediction.
        dice: Dice of each label of the prediction, on the grid of the files; empty without one.
        knows_sides: Whether the axes do run along the patient, so that its sides can be named.
    """

    name: str
    image: npt.NDArray[np.number]
    spacing_mm: tuple[float, float, float]
    labels: tuple[str, ...] = ()
    reference: LabelImage | None = None
    prediction: LabelImage | None = None
    dice: dict[str, float] = field(default_factory=dict)
    knows_sides: bool = True

    @property
    def dice_words(self) -> str:
        """Dice in words: of each label, or of many labels the mean and the worst."""
        if len(self.dice) <= _MOST_DICE:
            return ", ".join(f"{name} {value:.4f}" for name, value in self.dice.items())
        worst = sorted(self.dice, key=self.dice.__getitem__)[:_WORST_DICE]
        listed = ", ".join(f"{name} {self.dice[name]:.4f}" for name in worst)
        return f"mean {np.mean(list(self.dice.values())):.4f}, worst {listed}"

    def intensity_range(self) -> tuple[float, float]:
        """From the 1st to the 99.5th percentile of the intensities; a range around equal ones."""
        # Metal and bright vessels are less than 0.5 % of a volume, and would leave the rest dark.
        # The same share of every axis, so that no structure is left out.
        step = max(1, round((self.image.size / _MOST_SAMPLES) ** (1 / 3)))
        low, high = np.percentile(self.image[::step, ::step, ::step], (1, 99.5))
        if high <= low:
            low, high = float(self.image.min()), float(self.image.max())
        if high <= low:
            low, high = low - 0.5, low + 0.5
        return float(low), float(high)

    def voxels_per_slice(self, axis: int) -> npt.NDArray[np.int64]:
        """Voxels of the labels in each slice: of the reference, or else of the prediction, or 0."""
        counts: npt.NDArray[np.int64] = np.zeros(self.image.shape[axis], dtype=np.int64)
        for labels in (self.reference, self.prediction):
            if labels is not None and not counts.any():
                counts = np.count_nonzero(labels, axis=_OTHER_AXES[axis])
        return counts

    def best_position(self, axis: int) -> int:
        """The slice with the most reference, or else with the most prediction, or the middle."""
        counts = self.voxels_per_slice(axis)
        if not counts.any():
            return len(counts) // 2
        return int(counts.argmax())

    def montage_positions(self, axis: int, number: int) -> list[int]:
        """Evenly spaced slices, over the labels where there are any, at most `number`."""
        shown = np.flatnonzero(self.voxels_per_slice(axis))
        if not len(shown):
            shown = np.arange(self.image.shape[axis])
        positions = np.linspace(shown[0], shown[-1], number).round().astype(int)
        evenly: list[int] = np.unique(positions).tolist()
        return evenly

    def cut(self, axis: int, position: int, window: tuple[float, float] | None = None) -> Slice:
        """A slice, turned as radiologists look at it.

        The front or the head is up, and the patient's right is on the left.

        Args:
            axis: 0 axial, 1 coronal, 2 sagittal.
            position: Which slice, from 0 on.
            window: Intensities that become black and white; None takes `intensity_range`.
        """

        def take(array: Any) -> Any:
            if array is None:
                return None
            flat = np.take(array, position, axis=axis)
            # z runs upwards in the volume, and rows run downwards in the picture.
            if axis != 0:
                flat = flat[::-1]
            return flat

        # Where the window is a single intensity, all that is above it becomes white.
        low, high = window or self.intensity_range()
        intensities = np.asarray(take(self.image), dtype=np.float32)
        rows, columns = _OTHER_AXES[axis]
        return Slice(
            name=self.name,
            axis=axis,
            position=position,
            num_slices=self.image.shape[axis],
            image=np.clip((intensities - low) / max(high - low, 1e-8), 0, 1),
            pixel_mm=(self.spacing_mm[rows], self.spacing_mm[columns]),
            labels=self.labels,
            reference=take(self.reference),
            prediction=take(self.prediction),
            knows_sides=self.knows_sides,
            dice_words=self.dice_words,
        )

    def volumes_ml(self, labels: LabelImage) -> dict[str, float]:
        """Millilitres of each label in `reference` or `prediction`."""
        counts = np.bincount(labels.ravel(), minlength=len(self.labels) + 1)
        voxel_ml = float(np.prod(self.spacing_mm)) / 1000
        # Index 0 is the background.
        volumes = (counts[1:] * voxel_ml).tolist()
        return dict(zip(self.labels, volumes, strict=False))


@dataclass(frozen=True)
class Slice:
    """A slice, ready to be shown: row 0 is on top.

    Args:
        name: The case.
        axis: 0 axial, 1 coronal, 2 sagittal.
        position: Index along the axis.
        num_slices: Slices along it.
        image: Brightness (H, W), 0 to 1.
        pixel_mm: Height and width of a pixel.
        labels: Names of the labels.
        reference: Index of the label per pixel (H, W), 0 for background; None if there is none.
        prediction: The same of the prediction.
        knows_sides: Whether the sides of the patient are known.
        dice_words: Dice of the whole case in words; empty without a prediction.
    """

    name: str
    axis: int
    position: int
    num_slices: int
    image: npt.NDArray[np.float32]
    pixel_mm: tuple[float, float]
    labels: tuple[str, ...] = ()
    reference: LabelImage | None = None
    prediction: LabelImage | None = None
    knows_sides: bool = True
    dice_words: str = ""

    @property
    def panels(self) -> tuple[str, ...]:
        """What there is to show: the image, and what lies over it."""
        names = ["image"]
        if self.reference is not None:
            names.append("reference")
        if self.prediction is not None:
            names.append("prediction")
        if self.reference is not None and self.prediction is not None:
            names.append("error")
        return tuple(names)

    @property
    def sides(self) -> tuple[str, str, str, str] | None:
        """The patient's sides at the left, right, top and bottom, such as `R`; None if unknown."""
        if not self.knows_sides:
            return None
        return _SIDES[self.axis]

    @property
    def axis_name(self) -> str:
        """`axial`, `coronal` or `sagittal`; a number where it is not known how the patient lies."""
        if not self.knows_sides:
            return f"axis {self.axis}"
        return AXES[self.axis]

    @property
    def caption(self) -> str:
        """Case, axis and position in words."""
        return f"{self.name}, {self.axis_name} slice {self.position} (0 to {self.num_slices - 1})"

    @property
    def heading(self) -> str:
        """The caption, with the Dice of the case."""
        if not self.dice_words:
            return self.caption
        return f"{self.caption}; Dice {self.dice_words}"

    @property
    def extent_mm(self) -> tuple[float, float]:
        """Height and width."""
        rows, columns = self.image.shape
        return rows * self.pixel_mm[0], columns * self.pixel_mm[1]

    def present(self) -> set[int]:
        """Indices of the labels that the reference or the prediction has here; 0 is background."""
        found: set[int] = set()
        for labels in (self.reference, self.prediction):
            if labels is not None:
                found.update(np.unique(labels).tolist())
        return found

    def errors(self) -> LabelImage | None:
        """Per pixel 0, `FALSE_NEGATIVE`, `FALSE_POSITIVE` or `WRONG_LABEL`.

        None without a reference or a prediction.
        """
        if self.reference is None or self.prediction is None:
            return None
        found = np.zeros(self.image.shape, dtype=np.uint8)
        # All that differs first; where one of the two is background, it is another kind of error.
        found[self.reference != self.prediction] = WRONG_LABEL
        found[(self.reference > 0) & (self.prediction == 0)] = FALSE_NEGATIVE
        found[(self.reference == 0) & (self.prediction > 0)] = FALSE_POSITIVE
        return found


@dataclass(frozen=True)
class VolumeFacts:
    """What a file says about its volume, and what its voxels hold.

    Args:
        path: The file.
        size: Voxels along the stored axes (x, y, z).
        spacing_mm: Voxel size along them.
        origin_mm: Centre of the first voxel (LPS).
        orientation: Where x, y and z point to, such as `LPS`.
        angle_degrees: The largest angle between a stored axis and its axis of the patient.
        number_type: Of the stored intensities.
        num_channels: Channels.
        channel: The channel shown.
        intensity: Lowest, 1st percentile, median, mean, 99th percentile and highest.
        histogram: Voxels per bin, between `edges`.
        edges: One more than bins.
        label_ml: Millilitres per label; empty where every voxel of the label map is 0, None without
            one.
    """

    path: Path
    size: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float]
    orientation: str
    angle_degrees: float
    number_type: str
    num_channels: int
    channel: int
    intensity: dict[str, float]
    histogram: tuple[int, ...]
    edges: tuple[float, ...]
    label_ml: dict[str, float] | None


@dataclass(frozen=True)
class ParetoPoint:
    """A network among others.

    Args:
        name: What it is called.
        quality: Its Dice, or another metric.
        cost: What it takes.
        on_front: Whether no other one is as good at a lower cost.
    """

    name: str
    quality: float
    cost: float
    on_front: bool


@dataclass(frozen=True)
class Pareto:
    """Networks by quality and cost.

    Args:
        quality: What quality is, in words.
        cost: What cost is, with its unit.
        points: By ascending cost.
        higher_is_better: Whether a high quality is a good one.
        left_out: Those that cannot be drawn, each with the reason.
    """

    quality: str
    cost: str
    points: tuple[ParetoPoint, ...]
    higher_is_better: bool = True
    left_out: tuple[str, ...] = ()

    @property
    def quality_label(self) -> str:
        """What quality is, and which way it is good if that is not upwards."""
        if self.higher_is_better:
            return self.quality
        return f"{self.quality} (lower is better)"

    @property
    def left_out_words(self) -> str:
        """Who is not drawn, in a line; empty if all are."""
        if not self.left_out:
            return ""
        return f"not drawn: {'; '.join(self.left_out)}"


CostName = Literal["parameters", "flops", "latency"]


@dataclass(frozen=True)
class ChannelHistory:
    """Channels per layer over the steps of a pruning.

    Args:
        name: The run.
        steps: Number of each step.
        layers: Channels at each step, by the layer's name.
    """

    name: str
    steps: tuple[int, ...]
    layers: dict[str, tuple[int, ...]]

"""What is looked at: volumes with their labels, slices of them, networks among others, prunings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt

from lunet_cli.results.evaluation import NonInferiority
from lunet_cli.results.pruning import PruningStep

AXES = ("axial", "coronal", "sagittal")
# The patient's sides at the left, right, top and bottom of slices across each axis, as
# `LabeledVolume.cut` turns them.
_SIDES = (("R", "L", "A", "P"), ("R", "L", "S", "I"), ("A", "P", "S", "I"))
FALSE_NEGATIVE, FALSE_POSITIVE, WRONG_LABEL = 1, 2, 3
"""Values of `Slice.errors`: reference only, prediction only, one label taken for another."""

# Labels whose Dice fits a line; of more, the mean and so many of the worst are told.
_MOST_DICE, _WORST_DICE = 6, 3
# A percentile of a million voxels differs from that of all of them by less than a grey level.
_MOST_SAMPLES = 1 << 20

LabelImage = npt.NDArray[np.unsignedinteger]
Number = TypeVar("Number", bound=np.number)


def paint_masks(masks: Iterable[npt.NDArray[np.bool_]], shape: tuple[int, ...]) -> LabelImage:
    """Per voxel the index of its mask, from 1 on, or 0; where masks overlap, of the later one.

    One mask is in memory at a time, if they are made one by one.
    """
    painted: LabelImage = np.zeros(shape, dtype=np.uint8)
    for index, mask in enumerate(masks, start=1):
        if index == 256:
            painted = painted.astype(np.uint16)
        painted[mask] = index
    return painted


@dataclass(frozen=True)
class LabeledVolume:
    """A volume to look at; its axes run upwards (z), to the patient's back (y) and left (x).

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
        """From the 1st to the 99.5th percentile; of equal intensities, a range around them."""
        step = max(1, round((self.image.size / _MOST_SAMPLES) ** (1 / 3)))
        low, high = np.percentile(self.image[::step, ::step, ::step], (1, 99.5))
        if high <= low:
            low, high = float(self.image.min()), float(self.image.max())
        if high <= low:
            return low - 0.5, low + 0.5
        return float(low), float(high)

    def voxels_per_slice(self, axis: int) -> npt.NDArray[np.int64]:
        """Voxels of the labels in each slice (N,): of the reference, or else of the prediction."""
        others = tuple({0, 1, 2} - {axis})
        for labels in (self.reference, self.prediction):
            if labels is not None and labels.any():
                counts: npt.NDArray[np.int64] = np.count_nonzero(labels, axis=others)
                return counts
        return np.zeros(self.image.shape[axis], dtype=np.int64)

    def best_position(self, axis: int) -> int:
        """The slice with the most reference, or else the most prediction, or else the middle."""
        counts = self.voxels_per_slice(axis)
        if not counts.any():
            return int(self.image.shape[axis] // 2)
        return int(counts.argmax())

    def montage_positions(self, axis: int, number: int) -> list[int]:
        """Evenly spaced slices, over the labels where there are any, at most `number`."""
        filled = np.flatnonzero(self.voxels_per_slice(axis))
        if not len(filled):
            filled = np.arange(self.image.shape[axis])
        places = np.linspace(filled[0], filled[-1], number).round().astype(int)
        positions: list[int] = np.unique(places).tolist()
        return positions

    def cut(self, axis: int, position: int, window: tuple[float, float] | None = None) -> Slice:
        """A slice as radiologists look at it: front or head up, the patient's right on the left.

        Args:
            axis: 0 axial, 1 coronal, 2 sagittal.
            position: Which slice, from 0 on.
            window: Intensities that become black and white; None takes `intensity_range`.
        """

        def take(array: npt.NDArray[Number]) -> npt.NDArray[Number]:
            flat: npt.NDArray[Number] = np.take(array, position, axis=axis)
            # z runs upwards, and rows run downwards; of axial slices, rows run to the back.
            if axis > 0:
                flat = flat[::-1]
            return flat

        low, high = window or self.intensity_range()
        # Never a division by 0, whatever window is asked for.
        image = (take(self.image).astype(np.float32) - low) / max(high - low, 1e-8)
        reference = prediction = None
        if self.reference is not None:
            reference = take(self.reference)
        if self.prediction is not None:
            prediction = take(self.prediction)
        height, width = np.delete(self.spacing_mm, axis).tolist()
        return Slice(
            name=self.name,
            axis=axis,
            position=position,
            num_slices=self.image.shape[axis],
            image=np.clip(image, 0, 1),
            pixel_mm=(height, width),
            labels=self.labels,
            reference=reference,
            prediction=prediction,
            knows_sides=self.knows_sides,
            dice_words=self.dice_words,
        )

    def volumes_ml(self, labels: LabelImage) -> dict[str, float]:
        """Millilitres of each label in `reference` or `prediction`."""
        counts = np.bincount(labels.ravel(), minlength=len(self.labels) + 1)
        voxel_ml = float(np.prod(self.spacing_mm)) / 1000
        return dict(zip(self.labels, (counts[1:] * voxel_ml).tolist(), strict=False))


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
        """The patient's sides at the left, right, top and bottom, such as `R`, if known."""
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
        """Per pixel (H, W) 0, `FALSE_NEGATIVE`, `FALSE_POSITIVE` or `WRONG_LABEL`.

        None without a reference or a prediction.
        """
        if self.reference is None or self.prediction is None:
            return None
        found = np.zeros(self.image.shape, dtype=np.uint8)
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


@dataclass(frozen=True)
class PrunedNetwork:
    """A step of a pruning beside the others.

    Args:
        step: The step.
        from_unpruned: How its Dice differs from that of the network before pruning.
        from_best: How it differs from that of the step with the best Dice.
    """

    step: PruningStep
    from_unpruned: NonInferiority
    from_best: NonInferiority

    @property
    def num_channels(self) -> int:
        """Channels of all layers together."""
        return sum(self.step.widths.values())

    @property
    def width_ratio(self) -> float:
        """Channels of the widest layer for each of the narrowest."""
        return max(self.step.widths.values()) / min(self.step.widths.values())


@dataclass(frozen=True)
class PruningView:
    """A pruning so far.

    Args:
        name: The run.
        strategy: Which channels went, as the configuration calls it; empty where it is not known.
        steps: All steps; step 0 is the network before pruning.
        margin: Dice that may be lost.
        reference: What the Dice of the chosen step was compared with, `best` or `unpruned`.
        best: Number of the step with the best Dice.
        unpruned: Step 0.
        chosen: The smallest network that is as good as the reference.
        last: The last step.
        is_finished: Whether the pruning has ended, and was not interrupted.
    """

    name: str
    strategy: str
    steps: tuple[PruningStep, ...]
    margin: float
    reference: str
    best: int
    unpruned: PrunedNetwork
    chosen: PrunedNetwork
    last: PrunedNetwork
    is_finished: bool

    @property
    def channels(self) -> ChannelHistory:
        """Channels of each layer over the steps."""
        layers: dict[str, tuple[int, ...]] = {}
        for name in self.steps[0].widths:
            layers[name] = tuple(step.widths[name] for step in self.steps)
        return ChannelHistory(self.name, tuple(step.step for step in self.steps), layers)

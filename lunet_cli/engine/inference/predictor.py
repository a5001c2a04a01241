"""From the channels of a volume to its segmentation, with one trained network or several."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813
import torch

from lunet_cli.config.vocabulary import RuntimeName
from lunet_cli.engine.checkpoints.checkpoint import ModelCard
from lunet_cli.engine.checkpoints.models import Model, load_model
from lunet_cli.engine.data.preprocessing import Placement
from lunet_cli.engine.data.volume import Geometry
from lunet_cli.engine.inference.ensemble import Ensemble, PrecisionChoice
from lunet_cli.engine.inference.memory import Estimate, estimate_memory
from lunet_cli.engine.inference.segmentation import Segmentation, SegmentationBuilder
from lunet_cli.engine.inference.sliding_window import Size, Stitcher, run_windows, window_starts
from lunet_cli.errors import CheckpointError, DataError
from lunet_cli.results.runtimes import RuntimeChosen

_WHOLE_VOLUME_VOXELS = 128**3
_WINDOW_EDGE = 96


@dataclass(frozen=True)
class PredictionOptions:
    """How to predict.

    Args:
        window: Voxels (D, H, W) of a window; `whole` takes volumes in one piece, small ones in the
            window of the training; None does as the network was trained.
        overlap: Share of a window that neighbours have in common, 0 to below 1.
        batch_size: Windows per forward pass.
        tta: Whether to average over the eight mirrorings (test-time augmentation).
        device: Where to compute; `auto` takes CUDA, then MPS, then the CPU.
        precision: Arithmetic; `auto` takes that of the network's own validation where this device
            has it, and with the runtime `auto` the usually fastest.
        runtime: What computes; `auto` takes the usually fastest for a long job, None takes the
            usual one.
        max_memory_mib: Memory that may be used; None does not limit it.
    """

    window: Size | Literal["whole"] | None = None
    overlap: float = 0.5
    batch_size: int = 2
    tta: bool = False
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: PrecisionChoice = "auto"
    runtime: RuntimeName | Literal["auto"] | None = None
    max_memory_mib: float | None = None


@dataclass(frozen=True)
class WindowPlan:
    """How a volume goes through the network.

    Args:
        window: Voxels (D, H, W) of a window.
        bands: Output rows, first and one after the last, that are worked on one after the other.
        num_windows: Forward passes of single windows; those at the border of two bands count in
            both.
        memory: What it takes.
    """

    window: Size
    bands: tuple[tuple[int, int], ...]
    num_windows: int
    memory: Estimate


class Predictor:
    """Trained networks with the same labels and preprocessing, whose probabilities are averaged.

    Args:
        models: At least one.
        options: How to predict.

    Raises:
        CheckpointError: The networks do not fit together.
        DeviceError: The device is not available.
    """

    def __init__(
        self, models: Sequence[Model], options: PredictionOptions = PredictionOptions()
    ) -> None:
        _require_alike(models)
        self.models = tuple(models)
        self.options = options
        self.ensemble = Ensemble(
            models,
            device=options.device,
            precision=options.precision,
            runtime=options.runtime,
            tta=options.tta,
        )

    @classmethod
    def load(
        cls,
        sources: Sequence[Path],
        *,
        architecture: str | None = None,
        options: PredictionOptions = PredictionOptions(),
    ) -> Predictor:
        """Load checkpoints or run folders; see `load_model`."""
        return cls([load_model(source, architecture=architecture) for source in sources], options)

    @property
    def card(self) -> ModelCard:
        """Labels and preprocessing, and the network of the first model."""
        return self.models[0].card

    def warnings(self) -> list[str]:
        """What a user should know before trusting the result."""
        found = []
        if self.options.tta and not self._has_seen_mirrored_volumes():
            found.append(
                "--tta mirrors volumes, and the network was trained without mirrored ones: the result may be far worse"
            )
        trained = self.models[0].window
        if self.options.window == "whole" and trained is not None:
            edges = " x ".join(map(str, trained))
            found.append(
                f"volumes larger than the {edges} voxels of the training go through the network in one piece, which it "
                "has not learned: their label maps differ from those in windows"
            )
        return found

    def _has_seen_mirrored_volumes(self) -> bool:
        configs = [model.config for model in self.models if model.config is not None]
        return all(config.mirrors for config in configs)

    def plan_windows(self, stored: Geometry, *, with_probabilities: bool = False) -> WindowPlan:
        """Decide on windows and bands for a volume, without reading it.

        Raises:
            DataError: It needs more memory than `max_memory_mib` even in the narrowest bands.
        """
        placement = self.card.preprocessing.place(stored)
        window = self._window(placement.grid.size)
        height, limit = placement.oriented_size[1], self.options.max_memory_mib
        num_bands = 1
        while True:
            plan = self._plan_bands(
                placement, window, num_bands, with_probabilities=with_probabilities
            )
            if limit is None or plan.memory.total_mib <= limit:
                return plan
            if 2 * num_bands > height:
                raise DataError(
                    f"needs about {plan.memory.total_mib:,.0f} MiB of memory, more than the {limit:,.0f} MiB allowed",
                    hint="Raise --max-memory, or take a smaller --batch-size or --window.",
                )
            num_bands *= 2

    def segment(
        self,
        channels: list[sitk.Image],
        *,
        probabilities: npt.NDArray[np.float32] | None = None,
        job_windows: int | None = None,
        on_choice: Callable[[RuntimeChosen], None] = lambda choice: None,
        on_window: Callable[[], None] = lambda: None,
    ) -> Segmentation:
        """Segment a volume.

        Args:
            channels: Its channels as `read_image` gives them.
            probabilities: Array (regions, D, H, W), float32, on the stored grid, that is filled as
                well.
            job_windows: Windows of the whole job: only a long one is worth the preparation of
                another runtime. None takes those of this volume.
            on_choice: Called when a runtime has been chosen.
            on_window: Called after each window.

        Returns:
            The segmentation on the stored grid.

        Raises:
            DataError: The number of channels is not that of the network, or memory does not
                suffice.
        """
        self.require_channels(len(channels))
        plan = self.plan_windows(
            Geometry.of(channels[0]), with_probabilities=probabilities is not None
        )
        image, placement = self.card.preprocessing.apply(channels)
        builder = SegmentationBuilder(placement, self.card.labels, probabilities)
        for first, stop in plan.bands:
            band = builder.band(first, stop)
            stitcher = Stitcher(
                image,
                window=plan.window,
                overlap=self.options.overlap,
                on_planes=band,
                rows=band.needed,
            )
            with torch.inference_mode():
                self._settle(stitcher, job_windows or plan.num_windows, on_choice)
                for _ in run_windows(
                    self.ensemble.forward,
                    [stitcher],
                    batch_size=self.options.batch_size,
                    on_window=on_window,
                ):
                    pass
        return builder.result

    def _settle(
        self, stitcher: Stitcher, num_windows: int, on_choice: Callable[[RuntimeChosen], None]
    ) -> None:
        """Let the first windows decide on the runtime, if that is open."""
        if not self.ensemble.is_open:
            return
        # From the middle: corners of a volume are often empty, where everything agrees.
        middle = max(0, len(stitcher.starts) // 2 - self.options.batch_size // 2)
        starts = stitcher.starts[middle : middle + self.options.batch_size]
        batch = torch.stack([stitcher.read(start) for start in starts])
        on_choice(self.ensemble.choose(batch, num_windows))

    def require_channels(self, found: int) -> None:
        """Raise if a volume has another number of channels than the network takes.

        Raises:
            DataError: It has.
        """
        wanted = self.card.network.in_channels
        if found != wanted:
            raise DataError(
                f"has {found} channel{'s' if found > 1 else ''}, and the network takes {wanted}",
                hint="Give the channels of a case as NAME_0000, NAME_0001, ... or as one four-dimensional file.",
            )

    def _window(self, size: Size) -> Size:
        trained = self.models[0].window
        wanted = self.options.window or trained
        if wanted == "whole":
            # In one piece, but never in less than the training has shown: it surrounds small
            # volumes by zeros.
            depth, height, width = map(max, size, trained or size)
            return depth, height, width
        if wanted is None:
            is_small = size[0] * size[1] * size[2] <= _WHOLE_VOLUME_VOXELS
            return size if is_small else (_WINDOW_EDGE,) * 3
        return wanted

    def _plan_bands(
        self, placement: Placement, window: Size, num_bands: int, *, with_probabilities: bool
    ) -> WindowPlan:
        height, grid = placement.oriented_size[1], placement.grid.size
        edges = sorted({round(index * height / num_bands) for index in range(num_bands + 1)})
        bands = tuple(pairwise(edges))
        starts = [
            window_starts(max(size, edge), edge, self.options.overlap)
            for size, edge in zip(grid, window, strict=True)
        ]
        front = (max(grid[1], window[1]) - grid[1]) // 2
        num_windows, widest = 0, 0
        for first, stop in bands:
            low, high = (front + edge * grid[1] / height for edge in (first, stop))
            rows = [
                start for start in starts[1] if start < high + 1 and start + window[1] > low - 1
            ]
            num_windows += len(starts[0]) * len(rows) * len(starts[2])
            widest = max(widest, rows[-1] + window[1] - rows[0])
        memory = estimate_memory(
            self.card,
            [model.card.network for model in self.models],
            placement,
            window=window,
            rows=widest,
            num_windows=num_windows,
            batch_size=self.options.batch_size,
            averages=len(self.models) > 1 or self.options.tta,
            with_probabilities=with_probabilities,
        )
        return WindowPlan(window, bands, num_windows, memory)


def set_up_process(num_threads: int | None) -> None:
    """Compute with so many CPU threads (None leaves it to PyTorch), and under torchrun on the GPU of this process."""
    if num_threads is not None:
        torch.set_num_threads(num_threads)
    if "LOCAL_RANK" in os.environ and torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))


@contextlib.contextmanager
def errors_of(source: object) -> Iterator[None]:
    """Let errors of a predictor, which knows no files, say which volume it is; lack of memory becomes one of them.

    Raises:
        DataError: With the name of `source` in front.
    """
    try:
        yield
    except DataError as error:
        raise DataError(f"{source}: {error.message}", hint=error.hint) from None
    except (
        MemoryError,
        RuntimeError,
    ) as error:  # PyTorch raises the latter where memory does not suffice.
        reason = (str(error).strip() or "out of memory").splitlines()[0]
        raise DataError(
            f"{source}: {reason}", hint="Is it too large? Try --max-memory or --batch-size 1."
        ) from error


def predict(
    image: npt.NDArray[np.float32],
    checkpoint: Path,
    *,
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
    architecture: str | None = None,
    options: PredictionOptions = PredictionOptions(),
) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
    """Segment an array.

    Args:
        image: Intensities (C, D, H, W), as they would be stored; x, y and z increase to the left,
            back and top (LPS).
        checkpoint: A checkpoint or run folder of lunet, or a checkpoint of the authors' release.
        spacing_mm: Voxel size (z, y, x).
        architecture: Preset name, for a checkpoint of the authors.
        options: How to predict.

    Returns:
        Label values (D, H, W); 0 is background.

    Raises:
        LunetError: Of the kind that fits.
    """
    channels = [
        sitk.GetImageFromArray(np.ascontiguousarray(channel, dtype=np.float32)) for channel in image
    ]
    for channel in channels:
        channel.SetSpacing([float(edge) for edge in reversed(spacing_mm)])
    predictor = Predictor.load([checkpoint], architecture=architecture, options=options)
    return predictor.segment(channels).label_map()


def _require_alike(models: Sequence[Model]) -> None:
    first = models[0]
    for model in models[1:]:
        for what, ours, theirs in (
            ("labels", first.card.labels, model.card.labels),
            ("preprocessing", first.card.preprocessing, model.card.preprocessing),
            ("image channels", first.card.network.in_channels, model.card.network.in_channels),
        ):
            if ours != theirs:
                raise CheckpointError(
                    f"{model.path}: cannot be averaged with {first.path}: its {what} differ",
                    hint="The networks of an ensemble need the same labels, preprocessing and channels.",
                )

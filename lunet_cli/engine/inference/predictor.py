"""A trained network, or several, from one volume after the other to their segmentations."""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813
import torch

from lunet_cli.config.network_cost import count_conv_flops
from lunet_cli.config.options import PredictionOptions
from lunet_cli.config.vocabulary import WHOLE_VOLUME_VOXELS, WINDOW_EDGE, Size
from lunet_cli.engine.checkpoints.checkpoint import ModelCard
from lunet_cli.engine.checkpoints.models import Model, load_model, members_of
from lunet_cli.engine.data.stored_planes import PlaneInput, VolumePlanes
from lunet_cli.engine.data.volume import Geometry, Placement
from lunet_cli.engine.inference.ensemble import Ensemble
from lunet_cli.engine.inference.images import (
    ImageArray,
    LabelArray,
    Location,
    PredictedArray,
    PredictedImage,
    ProbabilityArray,
    Spacing,
    channels_of_array,
    channels_of_file,
    channels_of_image,
    grid_of_array,
    image_of,
)
from lunet_cli.engine.inference.memory import (
    Estimate,
    Workload,
    estimate_memory,
    estimate_one_pass,
)
from lunet_cli.engine.inference.one_pass import (
    OnePass,
    is_as_good,
    load_flow,
    may_flow,
    num_steps,
    size_in_one_piece,
)
from lunet_cli.engine.inference.plane_blocks import PlaneBlocks, checked_blocks, spooled
from lunet_cli.engine.inference.segmentation import (
    Painter,
    PlaneRelay,
    Receiver,
    Segmentation,
    SegmentationBuilder,
)
from lunet_cli.engine.inference.sliding_window import (
    Stitcher,
    VolumeInput,
    run_windows,
    window_starts,
)
from lunet_cli.engine.inference.stream import FEWEST_PLANES, usual_planes
from lunet_cli.engine.process_group import take_own_gpu
from lunet_cli.errors import CheckpointError, DataError
from lunet_cli.records.files import sha256_of
from lunet_cli.results.runtimes import RuntimeChosen
from lunet_cli.results.words import plural

OnChoice = Callable[[RuntimeChosen], None]


@dataclass(frozen=True, kw_only=True)
class WindowPlan:
    """How a volume goes through the network.

    Args:
        size: Voxels (D, H, W) of the volume as it is stored.
        window: Voxels (D, H, W) of a window.
        bands: Output rows, first and one after the last, that are worked on one after the other.
        num_windows: Forward passes of single windows; those at the border of two bands count in
            both.
        memory: What it takes.
        flows: Whether the volume goes through in one exact pass: a window is then the planes that
            are sent in at once.
        reads_planes: Whether planes are read when they are needed, and not the volume at once.
        keeps_result: Whether the segmentation is kept until it is whole, and not handed on plane by
            plane.
    """

    size: Size
    window: Size
    bands: tuple[tuple[int, int], ...]
    num_windows: int
    memory: Estimate
    flows: bool = False
    reads_planes: bool = False
    keeps_result: bool = True


@dataclass(frozen=True, kw_only=True)
class _Demand:
    """What decides on the memory of one pass, beside the networks; see `WindowPlan`."""

    placement: Placement
    with_probabilities: bool
    reads_planes: bool
    keeps_result: bool


def _ignore_choice(choice: RuntimeChosen) -> None:
    """Take a choice and do nothing with it."""


class Predictor:
    """Trained networks with the same labels and preprocessing, whose probabilities are averaged.

    This is what `load_model` returns; it stays in memory, ready for one volume after the other.

    Args:
        models: At least one.
        options: How to predict; None takes the usual way.

    Raises:
        CheckpointError: The networks do not fit together.
        ConfigError: They cannot be computed in the way that `options` ask for.
        DeviceError: The device is not available.
    """

    def __init__(self, models: Sequence[Model], options: PredictionOptions | None = None) -> None:
        _require_alike(models)
        self.models = tuple(models)
        self.options = options or PredictionOptions()
        self.window = _chosen_window(models, self.options)
        self.one_pass: OnePass | None = None
        if self.window == "stream":
            self.one_pass = OnePass(models, self.options)
        self.ensemble = Ensemble(models, self.options)

    @classmethod
    def load(
        cls,
        sources: Sequence[Path],
        *,
        architecture: str | None = None,
        options: PredictionOptions | None = None,
    ) -> Predictor:
        """Load checkpoints, run folders or folders of folds; see `checkpoints.models`."""
        members = itertools.chain(*map(members_of, sources))
        return cls([load_model(member, architecture=architecture) for member in members], options)

    def __repr__(self) -> str:
        names = ", ".join(model.architecture for model in self.models)
        return f"<{type(self).__name__} of {names}: {', '.join(self.card.labels.names)}>"

    @functools.cached_property
    def digests(self) -> tuple[str, ...]:
        """The SHA-256 of each network's file, as it was when this was first asked for."""
        return tuple(_sha256(model.path) for model in self.models)

    @property
    def card(self) -> ModelCard:
        """Labels and preprocessing, and the network of the first model."""
        return self.models[0].card

    def warnings(self) -> list[str]:
        """What a user should know before trusting the result."""
        found = [warning for model in self.models for warning in model.warnings()]
        if self.options.tta and not self._has_seen_mirrored_volumes():
            found.append(
                "`tta` mirrors volumes, and the network was trained without mirrored ones: the "
                "result may be far worse"
            )
        trained = self.models[0].window
        is_as_trained = all(is_as_good(model) for model in self.models)
        if isinstance(self.window, str) and trained is not None and not is_as_trained:
            edges = " x ".join(map(str, trained))
            found.append(
                f"volumes larger than the {edges} voxels of the training go through the network in "
                "one piece, which it has not learned: their label maps differ from those in windows"
            )
        return found

    def notices(self) -> list[str]:
        """What the networks are made for, and what was decided that the options leave open."""
        told = list(itertools.chain(*(model.notices() for model in self.models)))
        return [*told, *self._chosen_way()]

    def _chosen_way(self) -> list[str]:
        measured = [model.modes for model in self.models if model.modes is not None]
        if self.options.window is not None or not measured:
            return []
        one_pass = ", ".join(f"{modes.one_pass:.4f}" for modes in measured)
        windows = ", ".join(f"{modes.windows:.4f}" for modes in measured)
        told = f"validated with a Dice of {one_pass} in one pass and {windows} in windows"
        if self.window == "stream":
            return [f"one pass: {told}, which take longer (`window=trained`)"]
        return [f"windows: {told}"]

    def _has_seen_mirrored_volumes(self) -> bool:
        """Whether all networks have, as far as their configurations are known."""
        for model in self.models:
            if model.config is not None and not model.config.mirrors:
                return False
        return True

    @overload
    def predict(
        self, image: ImageArray, *, spacing_mm: Spacing = ..., probabilities: bool = ...
    ) -> PredictedArray: ...

    @overload
    def predict(
        self, image: sitk.Image | Location, *, probabilities: bool = ...
    ) -> PredictedImage: ...

    def predict(
        self,
        image: ImageArray | sitk.Image | Location,
        *,
        spacing_mm: Spacing = (1.0, 1.0, 1.0),
        probabilities: bool = False,
    ) -> PredictedArray | PredictedImage:
        """Segment one volume.

        Args:
            image: An array of intensities (C, D, H, W), as they would be stored, whose x, y and z
                increase to the left, back and top (LPS); a SimpleITK image, whose vector components
                are the channels; or the path of a volume or of the folder of a DICOM series.
            spacing_mm: Voxel size (z, y, x) of an array; images and files know theirs.
            probabilities: Whether the probability of each label is returned too.

        Returns:
            The label map on the grid of the volume: an array (D, H, W) for an array, uint8 or, for
            values above 255, uint16; an image for an image or path.

        Raises:
            DataError: The volume cannot be read, has another number of channels than the network
                takes, holds NaN or infinity, or needs more memory than there is.

        Example:
            >>> import numpy as np
            >>> model = lunet.load_model("runs/phantom")
            >>> found = model.predict(np.zeros((1, 32, 32, 32)), spacing_mm=(2.0, 1.0, 1.0))
            >>> found.label_map.shape, found.values
            ((32, 32, 32), {'anterior': 1, 'posterior': 2, 'ventricle': 3})
        """
        if isinstance(image, np.ndarray):
            found = self._segment(channels_of_array(image, spacing_mm), probabilities)
            return _as_array(found)
        if isinstance(image, sitk.Image):
            channels = channels_of_image(image)
        else:
            channels = channels_of_file(Path(image), self.card.network.in_channels)
        return _as_image(self._segment(channels, probabilities))

    def predict_planes(
        self,
        planes: Iterable[ImageArray],
        size: Size,
        *,
        spacing_mm: Spacing = (1.0, 1.0, 1.0),
    ) -> Iterator[LabelArray]:
        """Segment one volume while its planes come, in memory that does not grow with their number.

        It has to go through the network in one pass for that: `PredictionOptions(window="stream")`,
        or a checkpoint that says that one pass is as good. Otherwise, or where the orientation of
        the network turns another axis to the front, the planes are collected first. Where a plane
        is needed more than once, as by the normalizations `zscore` and `minmax`, all are kept in a
        nameless file of the temporary folder.

        Args:
            planes: Intensities as they would be stored, in blocks of planes (C, n, H, W) of any n,
                from the bottom to the top: z, y and x increase to the top, back and left (LPS).
            size: Voxels (D, H, W) of the volume.
            spacing_mm: Voxel size (z, y, x).

        Returns:
            An iterator over label values (n, H, W) of the next planes, uint8 or, for values above
            255, uint16; D planes in all. The first come when some planes behind them have been
            read. `card.labels.painted_values()` says which value stands for which label.

        Raises:
            DataError: `size` or `spacing_mm` cannot be, or the volume needs more memory than there
                is allowed; while it iterates, a block has another shape, or NaN or infinity, or
                there are more or fewer planes than `size` says.

        Example:
            >>> import numpy as np
            >>> options = lunet.PredictionOptions(window="stream")
            >>> model = lunet.load_model("runs/phantom", options=options)
            >>> planes = (np.zeros((1, 4, 64, 64)) for _ in range(20))
            >>> labels = model.predict_planes(planes, size=(80, 64, 64))
            >>> sum(len(block) for block in labels)
            80
        """
        stored = grid_of_array(size, spacing_mm)
        placement = self.card.preprocessing.place(stored)
        is_ordered = placement.axes[0] == 0
        plan = self.plan_windows(stored, reads_planes=is_ordered, keeps_result=False)
        num_channels = self.card.network.in_channels
        blocks = checked_blocks(planes, stored, num_channels)
        if not plan.reads_planes:
            return self._predict_collected(blocks, spacing_mm)
        # Whatever needs a plane twice.
        is_again = self.card.preprocessing.normalization.looks_at_all or self.ensemble.is_open
        if is_again or plan.keeps_result:
            return self._predict_flowing(spooled(blocks, stored, num_channels), plan, placement)
        once = PlaneBlocks(blocks, stored, num_channels)
        return self._predict_flowing(contextlib.nullcontext(once), plan, placement)

    def _predict_collected(
        self, blocks: Iterator[npt.NDArray[np.float32]], spacing_mm: Spacing
    ) -> Iterator[LabelArray]:
        image = np.concatenate(list(blocks), axis=1)
        yield self.predict(image, spacing_mm=spacing_mm).label_map

    def _predict_flowing(
        self,
        source: contextlib.AbstractContextManager[VolumePlanes],
        plan: WindowPlan,
        placement: Placement,
    ) -> Iterator[LabelArray]:
        painter, done = Painter(self.card.labels), deque[LabelArray]()

        def keep(codes: npt.NDArray[Any], _: list[ProbabilityArray]) -> None:
            done.append(painter.paint(codes))

        receiver: Receiver = PlaneRelay(placement, self.card.labels, keep, with_probabilities=False)
        if plan.keeps_result:
            receiver = SegmentationBuilder(placement, self.card.labels)
        with source as planes:
            for _ in self.segment_planes(planes, receiver, plan=plan):
                while done:
                    yield done.popleft()
        if isinstance(receiver, SegmentationBuilder):
            yield receiver.result.label_map()

    def _segment(self, channels: list[sitk.Image], with_probabilities: bool) -> Segmentation:
        if not with_probabilities:
            return self.segment(channels)
        shape = (len(self.card.labels.names), *Geometry.of(channels[0]).size)
        return self.segment(channels, probabilities=np.empty(shape, np.float32))

    def plan_windows(
        self,
        stored: Geometry,
        *,
        with_probabilities: bool = False,
        reads_planes: bool = False,
        keeps_result: bool = True,
    ) -> WindowPlan:
        """Decide on windows and bands for a volume, without reading it.

        Args:
            stored: Its grid.
            with_probabilities: Whether probability maps are made.
            reads_planes: Whether planes can be read one after the other (see `can_read_planes`),
                which one pass does then.
            keeps_result: Whether the segmentation is needed as a whole.

        Raises:
            DataError: It needs more memory than `max_memory_mib` even in the narrowest bands.
        """
        placement = self.card.preprocessing.place(stored)
        window = self._window(placement.grid.size)
        if self.one_pass is not None and window != self.models[0].window:
            demand = _Demand(
                placement=placement,
                with_probabilities=with_probabilities,
                reads_planes=reads_planes,
                keeps_result=keeps_result or not reads_planes or placement.mirrored[0],
            )
            try:
                return self._plan_flow(self.one_pass, window, demand)
            except DataError:
                if self.options.window is not None or self.models[0].window is None:
                    raise
            window = self.models[0].window  # Nobody has asked for one pass.
        height, limit = placement.oriented_size[1], self.options.max_memory_mib
        num_bands = 1
        while True:
            bands = _cut_into_bands(height, num_bands)
            plan = self._plan_bands(placement, window, bands, with_probabilities)
            if limit is None or plan.memory.total_mib <= limit:
                return plan
            if 2 * num_bands > height:
                raise _too_large(plan.memory, limit, "a smaller `batch_size` or `window`")
            # Twice the bands hold half of the slab; each costs the windows at its border again.
            num_bands *= 2

    def segment(
        self,
        channels: list[sitk.Image],
        *,
        plan: WindowPlan | None = None,
        probabilities: npt.NDArray[np.float32] | None = None,
        job_windows: int | None = None,
        on_choice: OnChoice = _ignore_choice,
        on_window: Callable[[], None] = lambda: None,
    ) -> Segmentation:
        """Segment a volume.

        Args:
            channels: Its channels as `read_image` gives them.
            plan: What `plan_windows` has said of it; None asks again.
            probabilities: Array (regions, D, H, W), float32, on the stored grid, that is filled as
                well.
            job_windows: Windows of the whole job: only a long one is worth the preparation of
                another runtime. None takes those of this volume.
            on_choice: Called when a runtime has been chosen.
            on_window: Called after each window.

        Returns:
            The segmentation on the stored grid.

        Raises:
            DataError: The number of channels is not that of the network, memory does not suffice,
                or the volume is not the one that was planned.
        """
        self.require_channels(len(channels))
        stored = Geometry.of(channels[0])
        if plan is None:
            plan = self.plan_windows(stored, with_probabilities=probabilities is not None)
        _require_size(stored, plan)
        image, placement = self.card.preprocessing.apply(channels)
        builder = SegmentationBuilder(placement, self.card.labels, probabilities)
        if plan.flows:
            choosing = (job_windows, on_choice)
            for _ in self._flow(image, plan, builder, choosing, on_window):
                pass
            return builder.result
        for first, stop in plan.bands:
            band = builder.band(first, stop)
            with torch.inference_mode():
                stitcher = Stitcher(
                    image,
                    window=plan.window,
                    overlap=self.options.overlap,
                    on_planes=band,
                    rows=band.needed,
                )
                self._settle(stitcher, job_windows or plan.num_windows, on_choice)
                self._run(stitcher, on_window)
        return builder.result

    def segment_planes(
        self,
        planes: VolumePlanes,
        receiver: Receiver,
        *,
        plan: WindowPlan,
        job_windows: int | None = None,
        on_choice: OnChoice = _ignore_choice,
        on_window: Callable[[], None] = lambda: None,
    ) -> Iterator[None]:
        """Segment a volume in one pass while its planes are read.

        Args:
            planes: The volume.
            receiver: What takes the result.
            plan: What `plan_windows` has said of it: it flows, and planes are read.
            job_windows: See `segment`.
            on_choice: See `segment`.
            on_window: See `segment`.

        Yields:
            Nothing, whenever the receiver has got something.

        Raises:
            DataError: As `segment`, and what reading raises.
        """
        self.require_channels(planes.num_channels)
        _require_size(planes.geometry, plan)
        image = PlaneInput(planes, self.card.preprocessing)
        return self._flow(image, plan, receiver, (job_windows, on_choice), on_window)

    @torch.inference_mode()
    def _flow(
        self,
        image: VolumeInput,
        plan: WindowPlan,
        receiver: Receiver,
        choosing: tuple[int | None, OnChoice],
        on_window: Callable[[], None],
    ) -> Iterator[None]:
        assert self.one_pass is not None
        self._settle_precision(image, plan, *choosing)
        for rows in plan.bands:
            band = receiver.band(*rows)
            flowing = self.one_pass.logits(
                image,
                least=self._window(image.size),
                rows=band.needed,
                per_step=plan.window[0],
                plan=self.ensemble.plan,
                on_step=on_window,
            )
            for logits, first in flowing:
                band(logits, first)
                yield

    def _settle_precision(
        self,
        image: VolumeInput,
        plan: WindowPlan,
        job_windows: int | None,
        on_choice: OnChoice,
    ) -> None:
        """Let the middle of a volume decide on the arithmetic, if that is open."""
        if not self.ensemble.is_open:
            return
        middle: list[slice] = []
        for size in image.size:
            edge = min(size, WINDOW_EDGE)
            middle.append(slice((size - edge) // 2, (size - edge) // 2 + edge))
        part = torch.from_numpy(image.crop(tuple(middle)))[None]
        window_flops = count_conv_flops(self.card.network, plan.window)
        flops = (job_windows or plan.num_windows) * window_flops
        on_choice(self.ensemble.choose_precision(part, flops, load_flow))

    def _run(self, stitcher: Stitcher, on_window: Callable[[], None]) -> None:
        passes = run_windows(
            self.ensemble.forward,
            [stitcher],
            batch_size=self.options.batch_size,
            on_window=on_window,
        )
        # The generator works as it is asked for the next volume.
        list(passes)

    def _settle(self, stitcher: Stitcher, num_windows: int, on_choice: OnChoice) -> None:
        """Let the first windows decide on the runtime, if that is open."""
        if not self.ensemble.is_open:
            return
        # From the middle: corners of a volume are often empty, where everything agrees.
        middle = max(0, len(stitcher.starts) // 2 - self.options.batch_size // 2)
        starts = stitcher.starts[middle : middle + self.options.batch_size]
        batch = torch.stack([stitcher.read(start) for start in starts])
        if self.one_pass is None:
            on_choice(self.ensemble.choose(batch, num_windows))
            return
        # Larger volumes of the same job flow, which the runtime torch alone can do.
        flops = num_windows * count_conv_flops(self.card.network, _size_of(batch))
        on_choice(self.ensemble.choose_precision(batch, flops))

    def require_channels(self, found: int) -> None:
        """Raise if a volume has another number of channels than the network takes.

        Raises:
            DataError: It has.
        """
        wanted = self.card.network.in_channels
        if found != wanted:
            raise DataError(
                f"has {plural(found, 'channel')}, and the network takes {wanted}",
                hint="Give the channels of a case as NAME_0000, NAME_0001, ... or as one "
                "four-dimensional file.",
            )

    def _window(self, size: Size) -> Size:
        trained = self.models[0].window
        wanted = self.window or trained
        if isinstance(wanted, str):
            stride = max(model.card.network.total_stride for model in self.models)
            return size_in_one_piece(size, trained, stride)
        if wanted is not None:
            return wanted
        # Small volumes go through in one piece, which is what such networks were trained on.
        depth, height, width = size
        if depth * height * width <= WHOLE_VOLUME_VOXELS:
            return size
        return WINDOW_EDGE, WINDOW_EDGE, WINDOW_EDGE

    def _plan_flow(self, one_pass: OnePass, seen: Size, demand: _Demand) -> WindowPlan:
        """Take as many planes at once as are usual, and fewer or bands of rows to spare memory."""
        placement, limit = demand.placement, self.options.max_memory_mib
        height, per_step, num_bands = placement.oriented_size[1], usual_planes(seen), 1
        while True:
            bands = _cut_into_bands(height, num_bands)
            # Bands give each plane piece by piece.
            keeps_result = demand.keeps_result or num_bands > 1
            memory = estimate_one_pass(
                [model.card for model in self.models],
                placement,
                self._flow_bytes(one_pass, seen, bands, per_step, placement),
                with_probabilities=demand.with_probabilities,
                reads_planes=demand.reads_planes,
                keeps_result=keeps_result,
            )
            if limit is None or memory.total_mib <= limit:
                break
            if 2 * num_bands > height:
                raise _too_large(memory, limit, "windows (`window=trained`)")
            # Fewer planes cost a little time, bands the rows around each of them again.
            if per_step > FEWEST_PLANES:
                per_step = max(FEWEST_PLANES, per_step // 2)
            else:
                num_bands *= 2
        return WindowPlan(
            size=placement.stored.size,
            window=(per_step, seen[1], seen[2]),
            bands=bands,
            num_windows=len(bands) * num_steps(seen[0], per_step),
            memory=memory,
            flows=True,
            reads_planes=demand.reads_planes,
            keeps_result=keeps_result,
        )

    def _flow_bytes(
        self,
        one_pass: OnePass,
        seen: Size,
        bands: tuple[tuple[int, int], ...],
        per_step: int,
        placement: Placement,
    ) -> int:
        """What planes of the largest band take on their way."""
        most = 0
        for band in bands:
            rows = _rows_on_grid(band, placement, seen)
            most = max(most, one_pass.num_bytes(seen, rows, per_step, self.ensemble.plan))
        return most

    def _plan_bands(
        self,
        placement: Placement,
        window: Size,
        bands: tuple[tuple[int, int], ...],
        with_probabilities: bool,
    ) -> WindowPlan:
        height, grid = placement.oriented_size[1], placement.grid.size
        planes, rows, columns = (
            window_starts(size, edge, self.options.overlap)
            for size, edge in zip(grid, window, strict=True)
        )
        front = max(0, window[1] - grid[1]) // 2
        num_windows, widest = 0, 0
        for band in bands:
            # Where the grids differ, a row on each side is there to interpolate from.
            low = front + band[0] * grid[1] / height - 1
            high = front + band[1] * grid[1] / height + 1
            found = [row for row in rows if row < high and row + window[1] > low]
            num_windows += len(planes) * len(found) * len(columns)
            widest = max(widest, found[-1] + window[1] - found[0])
        workload = Workload(
            window=window,
            rows=widest,
            num_windows=num_windows,
            batch_size=self.options.batch_size,
            averages=self.ensemble.num_passes > 1,
            with_probabilities=with_probabilities,
        )
        memory = estimate_memory([model.card for model in self.models], placement, workload)
        return WindowPlan(
            size=placement.stored.size,
            window=window,
            bands=bands,
            num_windows=num_windows,
            memory=memory,
        )


def _sha256(path: Path) -> str:
    """The SHA-256 of a network's file, and of the weights that an `.xml` has beside it."""
    digest = sha256_of(path)
    # OpenVINO keeps the graph in one file and the weights in another.
    if path.suffix == ".xml":
        digest += sha256_of(path.with_suffix(".bin"))
    return digest


def _rows_on_grid(band: tuple[int, int], placement: Placement, seen: Size) -> tuple[int, int]:
    """The rows of what the networks see that a band of the output is made of, at least."""
    num_rows, height = placement.grid.size[1], placement.oriented_size[1]
    front = (seen[1] - num_rows) // 2
    # Where the grids differ, a row on each side is there to interpolate from.
    around = int(placement.is_resampled)
    first = math.floor(band[0] * num_rows / height) - around
    stop = math.ceil(band[1] * num_rows / height) + around
    return front + max(first, 0), front + min(stop, num_rows)


def _require_size(stored: Geometry, plan: WindowPlan) -> None:
    if plan.size != stored.size:
        raise DataError(
            f"has {stored.size} voxels (z, y, x), and had {plan.size} a moment ago",
            hint="Is another program writing it?",
        )


def _too_large(memory: Estimate, limit: float, instead: str) -> DataError:
    return DataError(
        f"needs about {memory.total_mib:,.0f} MiB of memory, more than the {limit:,.0f} MiB "
        "allowed",
        hint=f"Raise `max_memory_mib`, or take {instead}.",
    )


def _size_of(images: torch.Tensor) -> Size:
    depth, height, width = images.shape[2:]
    return depth, height, width


def _cut_into_bands(height: int, num_bands: int) -> tuple[tuple[int, int], ...]:
    """First row, and one after the last, of bands of almost equal height."""
    edges = {round(index * height / num_bands) for index in range(num_bands + 1)}
    return tuple(pairwise(sorted(edges)))


def _as_array(found: Segmentation) -> PredictedArray:
    probabilities: dict[str, ProbabilityArray] = {}
    if found.probabilities is not None:
        probabilities = dict(zip(found.scheme.names, found.probabilities, strict=True))
    label_map: LabelArray = found.label_map()
    return PredictedArray(
        label_map=label_map,
        values=found.scheme.painted_values(),
        volume_ml=found.volumes_ml(),
        probabilities=probabilities,
    )


def _as_image(found: Segmentation) -> PredictedImage:
    plain = _as_array(found)
    probabilities: dict[str, sitk.Image] = {}
    for name, array in plain.probabilities.items():
        probabilities[name] = image_of(array, found.geometry)
    return PredictedImage(
        label_map=image_of(plain.label_map, found.geometry),
        values=plain.values,
        volume_ml=plain.volume_ml,
        probabilities=probabilities,
    )


def set_up_process(num_threads: int | None) -> None:
    """Compute with so many CPU threads, and under torchrun on the GPU of this process.

    Args:
        num_threads: None leaves it to PyTorch.

    Raises:
        DeviceError: There are more processes than GPUs.
    """
    if num_threads is not None:
        torch.set_num_threads(num_threads)
    # torchrun starts a process for each GPU, and says in this variable which one it is.
    if "LOCAL_RANK" in os.environ:
        take_own_gpu()


def _chosen_window(
    models: Sequence[Model], options: PredictionOptions
) -> Size | Literal["whole", "stream"] | None:
    """What the networks see of a volume at once; None for the window of the training."""
    if may_flow(models, options):
        return "stream"
    return None if options.window == "trained" else options.window


def _require_alike(models: Sequence[Model]) -> None:
    first = models[0]
    for model in models[1:]:
        theirs = _shared_by_an_ensemble(model)
        for what, ours in _shared_by_an_ensemble(first).items():
            if ours != theirs[what]:
                raise CheckpointError(
                    f"{model.path}: cannot be averaged with {first.path}: its {what} differ",
                    hint="The networks of an ensemble need the same labels, preprocessing and "
                    "channels.",
                )


def _shared_by_an_ensemble(model: Model) -> dict[str, object]:
    return {
        "labels": model.card.labels,
        "preprocessing": model.card.preprocessing,
        "image channels": model.card.network.in_channels,
    }

"""Networks through which volumes flow in one exact pass, beside the windows of an `Ensemble`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lunet_cli.config.options import PredictionOptions
from lunet_cli.config.vocabulary import Size
from lunet_cli.engine.checkpoints.models import Model
from lunet_cli.engine.inference.ensemble import average_logits, is_finite, mirrorings, not_finite
from lunet_cli.engine.inference.sliding_window import ArrayInput, VolumeInput
from lunet_cli.engine.inference.stream import (
    Flow,
    flow_through,
    padded_rows,
    padded_size,
    usual_planes,
)
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.networks.execution import DTYPES
from lunet_cli.engine.runtimes.exported_graph import Forward, Network
from lunet_cli.engine.runtimes.plane_graph import PlaneGraph, can_flow, plane_graph
from lunet_cli.engine.runtimes.plane_stream import count_values
from lunet_cli.engine.runtimes.runtime import RuntimePlan
from lunet_cli.errors import ConfigError

# Of the Dice: less than the seed of a training changes.
_MOST_LOST = 0.002


def is_as_good(model: Model) -> bool:
    """Whether the validation has found one pass as good as windows, or all but as good."""
    modes = model.modes
    if modes is None:
        return False
    # What all cases lose in the mean is lost by those alone that are larger than the window.
    return modes.windows - modes.one_pass <= _MOST_LOST * modes.share_larger


def may_flow(models: Sequence[Model], options: PredictionOptions) -> bool:
    """Whether volumes flow without being asked to: it is faster, and known to be as good."""
    usual = PredictionOptions()
    is_open = options.window is None and options.runtime in (None, "auto", "torch")
    # Who says how windows are cut wants windows; mirrored volumes have been measured in no way.
    is_open &= (options.overlap, options.batch_size) == (usual.overlap, usual.batch_size)
    return is_open and not options.tta and all(is_as_good(model) for model in models)


def size_in_one_piece(size: Size, trained: Size | None, stride: int) -> Size:
    """What a network sees of a volume (D, H, W) at once.

    Never less than the training has shown: it surrounds small volumes by zeros. Longer axes get
    zeros up to the stride, since the network would copy the edge so often.
    """
    if trained is None:
        return size
    seen: list[int] = []
    for edge, usual in zip(size, trained, strict=True):
        seen.append(usual if edge <= usual else math.ceil(edge / stride) * stride)
    depth, height, width = seen
    return depth, height, width


class OnePass:
    """Networks, and their mirrorings where those are averaged.

    Args:
        models: At least one, with the same labels.
        options: How to predict.

    Raises:
        ConfigError: The planes of a network cannot flow, or the runtime has windows only.
    """

    def __init__(self, models: Sequence[Model], options: PredictionOptions) -> None:
        if options.runtime not in (None, "auto", "torch"):
            raise ConfigError(
                f"`window=stream`: is computed by the runtime torch, not by {options.runtime}",
                hint="Leave out `runtime`, or `window`.",
            )
        self._labels = models[0].card.labels
        self._graphs: list[PlaneGraph] = []
        for model in models:
            network = _flowing_network(model)
            for axes in mirrorings(options.tta):
                self._graphs.append(plane_graph(network, mirrored=axes))

    def logits(
        self,
        image: VolumeInput,
        *,
        least: Size,
        rows: tuple[int, int],
        per_step: int,
        plan: RuntimePlan,
        on_step: Callable[[], None] = lambda: None,
    ) -> Iterator[tuple[Tensor, int]]:
        """Let a volume, or a band of its rows, flow.

        Args:
            image: The volume.
            least: Voxels (D, H, W) that the networks see at least: a shorter axis is surrounded by
                zeros, as in windows.
            rows: First row that is wanted, and the one after the last.
            per_step: Planes that are computed at once.
            plan: Device and arithmetic.
            on_step: Called `num_steps` times, after so many planes.

        Yields:
            Logits (K, n, rows, W), float32, and the index of their first plane.

        Raises:
            DataError: A network gives NaN or infinity.
        """
        seen = _Surrounded(image, least)
        front, top, left = seen.front
        flows: list[Flow] = []
        for graph in self._graphs:
            flow = Flow(
                graph,
                seen.size,
                rows=(rows[0] + top, rows[1] + top),
                per_step=per_step,
                device=plan.device,
                precision=plan.precision,
            )
            flows.append(flow)
        first, (depth, _, width) = -front, image.size
        for logits in flow_through(
            flows, seen, per_step=per_step, average=self._average, on_step=on_step
        ):
            if not is_finite(logits):
                raise not_finite(str(plan))
            inside = logits[:, max(-first, 0) : max(depth - first, 0), :, left : left + width]
            if inside.shape[1]:
                yield inside, max(first, 0)
            first += logits.shape[1]

    def num_bytes(self, size: Size, rows: tuple[int, int], per_step: int, plan: RuntimePlan) -> int:
        """Memory that planes take on their way.

        Args:
            size: Voxels (D, H, W) that the networks see, with what surrounds the volume.
            rows: First row that is wanted, and the one after the last.
            per_step: Planes that are computed at once.
            plan: Device and arithmetic.
        """
        found, width = 0, DTYPES[plan.precision].itemsize
        for graph in self._graphs:
            first, stop = padded_rows(graph, size[1], rows)
            columns = padded_size(graph, size[2], axis=2)
            found += width * count_values(graph, (stop - first, columns), per_step)
        num_logits = self._graphs[0].operations[-1].channels
        block = per_step * (rows[1] - rows[0]) * size[2]
        # The image as it is read and normalised; the logits of each network and of all, in float32.
        return found + 4 * block * (3 * self._graphs[0].in_channels + num_logits * self._copies)

    @property
    def _copies(self) -> int:
        """Copies of logits: of one network alone, or of each and four more for their average."""
        count = len(self._graphs)
        return 2 if count == 1 else count + 4

    def _average(self, each: Iterable[Tensor]) -> Tensor:
        if len(self._graphs) == 1:
            (only,) = each
            return only
        return average_logits(each, self._labels)


def num_steps(depth: int, per_step: int) -> int:
    """Blocks of planes of a volume."""
    return -(-depth // per_step)


def load_flow(plan: RuntimePlan, network: Network) -> Forward:
    """A network of which planes flow as a function from images to logits, for a trial.

    Args:
        plan: Device and arithmetic.
        network: A U-Net or UNet++ of any widths.
    """
    assert isinstance(network, SegmentationNetwork)
    graph = plane_graph(network)

    def forward(images: Tensor) -> Tensor:
        found: list[Tensor] = []
        for image in images:
            volume = ArrayInput(image.numpy())
            per_step = usual_planes(volume.size)
            flow = Flow(
                graph,
                volume.size,
                rows=(0, volume.size[1]),
                per_step=per_step,
                device=plan.device,
                precision=plan.precision,
            )
            planes = flow_through([flow], volume, per_step=per_step, average=_only)
            found.append(torch.cat(list(planes), dim=1))
        return torch.stack(found)

    return forward


def _only(each: Iterable[Tensor]) -> Tensor:
    (only,) = each
    return only


def _flowing_network(model: Model) -> SegmentationNetwork:
    """The network of a model, if planes can flow through it.

    Raises:
        ConfigError: They cannot.
    """
    if not isinstance(model.network, SegmentationNetwork):
        raise ConfigError(
            f"{model.path}: an exported file takes windows only, not `window=stream`",
            hint="Name the checkpoint that it was exported from.",
        )
    if not can_flow(model.network):
        raise ConfigError(
            f"{model.path}: {model.architecture} normalises over the whole volume, so that its "
            "planes cannot flow (`window=stream`)",
            hint="Leave out `window`: it takes windows then.",
        )
    return model.network


class _Surrounded:
    """A volume with zeros around the axes that are shorter than what a network sees at least.

    Args:
        image: The volume.
        least: Voxels (D, H, W).
    """

    def __init__(self, image: VolumeInput, least: Size) -> None:
        self._image = image
        depth, height, width = map(max, image.size, least)
        self.size: Size = (depth, height, width)
        self.front = [(edge - size) // 2 for edge, size in zip(self.size, image.size, strict=True)]

    def crop(self, where: tuple[slice, ...]) -> npt.NDArray[np.float32]:
        """Intensities (C, d, h, w) of a box."""
        inside: list[slice] = []
        around: list[tuple[int, int]] = [(0, 0)]
        for part, front, size in zip(where, self.front, self._image.size, strict=True):
            low, high = part.start - front, part.stop - front
            first, stop = min(max(low, 0), size), max(min(high, size), 0)
            stop = max(first, stop)
            inside.append(slice(first, stop))
            before = min(max(-low, 0), high - low)
            around.append((before, high - low - (stop - first) - before))
        found = self._image.crop(tuple(inside))
        if not any(before or behind for before, behind in around):
            return found
        return np.pad(found, around)

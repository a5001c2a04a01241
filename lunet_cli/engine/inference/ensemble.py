"""One or several networks as one function from images to logits, computed by some runtime."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor

from lunet_cli.config.options import PredictionOptions
from lunet_cli.config.vocabulary import RuntimeChoice, RuntimeName
from lunet_cli.engine.checkpoints.models import Model
from lunet_cli.engine.data.labels import LabelScheme
from lunet_cli.engine.networks.execution import has_precision
from lunet_cli.engine.runtimes.exported_graph import ExportedGraph, Forward
from lunet_cli.engine.runtimes.runtime import (
    RuntimePlan,
    device_for,
    load_runtime,
    require_fitting,
    runtimes_of,
)
from lunet_cli.engine.runtimes.selection import Load, choose_precision, choose_runtime
from lunet_cli.errors import ConfigError, DataError
from lunet_cli.results.runtimes import RuntimeChosen


class Ensemble:
    """Networks whose probabilities are averaged.

    Args:
        models: At least one, with the same labels.
        options: Device, precision and runtime, and whether mirrorings are averaged too. The runtime
            `auto` lets `choose` decide, None takes the usual one of a network or exported file.

    Raises:
        LunetError: The device, runtime or precision is not available.
    """

    def __init__(self, models: Sequence[Model], options: PredictionOptions) -> None:
        self._models = tuple(models)
        self._precision = options.precision
        self._tta = options.tta
        # A choice holds for all networks, and files of several formats leave little.
        has_choice = len(models) == 1 or not any(_is_graph(model) for model in models)
        self.is_open = options.runtime == "auto" and has_choice
        self.plan = _usual_plan(models, options)
        for model in models:
            require_fitting(self.plan, model.network)
        self._forwards: list[Forward] = []
        if not self.is_open:
            self._load()

    def __str__(self) -> str:
        if self.is_open:
            return "a runtime chosen at the first window"
        return str(self.plan)

    @property
    def num_passes(self) -> int:
        """Forward passes that make up the result for one window."""
        return len(self._models) * len(mirrorings(self._tta))

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, K, D, H, W) of images (B, C, D, H, W), float32 on the CPU.

        Raises:
            DataError: A network gives NaN or infinity.
        """
        if not self._forwards:
            self._load()
        if self.num_passes == 1:
            return self._forwards[0](image)
        return _average(self._forwards, self._models[0].card.labels, image, tta=self._tta)

    def choose(self, image: Tensor, num_windows: int) -> RuntimeChosen:
        """Decide how to compute, which `is_open`.

        Args:
            image: A batch of windows (B, C, D, H, W), float32 on the CPU.
            num_windows: Windows in the whole job.

        Returns:
            What was decided and why.
        """
        self.is_open = False
        model = self._models[0]
        self.plan, first, event = choose_runtime(
            model.network,
            model.card.network,
            self.plan,
            image,
            precision=self._precision,
            num_windows=num_windows * self.num_passes,
            probabilities=model.card.labels.probabilities,
        )
        others = [load_runtime(self.plan, model.network) for model in self._models[1:]]
        self._forwards = [self._checked(forward) for forward in (first, *others)]
        return event

    def choose_precision(
        self, image: Tensor, num_flops: float, load: Load = load_runtime
    ) -> RuntimeChosen:
        """Decide on the arithmetic of the runtime `torch`, where that `is_open`.

        Args:
            image: A part of a volume (1, C, D, H, W), float32 on the CPU.
            num_flops: Operations of the whole job for one network.
            load: What makes a network ready.

        Returns:
            What was decided and why.
        """
        self.is_open = False
        model = self._models[0]
        self.plan, event = choose_precision(
            model.network,
            self.plan,
            image,
            precision=self._precision,
            num_flops=num_flops * self.num_passes,
            load=load,
            probabilities=model.card.labels.probabilities,
        )
        return event

    def _load(self) -> None:
        for model in self._models:
            self._forwards.append(self._checked(load_runtime(self.plan, model.network)))

    def _checked(self, forward: Forward) -> Forward:
        """The function, which raises where it gives logits that are not finite."""

        def run(image: Tensor) -> Tensor:
            logits = forward(image)
            if not is_finite(logits):
                reaches = f"its input reaches {float(image.abs().max()):g}"
                raise not_finite(f"{self.plan}; {reaches}")
            return logits

        return run


def is_finite(logits: Tensor) -> bool:
    """Whether no number is NaN or infinite."""
    # The sum is NaN or infinite where a value is, at a fraction of the time of `isfinite`. It may
    # also overflow where all values are finite, so it is not the last word.
    if math.isfinite(float(logits.sum(dtype=torch.float32))):
        return True
    return bool(logits.isfinite().all())


def not_finite(circumstances: str) -> DataError:
    """The error where logits are not finite."""
    return DataError(
        f"the network gives numbers that are not finite ({circumstances})",
        hint="Weights and intensities are finite: compute with `precision=fp32`, and check the "
        "range of the intensities.",
    )


def _usual_plan(models: Sequence[Model], options: PredictionOptions) -> RuntimePlan:
    """What is taken without trying: the named or most ordinary runtime, and a precision.

    That is the precision of the validation, where device and runtime have it.
    """
    name = _usual_runtime(models, options.runtime)
    device = device_for(name, options.device)
    if options.precision != "auto":
        return RuntimePlan(name, device, options.precision)
    validated = models[0].execution
    if validated is not None and has_precision(device, validated.precision):
        plan = RuntimePlan(name, device, validated.precision)
        if all(plan.fits(model.network) for model in models):
            return plan
    return RuntimePlan(name, device, "fp32")


def _usual_runtime(models: Sequence[Model], wanted: RuntimeChoice | None) -> RuntimeName:
    possible = list(runtimes_of(models[0].network))
    for model in models[1:]:
        shared = runtimes_of(model.network)
        possible = [name for name in possible if name in shared]
    if not possible:
        raise ConfigError(
            "no runtime computes all of these files", hint="Average networks of one format."
        )
    if wanted is None or wanted == "auto":
        return possible[0]
    return wanted


def _is_graph(model: Model) -> bool:
    return isinstance(model.network, ExportedGraph)


def _average(
    forwards: Sequence[Forward], labels: LabelScheme, image: Tensor, *, tta: bool
) -> Tensor:
    def each() -> Iterator[Tensor]:
        for forward in forwards:
            for axes in mirrorings(tta):
                yield _mirrored(forward, image, axes)

    return average_logits(each(), labels)


def average_logits(each: Iterable[Tensor], labels: LabelScheme) -> Tensor:
    """Logits whose probabilities are the mean of those of several (B, K, D, H, W).

    The logarithms of mean probabilities are logits again, and can be stitched like those of one
    network. A sigmoid needs the mean of both, of being inside and of being outside.
    """
    inside: Tensor | None = None
    outside: Tensor | None = None
    for logits in each:
        if labels.activation == "softmax":
            inside = _log_sum(inside, F.log_softmax(logits, dim=1))
        else:
            inside = _log_sum(inside, F.logsigmoid(logits))
            outside = _log_sum(outside, F.logsigmoid(-logits))
    assert inside is not None
    if outside is None:
        return inside
    return inside - outside


def mirrorings(tta: bool) -> list[tuple[int, ...]]:
    """The spatial axes (0 to 2) of each mirroring, none of them first."""
    found: list[tuple[int, ...]] = [()]
    if tta:
        for count in (1, 2, 3):
            found += combinations(range(3), count)
    return found


def _mirrored(forward: Forward, image: Tensor, axes: tuple[int, ...]) -> Tensor:
    """The logits of a mirrored image, mirrored back."""
    if not axes:
        return forward(image).float()
    spatial = [axis + 2 for axis in axes]
    return forward(image.flip(spatial)).flip(spatial).float()


def _log_sum(total: Tensor | None, log_p: Tensor) -> Tensor:
    """The logarithm of a sum of probabilities, of which the logarithms are given."""
    if total is None:
        return log_p
    return torch.logaddexp(total, log_p)

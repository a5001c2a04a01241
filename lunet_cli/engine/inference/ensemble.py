"""One or several networks as one function from images to logits, computed by the runtime that was asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lunet_cli.config.vocabulary import Precision, RuntimeName
from lunet_cli.engine.checkpoints.models import Model
from lunet_cli.engine.data.labels import LabelScheme
from lunet_cli.engine.networks.execution import has_precision
from lunet_cli.engine.runtimes.exported_graph import ExportedGraph
from lunet_cli.engine.runtimes.runtime import (
    Forward,
    RuntimePlan,
    device_for,
    load_runtime,
    require_fitting,
    runtimes_of,
)
from lunet_cli.engine.runtimes.selection import choose_runtime
from lunet_cli.errors import ConfigError, DataError
from lunet_cli.results.runtimes import RuntimeChosen

PrecisionChoice = Literal["auto", "fp32", "bf16", "fp16"]


class Ensemble:
    """Networks whose probabilities are averaged.

    Args:
        models: At least one, with the same labels.
        device: Where to compute.
        precision: Arithmetic; `auto` takes that of the validation where this device has it.
        runtime: What computes; `auto` lets `choose` decide, None takes the usual one of a network
            or exported file.
        tta: Whether to average over the eight mirrorings too.

    Raises:
        LunetError: The device, runtime or precision is not available.
    """

    def __init__(
        self,
        models: Sequence[Model],
        *,
        device: Literal["auto", "cpu", "cuda", "mps"],
        precision: PrecisionChoice,
        runtime: RuntimeName | Literal["auto"] | None,
        tta: bool,
    ) -> None:
        self._models = tuple(models)
        self._precision = precision
        self._tta = tta
        # A choice holds for all networks, and files of several formats leave little.
        self.is_open = runtime == "auto" and (
            len(models) == 1 or not any(_is_graph(model) for model in models)
        )
        self.plan = _usual_plan(models, device, precision, runtime)
        for model in models:
            require_fitting(self.plan, model.network)
        self._forwards: list[Forward] = []
        if not self.is_open:
            self._load()

    def __str__(self) -> str:
        return "a runtime chosen at the first window" if self.is_open else str(self.plan)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, K, D, H, W) of images (B, C, D, H, W), float32 on the CPU.

        Raises:
            DataError: A network gives NaN or infinity.
        """
        if not self._forwards:
            self._load()
        return _combine(self._forwards, self._models[0].card.labels, image, tta=self._tta)

    def choose(self, image: Tensor, num_windows: int) -> RuntimeChosen:
        """Decide how to compute, which `is_open`.

        Args:
            image: A batch of windows (B, C, D, H, W), float32 on the CPU.
            num_windows: Windows in the whole job.

        Returns:
            What was decided and why.
        """
        self.is_open = False
        computed = num_windows * len(self._models) * (8 if self._tta else 1)
        activate = self._models[0].card.labels.probabilities
        self.plan, first, event = choose_runtime(
            self._models[0].network,
            self._models[0].card.network,
            self.plan,
            image,
            precision=self._precision,
            num_windows=computed,
            probabilities=activate,
        )
        others = [load_runtime(self.plan, model.network) for model in self._models[1:]]
        self._forwards = [self._checked(forward) for forward in (first, *others)]
        return event

    def _load(self) -> None:
        self._forwards = [
            self._checked(load_runtime(self.plan, model.network)) for model in self._models
        ]

    def _checked(self, forward: Forward) -> Forward:
        """The function, which raises where it gives logits that are not finite."""

        def run(image: Tensor) -> Tensor:
            logits = forward(image)
            # The sum is NaN or infinite where a value is, at a fraction of the time of `isfinite`.
            if not math.isfinite(float(logits.sum(dtype=torch.float32))) and not bool(
                logits.isfinite().all()
            ):
                raise DataError(
                    f"the network gives numbers that are not finite ({self.plan}; its input reaches "
                    f"{float(image.abs().max()):g})",
                    hint="Weights and intensities are finite: compute in fp32, and check the range of the intensities.",
                )
            return logits

        return run


def _usual_plan(
    models: Sequence[Model],
    choice: Literal["auto", "cpu", "cuda", "mps"],
    precision: PrecisionChoice,
    runtime: RuntimeName | Literal["auto"] | None,
) -> RuntimePlan:
    """What is taken without trying: the named or most ordinary runtime, in the precision of the validation."""
    model = models[0]
    possible = [
        name
        for name in runtimes_of(model.network)
        if all(name in runtimes_of(m.network) for m in models)
    ]
    if not possible:
        raise ConfigError(
            "no runtime computes all of these files", hint="Average networks of one format."
        )
    name = possible[0] if runtime is None or runtime == "auto" else runtime
    device = device_for(name, choice)
    if precision != "auto":
        return RuntimePlan(name, device, precision)
    validated: Precision = "fp32" if model.execution is None else model.execution.precision
    plan = RuntimePlan(name, device, validated)
    is_fitting = has_precision(device, validated) and all(plan.fits(m.network) for m in models)
    return plan if is_fitting else RuntimePlan(name, device, "fp32")


def _is_graph(model: Model) -> bool:
    return isinstance(model.network, ExportedGraph)


def _combine(
    forwards: Sequence[Forward], labels: LabelScheme, image: Tensor, *, tta: bool
) -> Tensor:
    """The logits of one network, or those whose probabilities are the mean over networks and mirrorings."""
    if len(forwards) == 1 and not tta:
        return forwards[0](image)
    mirrorings = [
        axes for count in range(4 if tta else 1) for axes in combinations((2, 3, 4), count)
    ]
    # The logarithms of mean probabilities are logits again, and can be stitched like those of one
    # network.
    inside, outside = None, None
    for forward in forwards:
        for axes in mirrorings:
            logits = forward(image.flip(axes) if axes else image).flip(axes).float()
            is_softmax = labels.activation == "softmax"
            log_p = F.log_softmax(logits, dim=1) if is_softmax else F.logsigmoid(logits)
            inside = log_p if inside is None else torch.logaddexp(inside, log_p)
            if not is_softmax:
                log_q = F.logsigmoid(-logits)
                outside = log_q if outside is None else torch.logaddexp(outside, log_q)
    assert inside is not None
    return inside if outside is None else inside - outside

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.runtimes import choice
from lunet_cli.engine.runtimes.runtime import Network, RuntimePlan
from lunet_cli.errors import DeviceError

USUAL = RuntimePlan("torch", "cpu", "fp32")
SKEWED, FAST, BROKEN = (RuntimePlan(name, "cpu", "fp32") for name in ("onnx", "openvino", "torch-compile"))
MS = {USUAL: 100.0, SKEWED: 1.0, FAST: 10.0}


@pytest.fixture
def runtimes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four runtimes: the usual one, a faster one that is wrong, a faster one that is right, and one that fails."""

    def load(plan: RuntimePlan, network: Network) -> Callable[[Tensor], Tensor]:
        if plan == BROKEN:
            raise DeviceError("has no compiler")
        return lambda image: image + (0.1 if plan == SKEWED else 0.0)

    monkeypatch.setattr(choice, "load_runtime", load)
    monkeypatch.setattr(choice, "candidate_plans", lambda network, device, precision: [USUAL, SKEWED, FAST, BROKEN])
    monkeypatch.setattr(choice, "_median_ms", lambda forward, image, plan, **_: MS[plan])
    monkeypatch.setattr(choice, "is_installed", lambda name: True)


def choose(network: SegmentationNetwork, num_passes: int) -> tuple[RuntimePlan, dict[str, str]]:
    plan, _, event = choice.choose_runtime(
        network, USUAL, torch.zeros(1, 2, 4, 4, 4), precision="auto", num_passes=num_passes, probabilities=torch.sigmoid
    )
    assert event.name == str(plan)
    return plan, {trial.name: trial.verdict for trial in event.trials}


@pytest.mark.usefixtures("runtimes")
def test_fastest_that_agrees_is_taken(network_of: Callable[..., SegmentationNetwork]) -> None:
    plan, verdicts = choose(network_of("lunet"), num_passes=1000)
    assert plan == FAST
    assert verdicts == {
        str(USUAL): "slower",
        str(SKEWED): "disagrees with fp32",
        str(FAST): "fastest",
        str(BROKEN): "does not run: has no compiler",
    }


@pytest.mark.usefixtures("runtimes")
def test_short_job_tries_nothing(network_of: Callable[..., SegmentationNetwork]) -> None:
    plan, verdicts = choose(network_of("lunet"), num_passes=100)  # 100 passes of 100 ms
    assert plan == USUAL
    assert verdicts == {str(USUAL): "taken without trying others"}


def test_installed_runtimes_are_tried_for_real(
    network_of: Callable[..., SegmentationNetwork], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "_WORTH_TRYING_SECONDS", 0.0)
    monkeypatch.setattr(choice, "_WORTH_TRYING_PASSES", 0)
    plan, forward, event = choice.choose_runtime(
        network_of("unet"),
        USUAL,
        torch.randn(1, 2, 8, 8, 8),
        precision="fp32",
        num_passes=1,
        probabilities=torch.sigmoid,
    )
    assert plan.precision == "fp32"
    assert [trial.name for trial in event.trials if trial.verdict == "fastest"] == [str(plan)]
    assert all(trial.difference < 1e-4 for trial in event.trials if trial.difference is not None)
    with torch.inference_mode():
        assert forward(torch.randn(1, 2, 8, 8, 8)).shape == (1, 3, 8, 8, 8)

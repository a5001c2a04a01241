from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lunet_cli.config.presets import parse_preset
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.runtimes import selection
from lunet_cli.engine.runtimes.exported_graph import Network
from lunet_cli.engine.runtimes.runtime import RuntimePlan
from lunet_cli.errors import DeviceError

USUAL = RuntimePlan("torch", "cpu", "fp32")
RIGHT = RuntimePlan("onnx", "cpu", "fp32")
SKEWED = RuntimePlan("openvino", "cpu", "fp32")
BROKEN = RuntimePlan("openvino", "cpu", "bf16")
SPEC = parse_preset("lunet_small_4f").spec
WINDOW = torch.zeros(2, 1, 96, 96, 96)  # 3.83 GFLOP each with lunet_small_4f


@pytest.fixture
def runtimes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four runtimes, the usual one first: of the others, one fails, one is wrong, one is right."""

    def load(plan: RuntimePlan, network: Network) -> Callable[[Tensor], Tensor]:
        if plan == BROKEN:
            raise DeviceError("has no compiler")
        return lambda image: image + (0.1 if plan == SKEWED else 0.0)

    plans = [USUAL, RIGHT, SKEWED, BROKEN]
    monkeypatch.setattr(selection, "load_runtime", load)
    monkeypatch.setattr(selection, "candidate_plans", lambda network, device, precision: plans)
    monkeypatch.setattr(selection, "is_installed", lambda name: True)


def choose(network: SegmentationNetwork, num_windows: int) -> tuple[RuntimePlan, dict[str, str]]:
    plan, _, event = selection.choose_runtime(
        network,
        SPEC,
        USUAL,
        WINDOW,
        precision="auto",
        num_windows=num_windows,
        probabilities=torch.sigmoid,
    )
    assert event.name == str(plan)
    return plan, {trial.name: trial.verdict for trial in event.trials}


@pytest.mark.usefixtures("runtimes")
def test_first_of_the_order_that_agrees_is_taken(
    network_of: Callable[..., SegmentationNetwork],
) -> None:
    plan, verdicts = choose(network_of("lunet"), num_windows=1000)
    assert plan == RIGHT
    assert verdicts == {
        str(BROKEN): "does not run: has no compiler",
        str(SKEWED): "disagrees with fp32",
        str(RIGHT): "taken",
    }


@pytest.mark.usefixtures("runtimes")
@pytest.mark.parametrize(
    ("num_windows", "is_long"),
    [
        (199, False),  # few windows, whatever they cost
        (521, False),  # 1.997 TFLOP
        (522, True),  # 2.001 TFLOP
    ],
)
def test_only_a_long_job_takes_another_runtime(
    num_windows: int, is_long: bool, network_of: Callable[..., SegmentationNetwork]
) -> None:
    plan, verdicts = choose(network_of("lunet"), num_windows=num_windows)
    assert plan == (RIGHT if is_long else USUAL)
    assert (str(RIGHT) in verdicts) is is_long


@pytest.mark.usefixtures("runtimes")
def test_choice_reads_no_clock(
    network_of: Callable[..., SegmentationNetwork], monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden() -> float:
        raise AssertionError("a clock was read")

    network = network_of("lunet")
    for name in ("time", "perf_counter", "monotonic", "process_time", "thread_time"):
        monkeypatch.setattr(f"time.{name}", forbidden)
    choose(network, num_windows=1000)


@pytest.mark.parametrize(
    ("preset", "device", "first"),
    [
        ("lunet_small_4f", "cpu", ("openvino", "bf16")),
        ("mednext_small", "cpu", ("openvino", "fp32")),
        ("mednext_small", "cuda", ("torch", "bf16")),
        ("unetpp_small_4f", "cuda", ("torch", "bf16")),
    ],
)
def test_order_fits_family_and_device(preset: str, device: str, first: tuple[str, str]) -> None:
    names = ("openvino", "onnx", "torch") if device == "cpu" else ("torch",)
    plans = [RuntimePlan(name, device, kind) for name in names for kind in ("fp32", "bf16")]  # type: ignore[arg-type]
    plans = [plan for plan in plans if not plan.obstacle()]
    spec = parse_preset(preset).spec
    best = min(plans, key=lambda plan: selection._rank(plan, spec))
    assert (best.runtime, best.precision) == first


def test_installed_runtimes_are_tried_for_real(
    network_of: Callable[..., SegmentationNetwork], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "_is_long", lambda *_: True)
    network = network_of("unet")
    image = torch.randn(1, 2, 8, 8, 8)
    plan, forward, event = selection.choose_runtime(
        network,
        network.spec,
        USUAL,
        image,
        precision="fp32",
        num_windows=1,
        probabilities=torch.sigmoid,
    )
    assert plan.precision == "fp32"
    assert [trial.name for trial in event.trials if trial.verdict == "taken"] == [str(plan)]
    assert all(trial.difference < 1e-4 for trial in event.trials if trial.difference is not None)
    with torch.inference_mode():
        assert forward(image).shape == (1, 3, 8, 8, 8)


@pytest.mark.usefixtures("runtimes")
@pytest.mark.parametrize(
    ("num_flops", "is_long", "error"), [(1.9e11, False, 0.0), (2e11, True, 0.0), (2e11, True, 0.1)]
)
def test_one_pass_takes_the_half_precision_that_agrees(
    num_flops: float,
    is_long: bool,
    error: float,
    network_of: Callable[..., SegmentationNetwork],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    half = RuntimePlan("torch", "cpu", "bf16")
    plans = [USUAL, half, RIGHT]
    monkeypatch.setattr(selection, "candidate_plans", lambda network, device, precision: plans)

    def load(plan: RuntimePlan, network: Network) -> Callable[[Tensor], Tensor]:
        return lambda image: image + (error if plan == half else 0.0)

    plan, event = selection.choose_precision(
        network_of("lunet"),
        USUAL,
        torch.zeros(1, 1, 8, 8, 8),
        precision="auto",
        num_flops=num_flops,
        load=load,
        probabilities=torch.sigmoid,
    )
    assert plan == (half if is_long and not error else USUAL)
    assert event.name == str(plan)
    assert str(RIGHT) not in [trial.name for trial in event.trials]

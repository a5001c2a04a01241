from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from lunet_cli.config.network import NetworkSpec
from lunet_cli.config.training import LossConfig, TrainingConfig
from lunet_cli.engine.networks import build_network, execution
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.networks.execution import ExecutionPlan, resolve_device
from lunet_cli.engine.training import verification
from lunet_cli.engine.training.losses import make_loss
from lunet_cli.engine.training.verification import choose_plan
from lunet_cli.errors import DeviceError
from lunet_cli.results.events import Event
from lunet_cli.results.training import PlanChosen, VerificationStep

LOSS = make_loss(LossConfig(), "sigmoid")


def config_of(**values: Any) -> TrainingConfig:
    return TrainingConfig.model_validate({"device": "cpu", **values})


@pytest.fixture
def network() -> SegmentationNetwork:
    torch.manual_seed(0)
    return build_network(NetworkSpec("lunet", (2, 2), dropout=0.3))


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    image = torch.randn(2, 1, 8, 8, 8)
    return image, image > 0.5


@pytest.fixture
def bf16_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "has_native_bf16", lambda: True)


def choose(
    config: TrainingConfig, network: SegmentationNetwork, batch: tuple[Tensor, Tensor]
) -> tuple[ExecutionPlan, PlanChosen, list[Event]]:
    events: list[Event] = []
    plan, chosen = choose_plan(config, network, lambda: batch, LOSS, events.append)
    return plan, chosen, events


def spoil_losses(
    monkeypatch: pytest.MonkeyPatch, is_spoilt: Callable[[ExecutionPlan], bool]
) -> None:
    def callable_of(
        plan: ExecutionPlan, network: SegmentationNetwork
    ) -> Callable[[Tensor], Tensor]:
        return (lambda image: network(image) - 100) if is_spoilt(plan) else network

    monkeypatch.setattr(ExecutionPlan, "callable_of", callable_of)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("compiled", [False, True])
def test_explicit_settings_are_not_verified(
    precision: str, compiled: bool, network: SegmentationNetwork
) -> None:
    config = config_of(precision=precision, compile=compiled)

    def first_batch() -> tuple[Tensor, Tensor]:
        raise AssertionError("a batch was asked for")

    plan, chosen = choose_plan(config, network, first_batch, LOSS, print)
    assert (plan.device, plan.precision, plan.compile) == ("cpu", precision, compiled)
    assert plan.channels_last
    assert chosen.pins == ()


def test_depthwise_networks_keep_the_contiguous_layout(batch: tuple[Tensor, Tensor]) -> None:
    spec = NetworkSpec("mednext", (2, 4), expansion_ratios=(2, 2, 2), blocks_per_stage=(1, 1, 1))
    plan, _, _ = choose(config_of(precision="auto"), build_network(spec), batch)
    assert (plan.precision, plan.channels_last) == ("fp32", False)


@pytest.mark.parametrize(("has_bf16", "expected"), [(True, "bf16"), (False, "fp32")])
def test_auto_takes_what_the_processor_has_instructions_for(
    has_bf16: bool,
    expected: str,
    network: SegmentationNetwork,
    batch: tuple[Tensor, Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(execution, "has_native_bf16", lambda: has_bf16)
    plan, chosen, events = choose(config_of(precision="auto"), network, batch)
    assert str(plan) == f"{expected} channels-last on cpu"
    assert chosen.pins == (f"training.precision={expected}",)
    assert f"to pin it: training.precision={expected}" in str(chosen)
    assert len(events) == (6 if has_bf16 else 0)


@pytest.mark.usefixtures("bf16_machine")
def test_choice_reads_no_clock(
    network: SegmentationNetwork, batch: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden() -> float:
        raise AssertionError("a clock was read")

    for name in ("time", "perf_counter", "monotonic", "process_time", "thread_time"):
        monkeypatch.setattr(f"time.{name}", forbidden)
    choose(config_of(precision="auto"), network, batch)


@pytest.mark.usefixtures("bf16_machine")
def test_verification_tells_its_steps(
    network: SegmentationNetwork, batch: tuple[Tensor, Tensor]
) -> None:
    _, _, events = choose(config_of(precision="auto"), network, batch)
    steps = [event for event in events if isinstance(event, VerificationStep)]
    assert [(step.step, step.num_steps) for step in steps] == [(n, 6) for n in range(1, 7)]
    assert {step.name for step in steps[:3]} == {"fp32 channels-last on cpu"}
    assert {step.name for step in steps[3:]} == {"bf16 channels-last on cpu"}


@pytest.mark.usefixtures("bf16_machine")
def test_verification_leaves_network_and_random_numbers_alone(
    network: SegmentationNetwork, batch: tuple[Tensor, Tensor]
) -> None:
    weights, image, target = copy.deepcopy(network.state_dict()), batch[0].clone(), batch[1].clone()
    network.eval()
    torch.manual_seed(3)
    state = torch.get_rng_state()
    choose(config_of(precision="auto"), network, batch)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert network.encoders[0][0].conv.weight.is_contiguous()
    assert not network.training
    assert torch.equal(batch[0], image)
    assert torch.equal(batch[1], target)


@pytest.mark.usefixtures("bf16_machine")
def test_both_sides_draw_the_same_dropout(
    network: SegmentationNetwork, batch: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    sides: list[list[float]] = []

    def remember(losses: list[float], expected: list[float]) -> float:
        sides.extend([losses, expected])
        return 0.0

    monkeypatch.setattr(verification, "relative_difference", remember)
    choose(config_of(precision="auto"), network, batch)
    half, full = sides
    assert len(full) == 3
    assert len(set(full)) > 1
    assert half == pytest.approx(full, abs=0.01)


@pytest.mark.usefixtures("bf16_machine")
def test_what_disagrees_falls_back(
    network: SegmentationNetwork, batch: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil_losses(monkeypatch, lambda plan: plan.precision == "bf16")
    plan, chosen, _ = choose(config_of(precision="auto"), network, batch)
    assert plan.precision == "fp32"
    assert "bf16 channels-last on cpu disagrees with fp32" in chosen.reason
    assert chosen.pins == ("training.precision=fp32",)


def test_compilation_is_left_to_cuda(
    network: SegmentationNetwork, batch: tuple[Tensor, Tensor]
) -> None:
    plan, chosen, events = choose(config_of(precision="bf16", compile="auto"), network, batch)
    assert (plan.precision, plan.compile) == ("bf16", False)
    assert chosen.pins == ("training.compile=false",)
    assert events == []


@pytest.mark.parametrize(
    ("capability", "has_bf16", "expected"),
    [((9, 0), True, "bf16"), ((7, 5), False, "fp16"), ((6, 1), False, "fp32")],
)
def test_gpus_compute_in_what_they_have(
    capability: tuple[int, int],
    has_bf16: bool,
    expected: str,
    network: SegmentationNetwork,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: has_bf16)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    assert execution.usual_precision(network.spec, "cuda")[0] == expected


@pytest.mark.parametrize(
    ("losses", "difference"),
    [
        ([0.9, 0.8], 0.0),
        ([0.92, 0.79], 0.02),
        ([0.9, 0.84], 0.04),
        ([0.9, math.nan], math.inf),
        ([math.inf, 0.8], math.inf),
    ],
)
def test_difference_of_losses(losses: list[float], difference: float) -> None:
    assert verification.relative_difference(losses, [0.9, 0.8]) == pytest.approx(difference)


def test_losses_above_one_differ_relative_to_the_largest() -> None:
    assert verification.relative_difference([10.2, 5.0], [10.0, 5.2]) == pytest.approx(0.02)


def test_only_asked_for_compilation_compiles(
    network: SegmentationNetwork, batch: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[dict[str, Any]] = []

    def fake_compile(module: SegmentationNetwork, **options: Any) -> SegmentationNetwork:
        compiled.append(options)
        return module

    monkeypatch.setattr(torch, "compile", fake_compile)
    assert (
        ExecutionPlan("cpu", "fp32", channels_last=True, compile=False).callable_of(network)
        is network
    )
    assert compiled == []
    ExecutionPlan("cpu", "fp32", channels_last=True, compile=True).callable_of(network)
    assert len(compiled) == 1


def test_a_plan_places_weights_and_images(
    network: SegmentationNetwork, batch: tuple[Tensor, Tensor]
) -> None:
    plan = ExecutionPlan("cpu", "bf16", channels_last=True, compile=False)
    placed, image = plan.place(network), plan.place_image(torch.randn(2, 3, 8, 8, 8))
    layout = torch.channels_last_3d
    assert image.is_contiguous(memory_format=layout)
    assert not image.is_contiguous()
    assert placed.encoders[0][1].conv.weight.is_contiguous(memory_format=layout)
    assert placed.encoders[0][0].conv.weight.dtype == torch.float32
    with plan.autocast():
        assert placed(plan.place_image(batch[0])).dtype == torch.bfloat16


def test_fp32_plans_do_not_autocast(
    network: SegmentationNetwork, batch: tuple[Tensor, Tensor]
) -> None:
    with ExecutionPlan("cpu", "fp32", channels_last=False, compile=False).autocast():
        assert network(batch[0]).dtype == torch.float32


def test_a_plan_survives_as_plain_values() -> None:
    plan = ExecutionPlan("cpu", "bf16", channels_last=True, compile=False)
    assert ExecutionPlan(**plan.to_dict()) == plan
    assert str(plan) == "bf16 channels-last on cpu"


@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_a_missing_device_is_an_error(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    config = config_of(device=name)
    with pytest.raises(
        DeviceError, match=rf"`device`: {name} is not available; this machine has cpu$"
    ):
        resolve_device(config.device)


def test_plans_refuse_a_missing_device(
    network: SegmentationNetwork, batch: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError):
        choose(config_of(device="cuda", precision="fp32"), network, batch)


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_auto_takes_cuda_then_mps_then_the_cpu(
    cuda: bool, mps: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert resolve_device("auto") == expected

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from lunet_cli.config.network import NetworkSpec
from lunet_cli.config.training import LossConfig, TrainingConfig
from lunet_cli.engine.networks import build_network
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.networks.execution import ExecutionPlan, resolve_device
from lunet_cli.engine.training import trial
from lunet_cli.engine.training.losses import make_loss
from lunet_cli.engine.training.trial import choose_plan
from lunet_cli.errors import DeviceError

LOSS = make_loss(LossConfig(), "sigmoid")
ON_CPU = "fp32 on cpu", "fp32 channels-last on cpu", "bf16 on cpu", "bf16 channels-last on cpu"


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


def give_times(monkeypatch: pytest.MonkeyPatch, step_ms: Callable[[ExecutionPlan], float]) -> None:
    monkeypatch.setattr(trial._Trial, "step_ms", property(lambda trial: step_ms(trial._plan)))


def spoil_losses(monkeypatch: pytest.MonkeyPatch, is_spoilt: Callable[[ExecutionPlan], bool]) -> None:
    def callable_of(plan: ExecutionPlan, network: SegmentationNetwork) -> Callable[[Tensor], Tensor]:
        return (lambda image: network(image) - 100) if is_spoilt(plan) else network

    monkeypatch.setattr(ExecutionPlan, "callable_of", callable_of)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("compiled", [False, True])
def test_explicit_settings_need_no_trial(
    precision: str,
    compiled: bool,
    network: SegmentationNetwork,
    batch: tuple[Tensor, Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trial, "_Trial", None)
    plan, trials = choose_plan(config_of(precision=precision, compile=compiled), network, batch, LOSS)
    assert (plan.device, plan.precision, plan.compile) == ("cpu", precision, compiled)
    assert plan.channels_last
    assert trials == ()


def test_depthwise_networks_keep_the_contiguous_layout(batch: tuple[Tensor, Tensor]) -> None:
    spec = NetworkSpec("mednext", (2, 4), expansion_ratios=(2, 2, 2), blocks_per_stage=(1, 1, 1))
    plan, _ = choose_plan(config_of(precision="fp32"), build_network(spec), batch, LOSS)
    assert not plan.channels_last


def test_auto_tries_precisions_and_layouts(network: SegmentationNetwork, batch: tuple[Tensor, Tensor]) -> None:
    plan, trials = choose_plan(config_of(precision="auto"), network, batch, LOSS)
    assert {trial.name for trial in trials} == set(ON_CPU)
    assert str(plan) in ON_CPU
    assert all(trial.step_ms > 0 and trial.agrees for trial in trials)


def test_a_trial_leaves_network_and_random_numbers_alone(
    network: SegmentationNetwork, batch: tuple[Tensor, Tensor]
) -> None:
    weights, image, target = copy.deepcopy(network.state_dict()), batch[0].clone(), batch[1].clone()
    network.eval()
    torch.manual_seed(3)
    state = torch.get_rng_state()
    choose_plan(config_of(precision="auto"), network, batch, LOSS)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert network.encoders[0][0].conv.weight.is_contiguous()
    assert not network.training
    assert torch.equal(batch[0], image)
    assert torch.equal(batch[1], target)


def test_candidates_draw_the_same_dropout(
    network: SegmentationNetwork, batch: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    losses: list[list[float]] = []
    monkeypatch.setattr(trial, "_agrees", lambda found, expected: losses.append(found) or True)
    give_times(monkeypatch, lambda _: 1.0)
    choose_plan(config_of(precision="auto"), network, batch, LOSS)
    channels_last, contiguous, *_ = losses
    assert len(contiguous) == trial._TRIAL_STEPS
    assert len(set(contiguous)) > 1
    assert contiguous == pytest.approx(channels_last, rel=1e-4)


def test_the_fastest_candidate_wins(
    network: SegmentationNetwork, batch: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    give_times(monkeypatch, lambda plan: 1.0 if str(plan) == "bf16 on cpu" else 1.2)
    plan, trials = choose_plan(config_of(precision="auto"), network, batch, LOSS)
    assert str(plan) == "bf16 on cpu"
    assert {trial.name: trial.step_ms for trial in trials}["fp32 on cpu"] == 1.2


@pytest.mark.parametrize("slower", [1.2, 100.0])
def test_a_candidate_that_disagrees_is_not_chosen(
    slower: float, network: SegmentationNetwork, batch: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    give_times(monkeypatch, lambda plan: 1.0 if plan.precision == "bf16" else slower)
    spoil_losses(monkeypatch, lambda plan: plan.precision == "bf16")
    plan, trials = choose_plan(config_of(precision="auto"), network, batch, LOSS)
    assert plan.precision == "fp32"
    assert {trial.name for trial in trials if not trial.agrees} == {"bf16 on cpu", "bf16 channels-last on cpu"}


@pytest.mark.parametrize(
    ("losses", "agrees"),
    [
        ([0.9, 0.8], True),
        ([0.92, 0.79], True),
        ([0.9, 0.84], False),
        ([0.9, float("nan")], False),
        ([float("inf"), 0.8], False),
        ([0.9], True),
    ],
)
def test_losses_agree_within_three_hundredths(losses: list[float], agrees: bool) -> None:
    assert trial._agrees(losses, [0.9, 0.8]) is agrees


def test_losses_above_one_agree_relative_to_the_largest() -> None:
    assert trial._agrees([10.2, 5.0], [10.0, 5.2])
    assert not trial._agrees([10.4, 5.0], [10.0, 5.0])


@pytest.mark.parametrize("is_spoilt", [False, True])
@pytest.mark.parametrize("fp32_ms", [1.0, 100.0])
@pytest.mark.parametrize("compiled_ms", [2.0, 100.0])
def test_explicit_bf16_is_never_given_up_for_speed(
    compiled_ms: float,
    fp32_ms: float,
    is_spoilt: bool,
    network: SegmentationNetwork,
    batch: tuple[Tensor, Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spoil_losses(monkeypatch, lambda plan: is_spoilt and plan.precision == "bf16")
    give_times(monkeypatch, lambda plan: {"fp32": fp32_ms}.get(plan.precision, compiled_ms if plan.compile else 50.0))
    plan, trials = choose_plan(config_of(precision="bf16", compile="auto"), network, batch, LOSS)
    assert plan.precision == "bf16"
    assert len(trials) == 3
    if fp32_ms == 100.0 and not is_spoilt:
        assert plan.compile is (compiled_ms == 2.0)


def test_only_asked_for_compilation_compiles(
    network: SegmentationNetwork, batch: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[dict[str, Any]] = []

    def fake_compile(module: SegmentationNetwork, **options: Any) -> SegmentationNetwork:
        compiled.append(options)
        return module

    monkeypatch.setattr(torch, "compile", fake_compile)
    assert ExecutionPlan("cpu", "fp32", channels_last=True, compile=False).callable_of(network) is network
    assert compiled == []
    ExecutionPlan("cpu", "fp32", channels_last=True, compile=True).callable_of(network)
    assert len(compiled) == 1


def test_a_plan_places_weights_and_images(network: SegmentationNetwork, batch: tuple[Tensor, Tensor]) -> None:
    plan = ExecutionPlan("cpu", "bf16", channels_last=True, compile=False)
    placed, image = plan.place(network), plan.place_image(torch.randn(2, 3, 8, 8, 8))
    layout = torch.channels_last_3d
    assert image.is_contiguous(memory_format=layout)
    assert not image.is_contiguous()
    assert placed.encoders[0][1].conv.weight.is_contiguous(memory_format=layout)
    assert placed.encoders[0][0].conv.weight.dtype == torch.float32
    with plan.autocast():
        assert placed(plan.place_image(batch[0])).dtype == torch.bfloat16


def test_fp32_plans_do_not_autocast(network: SegmentationNetwork, batch: tuple[Tensor, Tensor]) -> None:
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
    with pytest.raises(DeviceError, match=rf"device: {name} is not available; this machine has cpu$"):
        resolve_device(config.device)


def test_plans_refuse_a_missing_device(
    network: SegmentationNetwork, batch: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError):
        choose_plan(config_of(device="cuda", precision="fp32"), network, batch, LOSS)


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_auto_takes_cuda_then_mps_then_the_cpu(
    cuda: bool, mps: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert resolve_device("auto") == expected

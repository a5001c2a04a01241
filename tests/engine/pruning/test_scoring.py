from __future__ import annotations

import copy
import gc
import math
import weakref
from collections.abc import Iterable
from contextlib import ExitStack
from typing import get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lunet_cli.config.layers import Layer
from lunet_cli.config.network import NetworkSpec
from lunet_cli.config.pruning import Criterion
from lunet_cli.engine.networks import build_network
from lunet_cli.engine.networks.execution import ExecutionPlan
from lunet_cli.engine.pruning.choice import normalize
from lunet_cli.engine.pruning.scoring import score_channels
from lunet_cli.engine.training.losses import soft_dice_loss
from lunet_cli.errors import DataError, TrainingError

FP32 = ExecutionPlan("cpu", "fp32", channels_last=False, compile=False)
COMPUTED: list[Criterion] = [name for name in get_args(Criterion) if name != "random"]

UNET = NetworkSpec("unet", (3, 4), out_channels=1)
UNETPP = NetworkSpec("unetpp", (2, 3, 4), out_channels=1)
MEDNEXT = NetworkSpec(
    "mednext", (2, 4), out_channels=1, expansion_ratios=(2, 3, 2), blocks_per_stage=(1, 1, 2)
)


def layer(name: str, width: int, *taps: str) -> Layer:
    return Layer(name=name, level=0, width=width, dropout=None, taps=taps)


LAYERS = {
    UNET: [
        layer("encoders.0.0", 3, "encoders.0.0.activation"),
        layer("encoders.1.1", 4, "encoders.1.1.activation"),
        layer("upsamples.0", 3, "upsamples.0"),
        layer("head.0", 3, "head.0.activation"),
    ],
    UNETPP: [
        layer("encoders.0.1", 2, "encoders.0.1.activation"),
        layer("encoders.2.0", 4, "encoders.2.0.activation"),
        layer("nested.1_1.0", 3, "nested.1_1.0.activation"),
        layer("upsamples.0_2", 2, "upsamples.0_2"),
    ],
    MEDNEXT: [
        layer("streams.0", 2, "stem", "encoders.0.0.conv_compress", "ups.0.conv_compress",
              "ups.0.res_conv", "decoders.0.0.conv_compress", "decoders.0.1.conv_compress"),
        layer("streams.1", 4, "downs.0.conv_compress", "downs.0.res_conv",
              "bottleneck.0.conv_compress"),
        layer("encoders.0.0", 4, "encoders.0.0.activation"),
        layer("ups.0", 8, "ups.0.activation"),
    ],
}  # fmt: skip


def dice_loss(logits: Tensor, label: Tensor) -> Tensor:
    return soft_dice_loss(logits, label[:, None].to(logits.dtype), "sigmoid")


def score(
    network: nn.Module,
    layers: list[Layer],
    batches: Iterable[tuple[Tensor, Tensor]],
    criterion: Criterion,
    **changes: object,
) -> dict[str, Tensor]:
    arguments = {
        "plan": FP32,
        "loss": dice_loss,
        "generator": np.random.default_rng(0),
        "check": lambda: None,
    }
    return score_channels(network, layers, batches, criterion=criterion, **(arguments | changes))


def sample(image: list[int], label: list[int]) -> tuple[Tensor, Tensor]:
    return torch.tensor(image, dtype=torch.float32).view(1, 1, 1, 1, -1), torch.tensor(label).view(
        1, 1, 1, -1
    )


def join(*samples: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    images, labels = zip(*samples, strict=True)
    return torch.cat(images), torch.cat(labels)


def pointwise(weight: list[list[float]]) -> nn.Conv3d:
    convolution = nn.Conv3d(len(weight[0]), len(weight), 1, bias=False)
    with torch.no_grad():
        convolution.weight.copy_(torch.tensor(weight)[:, :, None, None, None])
    return convolution


def two_layers() -> nn.Sequential:
    """Two layers of two channels each; the second channel of the second layer is dead."""
    return nn.Sequential(
        pointwise([[1.0], [-1.0]]),
        nn.ReLU(inplace=True),
        pointwise([[2.0, 5.0], [-1.0, -1.0]]),
        nn.ReLU(inplace=True),
        pointwise([[1.0, 7.0]]),
    )


TWO = [layer("first", 2, "1"), layer("second", 2, "3")]
# Activations of the first layer: [1, 0] and [0, 2] of the first sample, [3, 4] and [0, 0] of the
# second. Those of the second layer: [2, 10] and [6, 8], and zeros in its dead channel.
ONE, OTHER = sample([1, -2], [1, 1]), sample([3, 4], [-2, 1])


def weighted_sum(logits: Tensor, label: Tensor) -> Tensor:
    """A loss whose gradient is that of the label: 1, 1, -2, 1 at the voxels."""
    return (logits * label[:, None]).sum()


def approx(*values: float) -> object:
    return pytest.approx(list(values))


def test_taylor_by_hand() -> None:
    found = score(two_layers(), TWO, [join(ONE, OTHER)], "taylor", loss=weighted_sum)
    # First layer: gradients are 2 and 5 times the label, so 1 * 2 - 3 * 4 + 4 * 2 = -2 and
    # 2 * 5 = 10, over four values. Second layer: 2 + 10 - 6 * 2 + 8 = 8.
    assert found["first"].tolist() == approx(2 / 4, 10 / 4)
    assert found["second"].tolist() == approx(8 / 4, 0)


def test_taylor_takes_the_magnitude_of_each_mini_batch() -> None:
    found = score(two_layers(), TWO, [ONE, OTHER], "taylor", loss=weighted_sum)
    # |2| + |-12 + 8| and |12| + |-12 + 8|, over four values.
    assert found["first"].tolist() == approx(6 / 4, 10 / 4)
    assert found["second"].tolist() == approx(16 / 4, 0)


def test_taylor_counts_the_loss_of_a_smaller_mini_batch_as_much() -> None:
    found = score(two_layers(), TWO, [join(ONE, ONE), OTHER], "taylor", loss=weighted_sum)
    # |2 + 2| + |-12 + 8|, over six values.
    assert found["first"].tolist() == approx(8 / 6, 20 / 6)


def test_norms_by_hand() -> None:
    batches = [join(ONE, OTHER)]
    l1 = score(two_layers(), TWO, batches, "l1")
    # Sums 1 and 7, 2 and 0 of the samples; over two voxels; mean of two samples.
    assert l1["first"].tolist() == approx((1 / 2 + 7 / 2) / 2, (2 / 2 + 0) / 2)
    assert l1["second"].tolist() == approx((12 / 2 + 14 / 2) / 2, 0)
    l2 = score(two_layers(), TWO, batches, "l2")
    root = math.sqrt(2)
    assert l2["first"].tolist() == approx((1 / root + 5 / root) / 2, (2 / root + 0) / 2)
    assert l2["second"].tolist() == approx((math.sqrt(104) / root + 10 / root) / 2, 0)
    spread = score(two_layers(), TWO, batches, "l1-std")
    # Of two values, half their distance.
    assert spread["first"].tolist() == approx((7 / 2 - 1 / 2) / 2, (2 / 2 - 0) / 2)
    assert spread["second"].tolist() == approx((14 / 2 - 12 / 2) / 2, 0)


def test_norms_are_magnitudes_where_activations_are_negative() -> None:
    layers = [layer("before the activation", 2, "0")]
    network = nn.Sequential(pointwise([[1.0], [-2.0]]), nn.GELU())
    assert score(network, layers, [ONE], "l1")["before the activation"].tolist() == approx(1.5, 3)


def test_taps_of_a_layer_count_together() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.block = pointwise([[1.0]]), pointwise([[-2.0]])

        def forward(self, image: Tensor) -> Tensor:
            x = self.stem(image)
            return x + self.block(x)

    layers = [layer("stream", 1, "stem", "block")]
    one = sample([3, 1], [1, 1])
    # The stem puts out [3, 1], the block [-6, -2]; the loss is their sum, whose gradient is -1 at
    # the stem, through the block too, and 1 at the block.
    taylor = score(Residual(), layers, [one], "taylor", loss=weighted_sum)
    assert taylor["stream"].tolist() == approx(abs(-4 - 8) / 2)
    assert score(Residual(), layers, [one], "l1")["stream"].tolist() == approx((4 + 8) / 2)
    assert score(Residual(), layers, [one], "l2")["stream"].tolist() == approx(math.sqrt(50 / 2))


@pytest.mark.parametrize("criterion", ["l1", "l2", "l1-std"])
def test_batches_do_not_change_what_is_taken_per_sample(criterion: Criterion) -> None:
    samples = [ONE, OTHER, sample([5, -1], [0, 1])]
    apart = score(two_layers(), TWO, samples, criterion)
    for batches in ([join(*samples)], [join(*samples[:2]), samples[2]]):
        together = score(two_layers(), TWO, batches, criterion)
        for name, values in apart.items():
            torch.testing.assert_close(together[name], values)


def loss_when_scaled(
    network: nn.Module, taps: tuple[str, ...], channel: int, factor: float, batch: object
) -> float:
    def scale(_: nn.Module, __: object, output: Tensor) -> Tensor:
        factors = torch.ones(output.shape[1], dtype=output.dtype)
        factors[channel] = factor
        return output * factors.view(-1, 1, 1, 1)

    image, label = batch
    with ExitStack() as hooks, torch.no_grad():
        for tap in taps:
            hooks.enter_context(network.get_submodule(tap).register_forward_hook(scale))
        return float(dice_loss(network.eval()(image), label))


def voxels(network: nn.Module, taps: tuple[str, ...], image: Tensor) -> int:
    found: list[int] = []
    with ExitStack() as hooks, torch.no_grad():
        for tap in taps:
            module = network.get_submodule(tap)
            hooks.enter_context(
                module.register_forward_hook(lambda *call: found.append(call[2][0, 0].numel()))
            )
        network(image)
    return max(found)


def network_and_batches(
    spec: NetworkSpec, dtype: torch.dtype = torch.float32
) -> tuple[nn.Module, list[tuple[Tensor, Tensor]]]:
    torch.manual_seed(0)
    network = build_network(spec).to(dtype)
    batches = []
    for size in (2, 1):
        # Smooth images: noise would leave little to tell apart after two poolings.
        image = F.interpolate(torch.randn(size, 1, 3, 3, 3), size=8, mode="trilinear")
        batches.append((image.to(dtype), (image[:, 0] > 0.1).int()))
    with torch.no_grad():
        for image, _ in batches:  # running statistics of their own
            network.train()(image)
    return network.eval(), batches


@pytest.mark.parametrize("spec", LAYERS, ids=lambda spec: spec.family)
def test_taylor_is_the_change_of_the_loss_to_first_order(spec: NetworkSpec) -> None:
    network, batches = network_and_batches(spec, torch.float64)
    step = 1e-4
    for one in LAYERS[spec]:
        found = score(network, [one], batches, "taylor")[one.name]
        num_values = sum(len(image) * voxels(network, one.taps, image) for image, _ in batches)
        for channel in range(one.width):
            change = 0.0
            for batch in batches:
                less = loss_when_scaled(network, one.taps, channel, 1 - step, batch)
                more = loss_when_scaled(network, one.taps, channel, 1 + step, batch)
                change += abs(more - less) / (2 * step)
            assert float(found[channel]) * num_values == pytest.approx(change, rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("criterion", get_args(Criterion))
def test_scoring_leaves_everything_as_it_was(criterion: Criterion) -> None:
    spec = NetworkSpec("unet", (3, 4), dropout=0.5)
    network, batches = network_and_batches(spec)
    parameters = list(network.parameters())
    parameters[0].grad = torch.ones_like(parameters[0])
    before, state = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    score(network.train(), LAYERS[UNET], batches, criterion)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert torch.equal(parameters[0].grad, torch.ones_like(parameters[0]))
    assert all(parameter.grad is None for parameter in parameters[1:])
    assert all(parameter.requires_grad for parameter in parameters)
    assert all(module.training for module in network.modules())
    assert not any(image.requires_grad for image, _ in batches)
    assert num_hooks(network) == 0


def test_no_activation_stays_in_memory() -> None:
    network, batches = network_and_batches(UNET)
    seen: list[weakref.ref[Tensor]] = []
    activation = network.get_submodule("encoders.0.0.activation")
    gc.disable()  # It would find a circle of references, but late.
    try:
        with activation.register_forward_hook(lambda *call: seen.append(weakref.ref(call[2]))):
            score(network, LAYERS[UNET], batches, "taylor")
        assert [one() for one in seen] == [None, None]
    finally:
        gc.enable()


def num_hooks(network: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in network.modules())


class StopHereError(Exception):
    pass


def stop(*_: object) -> Tensor:
    raise StopHereError


@pytest.mark.parametrize("place", ["loss", "check"])
def test_no_hook_stays_after_an_error(place: str) -> None:
    network, batches = network_and_batches(UNET)
    with pytest.raises(StopHereError):
        score(network.train(), LAYERS[UNET], batches, "taylor", **{place: stop})
    assert num_hooks(network) == 0
    assert network.training


@pytest.mark.parametrize("criterion", COMPUTED)
def test_a_dead_network_scores_zero(criterion: Criterion) -> None:
    network, batches = network_and_batches(UNET)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    found = score(network, LAYERS[UNET], batches, criterion)
    for one in LAYERS[UNET]:
        assert found[one.name].tolist() == [0.0] * one.width
    assert all(values.isfinite().all() for values in normalize(found, "layer-l2").values())


@pytest.mark.parametrize("criterion", COMPUTED)
@pytest.mark.parametrize("spec", LAYERS, ids=lambda spec: spec.family)
def test_scores_are_finite_numbers_of_every_channel(
    criterion: Criterion, spec: NetworkSpec
) -> None:
    network, batches = network_and_batches(spec)
    found = score(network, LAYERS[spec], batches, criterion)
    assert list(found) == [one.name for one in LAYERS[spec]]
    for one in LAYERS[spec]:
        values = found[one.name]
        assert values.dtype == torch.float64
        assert values.shape == (one.width,)
        assert (values >= 0).all()
        assert values.any()


@pytest.mark.parametrize("criterion", COMPUTED)
def test_the_layout_in_memory_does_not_change_scores(criterion: Criterion) -> None:
    network, batches = network_and_batches(UNET)
    expected = score(network, LAYERS[UNET], batches, criterion)
    plan = ExecutionPlan("cpu", "fp32", channels_last=True, compile=False)
    found = score(plan.place(network), LAYERS[UNET], batches, criterion, plan=plan)
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("criterion", ["taylor", "l1", "l2"])
def test_sums_in_half_precision_are_exact(criterion: Criterion) -> None:
    # In bf16, a sum of ones stays at 256.
    network = nn.Sequential(
        pointwise([[1.0], [1.0]]), nn.ReLU(inplace=True), pointwise([[1.0, 1.0]])
    )
    plan = ExecutionPlan("cpu", "bf16", channels_last=True, compile=False)
    batch = torch.ones(2, 1, 24, 24, 24), torch.ones(2, 24, 24, 24, dtype=torch.int32)
    found = score(
        network, [layer("first", 2, "1")], [batch], criterion, plan=plan, loss=weighted_sum
    )
    assert found["first"].tolist() == approx(1, 1)


def test_scores_in_half_precision_are_near_those_in_full() -> None:
    network, batches = network_and_batches(UNET)
    expected = score(network, LAYERS[UNET], batches, "l2")
    plan = ExecutionPlan("cpu", "bf16", channels_last=False, compile=False)
    found = score(network, LAYERS[UNET], batches, "l2", plan=plan)
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values, rtol=0.02, atol=1e-3)


def test_what_fp16_cannot_hold_is_computed_in_fp32() -> None:
    network, batches = network_and_batches(UNET)
    expected = score(network, LAYERS[UNET], batches, "taylor")
    plan = ExecutionPlan("cpu", "fp16", channels_last=False, compile=False)
    found = score(network, LAYERS[UNET], batches, "taylor", plan=plan)
    assert all(torch.equal(found[name], values) for name, values in expected.items())


def test_gradients_are_computed_where_the_caller_needs_none() -> None:
    network, batches = network_and_batches(UNET)
    expected = score(network, LAYERS[UNET], batches, "taylor")
    with torch.no_grad():
        found = score(network, LAYERS[UNET], batches, "taylor")
    assert all(torch.equal(found[name], values) for name, values in expected.items())


def test_norms_need_no_loss() -> None:
    network, batches = network_and_batches(UNET)
    for criterion in ("l1", "l2", "l1-std"):
        score(network, LAYERS[UNET], batches, criterion, loss=stop)


def test_random_scores_come_from_the_generator_alone() -> None:
    network = build_network(UNET)
    first, again, other = (
        score(network, LAYERS[UNET], iter(()), "random", generator=np.random.default_rng(seed))
        for seed in (1, 1, 2)
    )
    for one in LAYERS[UNET]:
        assert torch.equal(first[one.name], again[one.name])
        assert not torch.equal(first[one.name], other[one.name])
        assert first[one.name].shape == (one.width,)
        assert ((first[one.name] >= 0) & (first[one.name] < 1)).all()


def test_check_is_called_after_each_mini_batch() -> None:
    calls: list[None] = []
    score(two_layers(), TWO, [ONE, OTHER], "l1", check=lambda: calls.append(None))
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("criterion", "batches", "number"), [("taylor", [], 0), ("l1", [], 0), ("l1-std", [ONE], 1)]
)
def test_too_few_samples(criterion: Criterion, batches: list[object], number: int) -> None:
    with pytest.raises(DataError, match=rf"criterion={criterion}`.*not on {number}"):
        score(two_layers(), TWO, batches, criterion)


@pytest.mark.parametrize("criterion", COMPUTED)
def test_what_is_not_finite_is_told(criterion: Criterion) -> None:
    network = two_layers()
    with torch.no_grad():
        network[2].weight[0, 0] = math.nan
    with pytest.raises(TrainingError, match="not finite"):
        score(network, TWO, [ONE, OTHER], criterion, loss=weighted_sum)

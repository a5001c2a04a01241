from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lunet_cli.engine.networks import normalization
from lunet_cli.engine.networks.normalization import BatchNormDropout

LARGE_SHAPES = [
    (2, 4, 32, 32, 32),
    (1, 3, 29, 31, 37),
    (3, 5, 17, 19, 23),
    (2, 300, 5, 5, 5),
    (16, 8, 8, 8, 8),
]
PRECISIONS = [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)]


def channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last_3d)


def make_norm(num_channels: int, dropout: float = 0.0) -> BatchNormDropout:
    torch.manual_seed(0)
    norm = BatchNormDropout(num_channels, dropout)
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    nn.init.uniform_(norm.bias, -1, 1)
    return norm.train()


def native_twin(norm: BatchNormDropout) -> nn.BatchNorm3d:
    twin = nn.BatchNorm3d(norm.num_features).double()
    twin.load_state_dict(norm.state_dict())
    return twin.train(norm.training)


def draw_input(
    shape: tuple[int, ...],
    dtype: torch.dtype = torch.float32,
    *,
    mean: float = 0.5,
    std: float = 2.0,
) -> Tensor:
    x = channels_last(torch.randn(shape).mul_(std).add_(mean).to(dtype)).requires_grad_()
    assert normalization._gains_from_rows(x)
    return x


def distance(found: Tensor | None, expected: Tensor | None) -> float:
    assert found is not None
    assert expected is not None
    found, expected = found.detach().double(), expected.detach().double()
    return float((found - expected).norm() / expected.norm())


def fail_if_called(*_: object) -> None:
    raise AssertionError("the row path was taken")


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
@pytest.mark.parametrize("shape", LARGE_SHAPES, ids=str)
def test_rows_equal_the_native_layer(
    shape: tuple[int, ...], dtype: torch.dtype, tolerance: float
) -> None:
    norm = make_norm(shape[1])
    native = native_twin(norm)
    x = draw_input(shape, dtype)
    x64 = x.detach().double().requires_grad_()
    grad = torch.randn(shape, dtype=dtype)
    output, expected = norm(x), native(x64)
    output.backward(grad)
    expected.backward(grad.double())
    assert output.dtype == dtype
    assert distance(output, expected) < tolerance
    assert distance(x.grad, x64.grad) < tolerance
    assert distance(norm.weight.grad, native.weight.grad) < tolerance
    assert distance(norm.bias.grad, native.bias.grad) < tolerance
    assert distance(norm.running_mean, native.running_mean) < tolerance
    assert distance(norm.running_var, native.running_var) < tolerance


def test_rows_stay_in_channels_last() -> None:
    x = draw_input((2, 4, 32, 32, 32))
    output = make_norm(4)(x)
    output.sum().backward()
    assert output.is_contiguous(memory_format=torch.channels_last_3d)
    assert x.grad is not None
    assert x.grad.is_contiguous(memory_format=torch.channels_last_3d)


def test_the_input_is_left_alone() -> None:
    x = draw_input((2, 4, 32, 32, 32))
    before = x.detach().clone()
    make_norm(4)(x).square().sum().backward()
    assert torch.equal(x, before)


def test_running_statistics_follow_several_steps() -> None:
    norm = make_norm(4)
    native = native_twin(norm)
    for mean in (0.0, 1.0, 5.0):
        x = draw_input((2, 4, 32, 32, 32), mean=mean)
        norm(x)
        native(x.double())
    assert int(norm.num_batches_tracked) == 3
    assert distance(norm.running_mean, native.running_mean) < 1e-5
    assert distance(norm.running_var, native.running_var) < 1e-5


def test_running_variance_is_unbiased() -> None:
    norm = make_norm(4)
    norm(draw_input((2, 4, 32, 32, 32)))
    x = draw_input((2, 4, 32, 32, 32))
    norm.reset_running_stats()
    norm(x)
    expected = 0.9 + 0.1 * x.detach().var(dim=(0, 2, 3, 4), correction=1)
    torch.testing.assert_close(norm.running_var, expected)


@pytest.mark.parametrize("mean", [100.0, 1000.0, -3000.0])
def test_a_large_mean_does_not_cancel(mean: float) -> None:
    norm = make_norm(4)
    native = native_twin(norm)
    x = draw_input((2, 4, 32, 32, 32), mean=mean)
    x64 = x.detach().double().requires_grad_()
    grad = torch.randn(x.shape)
    output, expected = norm(x), native(x64)
    output.backward(grad)
    expected.backward(grad.double())
    tolerance = 1e-6 * abs(mean)
    assert distance(output, expected) < tolerance
    assert distance(x.grad, x64.grad) < tolerance
    assert distance(norm.weight.grad, native.weight.grad) < tolerance
    assert distance(norm.running_var, native.running_var) < 1e-5


def test_a_mean_that_bfloat16_rounds_is_corrected() -> None:
    norm = make_norm(4)
    native = native_twin(norm)
    x = draw_input((2, 4, 32, 32, 32), torch.bfloat16, mean=10.03, std=0.2)
    x64 = x.detach().double().requires_grad_()
    grad = torch.randn(x.shape).add_(1).bfloat16()
    norm(x).backward(grad)
    native(x64).backward(grad.double())
    assert distance(x.grad, x64.grad) < 2e-2
    assert distance(norm.running_var - 0.9, native.running_var - 0.9) < 5e-3


def test_a_constant_channel_becomes_the_bias() -> None:
    norm = make_norm(4)
    x = channels_last(torch.full((2, 4, 32, 32, 32), 7.0)).requires_grad_()
    assert normalization._gains_from_rows(x)
    output = norm(x)
    output.sum().backward()
    expected = norm.bias.detach().view(1, -1, 1, 1, 1).expand_as(output)
    torch.testing.assert_close(output.detach(), expected, rtol=0, atol=1e-3)
    assert x.grad is not None
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("shape", [(2, 4, 32, 32, 32), (1, 3, 29, 31, 37)], ids=str)
def test_evaluation_uses_running_statistics_and_drops_nothing(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    norm = make_norm(shape[1], dropout=0.5)
    norm(draw_input(shape))
    norm.eval()
    before = copy.deepcopy(norm.state_dict())
    monkeypatch.setattr(normalization._RowBatchNorm, "apply", fail_if_called)
    x = draw_input(shape)
    assert distance(norm(x), native_twin(norm)(x.double())) < 1e-5
    assert all(torch.equal(value, before[key]) for key, value in norm.state_dict().items())


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
@pytest.mark.parametrize("shape", [(2, 4, 32, 32, 32), (5, 3, 29, 17, 19)], ids=str)
def test_dropout_multiplies_channels_and_their_gradients(
    shape: tuple[int, ...], dtype: torch.dtype, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    norm = make_norm(shape[1], dropout=0.5)
    native = native_twin(norm)
    kept = (
        torch.tensor([0.0, 2.0]).repeat(shape[0] * shape[1])[: shape[0] * shape[1]].view(shape[:2])
    )
    kept[0] = 2.0
    monkeypatch.setattr(norm, "_draw_kept_channels", lambda _: kept)
    x = draw_input(shape, dtype)
    x64 = x.detach().double().requires_grad_()
    grad = torch.randn(shape, dtype=dtype)
    output, expected = norm(x), native(x64) * kept[:, :, None, None, None]
    output.backward(grad)
    expected.backward(grad.double())
    assert not output[kept == 0].any()
    assert distance(output, expected) < tolerance
    assert distance(x.grad, x64.grad) < tolerance
    assert distance(norm.weight.grad, native.weight.grad) < tolerance
    assert distance(norm.bias.grad, native.bias.grad) < tolerance
    assert distance(norm.running_mean, native.running_mean) < tolerance
    assert distance(norm.running_var, native.running_var) < tolerance


@pytest.mark.parametrize(
    "x",
    [
        channels_last(torch.randn(16, 32, 8, 8, 8)),
        torch.randn(16, 32, 8, 8, 8),
        channels_last(torch.randn(8, 32, 2, 2, 2)),
    ],
    ids=["rows", "contiguous", "small"],
)
def test_kept_channels_grow_and_dropped_ones_are_zero(x: Tensor) -> None:
    norm = make_norm(32, dropout=0.25)
    output = norm(x)
    is_dropped = ~output.any(dim=4).any(dim=3).any(dim=2)
    assert 0.1 < is_dropped.float().mean() < 0.4
    expected = native_twin(norm)(x.double()).float() / 0.75
    torch.testing.assert_close(output[~is_dropped], expected[~is_dropped], rtol=1e-4, atol=1e-4)


def test_channels_are_drawn_with_the_probability_of_dropout() -> None:
    norm = make_norm(10, dropout=0.2)
    kept = norm._draw_kept_channels(2000)
    assert kept is not None
    assert kept.shape == (2000, 10)
    assert set(kept.unique().tolist()) == {0.0, 1.25}
    assert float((kept == 0).float().mean()) == pytest.approx(
        0.2, abs=0.012
    )  # four standard deviations


def test_nothing_is_drawn_without_dropout() -> None:
    norm, x = make_norm(4), draw_input((2, 4, 32, 32, 32))
    state = torch.get_rng_state()
    norm(x)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    "x",
    [
        torch.randn(2, 4, 32, 32, 32),
        channels_last(torch.randn(2, 4, 8, 8, 8)),
        channels_last(torch.randn(2, 1, 40, 40, 40)),
        channels_last(torch.randn(2, 4, 32, 32, 32).half()),
    ],
    ids=["contiguous", "small", "one channel", "half precision"],
)
def test_other_inputs_take_the_native_layer(x: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(normalization._RowBatchNorm, "apply", fail_if_called)
    norm = make_norm(x.shape[1], dropout=0.5)
    native = copy.deepcopy(norm)
    torch.manual_seed(1)
    output = norm(x)
    torch.manual_seed(1)
    expected = F.dropout3d(nn.BatchNorm3d.forward(native, x), 0.5)
    assert torch.equal(output, expected)
    assert torch.equal(norm.running_mean, native.running_mean)


def test_half_precision_does_not_overflow() -> None:
    x = channels_last((torch.randn(1, 4, 64, 64, 64) * 100).half())
    deviation = BatchNormDropout(4).train()(x).detach().float().std()
    assert float(deviation) == pytest.approx(1, abs=0.01)


def test_state_is_that_of_the_native_layer() -> None:
    norm, native = BatchNormDropout(4, 0.1), nn.BatchNorm3d(4)
    assert list(norm.state_dict()) == list(native.state_dict())
    native.load_state_dict(norm.state_dict())
    assert (norm.eps, norm.momentum) == (native.eps, native.momentum)


def test_second_derivatives_are_refused_rather_than_wrong() -> None:
    x = draw_input((2, 4, 32, 32, 32))
    (gradient,) = torch.autograd.grad(make_norm(4)(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()

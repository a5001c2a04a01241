"""Batch normalisation that is also fast on a CPU in the channels-last layout.

PyTorch's own kernel walks a channels-last tensor one voxel at a time, with a loop of C steps
inside: with the 4 channels of a lean network it reaches about 1 GB/s. Here a voxel run of C * k
values is one row, so that reductions and products are vectorised over whole rows.
`benchmarks/training_step.py` measures the gain.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lunet_cli.engine.process_group import ALONE, ProcessGroup

_MOMENTUM = 0.1  # The default of PyTorch.
# Values in a row: they fill the widest vectors (16 values of fp32, 32 of bf16) many times, and the
# repeated factors of a row stay in the first cache, with 1 KiB in fp32.
_ROW_LENGTH = 256
# Below this many values, the few calls of the native kernel cost less than its slow loop.
_MIN_VALUES = 1 << 16


class BatchNormDropout(nn.BatchNorm3d):
    """`BatchNorm3d` followed by `Dropout3d(dropout)`, which folds into the same multiplication.

    Args:
        num_channels: Channels of the input (B, C, D, H, W).
        dropout: Probability of zeroing a whole channel of a sample while training.
    """

    def __init__(self, num_channels: int, dropout: float = 0.0) -> None:
        super().__init__(num_channels, momentum=_MOMENTUM)
        self.dropout = dropout
        self._group = ALONE

    def synchronize(self, group: ProcessGroup) -> None:
        """Take the statistics of a batch from all processes that share it."""
        self._group = group

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, D, H, W) and, while training, drop channels."""
        if self.training and self._group.size > 1:
            return F.dropout3d(self._normalize_together(x), self.dropout)
        if not (self.training and _gains_from_rows(x)):
            return F.dropout3d(super().forward(x), self.dropout, self.training)
        keep = self._draw_kept_channels(x.shape[0])
        output: Tensor
        output, mean, variance = _RowBatchNorm.apply(  # type: ignore[no-untyped-call]
            x, self.weight, self.bias, keep, self.eps
        )
        self._update_running_statistics(mean, variance, count=x.numel() // x.shape[1])
        return output

    def _normalize_together(self, x: Tensor) -> Tensor:
        """Normalise by mean and variance over the voxels of all processes.

        `torch.nn.SyncBatchNorm` does so on GPUs only, and not where a process has no samples.
        """
        axes, group = (0, 2, 3, 4), self._group
        values = x.float()
        number = values.new_tensor([x.numel() // x.shape[1]])
        sums = group.sum(torch.cat([values.sum(axes), number]))
        mean, count = sums[:-1] / sums[-1], sums[-1]
        centred = values - mean[:, None, None, None]
        variance = group.sum(centred.square().sum(axes)) / count
        self._update_running_statistics(mean, variance, count=count)
        scale = self.weight * (variance + self.eps).rsqrt()
        output = centred * scale[:, None, None, None] + self.bias[:, None, None, None]
        return output.to(x.dtype)

    def _draw_kept_channels(self, batch: int) -> Tensor | None:
        """Draw what multiplies each channel of each sample (B, C); None if nothing is dropped."""
        if self.dropout == 0:
            return None
        keep = torch.empty(batch, self.num_features).bernoulli_(1 - self.dropout)
        return keep.div_(1 - self.dropout)

    def _update_running_statistics(
        self, mean: Tensor, variance: Tensor, *, count: int | Tensor
    ) -> None:
        with torch.no_grad():
            statistics = dict(self.named_buffers())
            statistics["num_batches_tracked"].add_(1)
            statistics["running_mean"].lerp_(mean, _MOMENTUM)
            # As PyTorch does: batches are normalised by the biased variance, and the unbiased one
            # is remembered for evaluation.
            statistics["running_var"].lerp_(variance * (count / (count - 1)), _MOMENTUM)


def _gains_from_rows(x: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and x.dtype != torch.float16  # its sums of squares overflow
        and x.numel() >= _MIN_VALUES
        and not torch.compiler.is_compiling()
        and x.is_contiguous(memory_format=torch.channels_last_3d)
        and not x.is_contiguous()
    )


def _rows(x: Tensor, channels: int) -> Tensor:
    """View contiguous values, channel fastest, as rows (N, k * C) of `_ROW_LENGTH` at most."""
    num_voxels = x.numel() // channels
    k = 1
    while num_voxels % (2 * k) == 0 and 2 * k * channels <= _ROW_LENGTH:
        k *= 2
    return x.view(num_voxels // k, k * channels)


def _channel_sum(rows: Tensor, channels: int) -> Tensor:
    """Sum rows (N, k * C) to (C,) in float32.

    A half-precision sum accumulates in float32 and rounds its result; asking for a float32 result
    would copy the whole input first. So up to 64 * k partial sums are rounded per channel, and
    their errors average out.
    """
    # A sum in bf16 is off by up to 2^-9 of itself; over 64, this averages out to about 2^-12.
    groups = 64
    while rows.shape[0] % groups:
        groups //= 2
    partial = rows.view(groups, -1, rows.shape[1]).sum(1)
    return partial.float().view(-1, channels).sum(0)


def _spread(per_channel: Tensor, rows: Tensor) -> Tensor:
    """Repeat (C,) along a row, in the row's precision."""
    return per_channel.to(rows.dtype).repeat(rows.shape[1] // per_channel.shape[0])


class _RowBatchNorm(torch.autograd.Function):
    """Batch normalisation y = keep * (weight * (x - mean) / std + bias) over rows of voxels."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, keep: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        channels = x.shape[1]
        values = x.permute(0, 2, 3, 4, 1)
        rows = _rows(values, channels)
        count = x.numel() // channels
        mean = _channel_sum(rows, channels) / count
        # E(x^2) - E(x)^2 would cancel where the mean is large beside the spread. So everything is
        # taken about the mean as rounded to the precision of x, which makes `rows - shift` exact
        # enough, and what the rounding left over, `mean - shift`, is corrected in float32.
        shift = mean.to(x.dtype)
        centred = rows - _spread(shift, rows)
        variance = _channel_sum(centred * centred, channels) / count - (mean - shift).square_()
        # Rounding may leave a tiny negative number where a channel is constant.
        inverse_std = (variance.clamp_min_(0) + eps).rsqrt_()
        scale = weight * inverse_std
        offset = bias - (mean - shift) * scale
        centred = centred.view(values.shape)
        output = torch.empty_like(values)
        for sample, factor in _per_sample(keep, x.shape[0]):
            source, target = _rows(centred[sample], channels), _rows(output[sample], channels)
            torch.addcmul(
                _spread(offset * factor, source),
                source,
                _spread(scale * factor, source),
                out=target,
            )
        ctx.save_for_backward(x, weight, keep, mean, inverse_std)
        ctx.mark_non_differentiable(mean, variance)
        return output.permute(0, 4, 1, 2, 3), mean, variance

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad: Tensor, _mean: Tensor, _variance: Tensor
    ) -> tuple[Tensor | None, ...]:
        x, weight, keep, mean, inverse_std = ctx.saved_tensors
        channels = x.shape[1]
        grad = grad.contiguous(memory_format=torch.channels_last_3d).permute(0, 2, 3, 4, 1)
        if keep is not None:
            grad, dense = torch.empty_like(grad), grad
            for sample, factor in _per_sample(keep, x.shape[0]):
                source, target = _rows(dense[sample], channels), _rows(grad[sample], channels)
                torch.mul(source, _spread(factor, source), out=target)
        rows, grad_rows = _rows(x.permute(0, 2, 3, 4, 1), channels), _rows(grad, channels)
        count = x.numel() // channels
        # The same rounded mean as in the forward pass, so that the same values are centred.
        shift = mean.to(x.dtype)
        residual = mean - shift
        centred = rows - _spread(shift, rows)
        grad_bias = _channel_sum(grad_rows, channels)
        grad_weight = (
            _channel_sum(centred * grad_rows, channels) - residual * grad_bias
        ) * inverse_std
        # dL/dx = scale * (grad - mean(grad) - normal * mean(grad * normal)), with x taken apart
        # into centred values and residual: a product with grad, one with x, a number a channel.
        scale = weight * inverse_std
        slope = -scale * grad_weight * inverse_std / count
        offset = -scale * grad_bias / count - residual * slope
        grad_x = torch.addcmul(_spread(offset, rows), grad_rows, _spread(scale, rows))
        grad_x.addcmul_(centred, _spread(slope, rows))
        grad_x = grad_x.view(grad.shape).permute(0, 4, 1, 2, 3)
        return grad_x, grad_weight, grad_bias, None, None


def _per_sample(keep: Tensor | None, batch: int) -> list[tuple[slice, Tensor]]:
    """The parts of a batch that share their factors: all of it, or one sample each."""
    if keep is None:
        return [(slice(None), torch.ones(1))]
    return [(slice(i, i + 1), keep[i]) for i in range(batch)]

"""Deep supervision: what the steps of a decoder learn from, beside the result of the network."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from torch import Tensor, nn
from torch.nn.utils import skip_init

from lunet_cli.config.layers import graph_of
from lunet_cli.engine.networks.blocks import EncoderDecoder, SegmentationNetwork
from lunet_cli.engine.training.losses import Loss


class SupervisedNetwork(nn.Module):
    """A network as it is trained: its logits and, with deep supervision, those of earlier steps.

    The auxiliary heads belong to the training. The network is the same module with and without
    them.

    Args:
        network: The network, placed on its device.
        is_deep: Whether earlier steps of the decoder are supervised: of a UNet++, the nodes of full
            resolution.

    Attributes:
        heads: 1x1x1 convolutions to logits, from the next to last step of the decoder to the first.
        strides: Voxels of the image per voxel of each output, along each axis.
    """

    def __init__(self, network: SegmentationNetwork, *, is_deep: bool) -> None:
        super().__init__()
        self.network = network
        self.heads = nn.ModuleList()
        self.strides = [1]
        if is_deep:
            self._add_heads()

    def _add_heads(self) -> None:
        network = self.network
        assert isinstance(network, EncoderDecoder)
        graph, num_channels = graph_of(network.spec), network.spec.out_channels
        device = next(network.parameters()).device
        # Neither the end of the encoder nor the last step, which has the head of the network.
        for name in reversed(network.decoded_layers()[1:-1]):
            layer = graph.layers[name]
            head = skip_init(nn.Conv3d, layer.width, num_channels, kernel_size=1, device=device)
            # They begin at zero: nothing is drawn, so that a seed begins with the same network.
            for parameter in head.parameters():
                nn.init.zeros_(parameter)
            self.heads.append(head)
            self.strides.append(1 << layer.level)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Compute logits (B, out_channels, D, H, W) of an image (B, in_channels, D, H, W).

        Returns:
            Those of the network, and then those of each head in its own resolution, which reach
            over the padding of the image.
        """
        network = self.network
        if not self.heads:
            return [network(image)]
        assert isinstance(network, EncoderDecoder)
        _, *steps, last = network.decode(network.pad(image))
        depth, height, width = image.shape[2:]
        outputs = [network.segment(last)[:, :, :depth, :height, :width]]
        for head, features in zip(self.heads, reversed(steps), strict=True):
            outputs.append(head(features))
        return outputs


def supervised_loss(
    loss: Loss,
    outputs: Sequence[Tensor],
    strides: Sequence[int],
    target: Tensor,
    known: Tensor | None = None,
) -> Tensor:
    """The mean loss of all outputs; each counts half as much as the one before.

    Args:
        loss: From logits, targets and what is known.
        outputs: What a `SupervisedNetwork` returns.
        strides: Those of the outputs.
        target: (B, C, D, H, W), of full resolution.
        known: Whether voxels are labelled (B, 1, D, H, W), likewise; None if all are.

    References:
        Weights as in nnU-Net (doi:10.1038/s41592-020-01008-z), which takes 0 for the lowest
        resolution. Here the lowest counts, too: a lean network has few levels.
    """
    total, sum_of_weights = outputs[0].new_zeros(()), 0.0
    for index, logits, stride in zip(count(), outputs, strides, strict=False):
        reduced = reduce_target(target, stride)
        reduced_known = None
        if known is not None:
            reduced_known = reduce_target(known, stride)
        depth, height, width = reduced.shape[2:]
        weight = 0.5**index
        value = loss(logits[:, :, :depth, :height, :width], reduced, reduced_known)
        total = total + weight * value
        sum_of_weights += weight
    return total / sum_of_weights


def reduce_target(target: Tensor, stride: int) -> Tensor:
    """The target (B, C, D, H, W) at the centres of blocks of `stride` voxels along each axis.

    A block whose centre lies behind the end of an axis is left out, unless it is the only one.
    """
    # The nearest voxel and not a mean: classes stay exclusive, and zeros and ones what they are.
    depth, height, width = (slice(min(stride // 2, n - 1), None, stride) for n in target.shape[2:])
    return target[:, :, depth, height, width]

"""The same function with fewer operations: batch normalisation folded into convolutions.

Here normalisation comes *after* the ReLU and before a zero-padded convolution, so that it cannot be
folded forwards alone (the padding would not be zero any more) nor backwards alone (the ReLU is in
between). With y = s relu(x) + t:

- |s| goes through the ReLU into the convolution before it, the sign of s into the one behind;
- t goes into the one behind as the weight of one more channel, which is 1 in the volume and 0 in
the padding.
  The convolution before it makes this channel from zero weights and the bias 1.

Both hold exactly in real numbers. Max-pooling commutes with the scale as long as it is positive,
and with t always; where some s is negative, the sign is applied before the pooling.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from operator import getitem

import torch
from torch import Tensor, fx, nn

from lunet_cli.engine.networks.blocks import ConvUnit, SegmentationNetwork
from lunet_cli.engine.networks.normalization import BatchNormDropout


class FoldedNetwork(SegmentationNetwork):
    """A network without normalisation that computes what `network` does in evaluation mode.

    Args:
        network: A U-Net or UNet++ of any widths.

    Raises:
        ValueError: The network holds layers that cannot be folded (see `can_fold`).
    """

    def __init__(self, network: SegmentationNetwork) -> None:
        super().__init__(network.spec)
        if not can_fold(network):
            raise ValueError(f"the normalisation of {network.spec.family} cannot be folded")
        self.graph = _Folding(network).run()

    def compute_logits(self, image: Tensor) -> Tensor:
        """See `SegmentationNetwork`."""
        logits: Tensor = self.graph(image)
        return logits


def can_fold(network: SegmentationNetwork) -> bool:
    """Whether all normalisation of the network is batch normalisation after a ReLU."""
    return network.spec.topology != "mednext"


@dataclass(frozen=True)
class _Folded:
    """What a node of the new graph stands for: sign * value + shift, channel by channel.

    Args:
        node: The node of the new graph.
        sign: +1 or -1 (C,); an image has +1.
        shift: What is to be added (C,).
        ones: Index of one more channel, that is 1 everywhere; None where there is none.
    """

    node: fx.Node
    sign: Tensor
    shift: Tensor
    ones: int | None


class _Core(nn.Module):
    """The network without the padding to its stride, which cannot be traced."""

    def __init__(self, network: SegmentationNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        return self.network.compute_logits(image)


class _Tracer(fx.Tracer):
    def is_leaf_module(self, module: nn.Module, qualified_name: str) -> bool:
        return isinstance(module, ConvUnit | nn.Conv3d | nn.ConvTranspose3d | nn.MaxPool3d)


def trace_layers(network: SegmentationNetwork) -> tuple[fx.Graph, nn.Module]:
    """The units, poolings, doublings, concatenations and projections of a network, in order.

    Returns:
        The graph of `compute_logits`, and the module that its targets belong to.
    """
    root = _Core(network)
    return _Tracer().trace(root), root


class _ChannelSigns(nn.Module):
    """Turns the channels whose scale is negative."""

    def __init__(self, signs: Tensor) -> None:
        super().__init__()
        self.signs = nn.Buffer(signs.float().view(1, -1, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.signs.to(x.dtype)


class _Folding:
    """The new graph as it grows along the old one."""

    def __init__(self, network: SegmentationNetwork) -> None:
        self._layers, self._root = trace_layers(network)
        self._in_channels = network.spec.in_channels
        self._modules: dict[str, nn.Module] = {}
        self._graph = fx.Graph()
        self._done: dict[fx.Node, _Folded] = {}

    def run(self) -> fx.GraphModule:
        for node in self._layers.nodes:
            if node.op == "output":
                self._graph.output(self._done[node.args[0]].node)
            else:
                self._done[node] = self._fold_node(node)
        return fx.GraphModule(self._modules, self._graph, class_name="FoldedGraph")

    def _fold_node(self, node: fx.Node) -> _Folded:
        if node.op == "placeholder":
            count = self._in_channels
            return _Folded(self._graph.placeholder(node.name), *_unchanged(count))
        if node.op == "call_function" and node.target is torch.cat:
            parts = node.args[0]
            assert isinstance(parts, list)
            return self._fold_concatenation([self._done[part] for part in parts])
        if node.op != "call_module" or not isinstance(node.args[0], fx.Node):
            raise ValueError(f"{node.format_node()} cannot be folded")
        return self._fold_module(node, self._done[node.args[0]])

    def _fold_module(self, node: fx.Node, source: _Folded) -> _Folded:
        module = self._root.get_submodule(str(node.target))
        if isinstance(module, ConvUnit):
            return self._fold_unit(node, module, source)
        if isinstance(module, nn.MaxPool3d):
            return self._fold_pooling(node, module, source)
        if isinstance(module, nn.ConvTranspose3d):
            return self._fold_upsampling(node, module, source)
        return self._fold_head(node, module, source)

    def _fold_unit(self, node: fx.Node, unit: ConvUnit, source: _Folded) -> _Folded:
        weight, bias = _absorb(unit.conv.weight, unit.conv.bias, source, axis=1)
        scale, shift = scale_and_shift(unit.norm)
        weight, bias = weight * scale.abs().view(-1, 1, 1, 1, 1), bias * scale.abs()
        # A scale of 0 counts as positive: what it leaves is the shift, whatever the sign.
        sign = torch.where(scale < 0, -1.0, 1.0).double()
        kinds = self._kinds_behind(node)
        # The 1x1x1 head takes the shift into its bias; all others, which pad with zeros or hand the
        # shift on, need the channel of ones.
        ones = None
        if kinds != {nn.Conv3d}:
            ones = len(sign)
            weight = torch.cat([weight, torch.zeros_like(weight[:1])])
            bias = torch.cat([bias, torch.ones_like(bias[:1])])
        convolution = _with_weights(
            nn.Conv3d(weight.shape[1], weight.shape[0], 3, padding=1), weight, bias
        )
        layers: list[nn.Module] = [convolution, nn.ReLU(inplace=True)]
        if nn.MaxPool3d in kinds and not (sign > 0).all():
            # The largest of values with a negative scale is the smallest without it.
            layers.append(_ChannelSigns(torch.cat([sign, sign.new_ones(len(bias) - len(sign))])))
            sign = torch.ones_like(sign)
        return _Folded(self._add(node, nn.Sequential(*layers), source), sign, shift, ones)

    def _kinds_behind(self, node: fx.Node) -> set[type[object]]:
        """What takes the output of a node: kinds of modules, and functions as such."""
        kinds: set[type[object]] = set()
        for user in node.users:
            taker: object = user.target
            if user.op == "call_module":
                taker = self._root.get_submodule(str(user.target))
            kinds.add(type(taker))
        return kinds

    def _fold_pooling(self, node: fx.Node, module: nn.MaxPool3d, source: _Folded) -> _Folded:
        if not (source.sign > 0).all():
            raise ValueError("pooling of a negative scale cannot be folded")
        return replace(source, node=self._add(node, nn.MaxPool3d(module.kernel_size), source))

    def _fold_upsampling(
        self, node: fx.Node, module: nn.ConvTranspose3d, source: _Folded
    ) -> _Folded:
        weight, bias = _absorb(module.weight, module.bias, source, axis=0)
        new = nn.ConvTranspose3d(weight.shape[0], weight.shape[1], 2, stride=2)
        return _Folded(
            self._add(node, _with_weights(new, weight, bias), source), *_unchanged(len(bias))
        )

    def _fold_head(self, node: fx.Node, module: nn.Module, source: _Folded) -> _Folded:
        if (
            not isinstance(module, nn.Conv3d)
            or module.kernel_size != (1, 1, 1)
            or source.ones is not None
        ):
            raise ValueError(f"{type(module).__name__} cannot be folded")
        assert module.bias is not None
        bias = module.bias.double() + module.weight.double().flatten(1) @ source.shift
        weight = module.weight.double() * source.sign.view(1, -1, 1, 1, 1)
        new = _with_weights(nn.Conv3d(weight.shape[1], weight.shape[0], 1), weight, bias)
        return _Folded(self._add(node, new, source), *_unchanged(len(bias)))

    def _fold_concatenation(self, parts: list[_Folded]) -> _Folded:
        """Join parts; one channel of ones is enough for all."""
        keeper = None
        for part in parts:
            if part.ones is not None:
                keeper = part
        nodes, signs, shifts = [], [], []
        ones, width = None, 0
        for part in parts:
            node, own_width = part.node, len(part.sign)
            if part is keeper:
                ones = width + own_width
            elif part.ones is not None:
                own_channels = (slice(None), slice(0, own_width))
                node = self._graph.call_function(getitem, (node, own_channels))
            nodes.append(node)
            signs.append(part.sign)
            shifts.append(part.shift)
            width += own_width
        joined = self._graph.call_function(torch.cat, (nodes,), {"dim": 1})
        return _Folded(joined, torch.cat(signs), torch.cat(shifts), ones)

    def _add(self, node: fx.Node, module: nn.Module, source: _Folded) -> fx.Node:
        self._modules[node.name] = module
        return self._graph.call_module(node.name, (source.node,))


def _unchanged(count: int) -> tuple[Tensor, Tensor, None]:
    return torch.ones(count, dtype=torch.double), torch.zeros(count, dtype=torch.double), None


def scale_and_shift(norm: BatchNormDropout) -> tuple[Tensor, Tensor]:
    """What a normalisation multiplies and adds in evaluation mode: both (C,), float64."""
    # In double precision throughout, so that each folded weight is rounded once, at the end.
    statistics = dict(norm.named_buffers())
    scale = norm.weight.double() / torch.sqrt(statistics["running_var"].double() + norm.eps)
    return scale, norm.bias.double() - statistics["running_mean"].double() * scale


def _absorb(
    weight: Tensor, bias: Tensor | None, source: _Folded, *, axis: int
) -> tuple[Tensor, Tensor]:
    """Weights, in double precision, that take the sign and shift of their input, on `axis`."""
    assert bias is not None
    along = [1] * weight.ndim
    along[axis] = -1
    exact = weight.double()
    signed = exact * source.sign.view(along)
    if source.ones is None:
        return signed, bias.double()
    shift = (exact * source.shift.view(along)).sum(dim=axis, keepdim=True)
    before, after = signed.split([source.ones, len(source.sign) - source.ones], dim=axis)
    return torch.cat([before, shift, after], dim=axis), bias.double()


def _with_weights(
    module: nn.Conv3d | nn.ConvTranspose3d, weight: Tensor, bias: Tensor
) -> nn.Module:
    assert module.bias is not None
    with torch.no_grad():
        module.weight.copy_(weight)
        module.bias.copy_(bias)
    return module.requires_grad_(False)

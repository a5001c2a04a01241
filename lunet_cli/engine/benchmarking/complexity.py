"""What a network costs whatever computes it: parameters, operations, bytes that must move."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass

import torch

# ptflops wraps torch's functions while it counts, and parts of torch that load only then would trip
# over that. This is one of them, and tensors without values need it.
import torch._dynamo
from ptflops import get_model_complexity_info
from ptflops.pytorch_ops import bn_flops_counter_hook
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from lunet_cli.config.network import NetworkSpec
from lunet_cli.engine.benchmarking.targets import Shape
from lunet_cli.engine.networks import build_meta_network
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.networks.build import count_parameters
from lunet_cli.engine.networks.mednext import ChannelNorm
from lunet_cli.engine.networks.normalization import BatchNormDropout

_CONVOLUTIONS = (nn.Conv3d, nn.ConvTranspose3d)
# ptflops looks at the exact type of a module, and would pass over normalisations that are not
# torch's own.
_PTFLOPS_HOOKS = {BatchNormDropout: bn_flops_counter_hook, ChannelNorm: bn_flops_counter_hook}


@dataclass(frozen=True)
class Complexity:
    """Counts for one pass over a batch.

    Args:
        parameters: Trainable parameters.
        flops: Twice the multiply-accumulates of all convolutions, as torch counts them.
        ptflops_macs: Multiply-accumulates of a forward pass as ptflops counts them, with bias,
            normalisation, activation and pooling.
        ptflops_conv_macs: Those of the convolutions alone, without bias.
        forward_flops: `flops` of a forward pass alone.
        traffic_values: Numbers that move at least: each convolution and pooling reads its input and
            writes its output once; its backward pass reads the input and the gradient of the
            output, and writes that of the input.
        saved_values: Numbers that a training step keeps for its backward pass; 0 for a forward
            pass.
    """

    parameters: int
    flops: int
    ptflops_macs: int
    ptflops_conv_macs: int
    forward_flops: int
    traffic_values: int
    saved_values: int

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all convolutions."""
        return self.flops // 2

    @property
    def is_confirmed(self) -> bool:
        """Whether both counters agree on the convolutions of a forward pass."""
        return self.forward_flops == 2 * self.ptflops_conv_macs


def count_complexity(spec: NetworkSpec, shape: Shape, *, training: bool = False) -> Complexity:
    """Count on tensors without values, which takes neither time nor memory.

    Args:
        spec: The network.
        shape: Batch, channels, depth, height, width.
        training: Whether a pass is a training step: forward and backward.
    """
    network = build_meta_network(spec)
    image = torch.empty(shape, device="meta")
    inputs, outputs, bias_sums = _watch_layers(network, image)
    with FlopCounterMode(display=False) as forward, torch.inference_mode():
        network.eval()(image)
    forward_flops = flops = forward.get_total_flops()
    traffic, saved = inputs + outputs, 0
    if training:
        flops, saved = _count_training(network, image)
        traffic += 2 * inputs + outputs
    total, convolutions = _ptflops(network, shape)
    return Complexity(
        parameters=count_parameters(network),
        flops=flops,
        ptflops_macs=total,
        ptflops_conv_macs=convolutions - bias_sums,
        forward_flops=forward_flops,
        traffic_values=traffic,
        saved_values=saved,
    )


def saved_bytes(spec: NetworkSpec) -> int:
    """Bytes of the file that `torch.save` makes of the weights."""
    buffer = io.BytesIO()
    # Whatever the values are, they take the same place.
    torch.save(build_meta_network(spec).to_empty(device="cpu").state_dict(), buffer)
    return buffer.tell()


def _watch_layers(network: SegmentationNetwork, image: Tensor) -> tuple[int, int, int]:
    """Numbers that convolutions and pooling read and write, and additions of a bias."""
    read = written = bias_sums = 0

    def watch(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal read, written, bias_sums
        read += inputs[0].numel()
        written += output.numel()
        if isinstance(module, _CONVOLUTIONS) and module.bias is not None:
            bias_sums += output.numel()

    with contextlib.ExitStack() as hooks:
        for module in network.modules():
            if isinstance(module, (*_CONVOLUTIONS, nn.MaxPool3d)):
                hooks.callback(module.register_forward_hook(watch).remove)
        with torch.inference_mode():
            network.eval()(image)
    return read, written, bias_sums


def _count_training(network: SegmentationNetwork, image: Tensor) -> tuple[int, int]:
    """FLOPs of forward and backward, and numbers kept in between, without those of the weights."""
    kept: dict[int, Tensor] = {}
    weights = set(map(id, network.parameters()))

    def keep(tensor: Tensor) -> Tensor:
        if id(tensor) not in weights:
            # Several operations keep the same values, which take their place once. Tensors without
            # values have no address, but each storage has an object of its own.
            kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with FlopCounterMode(display=False) as counter:
        with saved_tensors_hooks(keep, lambda tensor: tensor):
            logits = network.train()(image)
        logits.sum().backward()
    return counter.get_total_flops(), sum(tensor.numel() for tensor in kept.values())


def _ptflops(network: SegmentationNetwork, shape: Shape) -> tuple[int, int]:
    """Multiply-accumulates of everything and of the convolutions with their bias."""
    others = [type(module) for module in network.modules() if not isinstance(module, _CONVOLUTIONS)]
    counts = []
    for ignored in ([], others):
        macs, _ = get_model_complexity_info(
            network,
            shape[1:],
            print_per_layer_stat=False,
            as_strings=False,
            ignore_modules=ignored,
            custom_modules_hooks=_PTFLOPS_HOOKS,
            # An activation would count twice, as a module and as the function that it calls.
            backend_specific_config={"count_functional": False},
        )
        counts.append(shape[0] * macs)
    return counts[0], counts[1]

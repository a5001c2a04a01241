from __future__ import annotations

import copy
import random
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from lunet_cli.config.layers import graph_of, layers
from lunet_cli.config.network import NetworkSpec
from lunet_cli.config.network_cost import count_parameters
from lunet_cli.config.presets import parse_preset
from lunet_cli.engine.networks import build_network
from lunet_cli.engine.networks import count_parameters as count_built
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.pruning.surgery import remove_channels, with_dropouts


def run(network: SegmentationNetwork, image: Tensor) -> Tensor:
    with torch.no_grad():
        logits: Tensor = network(image)
    return logits


def silence(network: SegmentationNetwork, layer: str, channel: int) -> SegmentationNetwork:
    """A copy in which nothing that is computed from a channel depends on it any more."""
    silent = copy.deepcopy(network)
    silence_in_place(silent, layer, channel)
    return silent


def silence_in_place(network: SegmentationNetwork, layer: str, channel: int) -> None:
    graph = graph_of(network.spec)
    for operation in graph.operations.values():
        if layer not in operation.sources or operation.is_depthwise or not operation.kernel_voxels:
            continue
        module = network.get_submodule(operation.module)
        position = channel
        for source in operation.sources[: operation.sources.index(layer)]:
            position += graph.width(source)
        assert isinstance(module, nn.Conv3d | nn.ConvTranspose3d)
        axis = 0 if isinstance(module, nn.ConvTranspose3d) else 1
        with torch.no_grad():
            module.weight.select(axis, position).zero_()


def test_removing_a_channel_equals_silencing_it(
    network: SegmentationNetwork, image: Tensor
) -> None:
    before = run(network, image)
    for layer in layers(network.spec):
        channel = layer.width // 2
        smaller = remove_channels(network, {layer.name: [channel]})
        expected = run(silence(network, layer.name, channel), image)
        torch.testing.assert_close(run(smaller, image), expected, rtol=0, atol=1e-6)
        # It did something, and not to the network that it was made of.
        assert not torch.equal(expected, before)
        assert count_built(smaller) < count_built(network)
        assert torch.equal(run(network, image), before)


def test_removing_equals_a_zero_where_the_data_flows(conv_network: SegmentationNetwork) -> None:
    """Without the table of layers: a hook zeroes the channel in the tensor itself."""
    network = conv_network
    image = torch.randn(1, 2, 8, 8, 4)
    for layer in layers(network.spec):

        def zero_last(_: nn.Module, __: object, output: Tensor) -> Tensor:
            output[:, -1] = 0
            return output

        handle = network.get_submodule(layer.name).register_forward_hook(zero_last)
        expected = run(network, image)
        handle.remove()
        smaller = remove_channels(network, {layer.name: [layer.width - 1]})
        torch.testing.assert_close(run(smaller, image), expected, rtol=0, atol=1e-6)


def test_a_hundred_removals_in_a_row(network: SegmentationNetwork, image: Tensor) -> None:
    draw = random.Random(1)
    # Of a wider network, so that there are a hundred channels to remove.
    wide = replace(network.spec, channels=tuple(3 * width for width in network.spec.channels))
    torch.manual_seed(2)
    network = build_network(wide).eval()
    expected = copy.deepcopy(network)
    # Where the channels that are left stood at first.
    left = {layer.name: list(range(layer.width)) for layer in layers(wide)}
    for _ in range(25):
        removed: dict[str, list[int]] = {}
        for name in draw.choices(list(left), k=4):
            gone = removed.setdefault(name, [])
            spare = [index for index in range(len(left[name])) if index not in gone]
            if len(spare) > 1:
                gone.append(draw.choice(spare))
                silence_in_place(expected, name, left[name][gone[-1]])
        network = remove_channels(network, removed)
        for name, gone in removed.items():
            left[name] = [place for i, place in enumerate(left[name]) if i not in gone]
    torch.testing.assert_close(run(network, image), run(expected, image), rtol=0, atol=1e-6)
    assert count_parameters(network.spec) == count_built(network)
    assert [layer.width for layer in layers(network.spec)] == list(map(len, left.values()))


def test_half_of_every_layer_is_the_network_of_half_the_width() -> None:
    network = build_network(parse_preset("unet_small_4f").spec)
    halves = {layer.name: range(layer.width // 2) for layer in layers(network.spec)}
    assert count_built(remove_channels(network, halves)) == 88_807  # unet_small_2f


def test_statistics_and_mode_stay(network: SegmentationNetwork) -> None:
    smaller = remove_channels(network.train(), {layers(network.spec)[0].name: [0]})
    assert smaller.training
    state = smaller.state_dict()
    for name, tensor in network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            assert torch.equal(state[name], tensor)
    if "encoders.0.0.norm.running_var" in state and network.spec.topology != "mednext":
        for part in ("weight", "bias", "running_mean", "running_var"):
            name = f"encoders.0.0.norm.{part}"
            assert torch.equal(state[name], network.state_dict()[name][1:])


def test_a_pruned_network_learns(network: SegmentationNetwork, image: Tensor) -> None:
    smaller = remove_channels(network, {layers(network.spec)[1].name: [0, 1]}).train()
    smaller(image).square().mean().backward()
    assert all(parameter.grad is not None for parameter in smaller.parameters())


def test_against_torch_pruning(conv_network: SegmentationNetwork) -> None:
    import torch_pruning as pruning  # here, since it takes a second

    theirs, ours = copy.deepcopy(conv_network), conv_network
    image = torch.randn(1, 2, 8, 8, 16)
    for layer in layers(ours.spec):
        module = theirs.get_submodule(layer.name)
        convolution = getattr(module, "conv", module)
        # Anew for each layer: a group that was found before another was cut is wrong by then.
        graph = pruning.DependencyGraph().build_dependency(theirs, example_inputs=image)
        graph.get_pruning_group(convolution, pruning.prune_conv_out_channels, idxs=[0]).prune()
        ours = remove_channels(ours, {layer.name: [0]})
    torch.testing.assert_close(run(ours, image), run(theirs, image), rtol=0, atol=1e-6)


def test_dropout_by_layer(network: SegmentationNetwork) -> None:
    name = next(layer.name for layer in layers(network.spec) if layer.dropout is not None)
    changed = with_dropouts(network, {name: 0.25})
    module = changed.get_submodule(name)
    found = module.norm.dropout if hasattr(module, "conv") else module.dropout.p
    assert found == 0.25
    assert [layer.dropout for layer in layers(changed.spec)].count(0.25) == 1
    for key, tensor in network.state_dict().items():
        assert torch.equal(changed.state_dict()[key], tensor)


@pytest.mark.parametrize(
    ("removed", "words"),
    [
        ({"encoders.9.0": [0]}, "there is no layer encoders.9.0"),
        ({"encoders.0.0": [3]}, "encoders.0.0 has the channels 0 to 2, not 3"),
        ({"encoders.0.0": [0, 1, 2]}, "encoders.0.0 would have no channel left"),
    ],
)
def test_what_cannot_be_removed(removed: dict[str, list[int]], words: str) -> None:
    network = build_network(NetworkSpec("unet", (3, 4)))
    with pytest.raises(ValueError, match=words):
        remove_channels(network, removed)

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lunet_cli.config.network import Family, NetworkSpec
from lunet_cli.engine.networks import build_network
from lunet_cli.engine.networks.blocks import ConvUnit, SegmentationNetwork
from lunet_cli.engine.networks.normalization import BatchNormDropout
from lunet_cli.engine.networks.unet import UNet


def build(spec: NetworkSpec, seed: int = 0) -> SegmentationNetwork:
    torch.manual_seed(seed)
    network = build_network(spec)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            for tensor in (
                module.weight.data,
                module.bias.data,
                module.running_mean,
                module.running_var,
            ):
                tensor.uniform_(0.5, 1.5)
    return network.eval()


def unit_by_hand(x: Tensor, weights: dict[str, Tensor], name: str) -> Tensor:
    x = F.relu(F.conv3d(x, weights[f"{name}.conv.weight"], weights[f"{name}.conv.bias"], padding=1))
    mean, variance = weights[f"{name}.norm.running_mean"], weights[f"{name}.norm.running_var"]
    scaled = (x - mean.view(-1, 1, 1, 1)) / (variance.view(-1, 1, 1, 1) + 1e-5).sqrt()
    return scaled * weights[f"{name}.norm.weight"].view(-1, 1, 1, 1) + weights[
        f"{name}.norm.bias"
    ].view(-1, 1, 1, 1)


def block_by_hand(x: Tensor, weights: dict[str, Tensor], name: str, num_convs: int) -> Tensor:
    for index in range(num_convs):
        x = unit_by_hand(x, weights, f"{name}.{index}")
    return x


def up_by_hand(x: Tensor, weights: dict[str, Tensor], name: str) -> Tensor:
    return F.conv_transpose3d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], stride=2)


def head_by_hand(x: Tensor, weights: dict[str, Tensor]) -> Tensor:
    return F.conv3d(
        unit_by_hand(x, weights, "head.0"), weights["head.1.weight"], weights["head.1.bias"]
    )


def unet_by_hand(image: Tensor, weights: dict[str, Tensor], spec: NetworkSpec) -> Tensor:
    n, deepest = spec.convs_per_block, spec.num_levels - 1
    x, skips = image, []
    for level in range(deepest):
        skips.append(block_by_hand(x, weights, f"encoders.{level}", n))
        x = F.max_pool3d(skips[-1], 2)
    x = block_by_hand(x, weights, f"encoders.{deepest}", n)
    for position, level in enumerate(reversed(range(deepest))):
        x = torch.cat([up_by_hand(x, weights, f"upsamples.{position}"), skips[level]], dim=1)
        x = block_by_hand(x, weights, f"decoders.{position}", n if level else max(1, n - 1))
    return head_by_hand(x, weights)


@pytest.mark.parametrize(
    ("family", "channels", "num_convs"),
    [
        ("unet", (2, 3), 1),
        ("unet", (2, 4, 8), 2),
        ("lunet", (3, 3, 3), 2),
        ("lunet", (2, 2, 2, 2), 3),
    ],
)
def test_network_computes_the_published_graph(
    family: Family, channels: tuple[int, ...], num_convs: int
) -> None:
    spec = NetworkSpec(family, channels, convs_per_block=num_convs, in_channels=2, out_channels=3)
    network = build(spec)
    image = torch.randn(2, 2, 8, 16, 8)
    with torch.no_grad():
        expected = unet_by_hand(image, network.state_dict(), spec)
        torch.testing.assert_close(network(image), expected, rtol=1e-4, atol=1e-4)


def test_upsampled_features_come_before_the_skip() -> None:
    network = build(NetworkSpec("unet", (2, 5)))
    assert isinstance(network, UNet)
    network.decoders[0][0].conv.weight.data[:, :2] = 0
    image = torch.randn(1, 1, 4, 4, 4)
    with torch.no_grad():
        before = network(image)
        nn.init.normal_(network.upsamples[0].weight)
        assert torch.equal(network(image), before)
        nn.init.normal_(network.encoders[0][1].conv.weight)
        assert not torch.allclose(network(image), before)


def test_the_skip_follows_the_upsampled_features() -> None:
    network = build(NetworkSpec("unet", (2, 5)))
    assert isinstance(network, UNet)
    decoder_input: list[Tensor] = []
    network.decoders[0].register_forward_pre_hook(lambda _, inputs: decoder_input.append(inputs[0]))
    network.decoders[0][0].conv.weight.data[:, 2:] = 0
    image = torch.randn(1, 1, 4, 4, 4)
    with torch.no_grad():
        network(image)
        assert torch.equal(decoder_input[0][:, 2:], network.encoders[0](image))


def test_a_unit_normalises_after_the_activation() -> None:
    unit = ConvUnit(1, 2, dropout=0.0).train()
    output = unit(torch.randn(2, 1, 6, 6, 6))
    assert output.min() < 0
    torch.testing.assert_close(output.mean(dim=(0, 2, 3, 4)), torch.zeros(2), rtol=0, atol=1e-5)
    lowest = output.amin(dim=(0, 2, 3, 4), keepdim=True)
    assert (
        output == lowest
    ).float().mean() > 0.1  # the zeros of the ReLU, shifted by the normalisation


def test_a_unit_drops_channels_after_the_normalisation() -> None:
    torch.manual_seed(0)
    unit = ConvUnit(1, 64, dropout=0.5).train()
    nn.init.constant_(unit.norm.bias, 3.0)
    means = unit(torch.randn(1, 1, 6, 6, 6)).mean(dim=(0, 2, 3, 4))
    is_dropped = means == 0
    assert 10 < is_dropped.sum() < 54
    torch.testing.assert_close(means[~is_dropped], torch.full_like(means[~is_dropped], 6.0))


@pytest.mark.parametrize("family", ["unet", "lunetpp"])
def test_all_units_drop_but_the_segmenter(family: Family) -> None:
    network = build(NetworkSpec(family, (2, 2, 2), dropout=0.25))
    norms = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, BatchNormDropout)
    }
    assert [name for name, norm in norms.items() if norm.dropout != 0.25] == ["head.0.norm"]
    assert norms["head.0.norm"].dropout == 0


@pytest.mark.parametrize(("num_convs", "num_last"), [(1, 1), (2, 1), (3, 2)])
def test_the_last_decoder_gives_a_convolution_to_the_segmenter(
    num_convs: int, num_last: int
) -> None:
    network = build(NetworkSpec("unet", (2, 2, 2), convs_per_block=num_convs))
    assert isinstance(network, UNet)
    assert [len(decoder) for decoder in network.decoders] == [num_convs, num_last]


def test_dropout_changes_only_training() -> None:
    network = build(NetworkSpec("lunet", (4, 4), dropout=0.5))
    image = torch.randn(2, 1, 8, 8, 8)
    with torch.no_grad():
        assert torch.equal(network(image), network(image))
        network.train()
        assert not torch.equal(network(image), network(image))

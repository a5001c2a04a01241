from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lunet_cli.config.network import Family, NetworkSpec
from lunet_cli.engine.networks.unetpp import UNetPlusPlus


def build(spec: NetworkSpec) -> UNetPlusPlus:
    torch.manual_seed(0)
    network = UNetPlusPlus(spec)
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


def block_by_hand(x: Tensor, weights: dict[str, Tensor], name: str, num_convs: int) -> Tensor:
    for unit in (f"{name}.{index}" for index in range(num_convs)):
        x = F.relu(
            F.conv3d(x, weights[f"{unit}.conv.weight"], weights[f"{unit}.conv.bias"], padding=1)
        )
        mean, variance = weights[f"{unit}.norm.running_mean"], weights[f"{unit}.norm.running_var"]
        x = F.batch_norm(
            x, mean, variance, weights[f"{unit}.norm.weight"], weights[f"{unit}.norm.bias"]
        )
    return x


def unetpp_by_hand(image: Tensor, weights: dict[str, Tensor], spec: NetworkSpec) -> Tensor:
    n, num_levels = spec.convs_per_block, spec.num_levels
    x = {(0, 0): block_by_hand(image, weights, "encoders.0", n)}
    for i in range(1, num_levels):
        x[i, 0] = block_by_hand(F.max_pool3d(x[i - 1, 0], 2), weights, f"encoders.{i}", n)
    for j in range(1, num_levels):
        for i in range(num_levels - j):
            up = f"upsamples.{i}_{j}"
            raised = F.conv_transpose3d(
                x[i + 1, j - 1], weights[f"{up}.weight"], weights[f"{up}.bias"], stride=2
            )
            joined = torch.cat([x[i, k] for k in range(j)] + [raised], dim=1)
            num_convs = max(1, n - 1) if j == num_levels - 1 else n
            x[i, j] = block_by_hand(joined, weights, f"nested.{i}_{j}", num_convs)
    segmented = block_by_hand(x[0, num_levels - 1], weights, "head", 1)
    return F.conv3d(segmented, weights["head.1.weight"], weights["head.1.bias"])


@pytest.mark.parametrize(
    ("family", "channels", "num_convs"),
    [
        ("unetpp", (2, 3), 1),
        ("unetpp", (1, 2, 4), 2),
        ("lunetpp", (2, 2, 2, 2), 2),
        ("lunetpp", (2, 2, 2), 3),
    ],
)
def test_network_computes_the_published_graph(
    family: Family, channels: tuple[int, ...], num_convs: int
) -> None:
    spec = NetworkSpec(family, channels, convs_per_block=num_convs, in_channels=2, out_channels=3)
    network = build(spec)
    image = torch.randn(2, 2, 8, 16, 8)
    with torch.no_grad():
        expected = unetpp_by_hand(image, network.state_dict(), spec)
        torch.testing.assert_close(network(image), expected, rtol=1e-4, atol=1e-4)


def test_there_is_a_node_for_every_place_of_the_triangle() -> None:
    network = build(NetworkSpec("lunetpp", (2, 2, 2, 2)))
    places = {f"{level}_{column}" for level in range(4) for column in range(1, 4 - level)}
    assert set(network.nested) == set(network.upsamples) == places
    assert len(places) == 6


def test_a_node_takes_earlier_nodes_first_and_the_upsampled_one_last() -> None:
    network = build(NetworkSpec("unetpp", (2, 3, 4)))
    seen: dict[str, Tensor] = {}
    network.encoders[0].register_forward_hook(lambda *call: seen.update(encoder=call[2]))
    network.nested["0_1"].register_forward_hook(lambda *call: seen.update(middle=call[2]))
    network.upsamples["0_2"].register_forward_hook(lambda *call: seen.update(up=call[2]))
    network.nested["0_2"].register_forward_pre_hook(lambda _, inputs: seen.update(joined=inputs[0]))
    with torch.no_grad():
        network(torch.randn(1, 1, 8, 8, 8))
    assert seen["joined"].shape[1] == 3 * 2
    assert torch.equal(seen["joined"][:, :2], seen["encoder"])
    assert torch.equal(seen["joined"][:, 2:4], seen["middle"])
    assert torch.equal(seen["joined"][:, 4:], seen["up"])


@pytest.mark.parametrize(("num_convs", "num_last"), [(1, 1), (2, 1), (3, 2)])
def test_only_the_last_node_gives_a_convolution_to_the_segmenter(
    num_convs: int, num_last: int
) -> None:
    network = build(NetworkSpec("lunetpp", (2, 2, 2), convs_per_block=num_convs))
    assert {name: len(node) for name, node in network.nested.items()} == {
        "0_1": num_convs,
        "1_1": num_convs,
        "0_2": num_last,
    }

from __future__ import annotations

from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lunet_cli.config.network import NetworkSpec
from lunet_cli.config.presets import parse_preset
from lunet_cli.engine.networks.mednext import MedNeXt, MedNeXtBlock


def tiny_spec(kernel_size: int = 3) -> NetworkSpec:
    return NetworkSpec(
        "mednext",
        (2, 4, 8),
        in_channels=2,
        out_channels=3,
        kernel_size=kernel_size,
        expansion_ratios=(2, 3, 4, 1, 2),
        blocks_per_stage=(1, 2, 1, 2, 1),
    )


def make_block(resample: Literal["down", "up"] | None, *, dropout: float = 0.0) -> MedNeXtBlock:
    torch.manual_seed(0)
    out_channels = {"down": 8, "up": 2, None: 4}[resample]
    return MedNeXtBlock(
        4, out_channels, hidden_channels=8, kernel_size=3, dropout=dropout, resample=resample
    )


def silence_branch(block: MedNeXtBlock) -> None:
    nn.init.zeros_(block.conv_compress.weight)
    nn.init.zeros_(block.conv_compress.bias)


def normalised_per_channel(x: Tensor) -> Tensor:
    axes = (2, 3, 4)
    variance = x.var(dim=axes, correction=0, keepdim=True)
    return (x - x.mean(dim=axes, keepdim=True)) / (variance + 1e-5).sqrt()


def block_by_hand(
    x: Tensor, weights: dict[str, Tensor], name: str, resample: Literal["down", "up"] | None = None
) -> Tensor:
    def parts(layer: str) -> tuple[Tensor, Tensor]:
        return weights[f"{name}.{layer}.weight"], weights[f"{name}.{layer}.bias"]

    channels, edge = x.shape[1], parts("conv_dw")[0].shape[-1]
    if resample == "up":
        y = F.conv_transpose3d(x, *parts("conv_dw"), stride=2, padding=edge // 2, groups=channels)
        residual = F.conv_transpose3d(x, *parts("res_conv"), stride=2)
        size = [2 * edge for edge in x.shape[2:]]
        padded = [torch.zeros(*tensor.shape[:2], *size) for tensor in (y, residual)]
        for target, source in zip(padded, (y, residual), strict=True):
            target[:, :, 1:, 1:, 1:] = source
        y, residual = padded
    else:
        stride = 2 if resample == "down" else 1
        y = F.conv3d(x, *parts("conv_dw"), stride=stride, padding=edge // 2, groups=channels)
        residual = F.conv3d(x, *parts("res_conv"), stride=2) if resample == "down" else x
    scale, shift = (tensor.view(-1, 1, 1, 1) for tensor in parts("norm"))
    hidden = F.gelu(F.conv3d(normalised_per_channel(y) * scale + shift, *parts("conv_expand")))
    return F.conv3d(hidden, *parts("conv_compress")) + residual


def mednext_by_hand(image: Tensor, weights: dict[str, Tensor], spec: NetworkSpec) -> Tensor:
    def stage(x: Tensor, name: str, index: int) -> Tensor:
        for block in range(spec.blocks_per_stage[index]):
            x = block_by_hand(x, weights, f"{name}.{block}")
        return x

    deepest = spec.num_levels - 1
    x, skips = F.conv3d(image, weights["stem.weight"], weights["stem.bias"]), []
    for level in range(deepest):
        skips.append(stage(x, f"encoders.{level}", level))
        x = block_by_hand(skips[-1], weights, f"downs.{level}", "down")
    x = stage(x, "bottleneck", deepest)
    for level in reversed(range(deepest)):
        x = skips[level] + block_by_hand(x, weights, f"ups.{level}", "up")
        x = stage(x, f"decoders.{level}", 2 * deepest - level)
    return F.conv3d(x, weights["out_conv.weight"], weights["out_conv.bias"])


@pytest.mark.parametrize("kernel_size", [3, 5])
def test_network_computes_the_published_graph(kernel_size: int) -> None:
    torch.manual_seed(0)
    spec = tiny_spec(kernel_size)
    network = MedNeXt(spec).eval()
    for module in network.modules():
        if isinstance(module, nn.GroupNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -1, 1)
    image = torch.randn(2, 2, 8, 16, 8)
    with torch.no_grad():
        expected = mednext_by_hand(image, network.state_dict(), spec)
        torch.testing.assert_close(network(image), expected, rtol=1e-4, atol=1e-4)


def test_skips_are_added() -> None:
    network = MedNeXt(tiny_spec()).eval()
    seen: dict[str, Tensor] = {}
    network.encoders[0].register_forward_hook(lambda *call: seen.update(skip=call[2]))
    network.ups[0].register_forward_hook(lambda *call: seen.update(up=call[2]))
    network.decoders[0].register_forward_pre_hook(lambda _, inputs: seen.update(joined=inputs[0]))
    with torch.no_grad():
        network(torch.randn(1, 2, 8, 8, 8))
    assert torch.equal(seen["joined"], seen["skip"] + seen["up"])


def test_a_block_with_a_silent_branch_is_the_identity() -> None:
    block = make_block(None)
    silence_branch(block)
    x = torch.randn(1, 4, 6, 6, 6)
    assert torch.equal(block(x), x)


def test_an_up_block_pads_one_voxel_at_the_front_of_each_axis() -> None:
    block = make_block("up")
    silence_branch(block)
    x = torch.randn(1, 4, 3, 4, 5)
    with torch.no_grad():
        output = block(x)
        assert output.shape == (1, 2, 6, 8, 10)
        assert torch.equal(output[:, :, 1:, 1:, 1:], block.res_conv(x))
    for axis in (2, 3, 4):
        assert not output.select(axis, 0).any()


def test_the_branch_of_an_up_block_is_padded_before_the_normalisation() -> None:
    block = make_block("up")
    normalised: list[Tensor] = []
    block.norm.register_forward_pre_hook(lambda _, inputs: normalised.append(inputs[0]))
    with torch.no_grad():
        block(torch.randn(1, 4, 3, 4, 5) + 10)
    assert normalised[0].shape == (1, 4, 6, 8, 10)
    for axis in (2, 3, 4):
        assert not normalised[0].select(axis, 0).any()
    assert normalised[0][:, :, 1:, 1:, 1:].any()


def test_a_down_block_halves_every_axis_and_doubles_the_channels() -> None:
    block = make_block("down")
    silence_branch(block)
    x = torch.randn(1, 4, 4, 6, 8)
    with torch.no_grad():
        output = block(x)
        assert output.shape == (1, 8, 2, 3, 4)
        picked = F.conv3d(x[:, :, ::2, ::2, ::2], block.res_conv.weight, block.res_conv.bias)
        torch.testing.assert_close(output, picked)


def test_every_normalisation_has_a_group_per_channel() -> None:
    norms = [
        module for module in MedNeXt(tiny_spec()).modules() if isinstance(module, nn.GroupNorm)
    ]
    assert len(norms) == 7 + 4
    assert all(norm.num_groups == norm.num_channels for norm in norms)


def test_a_single_voxel_at_the_bottleneck_is_normalised_to_zero() -> None:
    block = make_block(None)
    with torch.no_grad():
        output = block.norm(torch.randn(1, 4, 1, 1, 1))
    torch.testing.assert_close(output, torch.zeros(1, 4, 1, 1, 1), rtol=0, atol=1e-4)


def test_dropout_zeroes_whole_hidden_channels_only_while_training() -> None:
    block = make_block(None, dropout=0.5)
    hidden: list[Tensor] = []
    block.conv_compress.register_forward_pre_hook(lambda _, inputs: hidden.append(inputs[0]))
    x = torch.randn(8, 4, 4, 4, 4)
    block.train()(x)
    block.eval()(x)
    trained, evaluated = hidden
    is_dropped = ~trained.any(dim=(2, 3, 4)) if trained.ndim == 5 else None
    assert is_dropped is not None
    assert 0 < is_dropped.sum() < is_dropped.numel()
    torch.testing.assert_close(trained[~is_dropped], 2 * evaluated[~is_dropped])
    assert evaluated[is_dropped].any()


def test_blocks_and_ratios_follow_the_stages() -> None:
    network = MedNeXt(tiny_spec())
    assert [len(stage) for stage in network.encoders] == [1, 2]
    assert len(network.bottleneck) == 1
    assert [len(stage) for stage in network.decoders] == [1, 2]
    assert [stage[0].conv_expand.out_channels for stage in network.encoders] == [2 * 2, 3 * 4]
    assert [stage[0].conv_expand.out_channels for stage in network.decoders] == [2 * 2, 1 * 4]


@pytest.mark.parametrize(("name", "millions"), [("s", 5.6), ("b", 10.5), ("m", 17.6), ("l", 61.8)])
def test_official_sizes_have_the_published_number_of_parameters(name: str, millions: float) -> None:
    with torch.device("meta"):
        network = MedNeXt(parse_preset(f"mednext_{name}").spec)
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.06)

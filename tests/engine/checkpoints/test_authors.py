from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lunet_cli.config.presets import parse_preset
from lunet_cli.engine.checkpoints.authors import is_authors_checkpoint, load_authors_weights
from lunet_cli.engine.checkpoints.checkpoint import load_values
from lunet_cli.engine.networks import build_network
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.networks.mednext import MedNeXt
from lunet_cli.engine.networks.unet import UNet
from lunet_cli.engine.networks.unetpp import UNetPlusPlus
from lunet_cli.errors import CheckpointError

NAMES = [
    "unet_small_1f",
    "lunet_small_2f",
    "unet_large_2f",
    "unetpp_small_1f",
    "lunetpp_large_2f",
    "mednext_small",
]
Pairs = Iterator[tuple[str, nn.Module]]
PATH = Path("runs/best_model.pth")


def build(
    name: str, seed: int, *, in_channels: int = 1, out_channels: int = 1
) -> SegmentationNetwork:
    torch.manual_seed(seed)
    spec = replace(parse_preset(name).spec, in_channels=in_channels, out_channels=out_channels)
    network = build_network(spec)
    for tensor in network.state_dict().values():
        tensor.copy_(
            torch.rand(tensor.shape) + 0.5
            if tensor.is_floating_point()
            else torch.tensor(17 + seed)
        )
    for module in network.modules():
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
            module.reset_parameters()
    return network.eval()


def units(block: nn.Module, prefix: str, first: int) -> Pairs:
    for index, unit in enumerate(block.children()):
        yield f"{prefix}_conv{index + first}", unit.conv
        yield f"{prefix}_bn{index + first}", unit.norm


def head(network: UNet | UNetPlusPlus) -> Pairs:
    yield "segmenter.seg_conv", network.head[0].conv
    yield "segmenter.seg_bn", network.head[0].norm
    yield "out_conv", network.head[1]


def unet_modules(network: UNet, first: int) -> Pairs:
    *encoders, bottleneck = network.encoders
    for i, encoder in enumerate(encoders):
        yield from units(encoder, f"encoders.{i}.enc{i + first}", first)
    yield from units(bottleneck, "bottleneck.bottleneck", first)
    for i, upsample in enumerate(network.upsamples):
        yield f"upsamples.{i}", upsample
    *decoders, final = network.decoders
    for i, decoder in enumerate(decoders):
        yield from units(decoder, f"decoders.{i}.dec{i + first}", first)
    yield from units(final, f"decoders.{len(decoders)}.dec_final", first)
    yield from head(network)


def unetpp_modules(network: UNetPlusPlus, first: int) -> Pairs:
    for i, encoder in enumerate(network.encoders):
        yield from units(encoder, f"encoders.{i}.enc{i + first}", first)
    num_levels = len(network.encoders)
    for j in range(1, num_levels):
        for i in range(num_levels - j):
            yield f"upsamples.{i}_{j}", network.upsamples[f"{i}_{j}"]
            yield from units(
                network.nested[f"{i}_{j}"], f"nested_blocks.{i}_{j}.node_{i}_{j}", first
            )
    yield from head(network)


def mednext_modules(network: MedNeXt) -> Pairs:
    def parts(block: nn.Module, prefix: str, *more: str) -> Pairs:
        for part in ("conv_dw", "norm", "conv_expand", "conv_compress", *more):
            yield f"{prefix}.{part}", getattr(block, part)

    yield "stem", network.stem
    for s in range(4):
        for b in range(2):
            yield from parts(network.encoders[s][b], f"enc_block_{s}.{b}")
            yield from parts(network.decoders[s][b], f"dec_block_{s}.{b}")
        yield from parts(network.downs[s], f"down_{s}", "res_conv")
        yield from parts(network.ups[s], f"up_{s}", "res_conv")
    for b in range(2):
        yield from parts(network.bottleneck[b], f"bottleneck.{b}")
    yield "out_conv", network.out_conv


def authors_checkpoint(
    network: SegmentationNetwork, *, first: int = 0, prefix: str = ""
) -> dict[str, Any]:
    if isinstance(network, UNet):
        modules = unet_modules(network, first)
    elif isinstance(network, UNetPlusPlus):
        modules = unetpp_modules(network, first)
    else:
        assert isinstance(network, MedNeXt)
        modules = mednext_modules(network)
    weights: dict[str, Tensor] = {
        f"{prefix}{name}.{leaf}": tensor
        for name, module in modules
        for leaf, tensor in module.state_dict().items()
    }
    assert len(weights) == len(network.state_dict())
    return {
        "epoch": 100,
        "model_state_dict": weights,
        "optimizer_state_dict": {"state": {}},
        "best_metric": 0.9,
    }


def message_of(values: dict[str, Any], network: SegmentationNetwork) -> str:
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load_authors_weights(values, network, PATH)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert caught.value.message.startswith(f"{PATH}: ")
    assert "\n" not in caught.value.message
    assert "model.architecture" in caught.value.hint
    return caught.value.message


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("name", NAMES)
def test_loaded_weights_give_the_same_logits(
    name: str, first: int, prefix: str, tmp_path: Path
) -> None:
    trained, fresh = (build(name, seed, in_channels=2, out_channels=3) for seed in (1, 2))
    torch.save(authors_checkpoint(trained, first=first, prefix=prefix), tmp_path / "best_model.pth")
    values = load_values(tmp_path / "best_model.pth")
    assert is_authors_checkpoint(values)
    image = torch.randn(1, 2, 16, 16, 16)
    with torch.no_grad():
        assert not torch.allclose(fresh(image), trained(image))
        load_authors_weights(values, fresh, tmp_path)
        assert torch.equal(fresh(image), trained(image))
    assert all(
        torch.equal(tensor, trained.state_dict()[key]) for key, tensor in fresh.state_dict().items()
    )


def test_units_are_ranked_as_numbers() -> None:
    trained, fresh = build("unet_large_1f", 1), build("unet_large_1f", 2)
    values = authors_checkpoint(trained, first=9)  # conv9, conv10, conv11
    load_authors_weights(values, fresh, PATH)
    assert all(
        torch.equal(tensor, trained.state_dict()[key]) for key, tensor in fresh.state_dict().items()
    )


@pytest.mark.parametrize(
    ("theirs", "ours", "difference"),
    [
        (
            "unet_small_1f",
            "lunet_small_1f",
            "encoders.1.0.conv.weight has shape (2, 1, 3, 3, 3), expected (1, 1, 3, 3, 3)",
        ),
        ("lunet_small_2f", "lunet_small_1f", "encoders.0.0.conv.weight has shape (2, 1, 3, 3, 3)"),
        ("unet_small_2f", "unet_large_2f", "encoders.0.2.conv.weight is missing"),
        ("unet_large_2f", "unet_small_2f", "encoders.3.0.conv.weight is missing"),
        ("unet_small_1f", "unetpp_small_1f", "is missing"),
        ("unetpp_small_1f", "unet_small_1f", "is missing"),
        ("mednext_small", "unet_small_1f", "encoders.0.0.conv.weight is missing"),
        ("unet_small_1f", "mednext_small", "stem.weight is missing"),
    ],
)
def test_another_architecture_is_refused_with_a_difference(
    theirs: str, ours: str, difference: str
) -> None:
    message = message_of(authors_checkpoint(build(theirs, 1)), build(ours, 2))
    assert difference in message
    assert parse_preset(ours).family in message


def test_other_channels_are_refused() -> None:
    values = authors_checkpoint(build("lunet_small_2f", 1, out_channels=3))
    assert "head.1.weight has shape (3, 2, 1, 1, 1), expected (1, 2, 1, 1, 1)" in message_of(
        values, build("lunet_small_2f", 2)
    )


def test_a_lost_tensor_is_named() -> None:
    values = authors_checkpoint(build("lunet_small_2f", 1))
    del values["model_state_dict"]["segmenter.seg_bn.running_var"]
    message = message_of(values, build("lunet_small_2f", 2))
    assert message.endswith("head.0.norm.running_var is missing")


def test_an_unknown_tensor_is_named() -> None:
    values = authors_checkpoint(build("lunet_small_2f", 1))
    values["model_state_dict"]["attention.weight"] = torch.zeros(1)
    assert message_of(values, build("lunet_small_2f", 2)).endswith("attention.weight is unknown")


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"state_dict": {}},
        {"model_state_dict": [1]},
        {"model_state_dict": {"a": 1}},
        {"lunet_format_version": 1},
    ],
    ids=str,
)
def test_other_files_are_not_the_authors(values: dict[str, Any]) -> None:
    assert not is_authors_checkpoint(values)

"""The table of layers beside the networks that are built from it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from lunet_cli.config.layers import (
    IMAGE,
    LOGITS,
    graph_of,
    layers,
    level_widths,
    widths_of,
    with_layers,
)
from lunet_cli.config.network import NetworkSpec
from lunet_cli.config.network_cost import count_parameters, require_buildable
from lunet_cli.config.presets import parse_preset
from lunet_cli.engine.networks import build_meta_network, build_network

# Every topology with one, two and three convolutions per block, and channels that tell axes apart.
SPECS = {
    "unet": NetworkSpec("unet", (3, 4, 5), in_channels=2, out_channels=2, dropout=0.1),
    "lunet": NetworkSpec("lunet", (4, 4, 4, 4), convs_per_block=1, in_channels=2, dropout=0.1),
    "unetpp": NetworkSpec("unetpp", (3, 4, 5, 6), in_channels=2, out_channels=2, dropout=0.1),
    "lunetpp": NetworkSpec("lunetpp", (3, 3, 3), convs_per_block=3, out_channels=3, dropout=0.1),
    "mednext": NetworkSpec(
        "mednext",
        (4, 6, 8),
        in_channels=2,
        out_channels=2,
        dropout=0.1,
        expansion_ratios=(2, 3, 2, 3, 2),
        blocks_per_stage=(1, 2, 1, 2, 1),
    ),
}


def uneven(spec: NetworkSpec) -> NetworkSpec:
    """The same network as pruning leaves it: no two layers alike."""
    widths, dropouts = {}, {}
    for index, layer in enumerate(layers(spec)):
        widths[layer.name] = 1 + index % 5
        if layer.dropout is not None:
            dropouts[layer.name] = index / 100
    return with_layers(spec, widths=widths, dropouts=dropouts)


@pytest.fixture(params=SPECS)
def spec(request: pytest.FixtureRequest) -> NetworkSpec:
    return SPECS[request.param]


@pytest.fixture(params=["even", "uneven"])
def any_spec(request: pytest.FixtureRequest, spec: NetworkSpec) -> NetworkSpec:
    return uneven(spec) if request.param == "uneven" else spec


def channels_of(module: nn.Module) -> tuple[int, int]:
    """Channels that a module reads and makes, as PyTorch has them."""
    if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
        return module.in_channels, module.out_channels
    scale = module.get_parameter("weight")
    return len(scale), len(scale)


def test_every_operation_is_a_module_with_these_channels(any_spec: NetworkSpec) -> None:
    network, graph = build_meta_network(any_spec), graph_of(any_spec)
    for operation in graph.operations.values():
        module = network.get_submodule(operation.module)
        expected = (graph.channels_into(operation.module), graph.width(operation.target))
        assert channels_of(module) == expected, operation.module
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
            assert module.weight[0, 0].numel() == operation.kernel_voxels, operation.module
            assert (module.groups > 1) == (operation.is_depthwise and module.in_channels > 1)
        else:
            assert operation.kernel_voxels == 0, operation.module


def test_every_module_with_weights_is_an_operation(any_spec: NetworkSpec) -> None:
    network = build_meta_network(any_spec)
    owners = {name.rpartition(".")[0] for name, _ in network.named_parameters()}
    assert owners == set(graph_of(any_spec).operations)


def test_every_layer_is_made_and_read(any_spec: NetworkSpec) -> None:
    operations = graph_of(any_spec).operations.values()
    made = {operation.target for operation in operations}
    read = {source for operation in operations for source in operation.sources}
    names = set(widths_of(any_spec))
    assert made == names | {LOGITS}
    assert read == names | {IMAGE}


def test_taps_put_out_the_channels_of_their_layer(any_spec: NetworkSpec) -> None:
    network = build_network(any_spec).eval()
    found: dict[str, tuple[int, ...]] = {}
    for layer in layers(any_spec):
        assert layer.taps, layer.name
        for tap in layer.taps:

            def note(_: nn.Module, __: object, output: torch.Tensor, tap: str = tap) -> None:
                found[tap] = tuple(output.shape)

            network.get_submodule(tap).register_forward_hook(note)
    with torch.no_grad():
        network(torch.zeros(1, any_spec.in_channels, 16, 16, 16))
    for layer in layers(any_spec):
        for tap in layer.taps:
            assert found[tap][1] == layer.width, tap
            # A stride-2 transposed convolution gives 2n - 1 voxels, which its block pads.
            edge = 16 >> layer.level
            assert found[tap][2] in (edge, edge - 1), tap


def test_streams_are_tapped_at_all_that_is_added_up() -> None:
    taps = {layer.name: layer.taps for layer in layers(SPECS["mednext"])}
    assert taps["streams.0"] == (
        "stem",
        "ups.0",
        "encoders.0.0.conv_compress",
        "decoders.0.0.conv_compress",
    )
    assert taps["streams.2"] == ("downs.1", "bottleneck.0.conv_compress")


def test_dropout_of_every_layer_is_built(any_spec: NetworkSpec) -> None:
    network = build_meta_network(any_spec)
    for layer in layers(any_spec):
        if layer.name.startswith("streams."):
            continue
        module = network.get_submodule(layer.name)
        found = None
        if hasattr(module, "dropout"):
            found = module.dropout.p
        elif hasattr(module, "norm"):
            found = module.norm.dropout
        assert (found or None) == (layer.dropout or None), layer.name


def test_parameters_are_counted_as_they_are_built(any_spec: NetworkSpec) -> None:
    built = sum(value.numel() for value in build_meta_network(any_spec).parameters())
    assert count_parameters(any_spec) == built


def test_names_of_the_smallest_networks() -> None:
    """By hand: two levels, of which the last block of the decoder gives a unit to the segmenter."""
    encoders = ["encoders.0.0", "encoders.0.1", "encoders.1.0", "encoders.1.1"]
    ends = ["decoders.0.0", "head.0"]
    assert list(widths_of(NetworkSpec("unet", (2, 3)))) == [*encoders, "upsamples.0", *ends]
    ends = ["nested.0_1.0", "head.0"]
    assert list(widths_of(NetworkSpec("unetpp", (2, 3)))) == [*encoders, "upsamples.0_1", *ends]
    mednext = NetworkSpec("mednext", (2, 3), expansion_ratios=(2, 4, 2), blocks_per_stage=(1, 1, 2))
    assert widths_of(mednext) == {
        "streams.0": 2,
        "streams.1": 3,
        "encoders.0.0": 4,
        "downs.0": 8,
        "bottleneck.0": 12,
        "ups.0": 6,
        "decoders.0.0": 4,
        "decoders.0.1": 4,
    }


def test_layers_read_what_is_concatenated_in_this_order() -> None:
    unet, unetpp = graph_of(SPECS["unet"]), graph_of(SPECS["unetpp"])
    assert unet.operations["decoders.0.0.conv"].sources == ("upsamples.0", "encoders.1.1")
    assert unetpp.operations["nested.0_2.0.conv"].sources == (
        "encoders.0.1",
        "nested.0_1.1",
        "upsamples.0_2",
    )


def test_widths_and_dropouts_come_back(spec: NetworkSpec) -> None:
    first, last = layers(spec)[0], layers(spec)[-1]
    assert with_layers(spec) == replace(
        spec,
        widths=tuple(widths_of(spec).values()),
        dropouts=(0.1,) * sum(layer.dropout is not None for layer in layers(spec)),
    )
    changed = with_layers(spec, widths={last.name: 2})
    changed = with_layers(changed, widths={first.name: 1})
    assert widths_of(changed) == widths_of(spec) | {last.name: 2, first.name: 1}
    pruned = uneven(spec)
    assert with_layers(pruned) == pruned
    for index, layer in enumerate(layers(pruned)):
        assert layer.width == 1 + index % 5
        assert layer.dropout is None or layer.dropout == index / 100
    assert NetworkSpec(**{**spec.__dict__, "widths": pruned.widths}).widths == pruned.widths


@pytest.mark.parametrize("what", ["widths", "dropouts"])
@pytest.mark.parametrize("change", [-1, 1])
def test_another_number_of_values_is_refused(spec: NetworkSpec, what: str, change: int) -> None:
    expected = len(getattr(with_layers(spec), what))
    value = {"widths": 2, "dropouts": 0.5}[what]
    wrong = replace(spec, **{what: (value,) * (expected + change)})
    words = f"{expected + change} {what} where the network has {expected}"
    with pytest.raises(ValueError, match=words):
        layers(wrong)
    with pytest.raises(ValueError, match=words):
        require_buildable(wrong)


def test_level_widths() -> None:
    for name, spec in SPECS.items():
        assert level_widths(spec) == list(spec.channels), name
    unet = with_layers(
        SPECS["unet"],
        widths={"encoders.0.0": 1, "encoders.0.1": 2, "upsamples.1": 1, "decoders.1.0": 1,
                "head.0": 1, "encoders.2.0": 4, "encoders.2.1": 3},
    )  # fmt: skip
    assert level_widths(unet) == [2, 4, 4]
    # What a block expands to is not a channel of its level.
    mednext = with_layers(SPECS["mednext"], widths={"streams.1": 2, "encoders.1.0": 40})
    assert level_widths(mednext) == [4, 2, 8]


def test_widths_of_presets_are_those_of_their_channels() -> None:
    spec = parse_preset("unet_small_4f").spec
    assert set(widths_of(spec).values()) == set(spec.channels)

from __future__ import annotations

import pytest

from lunet_cli.config.presets import named_presets, parse_preset
from lunet_cli.errors import ConfigError


def test_the_named_presets_are_the_published_ones_in_their_order(facts) -> None:
    assert [preset.name for preset in named_presets()] == list(facts)
    assert len(facts) == 29


@pytest.mark.parametrize(
    ("name", "family", "size", "channels", "convs_per_block"),
    [
        ("unet_small_4f", "unet", "small", (4, 8, 16, 32, 64), 2),
        ("lunet_small_4f", "lunet", "small", (4, 4, 4, 4, 4), 2),
        ("unetpp_large_6f", "unetpp", "large", (6, 12, 24, 48), 3),
        ("lunetpp_large_24f", "lunetpp", "large", (24, 24, 24, 24), 3),
    ],
)
def test_name_tells_the_network(
    name: str, family: str, size: str, channels: tuple[int, ...], convs_per_block: int
) -> None:
    preset = parse_preset(name)
    assert (preset.name, preset.family, preset.size) == (name, family, size)
    assert (preset.spec.family, preset.spec.channels, preset.spec.convs_per_block) == (
        family,
        channels,
        convs_per_block,
    )
    assert (preset.spec.in_channels, preset.spec.out_channels) == (1, 1)


@pytest.mark.parametrize("base", [1, 5, 7, 10, 16, 100, 999])
def test_every_number_of_base_channels_is_a_name(base: int) -> None:
    assert parse_preset(f"lunet_small_{base}f").spec.channels == (base,) * 5
    assert parse_preset(f"unet_large_{base}f").spec.channels == (base, 2 * base, 4 * base, 8 * base)
    assert parse_preset(f"unetpp_small_{base}f").spec.channels == (
        base,
        2 * base,
        4 * base,
        8 * base,
        16 * base,
    )
    assert parse_preset(f"lunetpp_large_{base}f").spec.channels == (base,) * 4


def test_small_mednext_has_four_base_channels_and_two_blocks_in_each_of_nine_stages() -> None:
    spec = parse_preset("mednext_small").spec
    assert spec.channels == (4, 8, 16, 32, 64)
    assert spec.expansion_ratios == spec.blocks_per_stage == (2,) * 9
    assert spec.kernel_size == 3


@pytest.mark.parametrize("size", ["s", "b", "m", "l"])
def test_official_mednext_has_32_base_channels_and_either_kernel(size: str) -> None:
    usual, large = parse_preset(f"mednext_{size}").spec, parse_preset(f"mednext_{size}_k5").spec
    assert usual.channels == large.channels == (32, 64, 128, 256, 512)
    assert (usual.kernel_size, large.kernel_size) == (3, 5)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "lunet",
        "lunet_small",
        "lunet_small_4",
        "lunet_small_f",
        "lunet_small_0f",
        "lunet_small_04f",
        "lunet_small_-4f",
        "lunet_small_4.5f",
        "lunet_small_٤f",
        "lunet_small_4f_k5",
        "lunet_medium_4f",
        "vnet_small_4f",
        "LUNet_small_4f",
        " lunet_small_4f",
        "lunet_small_4f\n",
        "mednext",
        "mednext_large",
        "mednext_4f",
        "mednext_s_k7",
    ],
)
def test_other_names_are_refused_with_the_grammar(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_preset(name)
    assert f"'{name}' is not a preset" in caught.value.message
    assert "{unet|lunet|unetpp|lunetpp}_{small|large}_{N}f" in caught.value.hint
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("lunet_smal_4f", "lunet_small_4f"),
        ("lunet-small-4f", "lunet_small_4f"),
        ("LUNET_SMALL_4F", "lunet_small_4f"),
        ("unet_large_24", "unet_large_24f"),
        ("lunetp_large_6f", "lunetpp_large_6f"),
        ("mednext_smal", "mednext_small"),
        ("mednext_xl", "mednext_l"),
    ],
)
def test_closest_name_is_offered_first(typed: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=rf"Did you mean {meant}[,?]"):
        parse_preset(typed)


def test_a_name_like_no_other_points_at_the_list() -> None:
    with pytest.raises(ConfigError, match="`lunet presets list` shows all names"):
        parse_preset("zzz")

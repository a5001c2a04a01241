from __future__ import annotations

import pytest

from lunet_cli.config.lean import lean_counterpart
from lunet_cli.config.network_cost import count_parameters
from lunet_cli.config.presets import parse_preset
from lunet_cli.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "budget", "lean"),
    [
        ("unet_small_4f", 9_929, "lunet_small_4f"),
        ("unet_small_4f", 9_928, "lunet_small_3f"),
        ("lunet_small_16f", 686, "lunet_small_1f"),
        ("unet_large_6f", 94_009, "lunet_large_12f"),
        ("unetpp_small_1f", 22_961, "lunetpp_small_4f"),
        ("lunetpp_large_24f", 160_032, "lunetpp_large_11f"),
    ],
)
def test_published_parameters_are_a_budget_of_their_network(
    name: str, budget: int, lean: str
) -> None:
    assert lean_counterpart(parse_preset(name), budget).name == lean


def test_none_between_the_chosen_one_and_the_budget() -> None:
    lean = lean_counterpart(parse_preset("unet_small_4f"), 50_000, in_channels=2, out_channels=3)
    (width,) = set(lean.spec.channels)
    wider = lean_counterpart(parse_preset("unet_small_4f"), 10**12).spec
    assert (lean.spec.in_channels, lean.spec.out_channels) == (2, 3)
    assert wider.channels == (9999,) * 5
    spec = parse_preset(f"lunet_small_{width + 1}f").spec
    assert count_parameters(lean.spec) <= 50_000 < count_parameters(spec)


def test_what_cannot_be_flat_or_small_enough_is_told() -> None:
    with pytest.raises(ConfigError, match=r"^`parameters=685`: lunet_small_1f.* has 686 param"):
        lean_counterpart(parse_preset("unet_small_4f"), 685)
    with pytest.raises(ConfigError, match=r"^mednext_small: mednext has no flat counterpart$"):
        lean_counterpart(parse_preset("mednext_small"), 10**6)

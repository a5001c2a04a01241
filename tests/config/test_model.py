from __future__ import annotations

import pytest

from lunet_cli.config.fit import network_spec
from lunet_cli.config.load import load_config
from lunet_cli.config.network_cost import count_parameters
from lunet_cli.errors import ConfigError

# Two convolutions on each of five levels; then per level above the deepest an upsampling and two
# convolutions, of which the shallowest has one, and the segmenter.
UNET_1F = [1, 1, 2, 2, 4, 4, 8, 8, 16, 16, 8, 8, 8, 4, 4, 4, 2, 2, 2, 1, 1, 1]


def settings(widths: object) -> list[str]:
    return ["model.architecture=unet_small_1f", f"model.widths={widths}"]


def test_widths_replace_those_of_the_architecture() -> None:
    def parameters(widths: object) -> int:
        config = load_config(None, settings(widths))
        return count_parameters(network_spec(config, in_channels=1, out_channels=1))

    assert parameters("null") == parameters(UNET_1F) == 22_362
    narrower = [*UNET_1F]
    narrower[9] -= 1  # the second convolution of the bottleneck
    # Its kernels over 16 channels with a bias, its normalisation, and 2 x 2 x 2 voxels of the
    # upsampling to 8 channels.
    assert parameters(narrower) == 22_362 - (16 * 27 + 1) - 2 - 8 * 8


def test_another_number_of_widths_than_of_layers_is_told() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, settings([1, 2, 3]))
    assert caught.value.message == (
        "--set model.widths=[1, 2, 3]: model.widths: there are 3, and unet_small_1f has 22 layers"
    )


@pytest.mark.parametrize("widths", [[], [0] * 22, [1.5] * 22, ["a"] * 22, 4])
def test_what_is_no_list_of_widths_is_refused(widths: object) -> None:
    with pytest.raises(ConfigError, match=r"model\.widths"):
        load_config(None, settings(widths))


def test_an_unknown_architecture_is_the_only_mistake() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, ["model.architecture=unet_smal_1f", "model.widths=[1]"])
    assert len(caught.value.lines) == 1

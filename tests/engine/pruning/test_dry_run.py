"""What a pruning could remove, told before."""

from __future__ import annotations

from pathlib import Path

import pytest

from lunet_cli.config.load import load_config
from lunet_cli.engine.pruning.dry_run import dry_run
from lunet_cli.errors import ConfigError

UNET = ["model.architecture=unet_small_1f", "labels={a: 1}"]


def test_protected_layers_keep_all_and_others_one_channel() -> None:
    forecast = dry_run(load_config(None, [*UNET, "pruning.steps=7", "pruning.channels_per_step=3"]))
    assert (forecast.parameters, forecast.num_wanted) == (22_362, 21)
    by_name = {layer.name: layer for layer in forecast.layers}
    assert len(by_name) == 22
    assert by_name["encoders.4.1"].num_removable == 15
    assert by_name["upsamples.0"].num_removable == by_name["head.0"].num_removable == 0
    free = dry_run(load_config(None, [*UNET, "pruning.protect=[]"]))
    # What is left of a U-Net whose layers have one channel each is the LUNet of one channel.
    assert free.least_parameters == 686


def test_a_share_is_taken_of_what_is_left() -> None:
    halves = ["pruning.protect=[]", "pruning.channels_per_step=0.5", "pruning.steps=2"]
    # 107 channels in 22 layers: 42 of the 85 that can go, then 22 of 43.
    assert dry_run(load_config(None, [*UNET, *halves])).num_wanted == 64
    assert dry_run(load_config(None, [*UNET, *halves[:2]])).num_wanted == 85
    # More than there are: 85 in steps of 9 are ten.
    nines = ["pruning.protect=[]", "pruning.channels_per_step=9"]
    assert dry_run(load_config(None, [*UNET, *nines, "pruning.steps=9"])).num_wanted == 81
    assert dry_run(load_config(None, [*UNET, *nines, "pruning.steps=99"])).num_wanted == 85


def test_a_control_removes_nothing() -> None:
    assert dry_run(load_config(None, [*UNET, "pruning.strategy=none"])).num_wanted == 0


def test_a_run_has_the_channels_of_its_data(trained_run: Path) -> None:
    config = load_config(trained_run / "config.yaml")
    forecast = dry_run(config, trained_run)
    assert forecast.parameters > dry_run(load_config(None, ["labels={a: 1}"])).parameters


def test_a_pattern_of_no_layer_is_told() -> None:
    with pytest.raises(ConfigError, match=r"^pruning\.protect: 'encoder\.\*' fits no layer"):
        dry_run(load_config(None, [*UNET, 'pruning.protect=["encoder.*"]']))


def test_it_refuses_what_the_pruning_would() -> None:
    with pytest.raises(ConfigError, match=r"^pruning\.min_parameters: 22,362, and the network has"):
        dry_run(load_config(None, [*UNET, "pruning.min_parameters=22362"]))

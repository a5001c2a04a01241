from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lunet_cli.config.options import BenchOptions
from lunet_cli.config.presets import parse_preset
from lunet_cli.engine.benchmarking.plan import plan_rows
from lunet_cli.engine.benchmarking.targets import find_targets
from lunet_cli.engine.networks import build_network, count_parameters
from lunet_cli.errors import ConfigError


def test_all_presets_and_families() -> None:
    assert len(find_targets(BenchOptions(all_presets=True))) == 29
    options = BenchOptions(architectures=("lunet_small_1f",), families=("mednext", "lunet"))
    assert len(find_targets(options)) == 8, "a preset that is named twice is measured once"


def test_name_of_an_authors_checkpoint_is_not_a_row_of_its_own(tmp_path: Path) -> None:
    """Their files do not say what they hold: the preset beside it does."""
    network = build_network(parse_preset("mednext_small").spec)
    theirs = {}
    for name, tensor in network.state_dict().items():
        for ours, authors in (("encoders.", "enc_block_"), ("downs.", "down_"), ("ups.", "up_")):
            name = name.replace(ours, authors)
        theirs[name.replace("decoders.", "dec_block_")] = tensor
    torch.save(theirs, tmp_path / "theirs.pt")
    options = BenchOptions(
        targets=(tmp_path / "theirs.pt",), architectures=("lunet_small_1f", "mednext_small")
    )
    found = [(target.arch, target.needs_arch) for target in find_targets(options)]
    assert found == [("mednext_small", True), ("lunet_small_1f", False)]


def test_configuration_that_contradicts_itself(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("model:\n  in_channels: 2\nbenchmark:\n  input_size: [1, 1, 64, 64, 64]\n")
    with pytest.raises(ConfigError, match=r"input_size has 1 channel, and model\.in_channels is 2"):
        find_targets(BenchOptions(targets=(config,)))


def test_checkpoint_keeps_its_channels(tmp_path: Path, make_threshold_model) -> None:
    path = make_threshold_model(tmp_path / "m.pt", thresholds=(1.0, 2.0), in_channels=2)
    plan = plan_rows(BenchOptions(targets=(path,), sizes=((16, 16, 16),)))[0][0].plan
    assert (plan.shape, plan.target.spec.out_channels, plan.target.path) == (
        (1, 2, 16, 16, 16),
        2,
        path,
    )
    with pytest.raises(
        ConfigError, match=r"`channels=1`: .*m\.pt has 2 image and 2 output channels"
    ):
        plan_rows(BenchOptions(targets=(path,), channels=(1,)))
    with pytest.raises(ConfigError, match=r"`classes=5`: "):
        plan_rows(BenchOptions(targets=(path,), channels=(2,), classes=(5,)))


def test_widths_of_a_configuration_are_measured(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    widths = (1,) * 22
    config.write_text(
        f"model:\n  architecture: unet_small_4f\n  widths: {list(widths)}\n", encoding="utf-8"
    )
    (target,) = find_targets(BenchOptions(targets=(config,)))
    assert target.spec.widths == widths
    # As the flat network of one channel per layer.
    assert count_parameters(target.load()) == count_parameters(
        build_network(parse_preset("lunet_small_1f").spec)
    )

"""From runs, configurations and presets to the flat network beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

from lunet_cli.config.load import dump_yaml, load_config
from lunet_cli.engine.pruning.leaning import lean_config
from lunet_cli.engine.run_folder import RunFolder
from lunet_cli.errors import ConfigError


def test_a_preset_has_its_published_parameters_as_budget() -> None:
    lean = lean_config(Path("unet_small_4f"))
    assert (lean.budget, lean.origin) == (353_949, "those of unet_small_4f")
    assert lean.config.model.architecture == "lunet_small_24f"
    assert lean.config.experiment.name == "unet_small_4f_lean"
    assert lean_config(Path("unet_small_4f"), 9_929).parameters == 9_929


def test_a_configuration_keeps_all_but_network_name_and_pruning(tmp_path: Path) -> None:
    settings = [
        "model.architecture=unet_small_1f",
        f"model.widths={[1] * 22}",
        "experiment.name=mine",
        "labels={a: 1, b: 2}",
        "training.epochs=7",
        "pruning.steps=3",
    ]
    (tmp_path / "mine.yaml").write_text(dump_yaml(load_config(None, settings)), encoding="utf-8")
    lean = lean_config(tmp_path / "mine.yaml", 5_000)
    expected = ["model.architecture=lunet_small_2f", "experiment.name=mine_lean"]
    assert lean.config == load_config(None, [*settings[3:5], *expected])
    assert (lean.spec.out_channels, lean.origin) == (3, "as asked")  # a softmax over both labels
    # Of the widths in the file, not of the architecture: a flat network of one channel.
    assert lean_config(tmp_path / "mine.yaml").config.model.architecture == "lunet_small_1f"


def test_of_a_pruning_the_chosen_step_is_the_budget(tmp_path: Path, pruning_steps) -> None:
    folder = RunFolder(tmp_path)
    folder.write_pruning(pruning_steps(0.01, 0.005, -0.1))
    folder.write_config(load_config(None, ["model.architecture=unet_small_4f", "labels={a: 1}"]))
    lean = lean_config(tmp_path)
    assert (lean.budget, lean.config.model.architecture) == (800, "lunet_small_1f")
    assert lean.origin == f"those of step 2 of {tmp_path}"


def test_what_is_not_there_is_told_with_the_nearest_names(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a run folder, a configuration or a preset"):
        lean_config(Path("unet_smal_4f"))
    with pytest.raises(ConfigError, match="there is no such file"):
        lean_config(tmp_path)

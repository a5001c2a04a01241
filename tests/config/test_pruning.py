from __future__ import annotations

import pytest

from lunet_cli.config.load import load_config
from lunet_cli.config.pruning import PruningConfig
from lunet_cli.errors import ConfigError


def test_defaults_are_those_of_stamp() -> None:
    pruning = load_config(None).pruning
    assert pruning == PruningConfig()
    # Dinsdale et al. 2022: Taylor scores over the L2 norm of their layer, b_drop 0.1, one channel
    # at a time.
    assert (pruning.strategy, pruning.criterion, pruning.normalization) == (
        "stamp",
        "taylor",
        "layer-l2",
    )
    assert (pruning.channels_per_step, pruning.targeted_dropout) == (1, 0.1)
    assert pruning.protect is None  # up-convolutions and the segmenter


@pytest.mark.parametrize(
    ("setting", "mistake"),
    [
        ("strategy=stmp", "expected one of stamp, random-in-layer"),
        ("criterion=l3", "'l3'"),
        ("channels_per_step=0", "0"),
        ("channels_per_step=1.5", "expected a whole number, found 1.5"),
        ("reference=first", "expected one of best, unpruned"),
        ("recovery_epochs=-1", "-1"),
        ("scoring_batches=0", "0"),
        ("targeted_dropout=1", "1"),
        ("margin=-0.1", "-0.1"),
        ("margin=true", "true"),
        ("min_parameters=0", "0"),
        ('protect=[""]', "protect"),
        ("distillation=-1", "-1"),
        ("stepps=3", "Did you mean 'steps'?"),
    ],
)
def test_what_cannot_be_meant_is_told_with_its_key(setting: str, mistake: str) -> None:
    key = setting.partition("=")[0]
    with pytest.raises(ConfigError) as caught:
        load_config(None, [f"pruning.{setting}"])
    (line,) = caught.value.lines
    assert f"pruning.{key}" in line
    assert mistake in line


def test_an_empty_section_and_lists_of_yaml_are_read() -> None:
    assert load_config(None, ["pruning=null"]).pruning == PruningConfig()
    assert load_config(None, ["pruning.protect=[]"]).pruning.protect == ()


def test_a_number_of_channels_below_one_is_a_share() -> None:
    assert load_config(None, ["pruning.channels_per_step=0.1"]).pruning.channels_per_step == 0.1
    whole = load_config(None, ["pruning.channels_per_step=3"]).pruning.channels_per_step
    assert (whole, type(whole)) == (3, int)

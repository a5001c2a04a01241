from __future__ import annotations

from typing import get_args

import pytest

from lunet_cli.config.labels import Activation
from lunet_cli.config.load import load_config
from lunet_cli.config.training import FITTING_LOSSES, LossName, fitting_loss
from lunet_cli.errors import ConfigError


@pytest.mark.parametrize("activation", get_args(Activation))
@pytest.mark.parametrize("name", get_args(LossName))
def test_a_loss_fits_the_activation_or_is_refused(name: LossName, activation: Activation) -> None:
    overrides = [f"training.loss.name={name}", f"model.activation={activation}"]
    if name == "auto":
        assert fitting_loss(name, activation) in ("dice_ce", "dice_bce")
    elif name in FITTING_LOSSES[activation]:
        assert fitting_loss(name, activation) == name
        load_config(None, overrides)
    else:
        with pytest.raises(ConfigError, match=rf"^training.loss.name: {name} needs ") as caught:
            fitting_loss(name, activation)
        (other,) = set(FITTING_LOSSES) - {activation}
        assert caught.value.hint.endswith(f"model.activation: {other}.")
        with pytest.raises(ConfigError, match=rf": training.loss.name: {name} needs "):
            load_config(None, overrides)


def test_a_cross_entropy_of_classes_needs_a_softmax_and_a_binary_one_a_sigmoid() -> None:
    assert {"ce", "dice_ce"}.isdisjoint(FITTING_LOSSES["sigmoid"])
    assert {"bce", "dice_bce"}.isdisjoint(FITTING_LOSSES["softmax"])

from __future__ import annotations

from typing import Any

import pytest

from lunet_cli.config.labels import MOST_OVERLAPPING_REGIONS, Regions, resolve_regions
from lunet_cli.errors import ConfigError

TWO = {"a": (1,), "b": (2,)}


def resolve(
    configured: dict[str, list[int]] | None = None,
    known: Regions | None = None,
    activation: Any = "auto",
    out_channels: int | None = None,
) -> tuple[Regions, str]:
    return resolve_regions(configured, known, activation=activation, out_channels=out_channels)


@pytest.mark.parametrize(
    ("found", "regions", "activation"),
    [
        (resolve(), {"foreground": (1,)}, "sigmoid"),
        (resolve({"liver": [1]}), {"liver": (1,)}, "sigmoid"),
        (resolve(known=TWO), TWO, "softmax"),
        (resolve({"x": [3], "y": [4]}, known=TWO), {"x": (3,), "y": (4,)}, "softmax"),
        # overlapping labels cannot exclude each other
        (
            resolve({"whole": [1, 2], "core": [2]}),
            {"whole": (1, 2), "core": (2,)},
            "sigmoid",
        ),
        # no channel is left for the background
        (resolve(known=TWO, out_channels=2), TWO, "sigmoid"),
        (resolve(known=TWO, out_channels=3), TWO, "softmax"),
        # one channel for all that the data set names
        (resolve(known=TWO, out_channels=1), {"foreground": (1, 2)}, "sigmoid"),
        (resolve(known=TWO, activation="sigmoid"), TWO, "sigmoid"),
    ],
)
def test_labels_and_activation_follow_from_each_other(
    found: tuple[Regions, str], regions: Regions, activation: str
) -> None:
    assert found == (regions, activation)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            {"configured": {"whole": [1, 2], "core": [2]}, "activation": "softmax"},
            "model.activation: softmax needs labels that share no value",
        ),
        (
            {"known": TWO, "out_channels": 4},
            "model.out_channels: 4 does not fit 2 labels (a, b) with softmax, which need 3 "
            "(one per label and the background)",
        ),
        (
            {"configured": {"a": [1], "b": [2]}, "out_channels": 1},
            "model.out_channels: 1 does not fit 2 labels (a, b) with softmax, which need 3",
        ),
        (
            {"known": TWO, "activation": "sigmoid", "out_channels": 3},
            "model.out_channels: 3 does not fit 2 labels (a, b) with sigmoid, which need 2 "
            "(one per label)",
        ),
        (
            {
                "configured": {f"r{i}": [1] for i in range(MOST_OVERLAPPING_REGIONS + 1)},
            },
            "labels: 64 overlapping labels are more than the 63 possible",
        ),
    ],
)
def test_what_does_not_fit_is_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(**arguments)
    assert caught.value.message.startswith(words)

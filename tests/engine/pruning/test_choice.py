from __future__ import annotations

from collections import Counter
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from lunet_cli.config.layers import Layer
from lunet_cli.config.pruning import Strategy
from lunet_cli.engine.pruning.choice import (
    Choice,
    choose_channels,
    generator_of_step,
    normalize,
    protected_layers,
    targeted_dropouts,
)
from lunet_cli.errors import ConfigError


def layer(name: str, width: int, dropout: float | None = 0.1) -> Layer:
    return Layer(name=name, level=0, width=width, dropout=dropout, taps=())


def scores_of(**values: list[float]) -> dict[str, Tensor]:
    return {name: torch.tensor(scores, dtype=torch.float64) for name, scores in values.items()}


LAYERS = [layer("a", 2), layer("b", 3), layer("c", 3)]
SCORES = scores_of(a=[0.1, 0.9], b=[0.8, 0.2, 0.3], c=[0.7, 0.4, 0.5])


def choose(
    strategy: Strategy,
    count: int = 1,
    *,
    layers: list[Layer] = LAYERS,
    scores: dict[str, Tensor] = SCORES,
    protected: tuple[str, ...] = (),
    seed: int = 0,
) -> list[Choice]:
    return choose_channels(
        scores,
        layers,
        strategy=strategy,
        count=count,
        protected=protected,
        generator=generator_of_step(seed, 0),
    )


def test_layers_are_normalised_by_their_l2_norm() -> None:
    found = normalize(scores_of(a=[3, 4], b=[0, 0], c=[5]), "layer-l2")
    assert found["a"].tolist() == pytest.approx([0.6, 0.8])
    assert found["b"].tolist() == [0, 0]
    assert found["c"].tolist() == [1]


def test_tiny_scores_are_normalised_too() -> None:
    # Their squares are zero in float64.
    found = normalize(scores_of(a=[3e-200, 4e-200]), "layer-l2")
    assert found["a"].tolist() == pytest.approx([0.6, 0.8])


def test_no_normalisation_changes_nothing() -> None:
    assert normalize(SCORES, "none") == SCORES


def test_stamp_takes_the_lowest_scores_of_the_network() -> None:
    assert choose("stamp", 3) == [
        Choice("a", 0, 0.1),
        Choice("b", 1, 0.2),
        Choice("b", 2, 0.3),
    ]


def test_stamp_leaves_the_last_channel_of_a_layer() -> None:
    chosen = choose("stamp", 100)
    # Of eight channels, each of the three layers keeps its best.
    assert [(one.layer, one.channel) for one in chosen] == [
        ("a", 0),
        ("b", 1),
        ("b", 2),
        ("c", 1),
        ("c", 2),
    ]


def test_of_equal_scores_the_earlier_layer_and_channel_goes_first() -> None:
    equal = scores_of(a=[0, 0], b=[0, 0, 0], c=[0, 0, 0])
    assert [(one.layer, one.channel) for one in choose("stamp", 4, scores=equal)] == [
        ("a", 0),
        ("b", 0),
        ("b", 1),
        ("c", 0),
    ]


def test_random_in_layer_keeps_to_the_layers_of_stamp() -> None:
    layers = [layer("a", 2), layer("b", 40), layer("c", 3)]
    scores = SCORES | scores_of(b=np.linspace(0.11, 0.2, 40).tolist())
    seen = set()
    for seed in range(20):
        chosen = choose("random-in-layer", 3, layers=layers, scores=scores, seed=seed)
        assert [one.layer for one in chosen] == ["a", "b", "b"]
        channels = {one.channel for one in chosen if one.layer == "b"}
        assert len(channels) == 2
        seen |= channels
        assert all(one.score == scores[one.layer][one.channel] for one in chosen)
    assert len(seen) > 20


def test_random_in_layer_never_takes_a_channel_twice() -> None:
    for seed in range(20):
        chosen = choose("random-in-layer", 100, seed=seed)
        assert len(chosen) == len({(one.layer, one.channel) for one in chosen}) == 5
        assert Counter(one.layer for one in chosen) == {"a": 1, "b": 2, "c": 2}


def test_random_in_largest_flattens_the_widths() -> None:
    layers = [layer("a", 2), layer("b", 5), layer("c", 3)]
    scores = scores_of(a=[0] * 2, b=[0] * 5, c=[0] * 3)
    for seed in range(20):
        chosen = choose("random-in-largest", 5, layers=layers, scores=scores, seed=seed)
        # 2, 5, 3; then 4 and 3 of b; then one of b and c each; then one of all.
        assert [one.layer for one in chosen[:2]] == ["b", "b"]
        assert {one.layer for one in chosen[2:4]} == {"b", "c"}
        assert len({(one.layer, one.channel) for one in chosen}) == 5


def test_random_in_largest_takes_every_layer_and_channel_equally_often() -> None:
    found = Counter((one.layer, one.channel) for s in range(600) for one in choose(
        "random-in-largest", seed=s))  # fmt: skip
    # b and c are equally wide: each of six channels is taken 100 times, with a spread of 9.
    assert set(found) == {(name, channel) for name in "bc" for channel in range(3)}
    assert all(60 < number < 140 for number in found.values())


def test_largest_l1_takes_the_lowest_score_of_the_widest_layer() -> None:
    layers = [layer("a", 2), layer("b", 3), layer("c", 2)]
    scores = SCORES | scores_of(c=[0.01, 0.02])
    assert choose("largest-l1", layers=layers, scores=scores) == [Choice("b", 1, 0.2)]
    # Then all have two channels: one of each goes, in a random order.
    later = choose("largest-l1", 4, layers=layers, scores=scores)[1:]
    assert {(one.layer, one.channel) for one in later} == {("a", 0), ("b", 2), ("c", 0)}


@pytest.mark.parametrize("strategy", get_args(Strategy))
def test_protected_layers_are_left_alone(strategy: Strategy) -> None:
    for seed in range(10):
        chosen = choose(strategy, 100, protected=("b",), seed=seed)
        assert len(chosen) == (0 if strategy == "none" else 3)
        assert not any(one.layer == "b" for one in chosen)
    assert choose(strategy, protected=("a", "b", "c")) == []


@pytest.mark.parametrize("strategy", get_args(Strategy))
def test_where_nothing_is_left_nothing_is_chosen(strategy: Strategy) -> None:
    narrow = [layer(name, 1) for name in "abc"]
    assert choose(strategy, 3, layers=narrow, scores=scores_of(a=[0], b=[0], c=[0])) == []
    assert choose(strategy, layers=[], scores={}) == []


@pytest.mark.parametrize("strategy", get_args(Strategy))
def test_the_same_seed_and_step_choose_the_same(strategy: Strategy) -> None:
    assert choose(strategy, 5, seed=3) == choose(strategy, 5, seed=3)


def test_choosing_changes_no_score() -> None:
    before = {name: values.clone() for name, values in SCORES.items()}
    for strategy in get_args(Strategy):
        choose(strategy, 5)
    assert all(torch.equal(SCORES[name], values) for name, values in before.items())


def test_steps_and_seeds_have_generators_of_their_own() -> None:
    # [0, 1] without more is what the training draws the order of epoch 1 from.
    generators = [generator_of_step(*key) for key in ((0, 1), (0, 2), (1, 1))]
    generators.append(np.random.default_rng([0, 1]))
    assert len({generator.random() for generator in generators}) == 4
    assert generator_of_step(0, 1).random() == generator_of_step(0, 1).random()


NAMES = ("encoders.0.0", "encoders.0.1", "decoders.0.0", "upsamples.0", "head.0")


def test_patterns_protect_layers() -> None:
    layers = [layer(name, 2) for name in NAMES]
    assert protected_layers(layers, []) == frozenset()
    assert protected_layers(layers, ["upsamples.*", "*coders.0.0", "head.0"]) == {
        "upsamples.0",
        "encoders.0.0",
        "decoders.0.0",
        "head.0",
    }


def test_a_pattern_that_fits_no_layer_is_told() -> None:
    layers = [layer(name, 2) for name in NAMES]
    with pytest.raises(ConfigError) as caught:
        protected_layers(layers, ["head.*", "upsample.*"])
    assert str(caught.value) == (
        "pruning.protect: 'upsample.*' fits no layer. Did you mean upsamples.0?"
    )
    assert caught.value.hint == (
        "Layers of this network are encoders.*, decoders.*, upsamples.*, head.*."
    )


def test_targeted_dropout_by_hand() -> None:
    # From the lowest: a0 7, b1 6, b2 5, c1 4, c2 3, c0 2, b0 1, a1 0.
    found = targeted_dropouts(SCORES, LAYERS, strongest=0.1)
    largest = (6 + 5 + 1) / 3
    assert found == pytest.approx({
        "a": 0.1 * (7 / 2) / largest,
        "b": 0.1,
        "c": 0.1 * (4 + 3 + 2) / 3 / largest,
    })  # fmt: skip


def test_equal_scores_share_their_points() -> None:
    # Points 3, 2, 1, 0: the lowest gets 3, the other three 1 each.
    layers = [layer("a", 2), layer("b", 2)]
    found = targeted_dropouts(scores_of(a=[0, 5], b=[5, 5]), layers, strongest=0.2)
    assert found == pytest.approx({"a": 0.2, "b": 0.2 * 1 / 2})


def test_layers_without_dropout_have_no_points() -> None:
    layers = [layer("a", 2), layer("head", 3, dropout=None), layer("b", 2, dropout=0.0)]
    scores = scores_of(a=[4, 1], head=[0, 0, 0], b=[2, 3])
    # Of the four channels of a and b: 0 and 3, 2 and 1.
    assert targeted_dropouts(scores, layers, strongest=0.1) == pytest.approx({"a": 0.1, "b": 0.1})
    assert targeted_dropouts(scores, [layers[1]], strongest=0.1) == {}


def test_a_single_channel_needs_no_dropout() -> None:
    assert targeted_dropouts(scores_of(a=[1]), [layer("a", 1)], strongest=0.1) == {"a": 0.0}

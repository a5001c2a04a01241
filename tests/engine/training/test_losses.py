from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lunet_cli.config.labels import Activation
from lunet_cli.config.training import FITTING_LOSSES, LossConfig, LossName
from lunet_cli.engine.training.losses import (
    LOSSES,
    binary_cross_entropy,
    cross_entropy,
    make_loss,
    soft_dice_loss,
)
from lunet_cli.errors import ConfigError

FITTING: list[tuple[LossName, Activation]] = [
    (name, activation) for activation, names in FITTING_LOSSES.items() for name in names
]


def test_every_loss_is_computed_by_a_function_of_its_own() -> None:
    assert set(LOSSES) == set(get_args(LossName)) - {"auto"}
    assert len(set(LOSSES.values())) == len(LOSSES)
    assert {name for name, _ in FITTING} == set(LOSSES)


def line(*channels: list[float]) -> Tensor:
    return torch.tensor(channels).view(1, len(channels), 1, 1, -1)


def one_hot(classes: Tensor, num_classes: int) -> Tensor:
    return F.one_hot(classes, num_classes).permute(0, 4, 1, 2, 3)


def random_case(activation: Activation) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 4, 5, 6)
    if activation == "softmax":
        return logits, one_hot(torch.randint(3, (2, 4, 5, 6)), 3).bool()
    return logits, torch.rand(logits.shape) > 0.6


def test_dice_by_hand() -> None:
    logits, target = line([0.0, math.log(3)]), line([1.0, 0.0])
    # Probabilities 1/2 and 3/4: twice the overlap 1/2 over the sum 5/4 + 1.
    assert soft_dice_loss(logits, target, "sigmoid").item() == pytest.approx(1 - 1 / 2.25)


def test_dice_is_averaged_over_channels() -> None:
    logits = line([0.0, math.log(3)], [0.0, 0.0])
    target = line([1.0, 0.0], [1.0, 1.0])
    # The second channel: twice the overlap 1 over the sum 1 + 2.
    assert soft_dice_loss(logits, target, "sigmoid").item() == pytest.approx(
        1 - (1 / 2.25 + 2 / 3) / 2
    )


def test_dice_of_each_sample_by_hand() -> None:
    logits = torch.tensor([0.0, math.log(3)]).view(2, 1, 1, 1, 1)
    target = torch.tensor([1.0, 0.0]).view(2, 1, 1, 1, 1)
    # Twice 1/2 over 1/2 + 1, and nothing over 3/4.
    config = LossConfig(name="dice", batch_dice=False)
    value = make_loss(config, "sigmoid")(logits, target.bool()).item()
    assert value == pytest.approx(1 - (2 / 3 + 0) / 2)


@pytest.mark.parametrize("batch_dice", [True, False])
def test_labels_count_by_their_weights(batch_dice: bool) -> None:
    logits = line([0.0, math.log(3)], [0.0, 0.0])
    target = line([1.0, 0.0], [1.0, 1.0]).bool()
    config = LossConfig(name="dice", label_weights={"rare": 3}, batch_dice=batch_dice)
    value = make_loss(config, "sigmoid", ["rare", "large"])(logits, target).item()
    assert value == pytest.approx(1 - (0.75 / 2.25 + 0.25 * 2 / 3))


def test_weights_need_their_labels() -> None:
    config = LossConfig(label_weights={"liver": 1})
    with pytest.raises(ConfigError, match="there is no label liver") as caught:
        make_loss(config, "sigmoid", ["anterior", "posterior"])
    assert "anterior, posterior" in caught.value.hint
    config = LossConfig(label_weights={"anterior": 0})
    with pytest.raises(ConfigError, match="all are 0"):
        make_loss(config, "sigmoid", ["anterior"])


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_focal_cross_entropies_by_hand(gamma: float) -> None:
    logits, target = line([0.0, math.log(3)]), line([1.0, 0.0])
    # What is right has the probabilities 1/2 and 1/4.
    expected = (0.5**gamma * math.log(2) + 0.75**gamma * math.log(4)) / 2
    assert binary_cross_entropy(logits, target, gamma=gamma).item() == pytest.approx(expected)
    logits, target = line([0.0, 0.0], [0.0, math.log(3)]), line([1.0, 1.0], [0.0, 0.0])
    assert cross_entropy(logits, target, gamma=gamma).item() == pytest.approx(expected)


@pytest.mark.parametrize(("name", "activation"), FITTING)
@pytest.mark.parametrize("gamma", [0, 2])
def test_unknown_voxels_count_as_little_as_if_they_were_not_there(
    name: LossName, activation: Activation, gamma: float
) -> None:
    logits, target = random_case(activation)
    loss = make_loss(LossConfig(name=name, focal_gamma=gamma, label_smoothing=0.1), activation)
    known = torch.ones(2, 1, 4, 5, 6, dtype=torch.bool)
    known[:, :, 1] = False
    kept = [0, 2, 3]
    expected = loss(logits[:, :, kept], target[:, :, kept])
    torch.testing.assert_close(loss(logits, target, known), expected)
    # Whatever the network makes of them.
    logits[:, :, 1] = 50.0
    torch.testing.assert_close(loss(logits, target, known), expected)


@pytest.mark.parametrize(("name", "activation"), FITTING)
def test_a_patch_that_nobody_has_labelled_teaches_nothing(
    name: LossName, activation: Activation
) -> None:
    logits, target = random_case(activation)
    logits.requires_grad_()
    known = torch.zeros(2, 1, 4, 5, 6, dtype=torch.bool)
    value = make_loss(LossConfig(name=name), activation)(logits, target, known)
    assert value.item() == pytest.approx(0)
    (gradient,) = torch.autograd.grad(value, logits)
    assert not gradient.any()


def test_smoothed_labels_are_those_of_torch() -> None:
    logits, target = random_case("softmax")
    found = make_loss(LossConfig(name="ce", label_smoothing=0.2), "softmax")(logits, target)
    classes = target.float().argmax(dim=1)
    torch.testing.assert_close(found, F.cross_entropy(logits, classes, label_smoothing=0.2))
    logits, target = random_case("sigmoid")
    found = make_loss(LossConfig(name="bce", label_smoothing=0.2), "sigmoid")(logits, target)
    expected = F.binary_cross_entropy_with_logits(logits, 0.8 * target + 0.1)
    torch.testing.assert_close(found, expected)


def test_dice_is_pooled_over_the_batch() -> None:
    logits = torch.tensor([0.0, math.log(3)]).view(2, 1, 1, 1, 1)
    target = torch.tensor([1.0, 0.0]).view(2, 1, 1, 1, 1)
    assert soft_dice_loss(logits, target, "sigmoid").item() == pytest.approx(1 - 1 / 2.25)


def test_dice_of_exclusive_classes_leaves_the_background_out() -> None:
    logits, target = line([0.0, 0.0], [math.log(3), 0.0]), line([0.0, 1.0], [1.0, 0.0])
    # Probabilities of the foreground 3/4 and 1/2: twice the overlap 3/4 over the sum 5/4 + 1.
    assert soft_dice_loss(logits, target, "softmax").item() == pytest.approx(1 - 1.5 / 2.25)


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_dice_of_a_perfect_prediction_is_zero(activation: Activation) -> None:
    _, target = random_case(activation)
    loss = soft_dice_loss(40 * target.float() - 20, target.float(), activation)
    assert loss.item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_dice_of_a_disjoint_prediction_is_one(activation: Activation) -> None:
    _, target = random_case(activation)
    wrong = target.roll(1, dims=1) if activation == "softmax" else ~target
    loss = soft_dice_loss(40 * wrong.float() - 20, target.float(), activation)
    assert loss.item() == pytest.approx(1, abs=1e-5)


def test_dice_of_an_empty_target() -> None:
    target = torch.zeros(1, 1, 4, 4, 4)
    assert soft_dice_loss(
        torch.full_like(target, -200.0), target, "sigmoid"
    ).item() == pytest.approx(0)
    assert soft_dice_loss(torch.zeros_like(target), target, "sigmoid").item() == pytest.approx(
        1, abs=1e-6
    )


def test_cross_entropy_by_hand() -> None:
    logits, target = line([0.0, 0.0], [math.log(3), 0.0]), line([0.0, 1.0], [1.0, 0.0])
    assert cross_entropy(logits, target).item() == pytest.approx(
        (math.log(4 / 3) + math.log(2)) / 2
    )


def test_cross_entropy_equals_that_of_torch() -> None:
    logits, target = random_case("softmax")
    expected = F.cross_entropy(logits, target.int().argmax(dim=1))
    torch.testing.assert_close(cross_entropy(logits, target.float()), expected)


def test_binary_cross_entropy_by_hand() -> None:
    loss = make_loss(LossConfig(name="bce"), "sigmoid")
    found = loss(line([0.0, math.log(3)]), line([1.0, 0.0]).bool())
    assert found.item() == pytest.approx((math.log(2) + math.log(4)) / 2)


def test_binary_cross_entropy_equals_that_of_torch() -> None:
    logits, target = random_case("sigmoid")
    found = make_loss(LossConfig(name="bce"), "sigmoid")(logits, target)
    torch.testing.assert_close(found, F.binary_cross_entropy_with_logits(logits, target.float()))


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_the_loss_named_dice_is_soft_dice(activation: Activation) -> None:
    logits, target = random_case(activation)
    found = make_loss(LossConfig(name="dice"), activation)(logits, target)
    torch.testing.assert_close(found, soft_dice_loss(logits, target.float(), activation))


def test_weights_of_dice_and_binary_cross_entropy() -> None:
    logits, target = random_case("sigmoid")
    config = LossConfig(name="dice_bce", dice_weight=0.25, bce_weight=3, ce_weight=100)
    dice = soft_dice_loss(logits, target.float(), "sigmoid")
    bce = F.binary_cross_entropy_with_logits(logits, target.float())
    torch.testing.assert_close(make_loss(config, "sigmoid")(logits, target), 0.25 * dice + 3 * bce)


def test_weights_of_dice_and_cross_entropy() -> None:
    logits, target = random_case("softmax")
    config = LossConfig(name="dice_ce", dice_weight=0.25, ce_weight=3, bce_weight=100)
    dice = soft_dice_loss(logits, target.float(), "softmax")
    entropy = F.cross_entropy(logits, target.int().argmax(dim=1))
    torch.testing.assert_close(
        make_loss(config, "softmax")(logits, target), 0.25 * dice + 3 * entropy
    )


@pytest.mark.parametrize(("name", "activation"), FITTING)
@pytest.mark.parametrize("magnitude", [1e4, -1e4])
def test_extreme_logits_give_finite_losses_and_gradients(
    name: LossName, activation: Activation, magnitude: float
) -> None:
    logits, target = random_case(activation)
    logits = (logits.sign() * magnitude).requires_grad_()
    value = make_loss(LossConfig(name=name), activation)(logits, target)
    value.backward()
    assert value.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize(("name", "activation"), FITTING)
def test_half_precision_logits_are_computed_in_float32(
    name: LossName, activation: Activation
) -> None:
    logits, target = random_case(activation)
    half = logits.bfloat16().requires_grad_()
    loss = make_loss(LossConfig(name=name), activation)
    value = loss(half, target)
    value.backward()
    assert value.dtype == torch.float32
    assert torch.equal(value.detach(), loss(half.detach().float(), target))
    assert half.grad is not None
    assert half.grad.any()


@pytest.mark.parametrize(("name", "activation"), FITTING)
def test_memory_layout_does_not_matter(name: LossName, activation: Activation) -> None:
    logits, target = random_case(activation)
    loss = make_loss(LossConfig(name=name), activation)
    turned = logits.contiguous(memory_format=torch.channels_last_3d)
    assert torch.equal(loss(turned, target), loss(logits, target))


@pytest.mark.parametrize(("name", "activation"), FITTING)
def test_descending_the_gradient_lowers_the_loss(name: LossName, activation: Activation) -> None:
    logits, target = random_case(activation)
    logits.requires_grad_()
    loss = make_loss(LossConfig(name=name), activation)
    before = loss(logits, target)
    (gradient,) = torch.autograd.grad(before, logits)
    assert loss(logits - 0.1 * gradient / gradient.norm(), target) < before


@pytest.mark.parametrize("missed", [1, 2])
def test_dice_counts_labels_alike_whatever_their_size(missed: int) -> None:
    # Label 1 has one voxel, label 2 has 500 of 1,000. One is found, the other taken for background.
    label = torch.zeros(1, 10, 10, 10, dtype=torch.long)
    label[0, 0, 0, 0] = 1
    label[0, 5:] = 2
    target = F.one_hot(label, 3).movedim(-1, 1).float()
    found = F.one_hot(torch.where(label == missed, 0, label), 3).movedim(-1, 1).float()
    assert soft_dice_loss(100 * found, target, "softmax").item() == pytest.approx(0.5)

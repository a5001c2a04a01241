"""Learning from a teacher beside the labels."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lunet_cli.config.labels import Activation
from lunet_cli.engine.data.patches import batches
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.networks.execution import ExecutionPlan
from lunet_cli.engine.training.context import StepContext
from lunet_cli.engine.training.distillation import (
    Teacher,
    distillation_loss,
    probabilities_of,
    softened,
)
from lunet_cli.engine.training.gradients import Gradients
from lunet_cli.engine.training.loop import train_step
from lunet_cli.engine.training.setup import Setup, set_up
from lunet_cli.engine.training.state import TrainState

PLAN = ExecutionPlan("cpu", "fp32", channels_last=False, compile=False)
ACTIVATIONS: tuple[Activation, ...] = ("sigmoid", "softmax")


def line(*channels: list[float]) -> Tensor:
    return torch.tensor(channels).view(1, len(channels), 1, 1, -1)


def random_pair() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(2, 3, 4, 5, 6), torch.randn(2, 3, 4, 5, 6)


def test_binary_cross_entropy_against_probabilities_by_hand() -> None:
    # Student 3/4 and 1/2, teacher 1/2 and 3/4.
    found = distillation_loss(line([math.log(3), 0.0]), line([0.5, 0.75]), "sigmoid")
    first = -(math.log(3 / 4) + math.log(1 / 4)) / 2
    assert found.item() == pytest.approx((first + math.log(2)) / 2)


def test_cross_entropy_against_probabilities_by_hand() -> None:
    # Student (1/2, 1/4, 1/4), teacher (1/5, 3/5, 1/5).
    student, teacher = line([math.log(2)], [0.0], [0.0]), line([0.2], [0.6], [0.2])
    expected = -(0.2 * math.log(1 / 2) + 0.6 * math.log(1 / 4) + 0.2 * math.log(1 / 4))
    assert distillation_loss(student, teacher, "softmax").item() == pytest.approx(expected)


def test_it_is_the_divergence_plus_the_entropy_of_the_teacher() -> None:
    student, teacher = random_pair()
    probabilities = teacher.softmax(dim=1)
    divergence = F.kl_div(student.log_softmax(dim=1), probabilities, reduction="none").sum(dim=1)
    entropy = torch.special.entr(probabilities).sum(dim=1)
    found = distillation_loss(student, probabilities, "softmax")
    torch.testing.assert_close(found, (divergence + entropy).mean())


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_where_both_agree_it_has_its_minimum(activation: Activation) -> None:
    student, teacher = random_pair()
    agreeing = teacher.clone().requires_grad_()
    expected = probabilities_of(teacher, activation)
    least = distillation_loss(agreeing, expected, activation)
    (gradient,) = torch.autograd.grad(least, agreeing)
    assert gradient.abs().max() < 1e-7
    assert least < distillation_loss(student, expected, activation)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_teacher_that_is_sure_is_like_labels(activation: Activation) -> None:
    student, _ = random_pair()
    classes = torch.randint(3, (2, 4, 5, 6))
    target = F.one_hot(classes, 3).permute(0, 4, 1, 2, 3).float()
    expected = F.binary_cross_entropy_with_logits(student, target)
    if activation == "softmax":
        expected = F.cross_entropy(student, classes)
    torch.testing.assert_close(distillation_loss(student, target, activation), expected)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_mean_of_two_teachers_teaches_as_both_do_on_average(activation: Activation) -> None:
    student, one = random_pair()
    other = torch.randn(one.shape)
    teachers = [probabilities_of(logits, activation) for logits in (one, other)]
    each = [distillation_loss(student, teacher, activation) for teacher in teachers]
    found = distillation_loss(student, (teachers[0] + teachers[1]) / 2, activation)
    torch.testing.assert_close(found, sum(each) / 2)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("magnitude", [1e4, -1e4])
def test_extreme_and_half_precision_logits_are_finite_in_float32(
    activation: Activation, magnitude: float
) -> None:
    student, teacher = random_pair()
    student = (student.sign() * magnitude).bfloat16().requires_grad_()
    expected = probabilities_of((teacher.sign() * -magnitude).bfloat16(), activation)
    value = distillation_loss(student, expected, activation)
    (gradient,) = torch.autograd.grad(value, student)
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert gradient.isfinite().all()


@pytest.fixture(scope="module")
def setup(runs: Any, tmp_path_factory: pytest.TempPathFactory) -> Setup:
    """A tiny training."""
    return set_up(runs.tiny(tmp_path_factory.mktemp("distillation")), lambda _: None)


Learn = Callable[..., tuple[list[float], SegmentationNetwork]]


@pytest.fixture
def learn(setup: Setup) -> Learn:
    """Train some steps on one batch; the losses, and the network."""
    setup.sampler.epoch, setup.sampler.first_step = 0, 0
    batch = next(batches(setup.loader))

    def steps(
        teacher: Teacher | None, *, num_steps: int = 2, plan: ExecutionPlan = PLAN
    ) -> tuple[list[float], SegmentationNetwork]:
        state = TrainState.fresh(setup.new_network(), setup.config.training, plan)
        context = StepContext(setup, plan, teacher)
        losses: list[float] = []
        for _ in range(num_steps):
            losses.append(train_step(state, Gradients(state, context), [batch], context, 0.01))
        return losses, state.network

    return steps


def teaching_network(setup: Setup) -> SegmentationNetwork:
    """A network whose probabilities differ from place to place."""
    network = setup.new_network()
    torch.manual_seed(7)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    return network


def assert_same_weights(one: SegmentationNetwork, other: SegmentationNetwork) -> None:
    theirs = other.state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in one.state_dict().items())


def test_a_weight_of_zero_changes_nothing_and_asks_nobody(learn: Learn) -> None:
    def fail(*_: object) -> Tensor:
        raise AssertionError

    losses, network = learn(None)
    with_teacher, taught = learn(Teacher(fail, weight=0))
    assert with_teacher == losses
    assert_same_weights(taught, network)


def test_the_loss_is_of_both_by_their_weights(setup: Setup, learn: Learn) -> None:
    network = teaching_network(setup)
    (labels,), _ = learn(None, num_steps=1)
    (teacher,), _ = learn(Teacher.of(network, PLAN, "sigmoid", weight=1), num_steps=1)
    (both,), _ = learn(Teacher.of(network, PLAN, "sigmoid", weight=0.25), num_steps=1)
    assert both == pytest.approx(0.75 * labels + 0.25 * teacher)
    assert abs(labels - teacher) > 0.05


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_student_comes_nearer_to_its_teacher(setup: Setup, learn: Learn, precision: Any) -> None:
    plan = ExecutionPlan("cpu", precision, channels_last=True, compile=False)
    teacher = Teacher.of(teaching_network(setup), plan, "sigmoid", weight=1)
    losses, _ = learn(teacher, num_steps=12, plan=plan)
    assert losses[-1] < losses[0] - 0.05


def test_the_teacher_stays_as_it_was_and_draws_no_dropout(setup: Setup, learn: Learn) -> None:
    network = teaching_network(setup).train()
    before = copy.deepcopy(network)
    teacher = Teacher.of(network, PLAN, "sigmoid", weight=0.5)
    image, _ = setup.first_batch()
    first = teacher.expects(image, None)
    learn(teacher)
    assert not first.requires_grad
    assert torch.equal(teacher.expects(image, None), first)
    assert network.training
    assert_same_weights(network, before)
    # The network goes on, and the teacher does not.
    torch.nn.init.zeros_(next(network.parameters()))
    assert torch.equal(teacher.expects(image, None), first)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_temperature_divides_the_logits_of_both(activation: Activation) -> None:
    _, teacher = random_pair()
    found = softened(probabilities_of(teacher, activation), 3.0, activation)
    torch.testing.assert_close(found, probabilities_of(teacher / 3, activation))


def test_a_temperature_keeps_the_size_of_the_gradients() -> None:
    """To first order in the logits, as in Hinton et al., and for small ones."""
    student, teacher = (0.01 * logits for logits in random_pair())
    gradients = []
    for temperature in (1.0, 4.0):
        logits = student.clone().requires_grad_()
        expected = probabilities_of(teacher, "softmax")
        taught = Teacher(lambda _, __, found=expected: found, 1.0, temperature)  # type: ignore[misc]
        loss = taught.mixed_loss(logits.sum(), [logits], [1], teacher, None, "softmax")
        gradients.append(torch.autograd.grad(loss, logits)[0])
    difference = (gradients[0] - gradients[1]).abs().max()
    assert difference < 0.05 * gradients[0].abs().max()


def test_auxiliary_heads_learn_from_the_teacher_at_the_centres_of_blocks() -> None:
    expected = torch.rand(1, 1, 4, 4, 4)
    outputs = [torch.randn(1, 1, 4, 4, 4), torch.randn(1, 1, 2, 2, 2)]
    taught = Teacher(lambda *_: expected, 1.0)
    found = taught.mixed_loss(outputs[0].sum(), outputs, [1, 2], outputs[0], None, "sigmoid")
    whole = F.binary_cross_entropy_with_logits(outputs[0], expected)
    centres = F.binary_cross_entropy_with_logits(outputs[1], expected[..., 1::2, 1::2, 1::2])
    torch.testing.assert_close(found, (whole + centres / 2) / 1.5)

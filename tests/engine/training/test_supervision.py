"""Deep supervision: which steps learn, towards what, and how much each counts."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lunet_cli.config.network import NetworkSpec
from lunet_cli.engine.networks import build_network
from lunet_cli.engine.training.supervision import (
    SupervisedNetwork,
    reduce_target,
    supervised_loss,
)

SPECS = {
    "lunet": NetworkSpec("lunet", (3, 3, 3, 3), out_channels=2),
    "unet": NetworkSpec("unet", (2, 3, 4, 5), out_channels=2, widths=tuple(range(1, 18))),
    "unetpp": NetworkSpec("unetpp", (2, 3, 4, 5), out_channels=2),
    "mednext": NetworkSpec(
        "mednext",
        (2, 3, 4, 5),
        out_channels=2,
        expansion_ratios=(2,) * 7,
        blocks_per_stage=(1,) * 7,
    ),
}
STRIDES = {"lunet": [1, 2, 4], "unet": [1, 2, 4], "unetpp": [1, 1, 1], "mednext": [1, 2, 4]}


@pytest.mark.parametrize("name", list(SPECS))
@pytest.mark.parametrize("size", [(16, 16, 16), (17, 9, 16)])
def test_each_step_of_the_decoder_learns(name: str, size: tuple[int, int, int]) -> None:
    network = build_network(SPECS[name])
    learner = SupervisedNetwork(network, is_deep=True)
    assert learner.strides == STRIDES[name]
    for head in learner.heads:
        torch.nn.init.normal_(head.weight)
    image = torch.randn(2, 1, *size)
    target = torch.rand(2, 2, *size) > 0.5
    network.eval()
    outputs = learner(image)
    assert torch.equal(outputs[0], network(image))

    def loss(logits: Tensor, target: Tensor, known: Tensor | None = None) -> Tensor:
        assert logits.shape == target.shape
        assert known is not None
        assert known.shape[2:] == target.shape[2:]
        return ((logits - target.float()) ** 2).mean()

    known = torch.ones(2, 1, *size, dtype=torch.bool)
    supervised_loss(loss, outputs, learner.strides, target, known).backward()
    for parameter in learner.parameters():
        assert parameter.grad is not None
    # All but the steps behind it reach the first step by the last head alone.
    outputs = learner(image)
    names = dict(network.named_parameters())
    (gradient,) = torch.autograd.grad(
        outputs[-1].sum(), [names[next(n for n in names if n.startswith("encoders.0"))]]
    )
    assert gradient.abs().sum() > 0


def test_without_deep_supervision_there_are_no_heads() -> None:
    network = build_network(SPECS["lunet"])
    learner = SupervisedNetwork(network, is_deep=False).eval()
    (logits,) = learner(torch.zeros(1, 1, 8, 8, 8))
    assert logits.shape == (1, 2, 8, 8, 8)
    assert len(list(learner.parameters())) == len(list(network.parameters()))
    target = torch.zeros(1, 2, 8, 8, 8)
    loss = supervised_loss(lambda a, b, _: (a - b).sum(), [logits], learner.strides, target)
    assert torch.equal(loss, logits.sum())


def test_weights_halve_and_add_up_to_one() -> None:
    outputs = [torch.full((1, 1, n, n, n), value) for n, value in ((8, 7.0), (4, 70.0), (2, 700.0))]
    target = torch.zeros(1, 1, 8, 8, 8)
    value = supervised_loss(lambda logits, *_: logits.mean(), outputs, [1, 2, 4], target)
    assert value.item() == pytest.approx(7 * 4 / 7 + 70 * 2 / 7 + 700 / 7)


@pytest.mark.parametrize(
    ("length", "stride", "expected"),
    [
        (8, 1, [0, 1, 2, 3, 4, 5, 6, 7]),
        (8, 2, [1, 3, 5, 7]),
        (8, 4, [2, 6]),
        (7, 4, [2, 6]),
        (6, 4, [2]),
        (3, 8, [2]),
        (1, 4, [0]),
    ],
)
def test_targets_are_taken_at_the_centres(length: int, stride: int, expected: list[int]) -> None:
    target = torch.arange(length).view(1, 1, 1, 1, -1)
    assert reduce_target(target, stride).flatten().tolist() == expected

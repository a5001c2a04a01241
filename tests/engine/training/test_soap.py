"""SOAP: Adam along axes that follow the gradients."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

from lunet_cli.engine.training.optimization import state_shapes
from lunet_cli.engine.training.soap import Soap

RATE = 0.01


def rotation(size: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(size, size, generator=generator, dtype=torch.float64)
    return torch.linalg.qr(values).Q


def gradients(shape: tuple[int, ...], number: int) -> list[Tensor]:
    """With directions that differ in size, as those of a layer do."""
    generator = torch.Generator().manual_seed(5)
    sizes = torch.logspace(0, -2, shape[-1], dtype=torch.float64)
    mean = torch.randn(shape, generator=generator, dtype=torch.float64)
    noise = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(number))
    return [(mean + value) * sizes for value in noise]


def path(optimizer_of: type[Optimizer], given: list[Tensor], **settings: object) -> list[Tensor]:
    """Where a parameter that begins at 0 is after each gradient."""
    parameter = nn.Parameter(torch.zeros_like(given[0]))
    optimizer = optimizer_of([parameter], lr=RATE, **settings)  # type: ignore[call-arg]
    places = []
    for gradient in given:
        parameter.grad = gradient.clone()
        optimizer.step()
        places.append(parameter.detach().clone())
    return places


def test_the_first_gradient_only_begins() -> None:
    (place,) = path(Soap, gradients((4, 6), 1))
    assert not place.any()


@pytest.mark.parametrize("largest", [0.0, 1e-18, 1e-6, 1e9])
def test_gradients_of_any_size_have_axes(largest: float) -> None:
    """Of 108 columns, 4 rows tell something about 4 at most."""
    given = [(largest * value).float() for value in gradients((4, 4, 3, 3, 3), 12)]
    parameter = nn.Parameter(torch.zeros(4, 4, 3, 3, 3))
    optimizer = Soap([parameter], lr=RATE)
    for gradient in given:
        parameter.grad = gradient
        optimizer.step()
    columns = optimizer.state[parameter]["columns"]
    torch.testing.assert_close(columns.T @ columns, torch.eye(108), atol=1e-4, rtol=0)
    assert parameter.isfinite().all()


def test_what_has_one_axis_gets_adam() -> None:
    given = gradients((7,), 12)
    expected = path(Adam, given[1:], betas=(0.95, 0.95))
    for place, other in zip(path(Soap, given)[1:], expected, strict=True):
        torch.testing.assert_close(place, other)


@pytest.mark.parametrize("side", ["rows", "columns"])
def test_steps_turn_with_the_gradients(side: str) -> None:
    """In whatever basis a layer is written, SOAP goes the same way; Adam does not."""
    given = gradients((5, 5), 25)
    turn = rotation(5, seed=1)

    def turned(values: list[Tensor]) -> list[Tensor]:
        return [turn @ value if side == "rows" else value @ turn for value in values]

    ours = path(Soap, turned(given))
    torch.testing.assert_close(ours, turned(path(Soap, given)), rtol=1e-6, atol=1e-9)
    adam = path(Adam, turned(given))
    assert (adam[-1] - turned(path(Adam, given))[-1]).abs().max() > 0.1 * RATE


def test_a_kernel_is_a_matrix_of_its_output_channels() -> None:
    given = gradients((4, 54), 13)
    kernels = [value.reshape(4, 2, 3, 3, 3) for value in given]
    # As a training has them whose channels are the fastest axis.
    kernels = [value.to(memory_format=torch.channels_last_3d) for value in kernels]
    torch.testing.assert_close(path(Soap, kernels)[-1].reshape(4, 54), path(Soap, given)[-1])


def test_its_decay_is_apart_from_the_gradient() -> None:
    parameter = nn.Parameter(torch.full((2, 2), 2.0))
    optimizer = Soap([parameter], lr=0.1, weight_decay=0.5)
    for _ in range(2):  # of which the first only begins
        parameter.grad = torch.zeros(2, 2)
        optimizer.step()
    torch.testing.assert_close(parameter.detach(), torch.full((2, 2), 2 * (1 - 0.1 * 0.5)))


def test_layers_without_gradients_stay() -> None:
    parameter = nn.Parameter(torch.ones(2, 3))
    for _ in range(3):
        parameter.grad = torch.zeros(2, 3)
        optimizer = Soap([parameter], lr=0.1)
        optimizer.step()
    assert torch.equal(parameter.detach(), torch.ones(2, 3))


def test_a_copy_of_its_state_goes_on_in_the_same_way() -> None:
    given = gradients((3, 5), 24)
    expected = path(Soap, given)[-1]
    parameter = nn.Parameter(torch.zeros(3, 5, dtype=torch.float64))
    optimizer = Soap([parameter], lr=RATE)
    for index, gradient in enumerate(given):
        if index == 11:
            kept = copy.deepcopy(optimizer.state_dict())
            optimizer = Soap([parameter], lr=0.5)
            optimizer.load_state_dict(kept)
        parameter.grad = gradient.clone()
        optimizer.step()
    assert torch.equal(parameter.detach(), expected)


@pytest.mark.parametrize("optimizer_of", [Adam, SGD, Soap])
@pytest.mark.parametrize("shape", [(3,), (1, 4), (3, 4), (2, 3, 1, 1, 1), (2, 1100)])
def test_shapes_of_the_state_are_those_that_it_has(
    optimizer_of: type[Optimizer], shape: tuple[int, ...]
) -> None:
    """Columns beyond 1,024 have no axes of their own."""
    parameter = nn.Parameter(torch.zeros(shape))
    settings = {"momentum": 0.9} if optimizer_of is SGD else {}
    optimizer = optimizer_of([parameter], lr=0.1, **settings)  # type: ignore[call-arg]
    parameter.grad = torch.ones(shape)
    optimizer.step()
    found = {name: value.shape for name, value in optimizer.state[parameter].items()}
    assert found == state_shapes(optimizer, parameter)
    assert ("columns" in found) == (optimizer_of is Soap and 1 < parameter[0].numel() < 1100)

from __future__ import annotations

import math

import pytest

from lunet_cli.config import machine
from lunet_cli.config.fit import network_spec
from lunet_cli.config.load import load_config
from lunet_cli.config.machine import batch_mistakes, kept_values, memory_bytes, require_possible
from lunet_cli.errors import ConfigError

GIB = 2**30


@pytest.fixture
def small_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two cores, 8 GiB, no accelerator."""
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(machine, "memory_bytes", lambda: 8.0 * GIB)
    monkeypatch.setattr(machine, "_may_have_cuda", lambda: False)
    monkeypatch.setattr(machine.sys, "platform", "linux")


def test_memory_is_that_of_the_machine() -> None:
    assert 2**28 < memory_bytes() < 2**50


@pytest.mark.parametrize(
    ("override", "words"),
    [
        (
            "training.num_threads=17",
            "training.num_threads: 17 is more than this machine can run; with its 2 cores",
        ),
        ("data.num_workers=1000", "data.num_workers: 1000 is more"),
        ("training.device=cuda", "training.device: this machine has no cuda"),
        ("training.device=mps", "training.device: this machine has no mps"),
        (
            "training.patch_size=[4096, 4096, 4096]",
            "training.patch_size: batches of 2 patches of 4096 x 4096 x 4096",
        ),
        ("training.batch_size=60000", "training.batch_size: batches of 60000 patches"),
        (
            "model.architecture=unet_large_9999f\0training.patch_size=null",
            "model.architecture: unet_large_9999f has 83",
        ),
        ("benchmark={enabled: true, input_size: [64, 1, 512, 512, 512]}", "benchmark.input_size: "),
    ],
)
def test_what_the_machine_cannot_do_is_refused(
    small_machine: None, override: str, words: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        require_possible(
            load_config(
                None,
                [
                    "training.patch_size=[32, 32, 32]",
                    "training.batch_size=2",
                    *override.split("\0"),
                ],
            )
        )
    assert caught.value.message.startswith(words)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    "override",
    [
        "training.num_threads=16",
        "data.num_workers=16",
        "training.patch_size=[256, 256, 256]",
        "training.batch_size=8",
    ],
)
def test_what_it_can_do_is_not(small_machine: None, override: str) -> None:
    require_possible(load_config(None, ["training.batch_size=1", override]))


def test_every_reason_is_told_at_once(small_machine: None) -> None:
    with pytest.raises(ConfigError) as caught:
        require_possible(
            load_config(
                None, ["training.num_threads=99", "data.num_workers=99", "training.device=cuda"]
            )
        )
    assert len(caught.value.message.splitlines()) == 3


def test_an_accelerator_leaves_the_batches_only(small_machine: None) -> None:
    config = load_config(None, ["training.batch_size=16", "training.precision=fp32"])
    spec = network_spec(config, in_channels=1, out_channels=1)
    # Batches take 16 x 256^3 x 5 bytes, 1.25 GiB; what the convolutions keep takes 16 times that
    # and more.
    assert batch_mistakes(config, spec, (256, 256, 256), on_cpu=False) == []
    assert len(batch_mistakes(config, spec, (256, 256, 256), on_cpu=True)) == 1


def test_kept_values_by_hand() -> None:
    config = load_config(None, ["model.architecture=lunet_small_2f"])
    spec = network_spec(config, in_channels=1, out_channels=1)
    # What goes in: at the top 1 and 2 on the way down, 4, 2 and 2 on the way up; then 2, 2, 4, 2,
    # and 2 into the upsampling; at the bottom 2 and 2, and 2 into the upsampling.
    voxels = [math.prod((32 >> level,) * 3) for level in range(5)]
    expected = 11 * voxels[0] + 12 * sum(voxels[1:4]) + 6 * voxels[4]
    assert kept_values(spec, (32, 32, 32)) == expected


@pytest.mark.parametrize(
    "architecture", ["lunet_small_4f", "unet_large_6f", "unetpp_small_2f", "mednext_small"]
)
def test_the_estimate_is_a_lower_bound_of_what_a_network_keeps(architecture: str) -> None:
    """What does fit must never be refused: PyTorch keeps at least so much for the backward pass."""
    import torch

    from lunet_cli.engine.networks import build_network

    spec = network_spec(
        load_config(None, [f"model.architecture={architecture}"]), in_channels=1, out_channels=1
    )
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        build_network(spec).train()(torch.zeros(2, 1, 32, 32, 32))
    assert 2 * 4 * kept_values(spec, (32, 32, 32)) <= sum(kept.values())

"""What the tests of pruning share: a network of each family, and tiny runs of the job."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from lunet_cli.config.layers import layers, with_layers
from lunet_cli.config.load import load_config
from lunet_cli.config.network import NetworkSpec
from lunet_cli.config.run import RunConfig
from lunet_cli.engine.checkpoints.checkpoint import load_checkpoint
from lunet_cli.engine.networks import build_network
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.pruning.prune import prune
from lunet_cli.engine.training.train import train

# Every topology, with two image channels and two classes, small enough to try each layer.
SPECS = {
    "unet": NetworkSpec("unet", (3, 4, 5), in_channels=2, out_channels=2, dropout=0.1),
    "lunet": NetworkSpec("lunet", (4, 4, 4, 4), convs_per_block=1, in_channels=2, dropout=0.1),
    "unetpp": NetworkSpec("unetpp", (3, 4, 5, 6), in_channels=2, out_channels=2, dropout=0.1),
    "lunetpp": NetworkSpec("lunetpp", (3, 3, 3), convs_per_block=3, out_channels=3, dropout=0.1),
    "mednext": NetworkSpec(
        "mednext",
        (4, 6, 8),
        in_channels=2,
        out_channels=2,
        dropout=0.1,
        expansion_ratios=(2, 3, 2, 3, 2),
        blocks_per_stage=(1, 2, 1, 2, 1),
    ),
}


@pytest.fixture(params=["unet", "unetpp"])
def conv_network(request: pytest.FixtureRequest) -> SegmentationNetwork:
    """A network of each topology that concatenates."""
    return trained_like(SPECS[request.param])


def trained_like(spec: NetworkSpec, *, seed: int = 0) -> SegmentationNetwork:
    """A network in evaluation mode whose statistics differ from channel to channel."""
    torch.manual_seed(seed)
    network = build_network(spec).eval()
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith("running_mean"):
                tensor.uniform_(-0.5, 0.5)
            elif name.endswith(("running_var", "norm.weight")):
                tensor.uniform_(0.5, 1.5)
            elif name.endswith("norm.bias"):
                tensor.uniform_(-0.5, 0.5)
    return network


@pytest.fixture(scope="session")
def trained_like_uneven() -> Callable[[NetworkSpec], SegmentationNetwork]:
    """Make a network as pruning leaves it: no two neighbouring layers have the same width."""

    def make(spec: NetworkSpec) -> SegmentationNetwork:
        widths, dropouts = {}, {}
        for index, layer in enumerate(layers(spec)):
            widths[layer.name] = 1 + (index * 3 + 2) % min(5, layer.width)
            if layer.dropout is not None:
                dropouts[layer.name] = index / 100
        return trained_like(with_layers(spec, widths=widths, dropouts=dropouts))

    return make


@pytest.fixture(params=SPECS)
def network(request: pytest.FixtureRequest) -> SegmentationNetwork:
    """A network of each family, as if it had been trained."""
    return trained_like(SPECS[request.param])


@pytest.fixture
def image(network: SegmentationNetwork) -> torch.Tensor:
    """Two images of an odd size."""
    return torch.randn(2, network.spec.in_channels, 5, 8, 4)


# Two batches of two volumes of 16 voxels, and two to validate: a step takes a tenth of a second.
TINY = (
    "model.architecture=unet_small_2f",
    "model.drop_prob=0.05",
    "data.phantom.num_cases=6",
    "data.split.val_fraction=0.34",
    "data.phantom.size=16",
    "training.batch_size=2",
    "training.precision=fp32",
    "training.num_threads=1",
    "training.epochs=2",
    "pruning.steps=2",
    "pruning.channels_per_step=3",
)


def tiny(output_dir: Path, name: str = "run", *more: str) -> RunConfig:
    return load_config(
        None, [*TINY, f"experiment.output_dir={output_dir}", f"experiment.name={name}", *more]
    )


def rows(path: Path) -> list[dict[str, str]]:
    """The lines of a table, without times."""
    with path.open() as file:
        lines = list(csv.DictReader(file))
    for line in lines:
        for name in ("seconds", "epoch_seconds"):
            line.pop(name, None)
    return lines


def assert_same_run(one: Path, other: Path) -> None:
    """Both hold the same files, of the same values but for times and names."""
    names = {path.name for path in one.iterdir()}
    assert names == {path.name for path in other.iterdir()}
    for name in sorted(names):
        if name.endswith(".csv"):
            assert rows(one / name) == rows(other / name), name
        if name.endswith(".pt"):
            ours, theirs = load_checkpoint(one / name), load_checkpoint(other / name)
            assert (ours.epoch, ours.card) == (theirs.epoch, theirs.card), name
            assert ours.weights.keys() == theirs.weights.keys()
            for key, tensor in ours.weights.items():
                assert torch.equal(tensor, theirs.weights[key]), (name, key)


@pytest.fixture(scope="session")
def runs() -> SimpleNamespace:
    """The helpers above, since test files do not import each other."""
    return SimpleNamespace(tiny=tiny, rows=rows, assert_same_run=assert_same_run)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training that has learnt something."""
    folder = tmp_path_factory.mktemp("trained")
    settings = ("training.epochs=6", "training.learning_rate=0.03")
    return train(tiny(folder, "trained", *settings)).run_dir


@pytest.fixture(scope="session")
def pruned(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a pruning of that, without recovery: in every layer another width is left."""
    folder = tmp_path_factory.mktemp("pruned")
    settings = ("pruning.steps=3", "pruning.channels_per_step=9", "pruning.margin=1",
                "pruning.save_every=2", "pruning.protect=[]")  # fmt: skip
    return prune(tiny(folder, "pruned", *settings), start=trained).run_dir

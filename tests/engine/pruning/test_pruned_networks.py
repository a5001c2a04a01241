"""A network with a width of its own in every layer goes wherever a preset goes."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lunet_cli.config.layers import layers, level_widths, widths_of, with_layers
from lunet_cli.config.load import load_config
from lunet_cli.config.network_cost import count_conv_flops, count_parameters
from lunet_cli.config.options import BenchOptions, ExportOptions, PredictionOptions
from lunet_cli.config.presets import parse_preset
from lunet_cli.engine.benchmarking.plan import plan_rows
from lunet_cli.engine.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from lunet_cli.engine.checkpoints.models import load_model as load_for_use
from lunet_cli.engine.evaluation.evaluate import evaluate
from lunet_cli.engine.exporting.export import export
from lunet_cli.engine.inference.load_model import load_model
from lunet_cli.engine.inference.memory import activation_channels
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.pruning.prune import prune
from lunet_cli.engine.run_folder import RunFolder
from lunet_cli.engine.runtimes.folding import FoldedNetwork, can_fold
from lunet_cli.engine.training.train import train
from lunet_cli.errors import CheckpointError
from lunet_cli.render.networks import draw_levels

FAMILIES = ("unet", "unetpp", "mednext")
PRESETS = {"unet": "unet_small_4f", "unetpp": "unetpp_small_4f", "mednext": "mednext_small"}
BIASES = {"unet": "head.1.bias", "unetpp": "head.1.bias", "mednext": "out_conv.bias"}
NEEDS = {"onnx": "onnxscript", "openvino": "openvino", "safetensors": "safetensors"}
SUFFIXES = {"onnx": "onnx", "openvino": "xml", "torch-export": "pt2", "safetensors": "safetensors"}


@pytest.fixture(scope="module")
def checkpoints(
    pruned: Path, trained_like_uneven: Any, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """A checkpoint of each topology in which no two neighbouring layers have the same width."""
    found = {}
    model = load_checkpoint(pruned / "best_model.pt")
    for family in FAMILIES:
        spec = replace(
            parse_preset(PRESETS[family]).spec, out_channels=model.card.labels.num_channels
        )
        network = trained_like_uneven(spec)
        torch.manual_seed(1)
        with torch.no_grad():
            logits = network(torch.randn(1, 1, 16, 16, 16))
            # So that each class wins somewhere.
            bias = network.get_parameter(BIASES[spec.topology])
            bias -= logits.mean(dim=(0, 2, 3, 4))
        changed = replace(
            model, card=replace(model.card, network=network.spec), weights=network.state_dict()
        )
        found[family] = tmp_path_factory.mktemp(family) / "best_model.pt"
        save_checkpoint(changed, found[family])
    return found


@pytest.fixture(params=FAMILIES)
def checkpoint(request: pytest.FixtureRequest, checkpoints: dict[str, Path]) -> Path:
    path: Path = checkpoints[request.param]
    return path


def network_in(checkpoint: Path) -> SegmentationNetwork:
    network = load_for_use(checkpoint).network
    assert isinstance(network, SegmentationNetwork)
    return network


def test_it_predicts_in_windows_and_whole(checkpoint: Path) -> None:
    image = np.random.default_rng(0).normal(size=(1, 16, 16, 16)).astype(np.float32)
    found = []
    for window in (None, "whole"):
        options = PredictionOptions(device="cpu", precision="fp32", window=window)
        model = load_model(checkpoint, options=options)
        found.append(model.predict(image).label_map)
        assert model.predict(np.tile(image, (1, 1, 2, 1))).label_map.shape == (16, 32, 16)
    assert np.array_equal(*found)
    network, scaled = network_in(checkpoint), (image - image.mean()) / image.std()
    with torch.no_grad():
        logits = network(torch.from_numpy(scaled)[None])
    expected = logits.argmax(dim=1)[0].numpy()
    # Where two classes are as likely, rounding decides.
    assert (found[0] == expected).mean() > 0.999
    assert len(np.unique(expected)) > 1


def test_it_is_measured_as_it_is(checkpoint: Path) -> None:
    spec = load_checkpoint(checkpoint).card.network
    rows, _ = plan_rows(BenchOptions(targets=(checkpoint,), sizes=((16, 16, 16),)))
    assert rows[0].plan.target.spec == spec
    assert rows[0].complexity.parameters == count_parameters(spec)
    assert rows[0].complexity.flops == count_conv_flops(spec, (16, 16, 16))


@pytest.mark.parametrize("name", SUFFIXES)
def test_it_is_exported_and_agrees(runs: Any, pruned: Path, tmp_path: Path, name: Any) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    path = tmp_path / f"model.{SUFFIXES[name]}"
    result = export(pruned, ExportOptions(format=name, output=path))
    assert result.agreement.max_difference < 1e-3
    assert result.agreement.cases != "phantom volumes"
    again = load_for_use(path).card.network
    assert again == load_checkpoint(pruned / "best_model.pt").card.network
    if name == "safetensors":
        return
    with pytest.raises(CheckpointError) as caught:
        prune(runs.tiny(tmp_path, "run"), start=path)
    assert caught.value.message == f"{path}: is a graph, whose channels are fixed"


def test_normalisation_is_folded(checkpoints: dict[str, Path]) -> None:
    for family in ("unet", "unetpp"):
        network = copy.deepcopy(network_in(checkpoints[family])).double()
        assert can_fold(network)
        image = torch.randn(1, 1, 16, 8, 9, dtype=torch.double)
        with torch.no_grad():
            expected = network(image)
            found = FoldedNetwork(network).double()(image)
        assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


def test_it_is_drawn_as_it_is(checkpoint: Path) -> None:
    spec = load_checkpoint(checkpoint).card.network
    drawing = draw_levels("pruned", spec)
    assert drawing.parameters == count_parameters(spec)
    assert drawing.flops == count_conv_flops(spec)
    assert [level.channels for level in drawing.levels] == level_widths(spec)


def test_its_memory_is_that_of_its_widths(checkpoint: Path) -> None:
    spec = load_checkpoint(checkpoint).card.network
    whole = replace(spec, widths=(), dropouts=())
    assert activation_channels(with_layers(whole)) == activation_channels(whole)
    assert activation_channels(spec) < activation_channels(whole)


def test_blocks_of_a_narrow_stream_stay_as_wide_as_they_are() -> None:
    spec = parse_preset("mednext_small").spec
    narrow = {layer.name: 1 for layer in layers(spec) if layer.name.startswith("streams.")}
    # The hidden channels are most of what is held, and none of them is gone.
    expected = 0.8 * activation_channels(spec)
    assert activation_channels(with_layers(spec, widths=narrow)) > expected


def test_it_is_evaluated_as_it_was_validated(pruned: Path, tmp_path: Path) -> None:
    model = load_model(pruned, options=PredictionOptions(device="cpu", precision="fp32"))
    result = evaluate(model, output=tmp_path / "eval")
    dice: dict[str, list[float]] = {}
    for score in result.scores:
        dice.setdefault(score.case, []).append(score.values["dice"])
    chosen = RunFolder(pruned).read_pruning()[-1]
    for case, expected in chosen.dice_per_case.items():
        assert np.mean(dice[case]) == pytest.approx(expected, abs=1e-4)


def test_its_configuration_trains_it_afresh(runs: Any, pruned: Path, tmp_path: Path) -> None:
    settings = [f"experiment.output_dir={tmp_path}", "training.epochs=1"]
    result = train(load_config(pruned / "pruned.yaml", settings))
    spec = load_checkpoint(result.run_dir / "last.pt").card.network
    expected = load_checkpoint(pruned / "best_model.pt").card.network
    assert widths_of(spec) == widths_of(expected)
    assert result.num_parameters == count_parameters(expected)
    widths = list(widths_of(spec).values())
    widths[0] += 1
    other = [*settings, f"model.widths={widths}", "training.epochs=2"]
    with pytest.raises(CheckpointError, match=r"its network differs from .* widths"):
        train(load_config(pruned / "pruned.yaml", other), resume="auto")


ABSURD: dict[str, tuple[dict[str, Any], str]] = {
    "huge": ({"widths": [10**9] * 22}, "widths hold a value outside of 1 to 65536"),
    "beyond integers": ({"widths": [10**30] * 22}, "best_model.pt"),
    "together huge": ({"widths": [65536] * 22}, "parameters are more than the 1e\\+09 possible"),
    "negative": ({"widths": [-1] * 22}, "widths hold a value outside of 1 to 65536"),
    "none": ({"widths": [0] * 22}, "widths hold a value outside of 1 to 65536"),
    "too few": ({"widths": [2]}, "1 widths where the network has 22"),
    "too many": ({"widths": [2] * 5000}, "5000 widths where the network has 22"),
    "words": ({"widths": ["2"] * 22}, "network.widths.0"),
    "not whole": ({"widths": [2.5] * 22}, "network.widths.0"),
    "no list": ({"widths": 2}, "network.widths"),
    "dropout too few": ({"dropouts": [0.5]}, "1 dropouts where the network has 17"),
    "dropout NaN": ({"dropouts": [math.nan] * 17}, "dropouts"),
    "dropout of 1": ({"dropouts": [1.0] * 17}, "dropouts hold 1, not a probability below 1"),
    "negative dropout": ({"dropouts": [-0.1] * 17}, "dropouts hold -0.1, not a probability"),
    "other widths than the weights": ({"widths": [3] * 22}, "best_model.pt"),
}


@pytest.mark.parametrize("change", ABSURD)
def test_absurd_widths_and_dropouts_are_refused_in_one_line(
    pruned: Path, tmp_path: Path, change: str
) -> None:
    values = torch.load(pruned / "best_model.pt", weights_only=True)
    changes, words = ABSURD[change]
    values["network"].update(changes)
    torch.save(values, tmp_path / "best_model.pt")
    with pytest.raises(CheckpointError, match=words) as caught:
        load_for_use(tmp_path)
    assert "\n" not in caught.value.message
    assert str(tmp_path / "best_model.pt") in caught.value.message
    assert len(caught.value.message) < 600

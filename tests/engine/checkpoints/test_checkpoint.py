from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lunet_cli.config.network import NetworkSpec
from lunet_cli.engine.checkpoints.checkpoint import (
    Checkpoint,
    ModelCard,
    load_checkpoint,
    load_values,
    save_checkpoint,
)
from lunet_cli.engine.data.labels import LabelScheme
from lunet_cli.engine.data.preprocessing import Normalization, Preprocessing
from lunet_cli.engine.networks import build_network
from lunet_cli.errors import CheckpointError, OutputError
from lunet_cli.records.checkpoint import CHECKPOINT_MARK as MARK
from lunet_cli.records.checkpoint import CHECKPOINT_VERSION
from lunet_cli.records.network_card import Execution, KeptConfig

SPECS = [
    NetworkSpec("lunet", (2, 2), in_channels=2, out_channels=3, dropout=0.1),
    NetworkSpec(
        "mednext", (2, 4), out_channels=3, expansion_ratios=(2, 3, 2), blocks_per_stage=(1, 2, 1)
    ),
]
EXECUTION = Execution(device="cpu", precision="fp32", channels_last=True, compile=False)


def make_checkpoint(
    spec: NetworkSpec = SPECS[0], *, training: dict[str, Any] | None = None
) -> Checkpoint:
    torch.manual_seed(0)
    card = ModelCard(
        spec,
        LabelScheme((("anterior", (1,)), ("posterior", (2, 3))), "softmax"),
        Preprocessing("LPS", (1.0, 1.5, 2.0), Normalization("zscore", 40.0, 400.0)),
        (48, 64, 48),
    )
    weights = build_network(spec).state_dict()
    config = KeptConfig({"training": {"epochs": 9}})
    return Checkpoint(card, weights, 7, config, {"lunet": "1.0"}, EXECUTION, training)


def make_training(weights: dict[str, Tensor]) -> dict[str, Any]:
    """The state of a training of seven epochs, with Adam, in fp32."""
    rows = [[epoch, 0.5, 0.6, 0.7, 0.01, 1.0, 0.7, 0.7] for epoch in range(1, 8)]
    return {
        "optimizer": {"state": {}, "param_groups": [{"params": [0]}]},
        "scaler": {},
        "average": {name: tensor.clone() for name, tensor in weights.items()},
        "step": 3,
        "loss_sum": 1.5,
        "seconds": 2.5,
        "history": {
            "labels": ["anterior", "posterior"],
            "rows": torch.tensor(rows, dtype=torch.float64),
        },
        "rng": torch.get_rng_state(),
        "rng_cuda": None,
    }


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "last.pt"
    checkpoint = make_checkpoint()
    save_checkpoint(replace(checkpoint, training=make_training(checkpoint.weights)), path)
    return path


def rewrite(path: Path, **changes: Any) -> None:
    values = torch.load(path, weights_only=True)
    torch.save(
        {key: value for key, value in {**values, **changes}.items() if value != "removed"}, path
    )


def message_of(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    message = caught.value.message
    assert message.startswith(f"{path}: ")
    assert "\n" not in message + caught.value.hint
    return message.removeprefix(f"{path}: ")


def unlike_plain(value: object) -> list[type]:
    if isinstance(value, dict):
        return [kind for pair in value.items() for item in pair for kind in unlike_plain(item)]
    if isinstance(value, list | tuple):
        return [kind for item in value for kind in unlike_plain(item)]
    return (
        []
        if value is None or isinstance(value, Tensor | str | int | float | bool)
        else [type(value)]
    )


class Bomb:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.family)
def test_what_is_saved_is_loaded(spec: NetworkSpec, tmp_path: Path) -> None:
    checkpoint = make_checkpoint(spec)
    save_checkpoint(checkpoint, tmp_path / "model.pt")
    loaded = load_checkpoint(tmp_path / "model.pt")
    assert loaded.card == checkpoint.card
    assert replace(loaded, weights={}) == replace(checkpoint, weights={})
    assert list(loaded.weights) == list(checkpoint.weights)
    assert all(
        torch.equal(tensor, checkpoint.weights[name]) for name, tensor in loaded.weights.items()
    )
    build_network(loaded.card.network).load_state_dict(loaded.weights)


@pytest.mark.parametrize("spacing_mm", [None, (1.0, 1.5, 2.0)])
@pytest.mark.parametrize("orientation", [None, "RAS"])
def test_a_model_card_survives_as_plain_values(
    orientation: str | None, spacing_mm: tuple[float, float, float] | None
) -> None:
    preprocessing = Preprocessing(orientation, spacing_mm, Normalization("ct_window", 40.0, 400.0))
    card = replace(make_checkpoint().card, preprocessing=preprocessing)
    assert unlike_plain(card.to_dict()) == []
    assert ModelCard.of(card.to_record()) == card


def test_a_file_holds_only_tensors_and_plain_values(saved: Path) -> None:
    values = torch.load(saved, weights_only=True)
    assert unlike_plain(values) == []
    assert values[MARK] == CHECKPOINT_VERSION
    assert len(values["weights"]) > 10


def test_saving_replaces_the_former_file(saved: Path) -> None:
    save_checkpoint(replace(make_checkpoint(), epoch=8), saved)
    assert load_checkpoint(saved).epoch == 8
    assert list(saved.parent.iterdir()) == [saved]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert message_of(tmp_path / "none.pt") == "there is no such checkpoint"


def test_a_folder_is_no_checkpoint(tmp_path: Path) -> None:
    assert message_of(tmp_path) == "is a folder, not a checkpoint"


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_damaged(saved: Path, share: float) -> None:
    content = saved.read_bytes()
    saved.write_bytes(content[: int(share * len(content))])
    assert "not a checkpoint" in message_of(saved)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_file_of_the_old_format_is_damaged(saved: Path, share: float) -> None:
    torch.save(torch.load(saved, weights_only=True), saved, _use_new_zipfile_serialization=False)
    assert load_checkpoint(saved).epoch == 7
    content = saved.read_bytes()
    saved.write_bytes(content[: int(share * len(content))])
    assert "not a checkpoint" in message_of(saved)


@pytest.mark.parametrize(
    "text", ["epoch,loss\n1,0.5\n", ".", "0", "aaa", "}", "\x80", "training:\n  epochs: 5\n"]
)
def test_a_text_file_is_no_checkpoint(text: str, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text(text, encoding="latin-1")
    assert "not a checkpoint" in message_of(path)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_plain_pickle_is_no_checkpoint(protocol: int, tmp_path: Path) -> None:
    path = tmp_path / "values.pkl"
    path.write_bytes(pickle.dumps({"weights": [1, 2]}, protocol=protocol))
    assert "not a checkpoint" in message_of(path)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_code_in_a_pickle_does_not_run(protocol: int, tmp_path: Path) -> None:
    path, target = tmp_path / "evil.pt", tmp_path / "owned"
    path.write_bytes(pickle.dumps(Bomb(target), protocol=protocol))
    pickle.loads(path.read_bytes())
    assert target.exists()
    target.unlink()
    assert message_of(path).endswith("; it was not loaded")
    assert not target.exists()


@pytest.mark.parametrize("is_zip", [False, True])
def test_code_in_a_checkpoint_does_not_run(is_zip: bool, saved: Path) -> None:
    target = saved.parent / "owned"
    values = {**torch.load(saved, weights_only=True), "bomb": Bomb(target)}
    torch.save(values, saved, _use_new_zipfile_serialization=is_zip)
    torch.load(saved, weights_only=False)
    assert target.exists()
    target.unlink()
    assert message_of(saved).endswith("; it was not loaded")
    assert not target.exists()


def test_a_whole_module_is_not_loaded(tmp_path: Path) -> None:
    torch.save(build_network(SPECS[0]), tmp_path / "module.pt")
    assert message_of(tmp_path / "module.pt").endswith("; it was not loaded")


def test_another_dictionary_is_no_checkpoint_of_lunet(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "other.pt")
    assert message_of(tmp_path / "other.pt") == "is not a checkpoint of lunet"
    assert load_values(tmp_path / "other.pt") == {"state_dict": {}}


@pytest.mark.parametrize("value", [torch.zeros(2), [1, 2], None], ids=["tensor", "list", "none"])
def test_another_value_is_no_checkpoint(value: object, tmp_path: Path) -> None:
    torch.save(value, tmp_path / "other.pt")
    assert (
        message_of(tmp_path / "other.pt")
        == f"is not a checkpoint (it holds a {type(value).__name__})"
    )


def test_a_newer_format_is_refused(saved: Path) -> None:
    rewrite(saved, **{MARK: CHECKPOINT_VERSION + 1})
    assert message_of(saved) == (
        f"a checkpoint of lunet has format {CHECKPOINT_VERSION + 1} there, "
        f"this lunet reads format {CHECKPOINT_VERSION}"
    )


@pytest.mark.parametrize(
    "key", ["network", "labels", "preprocessing", "window", "weights", "epoch", "training"]
)
def test_a_missing_key_is_named(key: str, saved: Path) -> None:
    values = torch.load(saved, weights_only=True)
    del values[key]
    torch.save(values, saved)
    assert message_of(saved) == f"is not a checkpoint of lunet: {key} is missing"


@pytest.mark.parametrize("key", ["network", "labels", "preprocessing", "window"])
@pytest.mark.parametrize("value", [None, 3, [], {}], ids=str)
def test_a_value_of_another_kind_makes_it_incomplete(key: str, value: object, saved: Path) -> None:
    torch.save({**torch.load(saved, weights_only=True), key: value}, saved)
    assert message_of(saved).startswith(f"is not a checkpoint of lunet: {key}")


def test_a_missing_folder_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "none" / "last.pt"
    with pytest.raises(OutputError, match="No such file") as caught:
        save_checkpoint(make_checkpoint(), path)
    assert caught.value.message.startswith(f"{path}: ")


LOOP: list[Any] = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epoch": -1}, "epoch: input should be greater than or equal to 0 .found -1"),
        ({"epoch": True}, "epoch: input should be a valid integer"),
        ({"epoch": 1 << 70}, "epoch: is a number of more than 64 bits"),
        ({"window": [8, 8, 10**9]}, "window.2: input should be less than or equal to 4096"),
        (
            {"window": [4096, 4096, 4096]},
            "window: 4096 x 4096 x 4096 voxels are more than any window has",
        ),
        ({"window": [8, 8]}, "window.2 is missing"),
        ({"window": torch.tensor([8, 8, 8])}, "window: is a Tensor, not a plain value"),
        ({"window": LOOP}, "holds too many values in each other"),
        ({"config": {1: 2}}, "config: has the key 1, which is not text"),
        ({"config": {"model": 5}}, r"config\.model: input should be an object"),
        (
            {"execution": {"device": "cpu", "precision": "fp8"}},
            "execution.precision: input should be 'fp32', 'bf16'",
        ),
        (
            {"execution": {"device": "tpu"}},
            "execution.device: input should be 'cpu', 'cuda' or 'mps'",
        ),
        (
            {"versions": {"torch": None}},
            "versions.torch: input should be a valid string .found None",
        ),
        (
            {"labels": {"regions": {}, "activation": "softmax"}},
            "labels.regions: dictionary should have at least 1",
        ),
        (
            {"labels": {"regions": {"a": []}, "activation": "softmax"}},
            "labels.regions.a: tuple should have at least 1",
        ),
        (
            {"labels": {"regions": {"a": [0]}, "activation": "softmax"}},
            "labels.regions.a.0: input should be greater",
        ),
        (
            {"labels": {"regions": {"a": [1]}, "activation": "tanh"}},
            "labels.activation: input should be 'sigmoid'",
        ),
        (
            {"labels": {"regions": {"a": [1]}, "activation": "sigmoid"}},
            "labels: 1 regions with sigmoid need 1 channels",
        ),
        (
            {"labels": {"regions": {"a": [1], "b": [1]}, "activation": "softmax"}},
            "regions that share no value",
        ),
    ],
    ids=str,
)
def test_plain_values_are_checked(change: dict[str, Any], message: str, saved: Path) -> None:
    rewrite(saved, **change)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"spacing_mm": [0.0, 1.0, 1.0]},
            "preprocessing.spacing_mm.0: input should be greater than or equal to 0.001",
        ),
        ({"spacing_mm": [float("nan"), 1.0, 1.0]}, "preprocessing.spacing_mm.0: input should be"),
        ({"orientation": "XYZ"}, "preprocessing.orientation: 'XYZ'"),
        (
            {"normalization": {"name": "sorcery"}},
            "preprocessing.normalization.name: input should be 'zscore'",
        ),
    ],
    ids=str,
)
def test_preprocessing_is_checked(change: dict[str, Any], message: str, saved: Path) -> None:
    values = torch.load(saved, weights_only=True)
    rewrite(saved, preprocessing=values["preprocessing"] | change)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channels": [2]}, "network: channels of 1 levels"),
        ({"channels": [2] * 10_000}, "network: channels of 10000 levels"),
        ({"channels": [1 << 16] * 4}, "parameters are more than the 1e.09 possible"),
        ({"channels": [10**12, 2]}, "network: channels hold a value outside of 1 to 65536"),
        ({"channels": [0, 2]}, "network: channels hold a value outside of 1 to 65536"),
        ({"channels": ["2", 2]}, "network.channels.0: input should be a valid integer"),
        ({"dropout": float("nan")}, "network.dropout: input should be a finite number"),
        ({"convs_per_block": 10**9}, "network: convs_per_block hold a value outside of 1 to 64"),
        ({"family": "transformer"}, "network.family: input should be 'unet'"),
        (
            {"family": "mednext"},
            "network: 0 expansion_ratios where mednext with these levels has 3",
        ),
        ({"kernel_size": 2}, "network: kernel_size 2 is not odd"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_network_that_cannot_be_built_is_refused_before_it_is(
    change: dict[str, Any], message: str, saved: Path
) -> None:
    values = torch.load(saved, weights_only=True)
    rewrite(saved, network=values["network"] | change)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(saved)

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import torch
from torch import Tensor

from lunet_cli.config.network import NetworkSpec
from lunet_cli.engine.checkpoints.checkpoint import (
    FORMAT_VERSION,
    Checkpoint,
    ModelCard,
    load_checkpoint,
    load_values,
    save_checkpoint,
)
from lunet_cli.engine.data.labels import LabelScheme
from lunet_cli.engine.data.preprocessing import Normalization, Preprocessing
from lunet_cli.engine.files import write_atomically
from lunet_cli.engine.networks import build_network
from lunet_cli.errors import CheckpointError, OutputError

SPECS = [
    NetworkSpec("lunet", (2, 2), in_channels=2, out_channels=3, dropout=0.1),
    NetworkSpec("mednext", (2, 4), out_channels=3, expansion_ratios=(2, 3, 2), blocks_per_stage=(1, 2, 1)),
]
MARK = "lunet_format_version"


def make_checkpoint(spec: NetworkSpec = SPECS[0], *, training: dict[str, Any] | None = None) -> Checkpoint:
    torch.manual_seed(0)
    card = ModelCard(
        spec,
        LabelScheme((("anterior", (1,)), ("posterior", (2, 3))), "softmax"),
        Preprocessing("LPS", (1.0, 1.5, 2.0), Normalization("zscore", 40.0, 400.0)),
        (48, 64, 48),
    )
    weights = build_network(spec).state_dict()
    return Checkpoint(card, weights, 7, {"training": {"epochs": 9}}, {"lunet": "1.0"}, {"precision": "fp32"}, training)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "last.pt"
    save_checkpoint(make_checkpoint(training={"step": 3, "rng": torch.get_rng_state()}), path)
    return path


def rewrite(path: Path, **changes: Any) -> None:
    values = torch.load(path, weights_only=True)
    torch.save({key: value for key, value in {**values, **changes}.items() if value != "removed"}, path)


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
    return [] if value is None or isinstance(value, Tensor | str | int | float | bool) else [type(value)]


class Bomb:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("training", [None, {"step": 3, "rng": [1, 2], "best": None, "nested": {"a": 0.5}}])
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.family)
def test_what_is_saved_is_loaded(spec: NetworkSpec, training: dict[str, Any] | None, tmp_path: Path) -> None:
    checkpoint = make_checkpoint(spec, training=training)
    save_checkpoint(checkpoint, tmp_path / "model.pt")
    loaded = load_checkpoint(tmp_path / "model.pt")
    assert loaded.card == checkpoint.card
    assert replace(loaded, weights={}) == replace(checkpoint, weights={})
    assert list(loaded.weights) == list(checkpoint.weights)
    assert all(torch.equal(tensor, checkpoint.weights[name]) for name, tensor in loaded.weights.items())
    build_network(loaded.card.network).load_state_dict(loaded.weights)


@pytest.mark.parametrize("spacing_mm", [None, (1.0, 1.5, 2.0)])
@pytest.mark.parametrize("orientation", [None, "RAS"])
def test_a_model_card_survives_as_plain_values(
    orientation: str | None, spacing_mm: tuple[float, float, float] | None
) -> None:
    preprocessing = Preprocessing(orientation, spacing_mm, Normalization("ct_window", 40.0, 400.0))
    card = replace(make_checkpoint().card, preprocessing=preprocessing)
    assert unlike_plain(card.to_dict()) == []
    assert ModelCard.from_dict(card.to_dict()) == card


def test_a_file_holds_only_tensors_and_plain_values(saved: Path) -> None:
    values = torch.load(saved, weights_only=True)
    assert unlike_plain(values) == []
    assert values[MARK] == FORMAT_VERSION
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
    assert "no checkpoint" in message_of(saved)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_file_of_the_old_format_is_damaged(saved: Path, share: float) -> None:
    torch.save(torch.load(saved, weights_only=True), saved, _use_new_zipfile_serialization=False)
    assert load_checkpoint(saved).epoch == 7
    content = saved.read_bytes()
    saved.write_bytes(content[: int(share * len(content))])
    assert "no checkpoint" in message_of(saved)


@pytest.mark.parametrize("text", ["epoch,loss\n1,0.5\n", ".", "0", "aaa", "}", "\x80", "training:\n  epochs: 5\n"])
def test_a_text_file_is_no_checkpoint(text: str, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text(text, encoding="latin-1")
    assert "no checkpoint" in message_of(path)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_plain_pickle_is_no_checkpoint(protocol: int, tmp_path: Path) -> None:
    path = tmp_path / "values.pkl"
    path.write_bytes(pickle.dumps({"weights": [1, 2]}, protocol=protocol))
    assert "no checkpoint" in message_of(path)


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
    assert message_of(tmp_path / "other.pt") == "is no checkpoint of lunet"
    assert load_values(tmp_path / "other.pt") == {"state_dict": {}}


@pytest.mark.parametrize("value", [torch.zeros(2), [1, 2], None], ids=["tensor", "list", "none"])
def test_another_value_is_no_checkpoint(value: object, tmp_path: Path) -> None:
    torch.save(value, tmp_path / "other.pt")
    assert message_of(tmp_path / "other.pt") == f"is no checkpoint (it holds a {type(value).__name__})"


def test_a_newer_format_is_refused(saved: Path) -> None:
    rewrite(saved, **{MARK: FORMAT_VERSION + 1})
    assert message_of(saved) == f"has checkpoint format {FORMAT_VERSION + 1}, this lunet reads format {FORMAT_VERSION}"


@pytest.mark.parametrize("key", ["network", "labels", "preprocessing", "window", "weights", "epoch", "training"])
def test_a_missing_key_is_named(key: str, saved: Path) -> None:
    values = torch.load(saved, weights_only=True)
    del values[key]
    torch.save(values, saved)
    message = message_of(saved)
    assert message.startswith("the checkpoint is incomplete")
    assert key in message


@pytest.mark.parametrize("key", ["network", "labels", "preprocessing", "window"])
@pytest.mark.parametrize("value", [None, 3, [], {}], ids=str)
def test_a_value_of_another_kind_makes_it_incomplete(key: str, value: object, saved: Path) -> None:
    torch.save({**torch.load(saved, weights_only=True), key: value}, saved)
    assert message_of(saved).startswith("the checkpoint is incomplete")


def test_writing_leaves_nothing_but_the_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_writer_that_raises_leaves_the_old_file(error: type[BaseException], tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write(file: BinaryIO) -> None:
        file.write(b"half of the n")
        raise error

    with pytest.raises(error):
        write_atomically(path, write)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write(file: BinaryIO) -> None:
        file.write(b"half of the n")
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError) as caught:
        write_atomically(path, write)
    assert caught.value.message == f"{path}: cannot be written (No space left on device)"
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "none" / "last.pt"
    with pytest.raises(OutputError, match="No such file") as caught:
        save_checkpoint(make_checkpoint(), path)
    assert caught.value.message.startswith(f"{path}: ")


def test_a_process_killed_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    program = """
import os, sys
from pathlib import Path
from lunet_cli.engine.files import write_atomically
def write(file):
    file.write(b"half of the n")
    file.flush()
    os._exit(9)
write_atomically(Path(sys.argv[1]), write)
"""
    done = subprocess.run([sys.executable, "-c", program, str(path)], check=False, timeout=60)
    assert done.returncode == 9
    assert path.read_bytes() == b"old"

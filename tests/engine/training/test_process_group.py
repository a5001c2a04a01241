"""Several processes that train one network: as one, and what happens when one of them is gone."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from lunet_cli.config.load import dump_yaml, load_config
from lunet_cli.config.run import RunConfig
from lunet_cli.engine.checkpoints.checkpoint import load_checkpoint
from lunet_cli.engine.data.patches import EpochSampler
from lunet_cli.engine.process_context import process_context
from lunet_cli.engine.process_group import ProcessGroup
from lunet_cli.engine.run_folder import RunFolder
from lunet_cli.engine.training.setup import set_up
from lunet_cli.engine.training.train import train
from lunet_cli.errors import ConfigError, DeviceError
from lunet_cli.records.history import read_history

# What each process of a group does. It is forked from a server that has loaded torch.
WORK = """
import os
os.environ.update(environment)

import torch
torch.set_num_threads(1)
from lunet_cli.engine.training.train import train
train(config, resume=resume)
"""
# Plain gradients: Adam makes steps of a rate's size of what is rounding alone.
SGD = ("training.optimizer=sgd", "training.momentum=0.9", "training.sync_batch_norm=true")


def config_of(folder: Path, name: str, *settings: str) -> RunConfig:
    """Phantoms of 16 voxels, and two patches of each of 6 cases in batches of 5: 5, 5 and 2."""
    usual = (
        f"experiment.name={name}",
        f"experiment.output_dir={folder}",
        "model.architecture=lunet_small_1f",
        "model.drop_prob=0",
        "data.phantom.num_cases=8",
        "data.phantom.size=16",
        "training.epochs=5",
        "training.batch_size=5",
        "training.patches_per_case=2",
        "training.num_threads=1",
        "training.precision=fp32",
        "training.loss.name=dice_ce",
        "training.learning_rate=0.05",
        "evaluation.metrics=[dice]",
        "benchmark.enabled=false",
    )
    return load_config(None, [*usual, *settings])


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def train_together(config: RunConfig, size: int, resume: str | None = None) -> None:
    """Train in so many processes, as a launcher starts them."""
    context, port = process_context([]), free_port()
    processes = []
    for rank in range(size):
        environment = {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(size),
            "LOCAL_WORLD_SIZE": str(size),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
        names = {"environment": environment, "config": config, "resume": resume}
        processes.append(context.Process(target=exec, args=(WORK, names)))  # type: ignore[attr-defined]
        processes[-1].start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * size


def curve(folder: Path) -> np.ndarray:
    """Losses and Dice of all epochs."""
    records = read_history(RunFolder(folder).history)
    return np.array([(one.train_loss, one.val_loss, one.val_dice) for one in records])


def num_epochs(folder: Path) -> int:
    """Epochs that a training has finished so far."""
    history = RunFolder(folder).history
    return max(0, len(history.read_text().splitlines()) - 1) if history.exists() else 0


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(RunFolder(folder).last).weights


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The training of one process."""
    return train(config_of(tmp_path_factory.mktemp("alone"), "run", *SGD)).run_dir


# The second has parts of a batch with nothing in them, and a mean of Dice over patches.
@pytest.mark.parametrize(("size", "more"), [(2, ()), (4, ("training.accumulate_batches=2",))])
def test_processes_together_train_as_one_does(
    alone: Path, tmp_path: Path, size: int, more: tuple[str, ...]
) -> None:
    if more:
        more = (*more, "training.loss.batch_dice=false", "training.deep_supervision=true")
        alone = train(config_of(tmp_path, "one", *SGD, *more)).run_dir
    together = config_of(tmp_path, "many", *SGD, *more)
    train_together(together, size)
    np.testing.assert_allclose(curve(tmp_path / "many"), curve(alone), atol=1e-5)
    for name, value in weights(alone).items():
        found = weights(tmp_path / "many")[name]
        torch.testing.assert_close(found, value, atol=1e-4, rtol=1e-4, msg=name)


def test_one_process_goes_on_where_two_were(alone: Path, tmp_path: Path) -> None:
    train_together(config_of(tmp_path, "run", *SGD, "training.epochs=2"), 2)
    assert len(curve(tmp_path / "run")) == 2
    result = train(config_of(tmp_path, "run", *SGD), resume="auto")
    assert result.outcome == "finished"
    np.testing.assert_allclose(curve(tmp_path / "run"), curve(alone), atol=1e-5)


def test_one_writes_and_the_log_names_the_others(tmp_path: Path) -> None:
    """Without shared statistics and with dropout; a repetition gives the same weights."""
    settings = (
        "training.epochs=1",
        "training.batch_size=4",
        "model.drop_prob=0.2",
        "training.ema_decay=0.9",
    )
    for name in ("first", "second"):
        train_together(config_of(tmp_path, name, *settings), 2)
    log = (tmp_path / "first/train.log").read_text()
    assert log.count("2 processes share each batch of 4") == 1
    assert log.count("epoch 1/1") == 1
    assert RunFolder(tmp_path / "first").read_summary() is not None
    for name, value in weights(tmp_path / "first").items():
        torch.testing.assert_close(weights(tmp_path / "second")[name], value, atol=0, rtol=0)


@pytest.mark.parametrize("killed", [0, 1])
def test_the_death_of_one_ends_all_and_is_gone_on_from(tmp_path: Path, killed: int) -> None:
    settings = ("training.epochs=400", "training.learning_rate=0.01")
    path = tmp_path / "config.yaml"
    folder = tmp_path / "run"
    path.write_text(dump_yaml(config_of(tmp_path, "run", *SGD, *settings)))
    words = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "lunet_cli", "train"]
    with (tmp_path / "output").open("w") as output:
        launcher = subprocess.Popen(
            [sys.executable, *words, str(path)], stdout=output, stderr=output
        )
        try:
            while num_epochs(folder) < 2:
                assert launcher.poll() is None, (tmp_path / "output").read_text()
                time.sleep(0.1)
            members = psutil.Process(launcher.pid).children()
            victim = next(one for one in members if one.environ()["RANK"] == str(killed))
            start = time.monotonic()
            victim.send_signal(signal.SIGKILL)
            launcher.wait(timeout=30)
        finally:
            launcher.terminate()
            launcher.wait()
        assert time.monotonic() - start < 30
    text = (tmp_path / "output").read_text()
    assert f"process {killed} (pid {victim.pid}) of the 2 processes" in text
    # That of the launcher, and no other.
    assert text.count("Traceback (most recent call last)") == 1
    assert not any(one.is_running() for one in members)
    done = len(curve(folder))
    assert done >= 2
    if killed == 0:  # Nobody was there to save more than the last epoch.
        return
    settings = (f"training.epochs={done + 1}", "training.learning_rate=0.01")
    train_together(config_of(tmp_path, "run", *SGD, *settings), 2, "auto")
    train_together(config_of(tmp_path, "whole", *SGD, *settings), 2)
    np.testing.assert_array_equal(curve(folder), curve(tmp_path / "whole"))


def test_parts_of_a_batch_are_the_batch() -> None:
    def batches(rank: int, size: int) -> list[list[Any]]:
        sampler = EpochSampler(
            num_cases=5, patches_per_case=2, batch_size=4, seed=1, rank=rank, num_shares=size
        )
        sampler.epoch = 3
        own = [sampler.num_own(number) for step in range(3) for number in sampler.num_patches(step)]
        return [keys[:number] for keys, number in zip(sampler, own, strict=True)]

    for size in (2, 3, 4):
        parts = [batches(rank, size) for rank in range(size)]
        joined = [list(chain(*keys)) for keys in zip(*parts, strict=True)]
        assert joined == batches(0, 1)
    assert [len(keys) for keys in batches(0, 4)] == [1, 1, 0]


def test_processes_without_work_are_refused(tmp_path: Path) -> None:
    config = config_of(tmp_path, "run")
    with pytest.raises(ConfigError, match="5 is shared by 6 processes") as caught:
        set_up(config, lambda _: None, group=ProcessGroup(0, 6))
    assert "`training.batch_size=6`" in caught.value.hint


def test_a_launcher_that_says_too_little_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for world in ("2", "x"):
        monkeypatch.setenv("WORLD_SIZE", world)
        with pytest.raises(DeviceError, match=f"the {world} processes of WORLD_SIZE cannot"):
            train(config_of(tmp_path, "run"))
    assert not os.listdir(tmp_path)


def test_a_launcher_that_gives_no_number_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "two")
    with pytest.raises(DeviceError, match="LOCAL_WORLD_SIZE=two: not a whole number"):
        train(config_of(tmp_path, "run"))
    assert not os.listdir(tmp_path)

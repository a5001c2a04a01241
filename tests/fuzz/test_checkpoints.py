"""Manipulated checkpoints through the commands that take one: one line, soon, and no result."""

from __future__ import annotations

import copy
import shutil
import subprocess
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch

Path_ = tuple[Any, ...]
Call = Callable[..., "subprocess.CompletedProcess[str]"]


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def alias_bomb() -> list[Any]:
    value: list[Any] = [1]
    for _ in range(30):
        value = [value] * 10
    return value


def loop() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def odd_values() -> list[Any]:
    """Values that stand nowhere in a checkpoint, or not in this place."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, about quantised tensors
        quantised = torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.quint8)
    return [
        *(
            None,
            True,
            False,
            -1,
            0,
            1,
            2,
            10**9,
            10**12,
            10**30,
            1e-300,
            1e300,
            float("nan"),
            float("inf"),
        ),
        *("", "LPS", "XYZ", "\x1b[31mred", "a" * 100_000, "\ud800", b"bytes", 1j),
        *(
            [],
            {},
            (),
            [[]],
            {"a": 1},
            {1: 2},
            [0, 0, 0],
            [1e9] * 3,
            ["a"] * 3,
            {"": []},
            set(),
            torch.Size([2]),
        ),
        *(nested(30), nested(200), alias_bomb(), loop()),
        *(
            torch.zeros(()),
            torch.zeros(0),
            torch.ones(3),
            torch.ones(1).expand(10**12),
            torch.full((3,), np.nan),
        ),
        *(
            torch.ones(3, 3).to_sparse(),
            torch.empty(10**9, device="meta"),
            torch.ones(2, dtype=torch.complex64),
        ),
        *(quantised, torch.ones(2, dtype=torch.bool), torch.float16, torch.device("cpu")),
        torch.ones(4).as_strided((2, 2), (0, 1)),
    ]


def places_in(values: Any, where: Path_ = ()) -> Iterator[Path_]:
    """Where something can be changed: every key and index, those of containers too."""
    items = (
        values.items()
        if isinstance(values, dict)
        else enumerate(values)
        if isinstance(values, list)
        else ()
    )
    for key, item in items:
        yield (*where, key)
        yield from places_in(item, (*where, key))


def container_of(values: Any, place: Path_) -> Any:
    for key in place[:-1]:
        values = values[key]
    return values


def change_tensor(tensor: torch.Tensor, rng: np.random.Generator) -> Any:
    """The same tensor of another shape or type, or with other values."""
    changed = tensor.clone(memory_format=torch.contiguous_format)
    if changed.is_floating_point() and changed.numel() and rng.random() < 0.4:
        changed.view(-1)[int(rng.integers(changed.numel()))] = float(
            rng.choice([np.nan, np.inf, -np.inf])
        )
        return changed
    choices: list[Callable[[], Any]] = [
        lambda: changed.double(),
        lambda: changed.to(torch.int32),
        lambda: changed.to(torch.complex64),
        lambda: changed[None],
        lambda: changed.flatten()[:-1],
        lambda: changed.to_sparse(),
        lambda: changed.to("meta"),
        lambda: changed.tolist(),
        lambda: changed.new_zeros(1).expand(10**11),
    ]
    return choices[int(rng.integers(len(choices)))]()


def manipulate(values: dict[str, Any], rng: np.random.Generator) -> tuple[dict[str, Any], str]:
    """A copy with one thing changed, and what that was."""
    changed = copy.deepcopy(values)
    # Parts with few values are attacked as often as the weights, of which there are many.
    first = rng.choice(list(changed))
    places = [place for place in places_in(changed) if place[0] == first]
    place = places[int(rng.integers(len(places)))]
    container, key = container_of(changed, place), place[-1]
    what = rng.choice(["value", "value", "value", "remove", "rename", "tensor"])
    if what == "tensor" and isinstance(container[key], torch.Tensor):
        container[key] = change_tensor(container[key], rng)
    elif what == "remove":
        del container[key]
    elif what == "rename" and isinstance(container, dict):
        odd_keys: list[Any] = [7, "other", None, (1, 2), f"{key} ", "a" * 1000]
        container[odd_keys[int(rng.integers(len(odd_keys)))]] = container.pop(key)
    else:
        values_to_try = odd_values()
        index = int(rng.integers(len(values_to_try)))
        container[key] = values_to_try[index]
        what = f"odd value {index}"
    return changed, f"{'.'.join(map(str, place))[:100]}: {what}"


def damage(content: bytes, rng: np.random.Generator) -> bytes:
    """Some bytes changed, left out or put in."""
    data = bytearray(content)
    where = int(rng.integers(len(data)))
    match rng.choice(["flip", "cut", "insert", "zero"]):
        case "flip":
            for _ in range(int(rng.integers(1, 20))):
                data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        case "cut":
            del data[where:]
        case "insert":
            data[where:where] = rng.bytes(int(rng.integers(1, 50)))
        case _:
            data[where : where + 64] = bytes(len(data[where : where + 64]))
    return bytes(data)


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scan") / "scan.nrrd"
    voxels = np.random.default_rng(0).normal(size=(16, 16, 16)).astype(np.float32)
    sitk.WriteImage(sitk.GetImageFromArray(voxels), str(path))
    return path


@pytest.fixture
def answer(call_lunet: Call, require_calm: Any, tmp_path: Path, scan: Path) -> Callable[..., str]:
    """Run a command with a checkpoint, and look at its answer."""

    def run(command: str, path: Path, attack: str) -> str:
        output = tmp_path / "masks"
        shutil.rmtree(output, ignore_errors=True)
        arguments = {
            "predict": ["predict", path, scan, "-o", output],
            "eval": ["eval", path, "--metric", "dice"],
            "network": ["viz", "network", path],
            "resume": ["train", path.parent / "config.yaml", "--resume", path],
            "export": ["export", path, "--format", "safetensors", "-o", output / "a.safetensors"],
            "slices": ["viz", "slices", path, "-o", tmp_path / "slices.png"],
        }[command]
        start = time.process_time()
        try:
            done = call_lunet(*arguments, cwd=tmp_path)
        except BaseException as error:
            raise AssertionError(f"{command} after {attack}") from error
        require_calm(done, seconds=time.process_time() - start, attack=f"{command} after {attack}")
        lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert len(lines) <= 1, done.stderr
        assert "\x1b" not in done.stderr
        if done.returncode == 0 and command != "resume":
            require_finite(path)
        return f"{done.returncode} {done.stderr[:300]}"

    return run


def require_finite(path: Path) -> None:
    weights = torch.load(path, weights_only=True)["weights"]
    assert all(bool(torch.isfinite(tensor).all()) for tensor in weights.values()), (
        "a result of what is not a number"
    )


@pytest.fixture
def run_copy(trained_run: Path, tmp_path: Path) -> Path:
    """The run without its evaluation and with the seeds of ITK's threads left alone."""
    return Path(
        shutil.copytree(
            trained_run, tmp_path / "run", ignore=shutil.ignore_patterns("eval", "*.png")
        )
    )


def test_manipulated_values(num_attacks: Any, run_copy: Path, answer: Any) -> None:
    rng = np.random.default_rng(1)
    names = ["best_model.pt", "last.pt"]
    originals = {name: torch.load(run_copy / name, weights_only=True) for name in names}
    for number in range(num_attacks(36, 420)):
        name = names[number % 2]
        changed, attack = manipulate(originals[name], rng)
        command = str(rng.choice(["predict", "predict", "eval", "network", "export", "slices"]))
        path = run_copy / name
        torch.save(changed, path)
        is_resumed = name == "last.pt" and number % 4 == 1
        answer("resume" if is_resumed else command, path, f"{number} {attack}")


def test_manipulated_states_of_a_training(num_attacks: Any, run_copy: Path, answer: Any) -> None:
    rng = np.random.default_rng(2)
    path = run_copy / "last.pt"
    original = torch.load(path, weights_only=True)
    for number in range(num_attacks(6, 150)):
        changed, attack = manipulate(original["training"], rng)
        torch.save(original | {"training": changed}, path)
        told = answer("resume", path, f"{number} {attack}")
        assert told[0] in "12", "the run is at its end"


def test_damaged_bytes(num_attacks: Any, run_copy: Path, answer: Any) -> None:
    rng = np.random.default_rng(3)
    path = run_copy / "best_model.pt"
    content = path.read_bytes()
    for number in range(num_attacks(12, 120)):
        path.write_bytes(damage(content, rng))
        answer("predict", path, f"{number} damaged bytes")


def test_manipulated_weights_of_the_authors(
    num_attacks: Any,
    run_copy: Path,
    tmp_path: Path,
    scan: Path,
    call_lunet: Call,
    require_calm: Any,
) -> None:
    rng = np.random.default_rng(4)
    weights = torch.load(run_copy / "best_model.pt", weights_only=True)["weights"]
    path = tmp_path / "theirs.pth"
    for number in range(num_attacks(6, 60)):
        changed, attack = manipulate({"model_state_dict": weights, "epoch": 3}, rng)
        torch.save(changed, path)
        shutil.rmtree(tmp_path / "masks", ignore_errors=True)
        start = time.process_time()
        done = call_lunet(
            "predict",
            path,
            scan,
            "-o",
            tmp_path / "masks",
            "--arch",
            "lunet_small_4f",
            cwd=tmp_path,
        )
        require_calm(done, seconds=time.process_time() - start, attack=f"{number} {attack}")


def test_a_pickle_of_many_lists_in_each_other(run_copy: Path, answer: Any) -> None:
    path, deep = run_copy / "best_model.pt", b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b"."
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, deep if name.endswith("/data.pkl") else content)
    assert "is not a checkpoint (it holds a list)" in answer("predict", path, "a deep pickle")

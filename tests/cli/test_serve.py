from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

CallLunet = Callable[..., Any]


@pytest.fixture(scope="session")
def model(make_threshold_model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = make_threshold_model(
        tmp_path_factory.mktemp("models") / "bright.pt", window=(32, 32, 32)
    )
    return path


@pytest.fixture
def work_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir(mode=0o700)
    return folder


Start = Callable[..., tuple[Any, httpx.Client]]


@pytest.fixture
def started(nursery: Any) -> Iterator[Start]:
    """Start a service on a free port; return its process and a client, once it listens."""
    processes: list[Any] = []
    clients: list[httpx.Client] = []

    def start(*arguments: object) -> tuple[Any, httpx.Client]:
        process = nursery.start("serve", *arguments, "--port", "0", "--threads", "1")
        processes.append(process)
        for _ in range(1200):
            said = process._files[1]
            found = None
            if said.exists():  # The process makes it.
                found = re.search(r"listening on (http://\S+)", said.read_text(encoding="utf-8"))
            if found:
                clients.append(httpx.Client(base_url=found[1], timeout=60))
                return process, clients[-1]
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        raise AssertionError("the service does not listen")

    yield start
    for client in clients:
        client.close()
    for process in processes:
        process.kill()


def scan(path: Path, size: int = 16) -> bytes:
    array = np.random.default_rng(0).integers(0, 200, (size, size, size)).astype(np.int16)
    sitk.WriteImage(sitk.GetImageFromArray(array), path)
    return path.read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="reads what a forked process says")
def test_sigterm_lets_accepted_jobs_finish_and_leaves_nothing(
    started: Start, model: Path, work_dir: Path, tmp_path: Path
) -> None:
    process, client = started(model, "--work-dir", work_dir)
    content = scan(tmp_path / "scan.nii.gz", size=64)
    place = client.post("/predict?wait=false", content=content).headers["location"]
    process.send_signal(signal.SIGTERM)
    for _ in range(600):
        status = client.get(place).json()
        if status["state"] not in ("waiting", "running"):
            break
        time.sleep(0.02)
    assert status["state"] == "done"
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "ending once 1 job" in err
    assert err.rstrip().endswith("ended")
    assert "Traceback" not in out + err
    assert [path.name for path in work_dir.iterdir()] == ["start.lock"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads what a forked process says")
def test_what_a_killed_service_leaves_goes_with_the_next(
    started: Start, model: Path, work_dir: Path, tmp_path: Path
) -> None:
    process, client = started(model, "--work-dir", work_dir)
    client.post("/predict?wait=false", content=scan(tmp_path / "scan.nii.gz"))
    process.kill()
    process.wait()
    killed = [path for path in work_dir.iterdir() if path.is_dir()]
    assert len(killed) == 1
    first, _ = started(model, "--work-dir", work_dir)
    second, _ = started(model, "--work-dir", work_dir)
    assert not killed[0].exists()
    # A living one is left alone.
    assert len([path for path in work_dir.iterdir() if path.is_dir()]) == 2
    for process in (first, second):
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0


def test_port_in_use_is_one_line(call_lunet: CallLunet, model: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = call_lunet("serve", model, "--port", str(port), cwd=tmp_path)
    assert done.returncode == 1
    error, hint = done.stderr.splitlines()
    assert f"port {port} of 127.0.0.1: cannot be listened on" in error
    assert "--port 0" in hint


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nix.pt"], "nix.pt"),
        (["."], "holds no model"),
        (["MODEL", "--host", "0.0.0.0"], "--token-file"),
        (["MODEL", "--host", "a.b.invalid"], "is not an address"),
        (["MODEL", "--token-file", "nix"], "cannot be read"),
        (["MODEL", "--token-file", "short"], "at least 16"),
        (["MODEL", "--once"], "--once: belongs to --watch"),
        (["MODEL", "--watch", "in", "out", "--max-queue", "3"], "--max-queue: has no use"),
        (["MODEL", "--watch", "in", "in/out"], "may not lie with the scans"),
        (["MODEL", "MODEL"], "is called bright, as is another"),
        (["MODEL", "--max-queue", "0"], "--max-queue"),
        (["MODEL", "--work-dir", "short"], "short"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], words: str, call_lunet: CallLunet, model: Path, tmp_path: Path
) -> None:
    (tmp_path / "short").write_text("abc")
    (tmp_path / "in").mkdir()
    given = [str(model) if word == "MODEL" else word for word in arguments]
    done = call_lunet("serve", *given, "--port" if "--watch" not in given else "--settle-seconds",
                      "0" if "--watch" not in given else "1", cwd=tmp_path)  # fmt: skip
    assert done.returncode in (1, 2)
    assert words in done.stderr
    assert len(done.stderr.splitlines()) <= 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("limit", "value"), [("--max-voxels", "1000"), ("--job-seconds", "0.000001")]
)
def test_limits_hold_for_a_drop_folder(
    limit: str, value: str, call_lunet: CallLunet, model: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    scan(tmp_path / "in" / "a.nii.gz", size=64)
    done = call_lunet(
        "serve", model, "--watch", "in", "out", "--once", "--settle-seconds", "0.05", "--window",
        "trained", limit, value, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    record = json.loads((tmp_path / "out" / "a.nii.gz.json").read_text(encoding="utf-8"))
    assert record["state"] == "failed"
    assert limit in done.stderr


def test_missing_extra_is_named(
    call_lunet: CallLunet, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lunet_cli.engine.runtimes import runtime

    monkeypatch.setattr(runtime, "_missing", lambda packages: ["fastapi"])
    done = call_lunet("serve", model, cwd=tmp_path)
    assert done.returncode == 1
    assert "fastapi" in done.stderr
    assert 'pip install "lunet[serve]"' in done.stderr


def test_folder_that_others_may_write_is_refused(
    call_lunet: CallLunet, model: Path, tmp_path: Path
) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o777)
    done = call_lunet("serve", model, "--port", "0", "--work-dir", "shared", cwd=tmp_path)
    assert done.returncode == 1
    assert "is not yours alone" in done.stderr


def test_token_that_others_can_read_is_warned_of(tmp_path: Path) -> None:
    from lunet_cli.engine.serving.web.gate import is_open_to_others, read_token

    path = tmp_path / "token"
    path.write_text("0123456789abcdef\n")
    path.chmod(0o644)
    assert read_token(path) == "0123456789abcdef"
    assert is_open_to_others(path)
    path.chmod(0o600)
    assert not is_open_to_others(path)


@pytest.mark.skipif(sys.platform != "linux", reason="reads what a forked process says")
def test_token_is_in_no_log(started: Start, model: Path, work_dir: Path, tmp_path: Path) -> None:
    token = "a-token-that-nobody-may-see"
    (tmp_path / "token").write_text(token)
    os.chmod(tmp_path / "token", 0o600)
    process, client = started(
        model, "--work-dir", work_dir, "--host", "0.0.0.0",
        "--token-file", tmp_path / "token",
    )  # fmt: skip
    address = str(client.base_url).replace("0.0.0.0", "127.0.0.1")
    assert httpx.get(f"{address}/models").status_code == 401
    headers = {"authorization": f"Bearer {token}"}
    assert httpx.get(f"{address}/models", headers=headers).status_code == 200
    assert httpx.get(f"{address}/nix", headers=headers).status_code == 404
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert token not in out + err


def test_models_of_a_folder_are_called_like_their_files(model: Path, tmp_path: Path) -> None:
    from lunet_cli.config.options import PredictionOptions
    from lunet_cli.engine.serving.served_models import load_models

    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "best_model.pt").write_bytes(model.read_bytes())
    (tmp_path / "alone.pt").write_bytes(model.read_bytes())
    (tmp_path / "notes.txt").write_text("no model")
    found = load_models([tmp_path], PredictionOptions(device="cpu"))
    assert sorted(found) == ["alone", "run"]

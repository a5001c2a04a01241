"""The container file: read as a builder reads it, and its last step run without a container."""

from __future__ import annotations

import fnmatch
import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import NamedTuple

import pytest

import lunet_cli

ROOT = Path(__file__).parents[2]
FILE = ROOT / "deploy" / "Dockerfile"


class Instruction(NamedTuple):
    """A line of a container file, and which stage it belongs to."""

    stage: int
    word: str
    rest: str


def instructions() -> list[Instruction]:
    found, stage = [], -1
    lines = [line for line in FILE.read_text().splitlines() if not line.startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if line.strip():
            word, _, rest = line.partition(" ")
            stage += word == "FROM"
            found.append(Instruction(stage, word, rest.strip()))
    return found


def the(word: str, stage: int) -> list[str]:
    return [line.rest for line in instructions() if (line.word, line.stage) == (word, stage)]


def copied() -> list[tuple[list[str], str]]:
    """Sources and target of each copy from the repository."""
    split = [line.split() for line in the("COPY", 0)]
    return [(words[:-1], words[-1]) for words in split]


def is_left_out(path: str) -> bool:
    """Whether `.dockerignore` keeps a path of the top level from the builder."""
    left_out = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#") and fnmatch.fnmatch(path, line.removeprefix("!")):
            left_out = not line.startswith("!")
    return left_out


def test_what_is_copied_is_in_the_repository_and_nothing_else_is_sent() -> None:
    sources = {source for words, _ in copied() for source in words}
    assert all((ROOT / source).exists() for source in sources)
    sent = {path.name for path in ROOT.iterdir() if not is_left_out(path.name)}
    assert sources == sent


def test_it_runs_lunet_as_a_user_without_rights() -> None:
    assert the("USER", 1) == ["1000"]
    assert [json.loads(words) for words in the("ENTRYPOINT", 1)] == [["lunet"]]
    assert the("COPY", 1) == ["--from=build /opt/lunet /opt/lunet"]
    assert the("ENV", 1)[0].startswith("PATH=/opt/lunet/bin:$PATH ")


@pytest.mark.skipif(sys.platform == "win32", reason="its steps are for a Linux shell")
def test_the_pin_of_pytorch_is_found(tmp_path: Path) -> None:
    shutil.copy(ROOT / "constraints.txt", tmp_path)
    torch_step = next(line for line in the("RUN", 0) if "torch.txt" in line)
    subprocess.run(
        torch_step.replace("/opt/lunet/bin/pip", "true"), shell=True, check=True, cwd=tmp_path
    )
    (pin,) = (tmp_path / "torch.txt").read_text().split()
    assert pin.startswith("torch==")


@pytest.mark.skipif(sys.platform == "win32", reason="its steps are for a Linux shell")
@pytest.mark.skipif(
    importlib.util.find_spec("hatchling") is None, reason="hatchling is not installed"
)
def test_what_is_copied_installs_and_runs(tmp_path: Path) -> None:
    place, prefix = tmp_path / "src", tmp_path / "prefix"
    place.mkdir()
    for sources, target in copied():
        for source in sources:
            if (ROOT / source).is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(ROOT / source, place / target, ignore=ignored)
            else:
                shutil.copy(ROOT / source, place / target)
    step = the("RUN", 0)[-1].replace("${EXTRAS}", "onnx")
    # What it depends on is here already.
    environment = os.environ | {
        "PIP_PREFIX": str(prefix),
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",
        "PIP_NO_COMPILE": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_IGNORE_INSTALLED": "1",
    }
    pip = f"{shlex.quote(sys.executable)} -m pip"
    subprocess.run(
        step.replace("/opt/lunet/bin/pip", pip),
        shell=True, check=True, cwd=place, env=environment,
    )  # fmt: skip
    installed = Path(
        sysconfig.get_path("purelib", vars={"base": str(prefix), "platbase": str(prefix)})
    )
    environment |= {"PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}
    command = [str(prefix / "bin" / the("ENTRYPOINT", 1)[0].strip('["]')), "--version"]
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    assert lunet_cli.__version__ in done.stdout
    assert (installed / "lunet_cli" / "configs" / "quickstart.yaml").is_file()

"""The scripts for SLURM, run with stand-ins for its commands."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch.distributed.run

SCRIPTS = sorted((Path(__file__).parents[2] / "deploy" / "slurm").glob("*.sh"))
FOLDER = SCRIPTS[0].parent
BASH = shutil.which("bash")
# Each says what it was called with; `lunet` may wait for the notice, as a training does.
STAND_INS = {
    "srun": 'exec "$@"',
    # Line by line: whoever reads the first only would leave it alone.
    "scontrol": 'if [[ $1 == show ]]; then echo node1; sleep 0.1; echo node2; '
    'else echo "scontrol $*" >> calls; fi',
    "torchrun": 'echo "torchrun $*" >> calls',
    "lunet": 'trap "exit 143" TERM; echo "lunet $*" >> calls; '
    "if [[ -n ${WAITS:-} ]]; then sleep 60 & wait; fi; exit ${STATUS:-0}",
}  # fmt: skip

pytestmark = pytest.mark.skipif(
    BASH is None or sys.platform == "win32", reason="the scripts are for bash"
)


@pytest.fixture
def cluster(tmp_path: Path) -> dict[str, str]:
    """An environment with stand-ins for the commands, which note their calls in `calls`."""
    place = tmp_path / "bin"
    place.mkdir()
    for name, code in STAND_INS.items():
        (place / name).write_text(f"#!{BASH}\n{code}\n")
        (place / name).chmod(0o755)
    known = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    return known | {"PATH": f"{place}{os.pathsep}{os.environ['PATH']}", "SLURM_JOB_ID": "12345"}


def run(
    script: str, *arguments: str, environment: Mapping[str, str], cwd: Path, **more: str
) -> tuple[int, list[str], str]:
    """The exit code of a script, what it called, and what it said."""
    command = [str(BASH), str(FOLDER / script), *arguments]
    done = subprocess.run(
        command, env={**environment, **more}, cwd=cwd, capture_output=True, encoding="utf-8"
    )
    calls = cwd / "calls"
    return done.returncode, calls.read_text().splitlines() if calls.exists() else [], done.stderr


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_bash_reads_the_scripts(script: Path) -> None:
    assert os.access(script, os.X_OK)
    subprocess.run([str(BASH), "-n", str(script)], check=True)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_without_arguments_a_script_says_how_it_is_called(
    script: Path, cluster: dict[str, str], tmp_path: Path
) -> None:
    code, calls, said = run(script.name, environment=cluster, cwd=tmp_path)
    assert (code, calls) == (2, [])
    assert said.startswith("usage: sbatch ")


def test_a_training_passes_its_options_and_its_exit_code_on(
    cluster: dict[str, str], tmp_path: Path
) -> None:
    options = ("--set", "experiment.name=a b")
    found = run("train.sh", "c.yaml", *options, environment=cluster, cwd=tmp_path, STATUS="2")
    assert found[:2] == (2, ["lunet train c.yaml --resume auto --set experiment.name=a b"])


def test_a_task_of_an_array_trains_its_fold(cluster: dict[str, str], tmp_path: Path) -> None:
    found = run("train.sh", "c.yaml", environment=cluster, cwd=tmp_path, SLURM_ARRAY_TASK_ID="3")
    assert found[:2] == (0, ["lunet train c.yaml --resume auto --fold 3"])


@pytest.mark.parametrize(
    ("array", "requeued"),
    [({}, "12345"), ({"SLURM_ARRAY_JOB_ID": "77", "SLURM_ARRAY_TASK_ID": "3"}, "77_3")],
    ids=["job", "array"],
)
def test_the_notice_reaches_the_training_and_the_job_is_requeued(
    array: dict[str, str], requeued: str, cluster: dict[str, str], tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [str(BASH), str(FOLDER / "train.sh"), "c.yaml"],
        env={**cluster, **array, "WAITS": "1"},
        cwd=tmp_path,
    )
    calls = tmp_path / "calls"
    deadline = time.monotonic() + 30
    while not calls.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 143
    assert calls.read_text().splitlines()[1:] == [f"scontrol requeue {requeued}"]


def test_shares_are_those_of_the_array(cluster: dict[str, str], tmp_path: Path) -> None:
    task = {"SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_TASK_MAX": "8", "SLURM_MEM_PER_NODE": "8192"}
    arguments = ("runs/mine", "scans", "masks", "--tta")
    found = run("predict.sh", *arguments, environment=cluster, cwd=tmp_path, **task)
    assert found[:2] == (
        0,
        ["lunet predict runs/mine scans --output masks --resume --shard 2/8 --max-memory 7372"
         " --tta"],
    )  # fmt: skip
    code, _, said = run(
        "predict.sh", *arguments, environment=cluster, cwd=tmp_path, SLURM_ARRAY_TASK_MIN="0"
    )
    assert code == 2
    assert said == "predict.sh: shares are counted from 1, as in --array=1-8\n"


def test_a_study_is_the_same_command_in_each_task(cluster: dict[str, str], tmp_path: Path) -> None:
    arguments = ("c.yaml", "--vary", "model.architecture=a,b", "--seeds", "5")
    found = run("study.sh", *arguments, environment=cluster, cwd=tmp_path)
    assert found[:2] == (0, ["lunet study c.yaml --vary model.architecture=a,b --seeds 5"])


def test_several_nodes_meet_at_the_first(cluster: dict[str, str], tmp_path: Path) -> None:
    job = {"SLURM_JOB_NODELIST": "node[1-2]", "SLURM_NNODES": "2", "SLURM_GPUS_ON_NODE": "4"}
    found = run("train_nodes.sh", "c.yaml", "--verbose", environment=cluster, cwd=tmp_path, **job)
    ((program, *words),) = [call.split() for call in found[1]]
    assert program == "torchrun"
    # As torchrun reads it.
    read = torch.distributed.run.get_args_parser().parse_args(words)
    assert (read.nnodes, read.nproc_per_node, read.rdzv_id) == ("2", "4", "12345")
    assert (read.rdzv_backend, read.rdzv_endpoint) == ("c10d", "node1:22345")
    assert (read.module, read.training_script) == (True, "lunet_cli")
    assert read.training_script_args == ["train", "c.yaml", "--resume", "auto", "--verbose"]


def test_a_node_without_gpus_takes_the_processes_that_are_asked_for(
    cluster: dict[str, str], tmp_path: Path
) -> None:
    job = {"SLURM_JOB_NODELIST": "node1", "SLURM_NNODES": "1", "PROCESSES_PER_NODE": "2"}
    _, calls, _ = run("train_nodes.sh", "c.yaml", environment=cluster, cwd=tmp_path, **job)
    assert "--nproc-per-node 2 " in calls[0]

"""The workflow: its rules are read, and run by Snakemake where it is installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from lunet_cli.cli.app import app

FILE = Path(__file__).parents[2] / "deploy" / "snakemake" / "Snakefile"
SHELL = re.compile(r"^    shell:\n((?:        \".*\"\n)+)", re.MULTILINE)


def commands() -> list[list[str]]:
    """The commands of the rules, with a number for what a rule fills in."""
    found = []
    for lines in SHELL.findall(FILE.read_text()):
        joined = "".join(line.strip().strip('"') for line in lines.splitlines())
        found.append(re.sub(r"\{[^}]*\}", "1", joined).split())
    return found


def test_each_command_is_one_that_the_command_line_takes() -> None:
    program: Any = typer.main.get_command(app)
    context: Any = typer.Context(program, info_name="lunet")
    assert [words[:2] for words in commands()] == [["lunet", "predict"], ["lunet", "score"]]
    for words in commands():
        name, command, rest = program.resolve_command(context, words[1:])
        assert command.make_context(name, list(rest), parent=context).args == []


@pytest.mark.skipif(shutil.which("snakemake") is None, reason="Snakemake is not installed")
def test_each_scan_becomes_a_mask_and_all_are_scored(tmp_path: Path) -> None:
    for name in ("scans", "references", "bin"):
        (tmp_path / name).mkdir()
    for name in ("a", "b"):
        (tmp_path / "scans" / f"{name}.nii.gz").touch()
    (tmp_path / "model.pt").touch()
    # It makes the file that comes after --output.
    lunet = tmp_path / "bin" / "lunet"
    lunet.write_text(
        f"#!{sys.executable}\nimport sys\nfrom pathlib import Path\n"
        "out = Path(sys.argv[sys.argv.index('--output') + 1])\n"
        "out = out / 'metrics.csv' if sys.argv[1] == 'score' else out\n"
        "out.parent.mkdir(parents=True, exist_ok=True); out.write_text(' '.join(sys.argv[1:]))\n"
    )
    lunet.chmod(0o755)
    settings = ["model=model.pt", "scans=scans", "references=references"]
    subprocess.run(
        ["snakemake", "--snakefile", str(FILE), "--cores", "2", "--config", *settings],
        env=os.environ | {"PATH": f"{lunet.parent}{os.pathsep}{os.environ['PATH']}"},
        cwd=tmp_path,
        check=True,
    )
    called = (tmp_path / "segmented" / "masks" / "b.nii.gz").read_text()
    assert called.startswith("predict model.pt scans/b.nii.gz --output segmented/masks/b.nii.gz ")
    assert (tmp_path / "segmented" / "scores" / "metrics.csv").is_file()

"""What a result was made with: versions, the machine, the commit of the project around it."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813
import torch

from lunet_cli import __version__


def versions() -> dict[str, str]:
    """Versions of all that takes part in the arithmetic."""
    return {
        "lunet": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "simpleitk": sitk.Version.VersionString(),
        "numpy": np.__version__,
    }


def machine_name() -> str:
    """Processor and, if there is one, accelerator in words."""
    names = [_processor_name(), torch.backends.cpu.get_cpu_capability()]
    if torch.cuda.is_available():
        names.append(torch.cuda.get_device_name())
    return ", ".join(names)


def _processor_name() -> str:
    # On Linux, the standard library knows the instruction set only.
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def git_commit() -> str | None:
    """Commit of the folder that the command was started in; None outside of a repository."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            capture_output=True,
            encoding="utf-8",
            # A repository on a network that does not answer must not hold up a training.
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()

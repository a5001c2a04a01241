"""Which packages a format needs."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import get_args

import pytest

from lunet_cli.config.vocabulary import ExportFormat, FileFormat
from lunet_cli.engine.exporting.formats import graph_format, require_installed
from lunet_cli.engine.runtimes import runtime
from lunet_cli.errors import MissingDependencyError


@pytest.mark.parametrize("name", [*get_args(FileFormat), "html", "monai-bundle"])
def test_what_is_missing_is_installed_by_an_extra_that_there_is(
    monkeypatch: pytest.MonkeyPatch, name: ExportFormat
) -> None:
    monkeypatch.setattr(runtime, "_missing", list)
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    if graph_format(name) == "torch-export":  # PyTorch alone.
        require_installed(name, "fp32")
        return
    with pytest.raises(MissingDependencyError) as caught:
        require_installed(name, "fp32")
    extra = caught.value.hint.split("lunet[")[1].split("]")[0]
    assert extra in project["optional-dependencies"]

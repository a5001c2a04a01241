"""What stands in two files of the project agrees."""

from __future__ import annotations

import re
import tomllib
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PINS = dict(
    line.lower().split("==")
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if "==" in line
)


def test_pre_commit_has_the_ruff_of_the_checks() -> None:
    text = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    assert set(re.findall(r"ruff==([\d.]+)", text)) == {PINS["ruff"]}


@pytest.mark.parametrize(
    "requirement",
    list(chain(PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())),
)
def test_each_requirement_is_a_lower_bound_that_the_pin_keeps(requirement: str) -> None:
    name, bound = requirement.lower().split(">=")
    if name in PINS:
        assert _numbers(PINS[name]) >= _numbers(bound)


def test_workflows_test_each_python_of_the_classifiers() -> None:
    named = re.findall(r"Python :: (3\.\d+)", " ".join(PROJECT["classifiers"]))
    workflow = (ROOT / ".github" / "workflows" / "checks.yml").read_text(encoding="utf-8")
    assert f"python: {named}".replace("'", '"') in workflow


def _numbers(version: str) -> list[int]:
    return [int(number) for number in version.split(".")]

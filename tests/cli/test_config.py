from __future__ import annotations

from pathlib import Path

import pytest

from lunet_cli.config.load import load_config
from lunet_cli.config.run import RunConfig

CONFIGS = Path(__file__).parents[2] / "configs"
BAD = """\
training:
  epochs: 0
  lerning_rate: 0.1
  optimizer: adamm
"""


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    path = tmp_path / "bad.yaml"
    path.write_text(BAD, encoding="utf-8")
    return path


def test_check_of_a_correct_file(run_lunet) -> None:
    path = CONFIGS / "quickstart.yaml"
    done = run_lunet("config", "check", path, "--set", "training.epochs=3")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{path}: correct (lunet_small_4f, 3 epochs)"]
    assert done.stderr == ""


def test_check_of_a_bad_file_lists_every_mistake_and_exits_with_2(run_lunet, bad: Path) -> None:
    done = run_lunet("config", "check", bad)
    *errors, hint = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (2, "")
    assert sorted(error.split(": ")[1:3] for error in errors) == [
        [f"{bad}:2", "training.epochs"],
        [f"{bad}:3", "training.lerning_rate"],
        [f"{bad}:4", "training.optimizer"],
    ]
    assert all(error.startswith("error: ") for error in errors)
    assert hint.startswith("hint:  ")


def test_file_is_named_as_it_was_typed(run_lunet, bad: Path) -> None:
    done = run_lunet("config", "check", "bad.yaml", cwd=bad.parent)
    assert done.stderr.startswith("error: bad.yaml:2: training.epochs: ")


def test_check_of_a_missing_file_offers_the_nearest(run_lunet, bad: Path) -> None:
    done = run_lunet("config", "check", "bda.yaml", cwd=bad.parent)
    assert done.stderr.splitlines() == ["error: bda.yaml: there is no such file", "hint:  Did you mean bad.yaml?"]
    assert done.returncode == 2


def test_bad_override_exits_with_2(run_lunet) -> None:
    done = run_lunet("config", "show", "--set", "training.epochs")
    assert done.returncode == 2
    assert done.stderr.startswith("error: --set training.epochs: expected section.key=value\nhint:  ")


def test_show_prints_yaml_that_loads_as_the_same_configuration(run_lunet, tmp_path: Path) -> None:
    source, again = CONFIGS / "hippocampus.yaml", tmp_path / "again.yaml"
    again.write_text(run_lunet("config", "show", source, "--set", "training.epochs=7").stdout, encoding="utf-8")
    shown = load_config(again)
    assert shown.training.epochs == 7
    assert shown.labels == {"anterior": [1], "posterior": [2]}
    assert shown == load_config(source, ["training.epochs=7"])


def test_show_without_a_file_prints_all_defaults(run_lunet, tmp_path: Path) -> None:
    path = tmp_path / "defaults.yaml"
    path.write_text(run_lunet("config", "show").stdout, encoding="utf-8")
    assert "learning_rate: 0.01" in path.read_text(encoding="utf-8")
    assert load_config(path) == RunConfig()


def test_schema_prints_the_shipped_schema(run_lunet) -> None:
    shipped = (CONFIGS / "lunet.schema.json").read_text(encoding="utf-8")
    assert run_lunet("config", "schema").stdout == shipped

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from lunet_cli.config import shipped
from lunet_cli.config.shipped import find_config, purpose, shipped_config, shipped_configs
from lunet_cli.errors import ConfigError

ROOT = Path(__file__).parents[2]


def test_all_files_of_the_checkout_are_shipped() -> None:
    assert shipped_configs() == {
        path.stem: path for path in sorted((ROOT / "configs").glob("*.yaml"))
    }


def test_a_wheel_carries_them_inside_of_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"][
        "build"
    ]
    assert build["targets"]["wheel"]["force-include"] == {"configs": "lunet_cli/configs"}
    package = tmp_path / "lunet_cli"
    (package / "configs").mkdir(parents=True)
    (package / "configs" / "mine.yaml").touch()
    monkeypatch.setattr(shipped, "_PACKAGE", package)
    assert shipped_configs() == {"mine": package / "configs" / "mine.yaml"}


@pytest.mark.parametrize(
    "name", ["lunet_small", "lunet_small.yaml", "configs/lunet_small.yaml", "lunet_small.yml"]
)
def test_names_lead_to_the_shipped_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_config(Path(name)) == ROOT / "configs" / "lunet_small.yaml"


def test_a_file_of_the_working_folder_wins_and_a_folder_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quickstart.yaml").touch()
    (tmp_path / "lunet_small").mkdir()
    assert find_config(Path("quickstart.yaml")) == Path("quickstart.yaml")
    assert find_config(Path("lunet_small")) == ROOT / "configs" / "lunet_small.yaml"


@pytest.mark.parametrize(
    "name", ["nothing", "other/quickstart.yaml", "quickstart.json", "x" * 5000]
)
def test_other_paths_stay_as_they_are(name: str) -> None:
    assert find_config(Path(name)) == Path(name)


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(ConfigError, match="Did you mean quickstart"):
        shipped_config("quikstart")


def test_every_shipped_file_says_what_it_is_for() -> None:
    for path in shipped_configs().values():
        assert len(purpose(path)) > 30

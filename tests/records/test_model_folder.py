from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from lunet_cli.errors import CheckpointError, LunetError, OutputError
from lunet_cli.records import model_folder
from lunet_cli.records.model_folder import (
    SHIPPED,
    find_model,
    known_names,
    list_models,
    remove_model,
    require_free,
    require_model,
)
from lunet_cli.records.model_page import is_name

SHIPPED_NAME = "hippocampus-mri-1f"


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder with one model, `mine`."""
    folder = tmp_path / "own"
    folder.mkdir()
    monkeypatch.setattr(model_folder, "own_folder", lambda: folder)
    copy_as(folder, "mine")
    return folder


def copy_as(folder: Path, name: str) -> None:
    page = json.loads((SHIPPED / f"{SHIPPED_NAME}.json").read_text(encoding="utf-8"))
    page |= {"name": name, "also_called": None, "statement": None}
    (folder / f"{name}.json").write_text(json.dumps(page), encoding="utf-8")
    shutil.copy(SHIPPED / f"{SHIPPED_NAME}.pt", folder / f"{name}.pt")


def test_those_of_the_package_come_first_the_smallest_before(own: Path) -> None:
    models = list_models().models
    assert [found.page.name for found in models][-1] == "mine"
    shipped = [found.page.num_parameters for found in models if found.is_shipped]
    assert shipped == sorted(shipped)
    assert "hippocampus-mri" in known_names()


def test_the_short_name_is_that_of_one_size(own: Path) -> None:
    found = require_model("hippocampus-mri")
    assert found.page.also_called == "hippocampus-mri"
    assert found.checked_weights().parent == SHIPPED


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "is not valid JSON"),
        ("[]", "is not the page of a model"),
        ('{"format": "lunet model 99"}', "has format 99"),
        ('{"format": "lunet model 1"}', "is not the page of a model"),
        ('{"format": "lunet prediction 1"}', "is not"),
    ],
)
def test_a_damaged_page_is_told_and_disturbs_no_other(own: Path, content: str, told: str) -> None:
    (own / "broken.json").write_text(content, encoding="utf-8")
    found = list_models()
    assert len(found.problems) == 1
    assert told in found.problems[0]
    assert "broken.json" in found.problems[0]
    assert "mine" in [model.page.name for model in found.models]
    assert require_model("mine").page.name == "mine"
    with pytest.raises(LunetError, match=r"broken\.json"):
        require_model("broken")
    assert [path.name for path in remove_model("broken")] == ["broken.json"]


def test_a_page_under_another_name_is_refused(own: Path) -> None:
    shutil.copy(own / "mine.json", own / "other.json")
    with pytest.raises(CheckpointError, match="is the page of mine"):
        find_model("other")


def test_a_folder_that_holds_other_things_is_no_obstacle(own: Path) -> None:
    (own / "folder.json").mkdir()
    (own / ".mine.json.tmp").touch()
    (own / "notes.txt").touch()
    (problem,) = list_models().problems
    assert "folder.json: is a folder" in problem


def test_changed_weights_are_not_loaded(own: Path) -> None:
    with (own / "mine.pt").open("ab") as file:
        file.write(b"x")
    with pytest.raises(CheckpointError, match="is not the file that the page of mine speaks of"):
        require_model("mine").checked_weights()
    (own / "mine.pt").unlink()
    with pytest.raises(CheckpointError, match="there is no such file of weights"):
        require_model("mine").checked_weights()


def test_an_unknown_name_gets_near_ones(own: Path) -> None:
    with pytest.raises(CheckpointError, match=r"Did you mean hippocampus-mri"):
        require_model("hipocampus-mri")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "A", "-x", "ä", "a b", "x" * 65, "a\n"])
def test_what_is_no_name_is_refused(own: Path, name: str) -> None:
    assert not is_name(name)
    assert find_model(name) is None
    with pytest.raises(OutputError, match="is not a name for a model"):
        require_free(name)
    with pytest.raises(CheckpointError, match="there is no such model"):
        remove_model(name)


def test_taken_names_are_refused(own: Path) -> None:
    for name, told in (
        ("mine", "is there already"),
        ("hippocampus-mri", "is a model of lunet"),
        (SHIPPED_NAME, "is a model of lunet"),
    ):
        with pytest.raises(OutputError, match=told):
            require_free(name)
    require_free("free")


def test_removing_takes_both_files_and_none_of_the_package(own: Path) -> None:
    assert {path.name for path in remove_model("mine")} == {"mine.json", "mine.pt"}
    assert list(own.iterdir()) == []
    with pytest.raises(OutputError, match="came with lunet"):
        remove_model("hippocampus-mri")
    assert (SHIPPED / f"{SHIPPED_NAME}.pt").is_file()


def test_a_page_with_a_name_of_the_package_is_told(own: Path) -> None:
    shutil.copy(SHIPPED / f"{SHIPPED_NAME}.json", own)
    (problem,) = list_models().problems
    assert f"{SHIPPED_NAME} is a model of lunet" in problem
    found = find_model(SHIPPED_NAME)
    assert found is not None
    assert found.is_shipped


def test_without_a_folder_there_are_those_of_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_folder, "own_folder", lambda: tmp_path / "none")
    found = list_models()
    assert found.problems == ()
    assert all(model.is_shipped for model in found.models)

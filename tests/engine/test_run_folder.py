"""The one who knows the files of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from lunet_cli.config.load import load_config
from lunet_cli.engine.run_folder import RunFolder, names_of
from lunet_cli.errors import DataError, OutputError


def test_it_is_the_folder_that_the_configuration_names(tmp_path: Path) -> None:
    config = load_config(None, [f"experiment.output_dir={tmp_path}", "experiment.name=one"])
    assert RunFolder.of(config).path == tmp_path / "one"


def test_no_two_files_have_one_name(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    names = [
        value.fget(folder).name
        for value in vars(RunFolder).values()
        if isinstance(value, property) and isinstance(value.fget(folder), Path)
    ]
    assert len(names) == 24
    assert len(set(names)) == len(names)
    assert folder.evaluation("val").parent == folder.evaluations
    assert folder.kept_checkpoint(7).name == "checkpoint_epoch007.pt"
    assert folder.kept_step(7).name == "checkpoint_step007.pt"


def test_a_new_name_is_one_that_is_free(tmp_path: Path) -> None:
    for name in ("run", "run_2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "last.pt").touch()
    with pytest.raises(OutputError, match="a run is here already") as caught:
        RunFolder(tmp_path / "run").require_free()
    assert "`experiment.name=run_3`" in caught.value.hint


def test_halves_of_our_files_go_and_other_hidden_files_stay(tmp_path: Path) -> None:
    ours = [".last.pt.abcdefgh", ".training.json.abcdefgh", ".pruning_cases.csv.abcdefgh"]
    names = [*ours, ".lock", ".last.pt.abc", ".notes.txt"]
    for name in names:
        (tmp_path / name).touch()
    RunFolder(tmp_path).remove_leftovers()
    assert {path.name for path in tmp_path.iterdir()} == set(names) - set(ours)


def test_what_is_missing_is_told_with_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no history.csv") as caught:
        RunFolder(tmp_path).read_history()
    assert "`train(CONFIG)` makes it" in caught.value.hint
    with pytest.raises(DataError, match="there is no such folder"):
        RunFolder(tmp_path / "none").read_history()
    assert RunFolder(tmp_path).read_manifest() is None
    assert RunFolder(tmp_path).read_summary() is None


def test_runs_of_one_name_are_called_by_their_paths(tmp_path: Path) -> None:
    one, other, third = tmp_path / "a" / "run", tmp_path / "b" / "run", tmp_path / "b" / "more"
    assert names_of([one, third]) == ["run", "more"]
    assert names_of([one, other]) == [str(one), str(other)]

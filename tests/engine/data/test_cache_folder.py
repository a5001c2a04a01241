"""What a cache says of itself, and what is removed of it."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from lunet_cli.config.load import load_config
from lunet_cli.config.options import PhantomOptions
from lunet_cli.engine.data.cache_entry import read_facts
from lunet_cli.engine.data.cache_folder import cache_info, clear_cache
from lunet_cli.engine.data.phantom_files import write_phantom
from lunet_cli.engine.training.setup import set_up
from lunet_cli.errors import DataError


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_phantom(tmp_path / "data", PhantomOptions(num_cases=4, size=(16, 16, 16)))
    return tmp_path / "data"


def _fill(root: Path, data: Path | None, *more: str) -> Path:
    settings = [
        "data.cache=disk",
        f"experiment.output_dir={root / 'runs'}",
        "training.batch_size=2",
        "training.patch_size=[16, 16, 16]",
        "model.architecture=lunet_large_1f",
    ]
    if data is not None:
        settings.append(f"data.root={data}")
    set_up(load_config(None, [*settings, *more]), lambda event: None)
    return root / "runs"


def test_kept_cases_are_counted_by_data_and_preprocessing(tmp_path: Path, data: Path) -> None:
    runs = _fill(tmp_path, data)
    _fill(tmp_path, data, "preprocessing.spacing_mm=[2, 2, 2]")
    _fill(tmp_path, None, "data.phantom.num_cases=3", "data.phantom.size=16")
    found = cache_info(runs)
    assert found == cache_info(runs / ".cache")
    rows = [(group.place, group.settings.split(",")[0], group.num_cases) for group in found.groups]
    assert rows == [
        (str(data), "2 x 2 x 2 mm", 4),
        (str(data), "their own spacing", 4),
        ("built-in volumes", "their own spacing", 3),
    ]
    assert found.num_cases == 11
    on_disk = sum(path.stat().st_size for path in (runs / ".cache").rglob("*/*") if path.is_file())
    notes = sum(path.stat().st_size for path in (runs / ".cache" / "contents").iterdir())
    assert found.num_bytes == on_disk - notes
    assert all(group.num_stale == 0 for group in found.groups)


def test_what_no_run_can_use_is_stale_and_goes_alone(tmp_path: Path, data: Path) -> None:
    runs = _fill(tmp_path, data)
    labels = sorted((data / "labelsTr").iterdir())
    shutil.copy(labels[1], labels[0])
    labels[3].unlink()
    assert [group.num_stale for group in cache_info(runs).groups] == [2]
    removed = clear_cache(runs, only_stale=True)
    assert removed.num_cases == 2
    assert removed.num_bytes > 0
    assert [group.num_cases for group in cache_info(runs).groups] == [2]


def test_a_cleared_cache_is_filled_again(tmp_path: Path, data: Path) -> None:
    runs = _fill(tmp_path, data)
    before = cache_info(runs)
    (runs / ".cache" / ".part-killed").mkdir()
    os.utime(runs / ".cache" / ".part-killed", (time.time() - 7200,) * 2)
    (runs / ".cache" / "notes of mine").mkdir()
    assert cache_info(runs).num_unfinished == 1
    assert clear_cache(runs, older_than_days=1).num_cases == 0
    removed = clear_cache(runs)
    assert (removed.num_cases, removed.num_unfinished) == (4, 1)
    assert [path.name for path in (runs / ".cache").iterdir()] == ["notes of mine"]
    _fill(tmp_path, data)
    assert cache_info(runs).num_bytes == before.num_bytes
    for entry in (runs / ".cache").glob("?" * 32):
        os.utime(entry, (0, 0))
    assert clear_cache(runs, older_than_days=1).num_cases == 4


@pytest.mark.parametrize("only_stale", [False, True])
def test_only_what_no_run_can_be_writing_is_removed_half_written(
    tmp_path: Path, only_stale: bool
) -> None:
    cache = tmp_path / ".cache"
    for name, age_s in (("contents", 0), (".part-written", 60), (".part-killed", 7200)):
        (cache / name).mkdir(parents=True)
        (cache / name / "image.npy").write_bytes(b"half")
        os.utime(cache / name, (time.time() - age_s,) * 2)
    assert cache_info(cache).num_unfinished == 1
    assert clear_cache(cache, only_stale=only_stale, older_than_days=1).num_unfinished == 0
    removed = clear_cache(cache, only_stale=only_stale)
    assert (removed.num_unfinished, removed.num_bytes) == (1, 4)
    assert [path.name for path in cache.glob(".part-*")] == [".part-written"]


def test_an_entry_that_vanishes_while_it_is_looked_at_is_left_out(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = _fill(tmp_path, data)
    gone = min((runs / ".cache").glob("?" * 32))

    def read(entry: Path) -> object:
        facts = read_facts(entry)
        shutil.rmtree(gone, ignore_errors=True)
        return facts

    monkeypatch.setattr("lunet_cli.engine.data.cache_folder.read_facts", read)
    assert cache_info(runs).num_cases == 3


def test_a_folder_that_is_no_cache_is_left_alone(tmp_path: Path, data: Path) -> None:
    with pytest.raises(DataError, match="there is no such folder"):
        clear_cache(tmp_path / "nowhere")
    before = sorted(data.rglob("*"))
    for found in (cache_info(data), clear_cache(data)):
        assert (found.folder, found.num_cases, found.num_bytes) == (data / ".cache", 0, 0)
    assert sorted(data.rglob("*")) == before

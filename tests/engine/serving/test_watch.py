from __future__ import annotations

import json
import shutil
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

import lunet_cli as lunet
from lunet_cli.config.options import OutputOptions, PredictionOptions, WatchOptions
from lunet_cli.engine.serving.served_models import ServedModel, load_models
from lunet_cli.engine.serving.watch import LOCKS, watch
from lunet_cli.errors import ConfigError, LunetError
from lunet_cli.results.events import CaseFailed, Event
from lunet_cli.results.serving import ScanFinished

Look = Callable[..., list[Event]]
SETTLED = 0.05


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


@pytest.fixture
def look(models: dict[str, ServedModel], inbox: Path, tmp_path: Path) -> Look:
    """Watch until nothing is left to do, and return what was reported."""

    def run(
        model: ServedModel = models["bright"],
        limits: dict[str, float] | None = None,
        **changes: Any,
    ) -> list[Event]:
        events: list[Event] = []
        settings = {"settle_seconds": SETTLED, "once": True} | (limits or {})
        options = WatchOptions.model_validate(settings)
        output = OutputOptions(output=tmp_path / "masks", **changes)
        stop = threading.Event()
        watch(model, inbox, output, options, stop=stop, on_event=events.append)
        return events

    return run


def record_of(tmp_path: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((tmp_path / "masks" / f"{name}.json").read_text())
    return found


def left(tmp_path: Path) -> list[str]:
    """What is left of locks and unfinished work."""
    return [path.name for path in (tmp_path / "masks" / LOCKS).iterdir() if path.name != ".probe"]


def test_each_scan_gets_the_mask_of_predict(
    look: Look, inbox: Path, tmp_path: Path, models: dict[str, ServedModel],
    write_volume: Any, write_series: Any, scan: np.ndarray[Any, Any],
) -> None:  # fmt: skip
    for name in ("a.nii.gz", "b.nrrd", "c.mha"):
        write_volume(inbox / name, scan)
    write_series(inbox / "d", scan)
    (inbox / "notes.txt").write_text("no scan")
    (inbox / ".hidden.nii").write_bytes(b"")
    look()
    for source, mask in (("a.nii.gz", "a.nii.gz"), ("b.nrrd", "b.nrrd"), ("c.mha", "c.mha"),
                         ("d", "d.nii.gz")):  # fmt: skip
        expected = tmp_path / "expected" / mask
        lunet.predict(models["bright"].predictor, inbox / source, OutputOptions(output=expected))
        assert (tmp_path / "masks" / mask).read_bytes() == expected.read_bytes()
        record = record_of(tmp_path, source)
        assert record["state"] == "done"
        assert record["mask"] == mask
        assert record["volumes_ml"]["low"] == pytest.approx(5 * 5 * 7 / 1000)
    assert len(list((tmp_path / "masks").iterdir())) == 9
    assert left(tmp_path) == []


def test_second_look_does_nothing(
    look: Look, inbox: Path, tmp_path: Path, write_volume: Any, scan: np.ndarray[Any, Any]
) -> None:
    write_volume(inbox / "a.nii", scan)
    (inbox / "bad.nii").write_bytes(b"hello")
    first = look()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "masks").iterdir()}
    second = look()
    assert len(first) == 3
    assert len(second) == 1
    after = {path: path.stat().st_mtime_ns for path in before}
    del before[tmp_path / "masks" / LOCKS], after[tmp_path / "masks" / LOCKS]
    assert before == after


def test_broken_scan_is_told_and_not_tried_again(
    look: Look, inbox: Path, tmp_path: Path, write_volume: Any, scan: np.ndarray[Any, Any]
) -> None:
    (inbox / "a.nii").write_bytes(b"hello")
    (inbox / "empty").mkdir()
    look()
    record = record_of(tmp_path, "a.nii")
    assert record["state"] == "failed"
    assert "a.nii" in record["error"]
    assert record_of(tmp_path, "empty")["state"] == "failed"
    assert not (tmp_path / "masks" / "a.nii").exists()
    # A scan that is copied again is another one.
    write_volume(inbox / "a.nii", scan)
    look()
    assert record_of(tmp_path, "a.nii")["state"] == "done"
    # And one that breaks leaves no mask of what it was.
    (inbox / "a.nii").write_bytes(b"hello")
    look()
    assert record_of(tmp_path, "a.nii")["state"] == "failed"
    assert not (tmp_path / "masks" / "a.nii").exists()


def test_file_that_grows_is_waited_for(
    models: dict[str, ServedModel], inbox: Path, tmp_path: Path, write_volume: Any,
    scan: np.ndarray[Any, Any],
) -> None:  # fmt: skip
    whole = write_volume(tmp_path / "a.nii", scan).read_bytes()
    events: list[Event] = []
    stop = threading.Event()
    watching = threading.Thread(
        target=watch,
        args=(models["bright"], inbox, OutputOptions(output=tmp_path / "masks")),
        kwargs={
            "options": WatchOptions(settle_seconds=0.5), "stop": stop, "on_event": events.append
        },
    )  # fmt: skip
    watching.start()
    with (inbox / "a.nii").open("wb") as file:
        for first in range(0, len(whole), len(whole) // 8):
            file.write(whole[first : first + len(whole) // 8])
            file.flush()
            time.sleep(0.15)
    wait_for(lambda: (tmp_path / "masks" / "a.nii.json").exists())
    wait_for(lambda: record_of(tmp_path, "a.nii")["state"] != "working")
    stop.set()
    watching.join(timeout=20)
    assert record_of(tmp_path, "a.nii")["state"] == "done"
    assert len(events) == 2


def wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it does not happen")


def test_mask_of_somebody_else_is_kept(
    look: Look, inbox: Path, tmp_path: Path, write_volume: Any, scan: np.ndarray[Any, Any]
) -> None:
    write_volume(inbox / "a.nii", scan)
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "a.nii").write_text("mine")
    look()
    assert (tmp_path / "masks" / "a.nii").read_text() == "mine"
    assert "is not of this scan" in record_of(tmp_path, "a.nii")["error"]


def test_two_scans_of_one_name_do_not_share_a_mask(
    look: Look, inbox: Path, tmp_path: Path, write_volume: Any, scan: np.ndarray[Any, Any]
) -> None:
    write_volume(inbox / "a.nii", scan)
    write_volume(inbox / "a.nrrd", np.zeros_like(scan))
    look(suffix=".mha")
    states = {name: record_of(tmp_path, name)["state"] for name in ("a.nii", "a.nrrd")}
    assert states == {"a.nii": "done", "a.nrrd": "failed"}
    assert sitk.GetArrayFromImage(sitk.ReadImage(tmp_path / "masks" / "a.mha")).any()


def test_json_of_somebody_else_is_kept(
    look: Look, inbox: Path, tmp_path: Path, write_volume: Any, scan: np.ndarray[Any, Any]
) -> None:
    write_volume(inbox / "a.nii", scan)
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "a.nii.json").write_text("{}")
    look()
    assert (tmp_path / "masks" / "a.nii.json").read_text() == "{}"
    assert not (tmp_path / "masks" / "a.nii").exists()


def test_channels_are_one_scan(
    look: Look, inbox: Path, tmp_path: Path, make_threshold_model: Any, write_volume: Any,
    scan: np.ndarray[Any, Any],
) -> None:  # fmt: skip
    path = make_threshold_model(tmp_path / "two.pt", in_channels=2)
    options = PredictionOptions(device="cpu", precision="fp32")
    model = load_models([path], options)["two"]
    write_volume(inbox / "a_0000.nii", scan)
    look(model)
    assert not (tmp_path / "masks" / "a.nii.json").exists()
    write_volume(inbox / "a_0001.nii", scan)
    look(model)
    record = record_of(tmp_path, "a.nii")
    assert record["state"] == "done", record["error"]
    found = sitk.GetArrayFromImage(sitk.ReadImage(tmp_path / "masks" / "a.nii"))
    np.testing.assert_array_equal(found, scan > 100.5)


def test_probabilities_come_first(
    look: Look, inbox: Path, tmp_path: Path, write_volume: Any, scan: np.ndarray[Any, Any]
) -> None:
    write_volume(inbox / "a.nii.gz", scan)
    look(probabilities=True)
    names = {path.name for path in (tmp_path / "masks").glob("a*")}
    assert names == {"a.nii.gz", "a.nii.gz.json", "a_prob_low.nii.gz", "a_prob_high.nii.gz"}


def test_scan_with_too_many_voxels_is_told(
    look: Look, inbox: Path, tmp_path: Path, write_volume: Any, scan: np.ndarray[Any, Any]
) -> None:
    write_volume(inbox / "large.nii", scan)
    write_volume(inbox / "small.nii", scan[:6])
    look(limits={"max_voxels": scan.size - 1})
    record = record_of(tmp_path, "large.nii")
    assert record["state"] == "failed"
    assert record["error"] == f"the scan: has {scan.size:,} voxels, more than {scan.size - 1:,}"
    assert "`max_voxels`" in record["hint"]
    assert record["mask"] == ""
    assert record_of(tmp_path, "small.nii")["state"] == "done"
    assert not (tmp_path / "masks" / "large.nii").exists()
    assert left(tmp_path) == []


def test_voxels_count_on_the_grid_of_the_network(
    look: Look, inbox: Path, tmp_path: Path, make_threshold_model: Any, write_volume: Any,
    scan: np.ndarray[Any, Any],
) -> None:  # fmt: skip
    path = make_threshold_model(tmp_path / "fine.pt", spacing_mm=(0.5, 0.5, 0.5))
    model = load_models([path], PredictionOptions(device="cpu", precision="fp32"))["fine"]
    write_volume(inbox / "a.nii", scan)
    look(model, limits={"max_voxels": 8 * scan.size - 1})
    assert (
        f"has, on the grid of the network, {8 * scan.size:,} voxels"
        in (record_of(tmp_path, "a.nii")["error"])
    )


def test_scan_that_takes_too_long_is_told_and_the_next_goes_on(
    look: Look, inbox: Path, tmp_path: Path, write_volume: Any
) -> None:
    # More windows than one, so that there is a moment to stop at.
    write_volume(inbox / "a.nii", np.zeros((40, 40, 40), np.int16))
    write_volume(inbox / "b.nii", np.zeros((8, 8, 8), np.int16))
    events = look(limits={"job_seconds": 1e-6})
    record = record_of(tmp_path, "a.nii")
    assert record["state"] == "failed"
    assert record["error"] == "a.nii: takes longer than 1e-06 s"
    assert "`job_seconds`" in record["hint"]
    assert record_of(tmp_path, "b.nii")["state"] == "done"
    assert [event.case for event in events if isinstance(event, CaseFailed)] == ["a.nii"]
    assert not (tmp_path / "masks" / "a.nii").exists()
    assert left(tmp_path) == []


def test_header_and_voxels_may_be_two_files(
    look: Look, inbox: Path, tmp_path: Path, scan: np.ndarray[Any, Any]
) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(scan), str(inbox / "a.mhd"))
    look()
    assert record_of(tmp_path, "a.mhd")["state"] == "done"


def test_folders_within_each_other_are_refused(models: dict[str, ServedModel], inbox: Path) -> None:
    for output in (inbox, inbox / "masks", inbox.parent):
        with pytest.raises(ConfigError, match="may not lie with the scans"):
            watch(
                models["bright"], inbox, OutputOptions(output=output), WatchOptions(),
                stop=threading.Event(),
            )  # fmt: skip


def test_inbox_that_is_missing_is_told(look: Look, inbox: Path) -> None:
    inbox.rmdir()
    with pytest.raises(LunetError, match="inbox"):
        look()


@pytest.mark.skipif(sys.platform != "linux", reason="reads what a forked process says")
def test_killed_at_any_moment_and_beside_another_each_scan_is_finished_once(
    nursery: Any, model_file: Path, inbox: Path, tmp_path: Path, write_volume: Any,
    models: dict[str, ServedModel],
) -> None:  # fmt: skip
    rng = np.random.default_rng(0)
    names = [f"case_{index}.nii.gz" for index in range(8)]
    for name in names:
        write_volume(inbox / name, rng.integers(0, 300, (24, 24, 24)).astype(np.int16))
    command = ("serve", model_file, "--watch", inbox, tmp_path / "masks", "--once",
               "--settle-seconds", "0.05", "--threads", "1")  # fmt: skip
    outputs = []
    for index in range(6):
        process = nursery.start(*command, cwd=tmp_path)
        # From the first moments to the midst of the scans.
        wait_until = time.monotonic() + 10
        while time.monotonic() < wait_until and index > 0:
            done = len(list((tmp_path / "masks").glob("*.json"))) if index else 0
            if done >= index or process.poll() is not None:
                break
            time.sleep(0.001 * (1 + 3 * index))
        process.kill()
        process.wait()
        if process._files[1].exists():  # It may not even have opened its output.
            outputs.append(process._files[1].read_text(encoding="utf-8"))
    both = [nursery.start(*command, cwd=tmp_path) for _ in range(2)]
    for process in both:
        outputs.append(process.communicate(timeout=120)[1])
        assert process.returncode == 0, outputs[-1]
    said = "".join(outputs)
    for name in names:
        expected = tmp_path / "expected" / name
        lunet.predict(models["bright"].predictor, inbox / name, OutputOptions(output=expected))
        assert (tmp_path / "masks" / name).read_bytes() == expected.read_bytes()
        assert record_of(tmp_path, name)["state"] == "done"
        assert said.count(f"{name}: ") <= 1
    assert "Traceback" not in said
    assert left(tmp_path) == []
    shutil.rmtree(tmp_path / "masks" / LOCKS)
    assert {path.name for path in (tmp_path / "masks").iterdir()} == {
        *names, *(f"{name}.json" for name in names)
    }  # fmt: skip


def test_events_say_what_was_found(
    look: Look, inbox: Path, write_volume: Any, scan: np.ndarray[Any, Any]
) -> None:
    write_volume(inbox / "a.nii", scan)
    finished = [event for event in look() if isinstance(event, ScanFinished)]
    assert [str(event).split(" (")[0] for event in finished] == ["a.nii: low 0.17 ml, high 0.02 ml"]

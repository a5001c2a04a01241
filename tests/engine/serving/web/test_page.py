"""The page of a service in a browser: scans go there, and masks of `predict` come back."""

from __future__ import annotations

import json
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

import lunet_cli as lunet
from lunet_cli.config.options import OutputOptions, PredictionOptions, ServeOptions
from lunet_cli.engine.serving.served_models import ServedModel, load_models
from lunet_cli.engine.serving.service import Service

ClientOf = Callable[..., httpx.Client]
MakeService = Callable[..., Service]
TOKEN = "0123456789abcdef0123456789abcdef"
OBLIQUE = (0.8660254, -0.5, 0.0, 0.3830222, 0.6634139, -0.6427876, 0.3213938, 0.5566704, 0.7660444)
PLACE: dict[str, Any] = {
    "spacing": (0.8, 1.3, 3.5), "origin": (-20.5, 13.25, 7.0), "direction": OBLIQUE
}  # fmt: skip


@pytest.fixture
def service(make_service: MakeService) -> Service:
    return make_service()


@pytest.fixture
def address(tab: Any, client_of: ClientOf, service: Service) -> str:
    """The page of a service of one model, opened."""
    return opened(tab, client_of(service))


def opened(tab: Any, client: httpx.Client) -> str:
    address = str(client.base_url.join("/"))
    tab.open(address)
    return address


def predicted(models: dict[str, ServedModel], source: Path, output: Path) -> bytes:
    """The file that `predict` writes."""
    result = lunet.predict(models["bright"].predictor, source, OutputOptions(output=output))
    assert not result.failures
    return output.read_bytes()


def volumes_in(tab: Any) -> list[str]:
    return [cell.text for cell in tab.driver.find_elements("css selector", "#volumes td")]


def is_empty(service: Service) -> bool:
    """Whether nothing lies in the folder of a service, once what goes has gone."""
    for _ in range(250):
        if not list(service.folder.iterdir()) and service.queue_length == 0:
            return True
        time.sleep(0.02)
    return False


def until(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it does not happen")


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd"])
def test_mask_is_the_file_of_predict_and_lies_over_the_scan(
    tab: Any, address: str, service: Service, models: dict[str, ServedModel], write_volume: Any,
    scan: np.ndarray[Any, Any], tmp_path: Path, suffix: str,
) -> None:  # fmt: skip
    path = write_volume(tmp_path / f"scan{suffix}", scan, **PLACE)
    tab.segment(path)
    assert tab.save().read_bytes() == predicted(models, path, tmp_path / "mask.nii.gz")
    assert tab.text("remarks") == ""
    voxel_ml = 0.8 * 1.3 * 3.5 / 1000
    assert volumes_in(tab) == ["1", f"{175 * voxel_ml:.2f} ml", "2", f"{18 * voxel_ml:.2f} ml"]
    shown = tab.driver.execute_script("return [[...scan.image], [...scan.labelMap]]")
    np.testing.assert_array_equal(shown[0], scan.ravel())
    np.testing.assert_array_equal(shown[1], (scan > 100.5).ravel() + 1 * (scan > 200.5).ravel())
    assert is_empty(service)


def test_dicom_folder(
    tab: Any, address: str, models: dict[str, ServedModel], write_series: Any,
    scan: np.ndarray[Any, Any], tmp_path: Path,
) -> None:  # fmt: skip
    folder = write_series(tmp_path / "ct", scan, spacing=(0.9, 1.1, 1.7), direction=OBLIQUE)
    (folder / "notes.txt").write_text("no slice")
    tab.segment(folder, folder=True)
    expected = predicted(models, folder, tmp_path / "mask.nii.gz")
    assert tab.save().read_bytes() == expected
    assert tab.text("remarks") == ""
    found = volumes_in(tab)
    tab.drop(folder)
    assert volumes_in(tab) == found


def test_one_of_several_series_is_asked_for_and_sent_alone(
    tab: Any, address: str, models: dict[str, ServedModel], write_series: Any,
    scan: np.ndarray[Any, Any], tmp_path: Path,
) -> None:  # fmt: skip
    from selenium.webdriver.support.ui import Select

    other = write_series(tmp_path / "other", scan, uid="1.2.4", number=2, description="chest")
    expected = predicted(models, other, tmp_path / "mask.nii.gz")
    folder = tmp_path / "both"
    write_series(folder, np.zeros((4, 9, 9)), uid="1.2.3", number=1, description="scout")
    for path in other.iterdir():
        path.rename(folder / f"other_{path.name}")
    tab.give(folder, folder=True)
    tab.wait_for("asking")
    assert "'scout'" in tab.text("series-choice")
    Select(tab.driver.find_element("id", "series-choice")).select_by_value("1.2.4")
    tab.driver.find_element("css selector", "#series button").click()
    tab.wait_for("done")
    assert tab.text("summary").startswith("chest: 16 x 14 x 12 voxels")
    assert tab.save().read_bytes() == expected


@pytest.mark.parametrize("name", ["scan.mha", "series.zip"])
def test_what_the_page_cannot_show_is_segmented_all_the_same(
    tab: Any, address: str, models: dict[str, ServedModel], write_volume: Any,
    write_series: Any, scan: np.ndarray[Any, Any], tmp_path: Path, name: str,
) -> None:  # fmt: skip
    path = source = tmp_path / name
    if name.endswith(".zip"):
        source = write_series(tmp_path / "series", scan)
        with zipfile.ZipFile(path, "w") as archive:
            for file in source.iterdir():
                archive.write(file, file.name)
    else:
        write_volume(path, scan, **PLACE)
    tab.segment(path)
    assert f"its mask stands alone ({name} is not a scan that this page reads)" in (
        tab.text("remarks")
    )
    assert tab.save().read_bytes() == predicted(models, source, tmp_path / "mask.nii.gz")


def test_what_is_wrong_is_told_in_the_words_of_the_service_and_the_page_goes_on(
    tab: Any, client_of: ClientOf, make_service: MakeService, write_volume: Any, tmp_path: Path,
    scan: np.ndarray[Any, Any],
) -> None:  # fmt: skip
    service = make_service(max_voxels=4000, max_upload_mib=0.01)
    client = client_of(service)
    opened(tab, client)
    good = write_volume(tmp_path / "good.nii.gz", scan)
    noise = np.random.default_rng(0).integers(0, 999, (8, 9, 10)).astype(np.int16)
    broken = write_volume(tmp_path / "broken.nii.gz", noise)
    broken.write_bytes(broken.read_bytes()[:-200])
    text = tmp_path / "notes.txt"
    text.write_text("no scan", encoding="utf-8")
    many = write_volume(tmp_path / "many.nii.gz", np.zeros((16, 16, 16), np.int16))
    bytes_ = tmp_path / "large.nii"
    bytes_.write_bytes(bytes(20_000))
    for path in (broken, text, many):
        problem = client.post("/predict", files={"a": (path.name, path.read_bytes())}).json()
        said = tab.refusal(path)
        assert said == f"{problem['error']}. {problem['hint']}"
    assert "more than 4,000" in said
    assert tab.refusal(broken).startswith("broken.nii.gz: cannot be read: ")
    assert "more than the 0 MiB that the service takes" in tab.refusal(bytes_)
    tab.segment(good)
    assert tab.driver.execute_script("return document.getElementById('problem').hidden")
    assert is_empty(service)


def test_browsers_that_show_a_token_are_served(
    tab: Any, client_of: ClientOf, service: Service, write_volume: Any, tmp_path: Path,
    scan: np.ndarray[Any, Any],
) -> None:  # fmt: skip
    address = str(client_of(service, token=TOKEN).base_url)
    tab.driver.get(address.replace("://", f"://anyone:{TOKEN}@"))
    tab.wait_for("ready")
    tab.segment(write_volume(tmp_path / "scan.nii.gz", scan))
    assert TOKEN not in tab.driver.page_source


def test_queue_is_shown_and_a_full_one_waited_for(
    tab: Any, client_of: ClientOf, make_service: MakeService, slow: threading.Event,
    write_volume: Any, tmp_path: Path, scan: np.ndarray[Any, Any],
) -> None:  # fmt: skip
    client = client_of(make_service(max_queue=2))
    opened(tab, client)
    path = write_volume(tmp_path / "scan.nii.gz", scan)
    first, second = (
        client.post("/predict?wait=false", content=path.read_bytes()).json()["job"]
        for _ in range(2)
    )
    tab.give(path)
    full = "Waiting for a place at the service: 2 scans are there, as many as it takes…"
    until(lambda: tab.text("status") == full)
    client.delete(f"/jobs/{second}")
    client.delete(f"/jobs/{first}")
    slow.set()
    tab.wait_for("done")
    slow.clear()
    client.post("/predict?wait=false", content=path.read_bytes())
    tab.give(path)
    until(lambda: tab.text("status") == "Waiting for its turn: 1 scan is before this one…")
    slow.set()
    tab.wait_for("done")


@pytest.mark.parametrize("how", ["stop", "leave"])
def test_who_stops_or_leaves_cancels_the_job(
    tab: Any, address: str, service: Service, slow: threading.Event, write_volume: Any,
    tmp_path: Path, scan: np.ndarray[Any, Any], how: str,
) -> None:  # fmt: skip
    tab.give(write_volume(tmp_path / "scan.nii.gz", scan))
    until(lambda: bool(service._jobs) and tab.text("status").startswith("Segmenting"))
    if how == "stop":
        tab.driver.find_element("id", "stop").click()
        assert tab.state == "stopped"
    else:
        tab.driver.get("about:blank")
    assert is_empty(service)


def test_service_that_ends_meanwhile_is_told(
    tab: Any, address: str, service: Service, slow: threading.Event, write_volume: Any,
    tmp_path: Path, scan: np.ndarray[Any, Any],
) -> None:  # fmt: skip
    path = write_volume(tmp_path / "scan.nii.gz", scan)
    tab.give(path)
    until(lambda: bool(service._jobs))
    service.hurry()
    service.end()
    tab.wait_for("failed")
    assert tab.text("problem") == "the service has ended before this job. Send it again."
    assert tab.refusal(path).startswith("the service is ending. ")


@pytest.fixture
def offline(tab: Any) -> Iterator[Callable[[bool], None]]:
    """Cut the browser from the network, and let it back."""

    def cut(is_cut: bool) -> None:
        tab.driver.set_network_conditions(
            offline=is_cut, latency=0, download_throughput=-1, upload_throughput=-1
        )

    yield cut
    cut(False)


def test_silence_is_told_and_a_short_one_waited_for(
    tab: Any, address: str, slow: threading.Event, write_volume: Any, tmp_path: Path,
    scan: np.ndarray[Any, Any], service: Service, offline: Callable[[bool], None],
) -> None:  # fmt: skip
    path = write_volume(tmp_path / "scan.nii.gz", scan)
    tab.give(path)
    until(lambda: tab.text("status").startswith("Segmenting"))
    offline(True)
    time.sleep(0.5)
    offline(False)
    slow.set()
    tab.wait_for("done")
    offline(True)
    assert tab.refusal(path).startswith("the service does not answer. Has it ended")


def test_network_is_chosen(
    tab: Any, client_of: ClientOf, make_threshold_model: Any, write_volume: Any, tmp_path: Path,
    scan: np.ndarray[Any, Any],
) -> None:  # fmt: skip
    from selenium.webdriver.support.ui import Select

    paths = [
        make_threshold_model(tmp_path / "one.pt", thresholds=(100.5,), labels={"<b>low</b>": (1,)}),
        make_threshold_model(tmp_path / "two.pt", thresholds=(200.5,), labels={"high": (1,)}),
    ]
    folder = tmp_path / "work"
    folder.mkdir()
    models = load_models(paths, PredictionOptions(device="cpu"))
    service = Service(models, ServeOptions(grace_seconds=5), folder)
    service.start()
    opened(tab, client_of(service))
    page = tab.driver.find_element("css selector", "main").text
    assert "<b>low</b>" in page
    assert "one (" in page
    assert "two (" not in page
    path = write_volume(tmp_path / "scan.nii.gz", scan)
    tab.segment(path)
    assert tab.text("status") == "Finished: <b>low</b> 0.17 ml."
    Select(tab.driver.find_element("id", "model")).select_by_visible_text("two")
    assert "Finds high." in tab.driver.find_element("css selector", "header").text
    # What is shown is still that of the other network.
    assert "<b>low</b>" in tab.text("volumes")
    tab.segment(path)
    assert tab.text("status") == "Finished: high 0.02 ml."
    service.hurry()
    service.end()


def test_channels_are_several_files(
    tab: Any, client_of: ClientOf, make_threshold_model: Any, write_volume: Any, tmp_path: Path,
    scan: np.ndarray[Any, Any],
) -> None:  # fmt: skip
    path = make_threshold_model(tmp_path / "two.pt", in_channels=2)
    folder = tmp_path / "work"
    folder.mkdir()
    models = load_models([path], PredictionOptions(device="cpu"))
    service = Service(models, ServeOptions(grace_seconds=5), folder)
    service.start()
    opened(tab, client_of(service))
    bright = write_volume(tmp_path / "a.nii", scan)
    dark = write_volume(tmp_path / "b.nii", np.zeros_like(scan))
    tab.segment(dark, bright)
    shown = tab.driver.execute_script("return [...scan.labelMap]")
    np.testing.assert_array_equal(shown, (scan > 100.5).ravel())
    assert "1 channel" in tab.refusal(bright)
    service.hurry()
    service.end()


def test_requests_go_to_the_service_alone(
    tab: Any, address: str, write_volume: Any, tmp_path: Path, scan: np.ndarray[Any, Any]
) -> None:
    tab.driver.get("about:blank")
    tab.requests()
    tab.driver.get_log("browser")
    tab.open(address)
    tab.segment(write_volume(tmp_path / "scan.nii.gz", scan))
    sent = [url for url in tab.requests() if url != "about:blank"]
    assert sent[0] == address
    assert all(url.startswith(address) for url in sent)
    assert [e for e in tab.driver.get_log("browser") if e["level"] in ("SEVERE", "WARNING")] == []
    script = """const answer = arguments[0];
        fetch("https://example.org").then(() => answer("sent"), (e) => answer(e.name));"""
    assert tab.driver.execute_async_script(script) == "TypeError"
    told = " ".join(str(entry["message"]) for entry in tab.driver.get_log("browser"))
    assert "Content Security Policy" in told, "it is the policy that refuses"


def test_nothing_of_a_network_and_no_runtime_is_in_it(
    client_of: ClientOf, service: Service
) -> None:
    text = client_of(service).get("/").text
    assert "ort.InferenceSession" not in text
    assert "wasm" not in text
    assert len(text) < 150_000
    facts = json.loads(text.split('id="facts">')[1].split("</script>")[0])
    assert facts["models"] == [
        {"name": "bright", "labels": [["low", 1], ["high", 2]], "activation": "sigmoid",
         "inChannels": 1}
    ]  # fmt: skip


@pytest.mark.real_data
def test_hippocampus(
    tab: Any, address: str, models: dict[str, ServedModel], hippocampus: Path, tmp_path: Path
) -> None:
    source = hippocampus / "imagesTr" / "hippocampus_003.nii.gz"
    tab.segment(source)
    assert tab.save().read_bytes() == predicted(models, source, tmp_path / "mask.nii.gz")
    assert tab.text("remarks") == ""

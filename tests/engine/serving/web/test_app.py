from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import math
import socket
import struct
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

import lunet_cli as lunet
from lunet_cli.config.options import OutputOptions, PredictionOptions, ServeOptions
from lunet_cli.engine.serving.jobs import Job
from lunet_cli.engine.serving.served_models import ServedModel, load_models
from lunet_cli.engine.serving.service import Service
from lunet_cli.engine.serving.web.serve import listening

ClientOf = Callable[..., httpx.Client]
MakeService = Callable[..., Service]
TOKEN = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def service(make_service: MakeService) -> Service:
    return make_service()


@pytest.fixture
def client(client_of: ClientOf, service: Service) -> httpx.Client:
    return client_of(service)


@pytest.fixture
def volume(write_volume: Any, scan: np.ndarray[Any, Any], tmp_path: Path) -> Path:
    path: Path = write_volume(tmp_path / "scan.nii.gz", scan, spacing=(1.0, 1.5, 2.0))
    return path


def leftovers(service: Service) -> list[str]:
    """What lies in the folder of a service, once what goes has gone."""
    for _ in range(100):
        found = [path.name for path in service.folder.iterdir()]
        if not found:
            break
        time.sleep(0.02)
    return found


def predicted(models: dict[str, ServedModel], path: Path, output: Path) -> bytes:
    """The file that `predict` writes."""
    result = lunet.predict(models["bright"].predictor, path, OutputOptions(output=output))
    assert not result.failures
    return output.read_bytes()


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_mask_is_the_file_of_predict(
    suffix: str, client: httpx.Client, service: Service, models: dict[str, ServedModel],
    write_volume: Any, scan: np.ndarray[Any, Any], tmp_path: Path,
) -> None:  # fmt: skip
    path = write_volume(tmp_path / f"scan{suffix}", scan, spacing=(1.0, 1.5, 2.0))
    expected = predicted(models, path, tmp_path / f"mask{suffix}")

    of_body = client.post("/predict", content=path.read_bytes())
    of_form = client.post("/predict", files={"scan": (path.name, path.read_bytes())})

    assert of_body.status_code == of_form.status_code == 200
    assert of_body.content == of_form.content == expected
    assert json.loads(of_body.headers["x-lunet-labels"]) == {"low": 1, "high": 2}
    voxel_ml = 1.0 * 1.5 * 2.0 / 1000
    volumes = json.loads(of_body.headers["x-lunet-volumes-ml"])
    assert volumes == {
        "low": pytest.approx(5 * 5 * 7 * voxel_ml), "high": pytest.approx(2 * 3 * 3 * voxel_ml)
    }  # fmt: skip
    assert leftovers(service) == []


def test_zipped_series_and_its_files_give_one_mask(
    client: httpx.Client, models: dict[str, ServedModel], write_series: Any,
    scan: np.ndarray[Any, Any], tmp_path: Path,
) -> None:  # fmt: skip
    folder = write_series(tmp_path / "series", scan)
    expected = predicted(models, folder, tmp_path / "mask.nii.gz")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("README.txt", "not a scan")
        for path in folder.iterdir():
            archive.write(path, f"../../patient/{path.name}")

    of_zip = client.post("/predict", content=packed.getvalue())
    parts = [("scan", (path.name, path.read_bytes())) for path in folder.iterdir()]
    of_form = client.post("/predict", files=parts)

    assert of_zip.status_code == 200, of_zip.text
    assert of_zip.content == of_form.content == expected
    assert not (tmp_path.parent / "patient").exists()


def test_dicom_segmentation_holds_the_mask(
    client: httpx.Client, write_series: Any, scan: np.ndarray[Any, Any], tmp_path: Path
) -> None:
    pytest.importorskip("highdicom")
    from lunet_cli.engine.data.reading import read_header, read_label

    folder = write_series(tmp_path / "series", scan)
    parts = [("scan", (path.name, path.read_bytes())) for path in folder.iterdir()]
    query = {"format": "dicom-seg", "labelmap": "true"}
    answer = client.post("/predict", files=parts, params=query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/dicom"
    path = tmp_path / "seg.dcm"
    path.write_bytes(answer.content)
    found = sitk.GetArrayFromImage(read_label(path, grid=read_header(folder)[0]))
    np.testing.assert_array_equal(found, (scan > 100.5).astype(int) + (scan > 200.5))


def test_dicom_segmentation_of_something_else_is_refused(
    client: httpx.Client, service: Service, volume: Path
) -> None:
    answer = client.post("/predict?format=dicom-seg", content=volume.read_bytes())
    assert answer.status_code == 422
    assert "DICOM" in answer.json()["error"]
    assert leftovers(service) == []


def test_probabilities_come_in_a_zip(
    client: httpx.Client, models: dict[str, ServedModel], volume: Path, tmp_path: Path
) -> None:
    output = OutputOptions(output=tmp_path / "out", probabilities=True)
    lunet.predict(models["bright"].predictor, volume, output)
    answer = client.post("/predict?probabilities=true", content=volume.read_bytes())
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        names = ["mask.nii.gz", "mask_prob_high.nii.gz", "mask_prob_low.nii.gz", "result.json"]
        assert sorted(archive.namelist()) == names
        expected = (tmp_path / "out" / "scan_prob_low.nii.gz").read_bytes()
        assert archive.read("mask_prob_low.nii.gz") == expected
        assert json.loads(archive.read("result.json"))["labels"] == {"low": 1, "high": 2}


def test_job_is_asked_for_later(client: httpx.Client, service: Service, volume: Path) -> None:
    waited = client.post("/predict", content=volume.read_bytes()).content
    accepted = client.post("/predict?wait=false&name=a.nii.gz", content=volume.read_bytes())
    assert accepted.status_code == 202
    place = accepted.headers["location"]
    assert accepted.json()["scan"] == "a.nii.gz"
    until_over(client, place)
    status = client.get(place).json()
    assert status["state"] == "done"
    assert status["progress"] == 1
    assert status["labels"] == {"low": 1, "high": 2}
    assert client.get(f"{place}/mask").content == waited
    assert client.delete(place).status_code == 204
    assert client.get(place).status_code == 404
    assert leftovers(service) == []


def until_over(client: httpx.Client, place: str) -> None:
    for _ in range(500):
        if client.get(place).json()["state"] not in ("waiting", "running"):
            return
        time.sleep(0.02)
    raise AssertionError("the job does not end")


def test_results_go_when_nobody_fetches_them(
    client_of: ClientOf, make_service: MakeService, volume: Path
) -> None:
    service = make_service(keep_seconds=0.01)
    client = client_of(service)
    client.post("/predict?wait=false", content=volume.read_bytes())
    for _ in range(200):
        service.forget_old()
        if not list(service.folder.iterdir()):
            break
        time.sleep(0.02)
    assert leftovers(service) == []


def test_queue_that_is_full_says_when_to_come_again(
    client_of: ClientOf, make_service: MakeService, volume: Path, slow: threading.Event
) -> None:
    service = make_service(max_queue=2)
    client = client_of(service)
    places = []
    for _ in range(2):
        accepted = client.post("/predict?wait=false", content=volume.read_bytes())
        places.append(accepted.headers["location"])
    refused = client.post("/predict", content=volume.read_bytes())
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    assert client.get(places[1]).json()["position"] == 1
    assert client.get(f"{places[1]}/mask").status_code == 409
    assert "lunet_queue_length 2.0" in client.get("/metrics").text
    slow.set()
    for place in places:
        until_over(client, place)
    assert client.post("/predict", content=volume.read_bytes()).status_code == 200


def test_job_is_cancelled(
    client: httpx.Client, service: Service, volume: Path, slow: threading.Event
) -> None:
    first = client.post("/predict?wait=false", content=volume.read_bytes()).headers["location"]
    second = client.post("/predict?wait=false", content=volume.read_bytes()).headers["location"]
    for place in (second, first):
        assert client.delete(place).status_code == 204
        assert client.get(place).status_code == 404
    assert leftovers(service) == []
    slow.set()
    assert client.post("/predict", content=volume.read_bytes()).status_code == 200


def test_job_that_takes_too_long_is_stopped(
    client_of: ClientOf, make_service: MakeService, write_volume: Any, tmp_path: Path
) -> None:
    service = make_service(job_seconds=1e-6)
    # More windows than one, so that there is a moment to stop at.
    path = write_volume(tmp_path / "scan.nii", np.zeros((40, 40, 40), np.int16))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lunet_cli.engine.serving.web.receiving.asyncio.timeout", _no_timeout)
        answer = client_of(service).post("/predict", content=path.read_bytes())
    assert answer.status_code == 504
    assert "takes longer" in answer.json()["error"]
    assert leftovers(service) == []


def _no_timeout(seconds: float) -> Any:
    import asyncio

    return asyncio.timeout_at(None)


def test_service_that_ends_tells_all(
    client_of: ClientOf, make_service: MakeService, volume: Path, slow: threading.Event
) -> None:
    service = make_service()
    client = client_of(service)
    place = client.post("/predict?wait=false", content=volume.read_bytes()).headers["location"]
    service.hurry()
    service.end()
    status = client.get(place).json()
    assert status["state"] == "cancelled"
    assert "has ended before" in status["error"]
    refused = client.post("/predict", content=volume.read_bytes())
    assert refused.status_code == 503
    assert "retry-after" in refused.headers
    assert client.get("/health").json()["status"] == "ending"
    assert client.get("/health").status_code == 503


def test_accepted_jobs_are_finished_before_the_end(
    client_of: ClientOf, make_service: MakeService, volume: Path, slow: threading.Event
) -> None:
    service = make_service()
    client = client_of(service)
    place = client.post("/predict?wait=false", content=volume.read_bytes()).headers["location"]
    ending = threading.Thread(target=service.end)
    ending.start()
    slow.set()
    until_over(client, place)
    assert client.get(f"{place}/mask").status_code == 200
    ending.join(timeout=10)
    assert not ending.is_alive()


def test_facts_of_the_models(client: httpx.Client, model_file: Path) -> None:
    from lunet_cli.records.files import sha256_of

    (facts,) = client.get("/models").json()["models"]
    assert facts["name"] == "bright"
    assert facts["labels"] == {"low": 1, "high": 2}
    assert facts["channels"] == 1
    assert facts["orientation"] == "LPS"
    assert facts["sha256"] == [sha256_of(model_file)]
    assert facts["parameters"] > 0


def test_health_waits_for_the_first_pass(client_of: ClientOf, make_service: MakeService) -> None:
    service = make_service(start=False)
    client = client_of(service)
    assert client.get("/health").status_code == 503
    assert client.get("/health").json()["status"] == "warming up"
    service.start()
    for _ in range(500):
        if client.get("/health").status_code == 200:
            break
        time.sleep(0.02)
    assert client.get("/health").json()["status"] == "ready"
    service.hurry()
    service.end()


def test_metrics_count_what_happened(client: httpx.Client, volume: Path) -> None:
    client.post("/predict", content=volume.read_bytes())
    client.post("/predict", content=b"nothing of the kind")
    for _ in range(100):
        text = client.get("/metrics").text
        if 'lunet_jobs_total{model="bright",outcome="done"} 1.0' in text:
            break
        time.sleep(0.02)
    assert 'lunet_jobs_total{model="bright",outcome="done"} 1.0' in text
    assert 'lunet_requests_total{code="415"} 1.0' in text
    assert 'lunet_job_seconds_count{model="bright"} 1.0' in text
    assert "process_resident_memory_bytes" in text


@pytest.mark.parametrize(
    ("query", "code", "words"),
    [
        ("model=nix", 404, "no model 'nix'"),
        ("format=png", 400, "`format`"),
        ("frmat=nii", 400, "`frmat`"),
        ("postprocess=shrink", 400, "shrink"),
        ("labelmap=true", 400, "labelmap"),
    ],
)
def test_wishes_that_cannot_be(
    query: str, code: int, words: str, client: httpx.Client, service: Service, volume: Path
) -> None:
    answer = client.post(f"/predict?{query}", content=volume.read_bytes())
    assert answer.status_code == code
    assert words in answer.json()["error"]
    assert leftovers(service) == []


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "[::1", "a@b:1"])
def test_other_hosts_are_refused(host: str, client: httpx.Client) -> None:
    answer = client.get("/models", headers={"host": host})
    assert answer.status_code == 421
    assert set(answer.json()) == {"error", "hint"}


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "LOCALHOST:1", "[::1]:8000"])
def test_own_names_are_accepted(host: str, client: httpx.Client) -> None:
    assert client.get("/models", headers={"host": host}).status_code == 200


def test_pages_of_others_are_refused(client: httpx.Client, volume: Path) -> None:
    content = volume.read_bytes()
    for origin in ("http://evil.example", "null", "http://127.0.0.1:9000"):
        answer = client.post("/predict", content=content, headers={"origin": origin})
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers
    own = client.post("/predict", content=content, headers={"origin": str(client.base_url)})
    assert own.status_code == 200


def test_token_is_asked_for(client_of: ClientOf, service: Service, volume: Path) -> None:
    client = client_of(service, token=TOKEN)
    wrong = [{}, {"authorization": "Bearer " + TOKEN[:-1]}, {"authorization": TOKEN},
             {"authorization": "Basic !!"}, {"authorization": "Bearer é".encode()}]  # fmt: skip
    for headers in wrong:
        answer = client.get("/models", headers=headers)
        assert answer.status_code == 401
        # Chromium asks nobody for a password if both stand in one header.
        kinds = answer.headers.get_list("www-authenticate")
        assert kinds == ['Basic realm="lunet"', "Bearer"]
        assert TOKEN not in answer.text
    assert client.get("/health").status_code == 200
    right = {"authorization": f"Bearer {TOKEN}"}
    assert client.get("/models", headers=right).status_code == 200
    assert client.get("/models", auth=("anyone", TOKEN)).status_code == 200
    answer = client.post("/predict", content=volume.read_bytes(), headers=right)
    assert answer.status_code == 200


def nifti(size: tuple[int, int, int], *, voxels: bytes = b"", spacing: float = 1.0) -> bytes:
    """A NIfTI header that promises so many voxels (x, y, z) of 16 bits, and what follows it."""
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *size, 1, 1, 1, 1)
    struct.pack_into("<hh", header, 70, 4, 16)
    struct.pack_into("<8f", header, 76, 1, spacing, spacing, spacing, 1, 1, 1, 1)
    struct.pack_into("<f", header, 108, 352)
    header[123] = 2
    header[344:348] = b"n+1\0"
    return bytes(header) + voxels


def zipped(name: str, content: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return packed.getvalue()


MALFORMED = {
    "nothing": (b"", 400),
    "text": (b"hello", 415),
    "empty gzip": (gzip.compress(b""), 415),
    "cut gzip": (gzip.compress(nifti((8, 8, 8), voxels=bytes(1024)))[:40], 415),
    "header alone": (nifti((8, 8, 8)), 422),
    "10^12 voxels": (nifti((10000, 10000, 10000)), 413),
    "gzip bomb": (gzip.compress(nifti((2000, 2000, 2000), voxels=bytes(2**24))), 413),
    "negative": (nifti((-8, 8, 8)), 422),
    "zip of nothing": (zipped("a.txt", b"hello"), 415),
    "zip bomb": (zipped("a.nii", bytes(2**28)), 413),
    "cut zip": (zipped("a.nii", nifti((8, 8, 8), voxels=bytes(1024)))[:60], 422),
    "zip in a zip": (zipped("a.zip", zipped("a.nii", nifti((8, 8, 8)))), 415),
    "dicom": (bytes(128) + b"DICM" + bytes(400), 422),
    "detached nrrd": (
        b"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 4 4 4\nencoding: raw\n"
        b"data file: /etc/passwd\n\n", 422,
    ),
    "detached mha": (
        b"ObjectType = Image\nNDims = 3\nDimSize = 4 4 4\nElementType = MET_UCHAR\n"
        b"ElementDataFile = /etc/passwd\n", 422,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_uploads_are_told_in_one_line(
    client_of: ClientOf, name: str, make_service: MakeService, capfd: pytest.CaptureFixture[str]
) -> None:
    service = make_service(max_voxels=2**22)
    content, code = MALFORMED[name]
    client = client_of(service)
    for answer in (
        client.post("/predict", content=content),
        client.post("/predict", files={"scan": ("../../etc/a\n.nii", content)}),
    ):
        # A form may hold a file of no bytes, which is a file of no known kind.
        codes = {code} if content else {400, 415}
        assert answer.status_code in codes, answer.text
        problem = answer.json()
        assert set(problem) == {"error", "hint"}
        assert "\n" not in problem["error"]
        assert str(service.folder) not in answer.text
        assert "root:" not in answer.text
    assert leftovers(service) == []
    assert "Traceback" not in "".join(capfd.readouterr())
    assert service.queue_length == 0


def test_small_file_with_a_huge_grid_is_refused(
    client_of: ClientOf, make_threshold_model: Any, tmp_path: Path
) -> None:
    """A false voxel size makes a huge grid of some voxels where a network resamples."""

    path = make_threshold_model(tmp_path / "fine.pt", spacing_mm=(1.0, 1.0, 1.0))

    service = Service(
        load_models([path], PredictionOptions(device="cpu")), ServeOptions(), tmp_path
    )
    content = nifti((32, 32, 32), voxels=bytes(2 * 32**3), spacing=5000.0)
    answer = client_of(service).post("/predict", content=content)
    assert answer.status_code == 413
    assert "grid of the network" in answer.json()["error"]


def test_upload_beyond_the_limit_is_refused(client_of: ClientOf, make_service: MakeService) -> None:
    service = make_service(max_upload_mib=1)
    client = client_of(service)

    def pieces() -> Iterator[bytes]:
        for _ in range(40):
            yield bytes(2**16)

    assert client.post("/predict", content=bytes(2**21)).status_code == 413
    assert client.post("/predict", content=pieces()).status_code == 413
    assert client.post("/predict", files={"a": bytes(2**21)}).status_code == 413
    assert leftovers(service) == []
    assert service.queue_length == 0


def test_memory_beyond_the_limit_is_refused(
    client_of: ClientOf, model_file: Path, tmp_path: Path
) -> None:

    how = PredictionOptions(device="cpu", max_memory_mib=100)
    service = Service(load_models([model_file], how), ServeOptions(), tmp_path)
    content = nifti((64, 64, 64), voxels=bytes(2 * 64**3))
    answer = client_of(service).post("/predict", content=content)
    assert answer.status_code == 413
    assert "MiB" in answer.json()["error"]


def test_bug_is_told_with_its_cause_and_no_traceback(
    client: httpx.Client, service: Service, volume: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def fail(job: Job) -> None:
        raise RuntimeError("the true cause\nand more")

    monkeypatch.setattr(Job, "_predict", fail)
    answer = client.post("/predict", content=volume.read_bytes())
    assert answer.status_code == 500
    assert "RuntimeError: the true cause" in answer.json()["error"]
    monkeypatch.undo()
    assert client.post("/predict", content=volume.read_bytes()).status_code == 200
    assert "Traceback" not in "".join(capfd.readouterr())
    assert leftovers(service) == []


def test_bug_of_the_door_is_told_too(
    client_of: ClientOf, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    client = client_of(service, on_bug=lambda error: told.append(error.message))

    def fail(*_: object) -> None:
        raise KeyError("cause")

    monkeypatch.setattr(service, "find", fail)
    answer = client.get("/jobs/x")
    assert answer.status_code == 500
    assert "KeyError" in answer.json()["error"]
    # The answer leaves before the bug is told.
    deadline = time.monotonic() + 10
    while not told and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(told) == 1


def test_page_may_ask_its_own_service_only(client: httpx.Client) -> None:
    answer = client.get("/")
    policy = answer.headers["content-security-policy"]
    assert "connect-src 'self'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    script = answer.text.split("<script>")[1].split("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in policy
    assert "frame-ancestors 'none'" in policy
    assert "http" not in script


def test_an_answer_does_not_wait_for_the_confirmation_of_its_headers() -> None:
    with listening(ServeOptions(port=0)) as listener:
        address = listener.getsockname()
        with socket.create_connection(address, timeout=10), listener.accept()[0] as connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_paths_that_there_are_not(client: httpx.Client) -> None:
    for answer in (client.get("/nix"), client.get("/predict"), client.post("/predict/../x")):
        assert answer.status_code in (404, 405)
        assert set(answer.json()) == {"error", "hint"}


def test_nan_is_told(client: httpx.Client, write_volume: Any, tmp_path: Path) -> None:
    array = np.full((4, 4, 4), math.nan, np.float32)
    path = write_volume(tmp_path / "nan.nii", array)
    answer = client.post("/predict?name=mine.nii", content=path.read_bytes())
    assert answer.status_code == 422
    assert answer.json()["error"].startswith("mine.nii: ")
    assert "NaN" in answer.json()["error"]
    assert str(tmp_path) not in answer.text


def test_channels_are_files_in_the_order_of_their_names(
    client_of: ClientOf,
    make_threshold_model: Any,
    write_volume: Any,
    scan: np.ndarray[Any, Any],
    tmp_path: Path,
) -> None:
    path = make_threshold_model(tmp_path / "two.pt", in_channels=2)
    service = Service(
        load_models([path], PredictionOptions(device="cpu")), ServeOptions(), tmp_path / "work"
    )
    service.folder.mkdir()
    service.start()
    client = client_of(service)
    bright = write_volume(tmp_path / "bright.nii", scan).read_bytes()
    dark = write_volume(tmp_path / "dark.nii", np.zeros_like(scan)).read_bytes()
    parts = [("scan", ("b.nii", dark)), ("scan", ("a.nii", bright))]
    answer = client.post("/predict", files=parts)
    assert answer.status_code == 200, answer.text
    (tmp_path / "mask.nii").write_bytes(answer.content)
    found = sitk.GetArrayFromImage(sitk.ReadImage(tmp_path / "mask.nii"))
    np.testing.assert_array_equal(found, scan > 100.5)
    alone = client.post("/predict", files=parts[:1])
    assert alone.status_code == 422
    assert "1 channel" in alone.json()["error"]
    service.hurry()
    service.end()


@pytest.mark.real_data
def test_real_volume_gives_the_mask_of_predict(
    client: httpx.Client, models: dict[str, ServedModel], hippocampus: Path, tmp_path: Path
) -> None:
    path = sorted((hippocampus / "imagesTr").glob("*.nii.gz"))[0]
    expected = predicted(models, path, tmp_path / "mask.nii.gz")
    assert client.post("/predict", content=path.read_bytes()).content == expected

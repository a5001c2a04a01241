"""The examples of docs/serve.md, on a service that runs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

PAGE = (Path(__file__).parents[2] / "docs" / "serve.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def place(
    make_threshold_model: Any, nursery: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """A folder with the scans of the page; `address` in it says where the service listens."""
    place = tmp_path_factory.mktemp("serve")
    model = make_threshold_model(place / "mine.pt", window=(32, 32, 32))
    array = np.random.default_rng(0).integers(0, 200, (24, 20, 28)).astype(np.int16)
    for name in ("scan.nii.gz", "scan.nrrd"):
        sitk.WriteImage(sitk.GetImageFromArray(array), place / name)
    process = nursery.start("serve", model, "--port", "0", "--threads", "1", cwd=place)
    (place / "address").write_text(address_of(process), encoding="utf-8")
    yield place
    process.send_signal(15)
    assert process.wait(timeout=60) == 0


def address_of(process: Any) -> str:
    """Where a service listens, once it says so."""
    for _ in range(1200):
        said = process._files[1]
        found = None
        if said.exists():  # The process makes it.
            found = re.search(r"listening on (http://\S+)", said.read_text(encoding="utf-8"))
        if found:
            return found[1]
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    raise AssertionError("the service does not listen")


def test_python_example_writes_the_mask(place: Path) -> None:
    (script,) = blocks("python")
    address = (place / "address").read_text(encoding="utf-8")
    script = script.replace("http://127.0.0.1:8000", address)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=place, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    assert "label1" in done.stdout
    mask, scan = (sitk.ReadImage(place / name) for name in ("mask.nii.gz", "scan.nii.gz"))
    assert mask.GetSize() == scan.GetSize()
    values = sitk.GetArrayFromImage(scan)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(mask), values > 100.5)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl_examples_are_answered(place: Path) -> None:
    address = (place / "address").read_text(encoding="utf-8")
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    examples = [line for line in lines if line.startswith("curl") and "8000" in line]
    assert len(examples) == 4
    for line in examples[:2]:
        command = line.replace("http://127.0.0.1:8000", address).replace("curl", "curl -sSf", 1)
        subprocess.run(["bash", "-ec", command], cwd=place, check=True)
        mask = sitk.GetArrayFromImage(sitk.ReadImage(place / "mask.nii.gz"))
        scan = sitk.GetArrayFromImage(sitk.ReadImage(place / "scan.nii.gz"))
        np.testing.assert_array_equal(mask, scan > 100.5)


def test_table_of_errors_names_each_status() -> None:
    from lunet_cli.engine.serving.web import refusals

    section = PAGE.split("## What goes wrong")[1].split("##")[0]
    for _, code in refusals._CODES:
        assert str(int(code)) in section


def test_paths_of_the_page_are_those_of_the_service(place: Path) -> None:
    address = (place / "address").read_text(encoding="utf-8")
    described = httpx.get(f"{address}/openapi.json").json()["paths"]
    for path in described:
        assert path.replace("{job_id}", "ID") in PAGE

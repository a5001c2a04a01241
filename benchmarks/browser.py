"""Time, memory and masks of the page that `lunet export --format html` writes, in Chromium.

    python benchmarks/browser.py MODEL FOLDER [VOLUME ...] [--size 150x256x256]

MODEL is a checkpoint or run folder. The page and the masks go to FOLDER. Each VOLUME (a file, or
the folder of a DICOM series) is segmented by the page, opened from disk without a screen, and by
`predict` in windows and fp32; `--size` adds a phantom of so many voxels (z, y, x). Printed are the
seconds that the page says, those of `predict`, the largest memory of the browser's process of the
page, and the voxels on which the masks agree. Needs chromium, chromedriver and selenium.
"""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import psutil
import SimpleITK as sitk  # noqa: N813

from lunet_cli.config.options import ExportOptions, PredictionOptions
from lunet_cli.engine.data.phantom import make_phantom
from lunet_cli.engine.data.reading import read_image
from lunet_cli.engine.data.volume import Geometry
from lunet_cli.engine.exporting.export import export
from lunet_cli.engine.inference.predictor import Predictor
from lunet_cli.engine.provenance import machine_name, versions

AS_THE_PAGE = PredictionOptions(device="cpu", precision="fp32", runtime="torch", window="trained")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking")


class Memory:
    """Largest resident memory of the browser's renderers, looked at ten times a second."""

    def __init__(self, driver: Any) -> None:
        self._process = psutil.Process(driver.service.process.pid)
        self._is_over = Event()
        self.most_mib = 0.0
        self._thread = Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._is_over.wait(0.1):
            total = 0
            for child in self._process.children(recursive=True):
                try:
                    if "--type=renderer" in child.cmdline():
                        total += child.memory_info().rss
                except psutil.Error:
                    continue  # It has just ended.
            self.most_mib = max(self.most_mib, total / 2**20)


def open_browser(page: Path, downloads: Path) -> Any:
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = shutil.which("chromium") or "chromium"
    for flag in FLAGS:
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    place = {"behavior": "allow", "downloadPath": str(downloads)}
    driver.execute_cdp_cmd("Browser.setDownloadBehavior", place)
    driver.get(page.as_uri())
    wait_for(driver, "ready")
    return driver


def wait_for(driver: Any, wanted: str) -> None:
    while True:
        state = driver.execute_script("return document.body.dataset.state")
        if state == wanted:
            return
        if state == "failed":
            raise SystemExit(driver.find_element("id", "problem").text)
        time.sleep(0.05)


def segment(driver: Any, source: Path, downloads: Path) -> tuple[np.ndarray[Any, Any], str, float]:
    """The mask that the page saves, what it says of it, and the largest memory in MiB."""
    for old in downloads.iterdir():
        old.unlink()
    driver.execute_script("delete document.body.dataset.state")
    field = "folder" if source.is_dir() else "files"
    with Memory(driver) as memory:
        driver.find_element("id", field).send_keys(str(source.resolve()))
        wait_for(driver, "done")
    driver.execute_script("document.getElementById('save').click()")
    while not (found := list(downloads.glob("*.nii.gz"))):
        time.sleep(0.05)
    said = driver.find_element("id", "summary").text.rpartition("segmented in ")[2].rstrip(".")
    return sitk.GetArrayFromImage(sitk.ReadImage(str(found[0]))), said, memory.most_mib


def write_phantom(size: str, folder: Path) -> Path:
    depth, height, width = map(int, size.split("x"))
    rng = np.random.default_rng(0)
    cube, _ = make_phantom(64, noise=0.05, rng=rng)
    repeats = [-(-edge // 64) for edge in (depth, height, width)]
    volume = np.tile(cube, repeats)[:depth, :height, :width]
    path = folder / f"phantom_{size}.nii.gz"
    sitk.WriteImage(sitk.GetImageFromArray((1000 * volume).astype(np.int16)), str(path))
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("volumes", type=Path, nargs="*")
    parser.add_argument("--size", action="append", default=[])
    given = parser.parse_args()
    folder = given.folder.resolve()
    downloads = folder / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    page = folder / "page.html"
    if not page.exists():
        export(given.model, ExportOptions(format="html", output=page))
    sources = [*given.volumes, *(write_phantom(size, folder) for size in given.size)]
    predictor = Predictor.load([given.model], options=AS_THE_PAGE)
    driver = open_browser(page, downloads)
    browser = f"{driver.capabilities['browserName']} {driver.capabilities['browserVersion']}"
    print(f"{machine_name()}; {browser}; {versions()['torch']=}")
    print("volume | voxels (x, y, z) | page | memory of the page | predict | voxels that agree")
    try:
        for source in sources:
            mask, said, mib = segment(driver, source, downloads)
            channels = read_image([source])
            began = time.perf_counter()
            expected = predictor.segment(channels).label_map()
            seconds = time.perf_counter() - began
            share = 100 * float(np.mean(mask == expected))
            voxels = " x ".join(map(str, Geometry.of(channels[0]).size[::-1]))
            cells = (source.name, voxels, said, f"{mib:,.0f} MiB", f"{seconds:.1f} s")
            print(*cells, f"{share:.5f} %", sep=" | ")
    finally:
        driver.quit()


if __name__ == "__main__":
    main()

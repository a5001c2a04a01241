"""Time, memory and masks of the page that `lunet export --format html` writes, in Chromium.

    python benchmarks/browser.py MODEL FOLDER [VOLUME ...] [--size 150x256x256] [--layers]

MODEL is a checkpoint or run folder. The page and the masks go to FOLDER. Each VOLUME (a file, or
the folder of a DICOM series) is segmented by the page, opened from disk without a screen, and by
`predict` in windows and fp32; `--size` adds a phantom of so many voxels (z, y, x). Printed are the
seconds that the page says, the CPU time and the largest memory of the browser's processes of pages,
the seconds of `predict`, and the voxels on which the masks agree. `--layers` adds the shortest of
20 times of single layers on volumes of 64 x 64 x 64. Needs chromium, chromedriver and selenium.
"""

from __future__ import annotations

import argparse
import base64
import shutil
import time
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import psutil
import SimpleITK as sitk  # noqa: N813
import torch
from torch import nn

from lunet_cli.config.options import ExportOptions, PredictionOptions
from lunet_cli.engine.data.phantom import make_phantom
from lunet_cli.engine.data.reading import read_image
from lunet_cli.engine.data.volume import Geometry
from lunet_cli.engine.exporting.browser.network import ShuffledUpsampling
from lunet_cli.engine.exporting.browser.page import as_plain_script, vendored
from lunet_cli.engine.exporting.export import export
from lunet_cli.engine.inference.predictor import Predictor
from lunet_cli.engine.provenance import machine_name, versions
from lunet_cli.engine.runtimes.tracing import quiet

AS_THE_PAGE = PredictionOptions(device="cpu", precision="fp32", runtime="torch", window="trained")
TIMING = """
    const [binary, graph, shape, answer] = arguments;
    const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    (async () => {
      ort.env.wasm.numThreads = 1;
      ort.env.wasm.wasmBinary = bytes(binary).buffer;
      const session = await ort.InferenceSession.create(bytes(graph));
      const values = new Float32Array(shape.reduce((all, edge) => all * edge, 1));
      let best = Infinity;
      for (let run = 0; run < 20; run++) {
        const began = performance.now();
        await session.run({ image: new ort.Tensor("float32", values, shape) });
        best = Math.min(best, performance.now() - began);
      }
      return best;
    })().then(answer, (error) => answer(String(error)));
"""
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking")


class Renderers:
    """Largest memory and CPU time of the browser's renderers, looked at ten times a second."""

    def __init__(self, driver: Any) -> None:
        self._process = psutil.Process(driver.service.process.pid)
        self._is_over = Event()
        self.most_mib, self._first_s, self._last_s = 0.0, self._look()[1], 0.0
        self._thread = Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Renderers:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    @property
    def cpu_s(self) -> float:
        """CPU seconds between begin and end."""
        return self._last_s - self._first_s

    def _watch(self) -> None:
        while not self._is_over.wait(0.1):
            mib, self._last_s = self._look()
            self.most_mib = max(self.most_mib, mib)

    def _look(self) -> tuple[float, float]:
        num_bytes, seconds = 0, 0.0
        for child in self._process.children(recursive=True):
            try:
                if "--type=renderer" in child.cmdline():
                    num_bytes += child.memory_info().rss
                    times = child.cpu_times()
                    seconds += times.user + times.system
            except psutil.Error:
                continue  # It has just ended.
        return num_bytes / 2**20, seconds


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


def segment(driver: Any, source: Path, downloads: Path) -> tuple[np.ndarray[Any, Any], list[str]]:
    """The mask that the page saves; the time that it says, its CPU time and largest memory."""
    for old in downloads.iterdir():
        old.unlink()
    driver.execute_script("delete document.body.dataset.state")
    field = "folder" if source.is_dir() else "files"
    with Renderers(driver) as used:
        driver.find_element("id", field).send_keys(str(source.resolve()))
        wait_for(driver, "done")
    driver.execute_script("document.getElementById('save').click()")
    while not (found := list(downloads.glob("*.nii.gz"))):
        time.sleep(0.05)
    said = driver.find_element("id", "summary").text.rpartition("segmented in ")[2].rstrip(".")
    mask = sitk.GetArrayFromImage(sitk.ReadImage(str(found[0])))
    return mask, [said, f"{used.cpu_s:.1f} s", f"{used.most_mib:,.0f} MiB"]


def write_phantom(size: str, folder: Path) -> Path:
    depth, height, width = map(int, size.split("x"))
    rng = np.random.default_rng(0)
    cube, _ = make_phantom(64, noise=0.05, rng=rng)
    repeats = [-(-edge // 64) for edge in (depth, height, width)]
    volume = np.tile(cube, repeats)[:depth, :height, :width]
    path = folder / f"phantom_{size}.nii.gz"
    sitk.WriteImage(sitk.GetImageFromArray((1000 * volume).astype(np.int16)), str(path))
    return path


def time_layers(driver: Any) -> None:
    """Print the shortest time of layers by ONNX Runtime in WebAssembly."""
    upsampling = nn.ConvTranspose3d(4, 4, 2, stride=2)
    layers: dict[str, tuple[nn.Module, int, int]] = {
        "convolution, 4 to 4 channels": (nn.Conv3d(4, 4, 3, padding=1), 4, 64),
        "convolution, 8 to 4 channels": (nn.Conv3d(8, 4, 3, padding=1), 8, 64),
        "batch normalisation, 4 channels": (nn.BatchNorm3d(4), 4, 64),
        "transposed convolution, from 32 voxels": (upsampling, 4, 32),
        "the same as a shuffle": (ShuffledUpsampling(upsampling), 4, 32),
    }
    driver.get("about:blank")
    runtime = as_plain_script(vendored("ort.wasm.bundle.min.mjs").decode())
    binary = base64.b64encode(vendored("ort-wasm-simd-threaded.wasm")).decode()
    for name, (layer, channels, edge) in layers.items():
        image = torch.zeros(1, channels, edge, edge, edge)
        with quiet():
            program = torch.onnx.export(
                layer.eval(), (image,), dynamo=True, verbose=False, input_names=["image"]
            )
        assert program is not None
        graph = base64.b64encode(program.model_proto.SerializeToString()).decode()
        found = driver.execute_async_script(
            f"{runtime}\n{TIMING}", binary, graph, [1, channels, edge, edge, edge]
        )
        print(f"{name}: {found:.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("volumes", type=Path, nargs="*")
    parser.add_argument("--size", action="append", default=[])
    parser.add_argument("--layers", action="store_true")
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
    print(f"{machine_name()}; {browser}; torch {versions()['torch']}")
    print("volume | voxels (x, y, z) | page | its CPU | its memory | predict | voxels that agree")
    try:
        for source in sources:
            mask, measured = segment(driver, source, downloads)
            channels = read_image([source])
            began = time.perf_counter()
            expected = predictor.segment(channels).label_map()
            seconds = time.perf_counter() - began
            share = 100 * float(np.mean(mask == expected))
            voxels = " x ".join(map(str, Geometry.of(channels[0]).size[::-1]))
            cells = (source.name, voxels, *measured, f"{seconds:.1f} s", f"{share:.5f} %")
            print(*cells, sep=" | ")
        if given.layers:
            time_layers(driver)
    finally:
        driver.quit()


if __name__ == "__main__":
    main()

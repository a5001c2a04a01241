"""A browser that opens an exported page from disk, is given files, and gives back masks."""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import shutil
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lunet_cli.config.options import ExportOptions
from lunet_cli.engine.checkpoints.models import load_model
from lunet_cli.engine.exporting.browser import page as page_module
from lunet_cli.engine.exporting.export import _describe
from lunet_cli.engine.exporting.formats import prepared, write_format, write_page

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update --window-size=1200,1000"
)
PATIENCE_S = 120


class Tab:
    """A page in Chromium without a screen.

    Args:
        driver: What drives it.
        downloads: The folder where files are saved.
    """

    def __init__(self, driver: Any, downloads: Path) -> None:
        self.driver, self._downloads = driver, downloads

    def open(self, page: Path) -> None:
        """Open a page from disk, unless it is open: loading what computes takes seconds."""
        if self.driver.current_url != page.as_uri():
            self.driver.get(page.as_uri())
            self.wait_for("ready")

    @property
    def state(self) -> str | None:
        """What the page says that it is doing."""
        state: str | None = self.driver.execute_script("return document.body.dataset.state")
        return state

    def wait_for(self, *states: str) -> str:
        """Wait until the page is in one of these states, and return it."""
        end = time.monotonic() + PATIENCE_S
        while True:
            state = self.state
            if state in states:
                return str(state)
            if state == "failed":
                raise AssertionError(self.text("problem"))
            assert time.monotonic() < end, f"still {state}"
            time.sleep(0.05)

    def give(self, *files: Path, folder: bool = False) -> None:
        """Choose files, or a folder, as the dialogue of the page would."""
        field = self.driver.find_element("id", "folder" if folder else "files")
        self.driver.execute_script("delete document.body.dataset.state")
        field.send_keys("\n".join(map(str, files)))

    def drop(self, *paths: Path) -> None:
        """Drop files or folders on the page, as from a file manager."""
        self.driver.execute_script("delete document.body.dataset.state")
        data = {"items": [], "files": [*map(str, paths)], "dragOperationsMask": 19}
        for kind in ("dragEnter", "dragOver", "drop"):
            event = {"type": kind, "x": 300, "y": 300, "data": data}
            self.driver.execute_cdp_cmd("Input.dispatchDragEvent", event)
        self.wait_for("done")

    def segment(self, *files: Path, folder: bool = False) -> None:
        """Give files and wait for the mask."""
        self.give(*files, folder=folder)
        self.wait_for("done")

    def refusal(self, *files: Path, folder: bool = False) -> str:
        """Give files that the page refuses; what it says."""
        self.give(*files, folder=folder)
        self.wait_for("failed")
        return self.text("problem")

    def text(self, name: str) -> str:
        """The text of an element, also of a hidden one."""
        script = "return document.getElementById(arguments[0]).textContent"
        text: str = self.driver.execute_script(script, name)
        return " ".join(text.split())

    def save(self) -> Path:
        """Save the mask as a click on the link does."""
        for old in self._downloads.iterdir():
            old.unlink()
        self.driver.execute_script("document.getElementById('save').click()")
        end = time.monotonic() + PATIENCE_S
        while True:
            # The name is there before the bytes are.
            for path in self._downloads.glob("*.nii.gz"):
                with contextlib.suppress(OSError, EOFError, zlib.error):
                    if gzip.decompress(path.read_bytes()):
                        return path
            assert time.monotonic() < end, "nothing was saved"
            time.sleep(0.05)

    def requests(self) -> list[str]:
        """Addresses that were asked for since the last call, the browser's own left out."""
        entries = self.driver.get_log("performance")
        messages = [json.loads(entry["message"])["message"] for entry in entries]
        sent = []
        for message in messages:
            if message["method"] == "Network.requestWillBeSent":
                sent.append(message["params"]["request"]["url"])
        return [url for url in sent if not url.startswith(("data:", "blob:", "chrome"))]


@pytest.fixture(scope="session")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    """Chromium without a screen."""
    if BROWSER is None or DRIVER is None:
        pytest.skip("chromium and chromedriver are not installed")
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    folder = tmp_path_factory.mktemp("browser")
    downloads = folder / "downloads"
    downloads.mkdir()
    options = Options()
    options.binary_location = BROWSER
    for flag in [*FLAGS.split(), f"--user-data-dir={folder / 'profile'}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        place = {"behavior": "allow", "downloadPath": str(downloads)}
        driver.execute_cdp_cmd("Browser.setDownloadBehavior", place)
        yield Tab(driver, downloads)
    finally:
        driver.quit()


@pytest.fixture(scope="session")
def make_page(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """Write the page of a checkpoint, without the comparison of the job `export`."""

    def make(checkpoint: Path) -> Path:
        pytest.importorskip("onnxscript")
        model = load_model(checkpoint)
        folder = tmp_path_factory.mktemp("page")
        metadata = _describe(model, ExportOptions(format="onnx"))
        graph = folder / "network.onnx"
        network = prepared(model.network, "html")
        write_format(network, graph, metadata, window=model.window or (1, 1, 1))
        write_page(graph, folder / "page.html", metadata)
        return folder / "page.html"

    return make


class Scripts:
    """The scripts of the worker, on an empty page.

    Args:
        tab: The browser.
    """

    def __init__(self, tab: Tab) -> None:
        self._driver = tab.driver
        self._source = page_module._scripts(page_module._OF_WORKER)
        self._driver.get("about:blank")

    def call(self, expression: str, *arguments: object) -> Any:
        """The value of an expression of `given`, the arguments; what it refuses is an error."""
        script = f"""{self._source}
            const answer = arguments[arguments.length - 1];
            const given = [...arguments].slice(0, -1);
            const fileOf = ([name, text]) =>
              new File([Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))], name);
            (async () => {expression})().then(
              (value) => answer({{ value }}),
              (error) => answer({{ refusal: `${{error.message}}` }}),
            );"""
        found = self._driver.execute_async_script(script, *arguments)
        if "refusal" in found:
            raise AssertionError(found["refusal"])
        return found["value"]

    def file(self, path: Path) -> tuple[str, str]:
        """A file as `fileOf` takes it."""
        return path.name, base64.b64encode(path.read_bytes()).decode()


@pytest.fixture
def scripts(tab: Tab) -> Scripts:
    """The scripts of the worker, to be called one by one."""
    return Scripts(tab)

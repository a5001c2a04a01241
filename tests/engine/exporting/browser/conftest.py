"""Exported pages, and their scripts one by one, in a browser."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lunet_cli.config.options import ExportOptions
from lunet_cli.engine.checkpoints.models import load_model
from lunet_cli.engine.exporting.browser import frame
from lunet_cli.engine.exporting.browser.page import OF_WORKER
from lunet_cli.engine.exporting.export import _describe
from lunet_cli.engine.exporting.formats import prepared, write_format, write_page


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

    def __init__(self, tab: Any) -> None:
        self._driver = tab.driver
        self._source = frame.scripts(*OF_WORKER)
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
def scripts(tab: Any) -> Scripts:
    """The scripts of the worker, to be called one by one."""
    return Scripts(tab)

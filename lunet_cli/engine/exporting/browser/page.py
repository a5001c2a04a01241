"""The exported page: a network, what computes it, and the frame around them, in one file."""

from __future__ import annotations

import base64
import functools
import gzip
import html
import json
import lzma
from pathlib import Path

from lunet_cli.engine.exporting.browser.frame import (
    READERS,
    Computer,
    as_text,
    channels_in_words,
    definitions,
    framed,
    scripts,
    spacing_in_words,
)
from lunet_cli.records.export import ExportMetadata
from lunet_cli.results.words import plural

_HERE = Path(__file__).parent
VENDOR = _HERE / "vendor"
OF_WORKER = (*READERS, "preprocessing.js", "windows.js", "segmentation.js", "worker.js")


def render_page(graph: bytes, metadata: ExportMetadata) -> str:
    """The page as HTML.

    Args:
        graph: The network, from `image` to `logits`, as ONNX.
        metadata: What is needed to use it.
    """
    computer = Computer(
        script=scripts("workers.js"),
        worker=scripts(*OF_WORKER),
        markup=_HERE / "exported.html",
        # Compiling WebAssembly counts as a kind of `eval`. No request of any kind is allowed.
        rules={"script-src": "'wasm-unsafe-eval'"},
    )
    values = {
        "version": html.escape(_version(metadata)),
        "runtime_version": json.loads(vendored("vendor.json"))["version"],
        "title": as_text(metadata.architecture),
        "labels": as_text(", ".join(metadata.label_values)),
        "channels": channels_in_words(metadata.network.in_channels),
        "facts": definitions(_facts_in_words(metadata)),
        "engine": scripts("engine.js"),
        "network": _packed(graph),
        "licence": html.escape(vendored("LICENSE").decode()),
    }
    return framed(computer, _facts(metadata), values | _parts_of_others()).text


@functools.cache
def _parts_of_others() -> dict[str, str]:
    """What is the same in all pages; packing it takes some seconds."""
    runtime = as_plain_script(vendored("ort.wasm.bundle.min.mjs").decode())
    return {
        "runtime": _packed(runtime.encode()),
        "binary": _packed(vendored("ort-wasm-simd-threaded.wasm")),
        "notices": _packed(vendored("ThirdPartyNotices.txt")),
    }


def vendored(name: str) -> bytes:
    """The content of a file of others, which may be kept packed."""
    packed = VENDOR / f"{name}.xz"
    if packed.exists():
        return lzma.decompress(packed.read_bytes())
    return (VENDOR / name).read_bytes()


def as_plain_script(module: str) -> str:
    """A module as a script that defines `ort`.

    Browsers let a page from disk start workers from its own text, but neither as modules nor so
    that they import any.
    """
    body, _, exports = module.rpartition("export{")
    names = []
    for export in exports.partition("}")[0].split(","):
        inner, _, outer = export.partition(" as ")
        names.append(f"{outer}:{inner}")
    body = body.replace("import.meta.url", "self.location.href")
    return f"const ort=(()=>{{{body}return{{{','.join(names)}}};}})();"


def _facts(metadata: ExportMetadata) -> dict[str, object]:
    """What the scripts need to know of the network."""
    window = None
    if not metadata.takes_whole_volumes:
        window = metadata.window
    return {
        "architecture": metadata.architecture,
        "activation": metadata.activation,
        # Pairs, since an object of JavaScript puts names that are numbers in front.
        "labels": [*metadata.label_values.items()],
        "preprocessing": metadata.preprocessing.model_dump(mode="json"),
        "window": window,
        "inChannels": metadata.network.in_channels,
        "version": _version(metadata),
    }


def _version(metadata: ExportMetadata) -> str:
    return metadata.versions.get("lunet", "unknown")


def _facts_in_words(metadata: ExportMetadata) -> list[tuple[str, str]]:
    prepare = metadata.preprocessing
    window = "whole volumes"
    if not metadata.takes_whole_volumes and metadata.window is not None:
        window = " x ".join(map(str, metadata.window[::-1])) + " voxels (x, y, z)"
    return [
        ("network", metadata.architecture),
        ("labels", ", ".join(metadata.label_values)),
        ("image", plural(metadata.network.in_channels, "channel")),
        ("orientation", prepare.orientation or "as stored"),
        ("voxel size", spacing_in_words(prepare.spacing_mm)),
        ("intensities", prepare.normalization.name),
        ("window", window),
    ]


def _packed(content: bytes) -> str:
    # Without the time, the same network gives the same page.
    return base64.b64encode(gzip.compress(content, compresslevel=9, mtime=0)).decode()

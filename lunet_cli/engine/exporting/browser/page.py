"""The page: a network, what computes it, and the scripts that bring a scan to it, in one file."""

from __future__ import annotations

import base64
import functools
import gzip
import hashlib
import html
import json
import lzma
from pathlib import Path
from string import Template

from lunet_cli.records.export import ExportMetadata
from lunet_cli.results.words import plural, visible

_HERE = Path(__file__).parent
VENDOR = _HERE / "vendor"
# In this order: each uses what those before it define.
_OF_PAGE = ("volume.js", "slices.js", "solid.js", "page.js")
_OF_WORKER = (
    *("volume.js", "files.js", "nifti.js", "nrrd.js", "dicom.js"),
    *("preprocessing.js", "windows.js", "segmentation.js", "worker.js"),
)
_OF_ENGINE = ("engine.js",)


def render_page(graph: bytes, metadata: ExportMetadata) -> str:
    """The page as HTML.

    Args:
        graph: The network, from `image` to `logits`, as ONNX.
        metadata: What is needed to use it.
    """
    script, style = _scripts(_OF_PAGE), _read("page.css")
    facts = _facts(metadata)
    return Template(_read("page.html")).substitute(
        policy=_policy(script, style),
        version=html.escape(_version(metadata)),
        runtime_version=json.loads(_read("vendor/vendor.json"))["version"],
        title=_text(metadata.architecture),
        labels=_text(", ".join(metadata.label_values)),
        channels=_channels_in_words(metadata.network.in_channels),
        facts=_definitions(_facts_in_words(metadata)),
        style=style,
        script=script,
        data=_json(facts),
        worker=_scripts(_OF_WORKER),
        engine=_scripts(_OF_ENGINE),
        network=_packed(graph),
        licence=html.escape(vendored("LICENSE").decode()),
        **_parts_of_others(),
    )


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


def _policy(script: str, style: str) -> str:
    """No request of any kind; only our script and style, and workers that the page makes itself."""
    rules = {
        "default-src": "'none'",
        # Compiling WebAssembly counts as a kind of `eval`.
        "script-src": f"'{_hash(script)}' 'wasm-unsafe-eval'",
        "worker-src": "blob:",
        "style-src": f"'{_hash(style)}'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


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
    spacing = "as stored"
    if prepare.spacing_mm is not None:
        spacing = " x ".join(f"{value:g}" for value in prepare.spacing_mm[::-1]) + " mm (x, y, z)"
    window = "whole volumes"
    if not metadata.takes_whole_volumes and metadata.window is not None:
        window = " x ".join(map(str, metadata.window[::-1])) + " voxels (x, y, z)"
    return [
        ("network", metadata.architecture),
        ("labels", ", ".join(metadata.label_values)),
        ("image", plural(metadata.network.in_channels, "channel")),
        ("orientation", prepare.orientation or "as stored"),
        ("voxel size", spacing),
        ("intensities", prepare.normalization.name),
        ("window", window),
    ]


def _channels_in_words(number: int) -> str:
    if number == 1:
        return "One scan at a time."
    return (
        f"The network takes {number} channels: all files of a scan together, in the order of "
        "their names, or one four-dimensional file."
    )


def _definitions(rows: list[tuple[str, str]]) -> str:
    parts = []
    for name, value in rows:
        parts.append(f"<div><dt>{_text(name)}</dt><dd>{_text(value)}</dd></div>")
    return "".join(parts)


def _text(words: str) -> str:
    """Words that may come from a stranger, in one harmless line."""
    return html.escape(visible(words))


def _json(value: object) -> str:
    """JSON that ends no script."""
    return json.dumps(value).replace("<", "\\u003c")


def _packed(content: bytes) -> str:
    # Without the time, the same network gives the same page.
    return base64.b64encode(gzip.compress(content, compresslevel=9, mtime=0)).decode()


def _scripts(names: tuple[str, ...]) -> str:
    return "\n".join(_read(f"scripts/{name}") for name in names)


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")

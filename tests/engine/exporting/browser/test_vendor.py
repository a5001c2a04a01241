"""Files of others: as they were published, with their licences."""

from __future__ import annotations

import hashlib
import json

from lunet_cli.engine.exporting.browser.page import VENDOR, vendored

FACTS = json.loads((VENDOR / "vendor.json").read_text(encoding="utf-8"))
LARGEST_BYTES = 2_500_000


def test_content_is_what_was_published() -> None:
    found = {name: hashlib.sha256(vendored(name)).hexdigest() for name in FACTS["sha256"]}
    assert found == FACTS["sha256"]


def test_nothing_else_lies_there_and_a_wheel_stays_small() -> None:
    ours = {"README.md", "vendor.json"}
    names = {path.name.removesuffix(".xz") for path in VENDOR.iterdir()}
    assert names - ours == set(FACTS["sha256"])
    assert sum(path.stat().st_size for path in VENDOR.iterdir()) < LARGEST_BYTES


def test_licence_and_version_are_told() -> None:
    assert FACTS["license"] == "MIT"
    assert b"MIT License" in vendored("LICENSE")
    assert f"v{FACTS['version']}\n".encode() in vendored("ort.wasm.bundle.min.mjs")[:100]

"""The page at `/`, from which a person sends a scan to the service."""

from __future__ import annotations

import base64
import functools
import hashlib
from pathlib import Path
from string import Template

_HERE = Path(__file__).parent


@functools.cache
def page() -> tuple[str, str]:
    """The page, and its policy: our script and style, and requests to where it comes from."""
    script, style = _read("page.js"), _read("page.css")
    text = Template(_read("page.html")).substitute(script=script, style=style)
    rules = (
        "default-src 'none'",
        f"script-src '{_hash(script)}'",
        f"style-src '{_hash(style)}'",
        "connect-src 'self'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
    return text, "; ".join(rules)


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")

"""The frame of a page that segments: its markup, style, policy and scripts, whoever computes."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template

from lunet_cli.results.words import visible

_HERE = Path(__file__).parent
_SCRIPTS = _HERE / "scripts"
# In this order: each uses what those before it define.
_BEFORE = ("elements.js", "volume.js", "slices.js", "solid.js")
_BEHIND = ("views.js", "opening.js", "page.js")
# What reads a scan in a worker.
READERS = ("volume.js", "files.js", "nifti.js", "nrrd.js", "dicom.js", "reading.js")
_PART = re.compile(r"<!-- part (\w+) -->\n")
_RULES = {
    "default-src": "'none'",
    "worker-src": "blob:",
    "img-src": "data:",
    "base-uri": "'none'",
    "form-action": "'none'",
}


@dataclass(frozen=True)
class Page:
    """A page that can be opened.

    Args:
        text: HTML, with the policy in it.
        policy: The same policy, for a header.
    """

    text: str
    policy: str


@dataclass(frozen=True)
class Computer:
    """Who computes behind a page, and what the page says of it.

    Args:
        script: Defines the class `Computer` and the words `STEPS`; see `scripts/page.js`.
        worker: The script of the worker that reads.
        markup: The parts that a page has of its own, as `parts_of` reads them.
        rules: What its policy allows beyond our script, our style and workers of our own text;
            a rule for scripts is added to their hash.
    """

    script: str
    worker: str
    markup: Path
    rules: Mapping[str, str]


def framed(computer: Computer, facts: object, values: Mapping[str, str]) -> Page:
    """A page.

    Args:
        computer: Who computes.
        facts: What the scripts need to know, as JSON.
        values: What the parts and the frame name by `$name`, as markup.
    """
    before, behind = scripts(*_BEFORE), scripts(*_BEHIND)
    script, style = f"{before}\n{computer.script}\n{behind}", _read("page.css")
    policy = _policy(script, style, computer.rules)
    parts: dict[str, str] = {}
    for name, text in _parts_of(computer.markup).items():
        parts[name] = Template(text).substitute(values)
    text = Template(_read("page.html")).substitute(
        values,
        **parts,
        policy=policy,
        style=style,
        script=script,
        data=_json(facts),
        worker=computer.worker,
    )
    return Page(text, policy)


def scripts(*names: str) -> str:
    """Scripts of the page, one behind the other."""
    return "\n".join((_SCRIPTS / name).read_text(encoding="utf-8") for name in names)


def definitions(rows: list[tuple[str, str]]) -> str:
    """Rows of a list of definitions."""
    parts = []
    for name, value in rows:
        parts.append(f"<div><dt>{as_text(name)}</dt><dd>{as_text(value)}</dd></div>")
    return "".join(parts)


def channels_in_words(number: int) -> str:
    """How a scan of so many channels is opened."""
    if number == 1:
        return "One scan at a time."
    return (
        f"The network takes {number} channels: all files of a scan together, in the order of "
        "their names, or one four-dimensional file."
    )


def spacing_in_words(spacing_mm: tuple[float, float, float] | None) -> str:
    """A voxel size (z, y, x) as a person reads it."""
    if spacing_mm is None:
        return "as stored"
    return " x ".join(f"{value:g}" for value in spacing_mm[::-1]) + " mm (x, y, z)"


def as_text(words: str) -> str:
    """Words that may come from a stranger, in one harmless line."""
    return html.escape(visible(words))


def _parts_of(markup: Path) -> dict[str, str]:
    """Parts of a page by the names that stand before them."""
    _, *found = _PART.split(markup.read_text(encoding="utf-8"))
    return dict(zip(found[::2], found[1::2], strict=True))


def _policy(script: str, style: str, rules: Mapping[str, str]) -> str:
    """Only our script and style, and workers that the page makes itself."""
    more = dict(rules)
    allowed = {
        "script-src": f"'{_hash(script)}' {more.pop('script-src', '')}".rstrip(),
        "style-src": f"'{_hash(style)}'",
    }
    return "; ".join(f"{name} {value}" for name, value in (_RULES | allowed | more).items())


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _json(value: object) -> str:
    """JSON that ends no script."""
    return json.dumps(value).replace("<", "\\u003c")


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")

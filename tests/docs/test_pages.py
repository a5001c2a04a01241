from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))


def test_each_page_stands_in_the_navigation_once() -> None:
    site = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))
    listed = sorted(_pages_of(site["project"]["nav"]))
    assert listed == sorted(page.relative_to(DOCS).as_posix() for page in PAGES)


def test_every_file_that_is_linked_exists() -> None:
    texts = [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]
    missing = []
    for page in texts:
        for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if "://" not in link and not (page.parent / link).exists():
                missing.append(f"{page.relative_to(ROOT)}: {link}")
    assert missing == []


def test_every_shipped_configuration_is_named() -> None:
    text = (DOCS / "own-data.md").read_text(encoding="utf-8")
    assert [path.name for path in (ROOT / "configs").glob("*.yaml") if path.name not in text] == []


def test_every_script_that_is_named_exists() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    named = set(re.findall(r"(?<![\w/])(?:benchmarks|docs)/\w+\.py", text))
    assert named
    assert sorted(name for name in named if not (ROOT / name).exists()) == []


def test_every_decision_that_is_named_exists() -> None:
    sources = [
        path
        for name in ("lunet_cli", "benchmarks", "tests")
        for path in (ROOT / name).rglob("*.py")
    ]
    text = "\n".join(path.read_text(encoding="utf-8") for path in [*sources, *PAGES])
    named = {int(number) for number in re.findall(r"(?:ADR |docs/adr/)0*(\d+)", text)}
    written = {int(path.name[:4]) for path in (DOCS / "adr").glob("*.md")}
    assert named
    assert sorted(named - written) == []


def _pages_of(entries: list[Any]) -> Iterator[str]:
    """The pages of a navigation: `"a.md"`, `{title: "a.md"}` or `{title: entries}`."""
    for entry in entries:
        if isinstance(entry, str):
            yield entry
            continue
        for value in entry.values():
            yield from _pages_of([value] if isinstance(value, str) else value)

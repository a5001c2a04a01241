"""What lies in a cache, as a table."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lunet_cli.results.cache import CacheInfo
from lunet_cli.results.words import plural, visible


def cache_table(found: CacheInfo) -> RenderableType:
    """A row per data set and preprocessing."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("data", overflow="fold")
    table.add_column("preprocessing", overflow="fold")
    for name in ("cases", "stale", "size", "newest", "lunet"):
        table.add_column(name, justify="right", no_wrap=True)
    for group in found.groups:
        table.add_row(
            Text(visible(group.place)),
            Text(visible(group.settings)),
            str(group.num_cases),
            Text(str(group.num_stale), "yellow" if group.num_stale else ""),
            size_in_words(group.num_bytes),
            group.newest.strftime("%Y-%m-%d %H:%M"),
            Text(visible(group.version)),
        )
    parts: list[RenderableType] = [table] if found.groups else []
    if found.num_unfinished:
        size = size_in_words(found.unfinished_bytes)
        parts.append(Text(f"{found.num_unfinished} unfinished, {size}: of runs that were killed"))
    total = f"{plural(found.num_cases, 'case')}, {size_in_words(found.num_bytes)}"
    parts.append(Text(f"\n{visible(found.folder)}: {total}", "bold"))
    return Group(*parts)


def size_in_words(num_bytes: float) -> str:
    """A size with its unit, such as 3.2 GiB."""
    units = ("bytes", "KiB", "MiB", "GiB", "TiB")
    unit = 0
    while num_bytes >= 1024 and unit < len(units) - 1:
        num_bytes /= 1024
        unit += 1
    return f"{num_bytes:.3g} {units[unit]}" if unit else f"{num_bytes:.0f} bytes"

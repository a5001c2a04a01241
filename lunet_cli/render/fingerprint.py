"""The fingerprint of a data set as tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lunet_cli.records.fingerprint import Fingerprint
from lunet_cli.results.words import plural, visible

_BARS = " ▁▂▃▄▅▆▇█"
_NUM_BARS = 16


def fingerprint_tables(found: Fingerprint) -> RenderableType:
    """All of it, summarised over cases."""
    title = Text(f"{plural(len(found.cases), 'case')} in the layout {found.layout}\n", "bold")
    parts: list[RenderableType] = [title, _summary(_rows(found), "over cases")]
    parts += [Text(), _summary(_label_rows(found), "label volumes")]
    for one, other in found.copies:
        text = f"{visible(one)} and {visible(other)} hold the same planes: keep them on one side."
        parts.append(Text(text, "yellow"))
    return Group(*parts)


def _summary(rows: Iterator[tuple[str, Sequence[float]]], heading: str) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(heading)
    for name in ("smallest", "median", "largest"):
        table.add_column(name, justify="right")
    table.add_column("distribution")
    for name, values in rows:
        low, middle, high = np.percentile(values, (0, 50, 100)).tolist()
        numbers = [f"{value:,.4g}" for value in (low, middle, high)]
        table.add_row(Text(visible(name)), *numbers, _histogram(values))
    return table


def _rows(found: Fingerprint) -> Iterator[tuple[str, Sequence[float]]]:
    for index, axis in enumerate("zyx"):
        yield f"voxels {axis}", [case.size[index] for case in found.cases]
    for index, axis in enumerate("zyx"):
        yield f"spacing {axis} (mm)", [case.spacing_mm[index] for case in found.cases]
    for index in range(min(len(case.channels) for case in found.cases)):
        facts = [case.channels[index] for case in found.cases]
        name = f"channel {index}"
        if index < len(found.channel_names):
            name = found.channel_names[index]
        yield f"{name}, labelled: 0.5 %", [channel.percentiles[0] for channel in facts]
        yield f"{name}, labelled: mean", [channel.mean for channel in facts]
        yield f"{name}, labelled: 99.5 %", [channel.percentiles[2] for channel in facts]


def _label_rows(found: Fingerprint) -> Iterator[tuple[str, Sequence[float]]]:
    names = {}
    for name, values in (found.labels or {}).items():
        if len(values) == 1:
            names[values[0]] = name
    by_value: dict[int, list[tuple[float, int]]] = {}
    for case in found.cases:
        for facts in case.values:
            pair = (facts.volume_ml, facts.num_components)
            by_value.setdefault(facts.value, []).append(pair)
    for value, pairs in sorted(by_value.items()):
        name = f"{names.get(value, '')} {value}".strip()
        counted = plural(len(pairs), "case")
        yield f"{name} in {counted} (ml)", [volume for volume, _ in pairs]
        if max(number for _, number in pairs) > 1:
            yield f"{name}: pieces", [number for _, number in pairs]


def _histogram(values: Sequence[float]) -> str:
    """Bars of the counts between the smallest and the largest value; a bar of its own for one."""
    if min(values) == max(values):
        return _BARS[-1]
    counts, _ = np.histogram(values, bins=_NUM_BARS)
    heights = np.ceil(counts / counts.max() * (len(_BARS) - 1)).astype(int)
    return "".join(_BARS[height] for height in heights)

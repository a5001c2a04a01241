"""Models that have names, as a list and one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lunet_cli.records.model_folder import ModelList, NamedModel
from lunet_cli.records.model_page import LabelDice, MeasuredDice, ModelPage, Statement
from lunet_cli.results.words import plural, visible

WARNING = "For research. Not a medical device: never base the care of a patient on its output."


def models_table(found: ModelList, below: Sequence[str]) -> RenderableType:
    """Models as rows, then how to go on, a line each."""
    table = Table(
        title=plural(len(found.models), "model"), title_justify="left", box=None, pad_edge=False
    )
    table.add_column("name", style="bold", no_wrap=True)
    for heading in ("parameters", "kB", "Dice"):
        table.add_column(heading, justify="right")
    table.add_column("labels")
    table.add_column("from")
    for model in found.models:
        page = model.page
        table.add_row(
            _names(page),
            f"{page.num_parameters:,}",
            kilobytes(page),
            _overall(page),
            visible(", ".join(page.labels.regions)),
            "lunet" if model.is_shipped else "you",
        )
    return Group(table, Text("\n".join(["", *below, WARNING])))


def model_page(found: NamedModel) -> RenderableType:
    """All that is said of a model."""
    page = found.page
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for heading, text in facts(page):
        table.add_row(heading, Text(visible(text)))
    table.add_row("weights", Text(visible(str(found.weights)), overflow="fold"))
    title = page.architecture
    if page.statement is not None:
        title = page.statement.title
    parts: list[RenderableType] = [Text(visible(f"{page.name}: {title}"), style="bold")]
    parts.append(Padding(table, (1, 0, 0, 0)))
    if page.dice is not None:
        parts.append(Padding(_dice_table(page.dice), (1, 0, 0, 0)))
    return Group(*parts, Text(f"\n{WARNING}"))


def facts(page: ModelPage) -> Iterator[tuple[str, str]]:
    """Headings and texts of all that a page says but its Dice, the most needed first."""
    statement = page.statement
    if statement is not None:
        yield from _use(statement)
    yield "labels", _labels(page)
    yield "preprocessing", _preprocessing(page)
    yield "window", f"{' x '.join(map(str, page.window))} voxels (z, y, x)"
    network = f"{page.architecture}, {page.num_parameters:,} parameters, {kilobytes(page)} kB"
    yield "network", network
    if statement is not None:
        yield from _origin(statement)
    yield "training", _training(page)
    if page.also_called is not None:
        yield "also called", page.also_called
    yield "version", str(page.version)
    yield "SHA-256", page.sha256


def with_interval(row: LabelDice) -> str:
    """Mean and confidence interval."""
    return f"{row.mean:.4f} [{row.low:.4f}, {row.high:.4f}]"


def kilobytes(page: ModelPage) -> str:
    """Size of the weights' file in kB."""
    return f"{page.num_bytes / 1000:,.0f}"


def _use(statement: Statement) -> Iterator[tuple[str, str]]:
    yield "expects", statement.expects
    yield "intended use", statement.intended_use
    for limit in statement.limits:
        yield "limit", limit


def _origin(statement: Statement) -> Iterator[tuple[str, str]]:
    data = statement.data
    cases = f"{data.num_training} training and {data.num_validation} validation cases"
    yield "data", f"{data.name}, {data.origin}: {cases}"
    yield "licence of the data", f"{data.licence}, {data.licence_url}"
    yield "cite", data.citation
    yield "licence of the weights", statement.licence


def _labels(page: ModelPage) -> str:
    parts = []
    for name, values in page.labels.regions.items():
        parts.append(f"{name} ({', '.join(map(str, values))})")
    return f"{', '.join(parts)}; 0 is background"


def _preprocessing(page: ModelPage) -> str:
    prepare = page.preprocessing
    orientation = prepare.orientation or "orientation as stored"
    spacing = "spacing as stored"
    if prepare.spacing_mm is not None:
        spacing = f"{' x '.join(f'{edge:g}' for edge in prepare.spacing_mm)} mm (z, y, x)"
    return f"{orientation}, {spacing}, intensities by {prepare.normalization.name}"


def _training(page: ModelPage) -> str:
    parts = [plural(page.epoch, "epoch")]
    if page.seed is not None:
        parts.append(f"seed {page.seed}")
    if page.git_commit is not None:
        parts.append(f"commit {page.git_commit[:12]}")
    for name in ("lunet", "torch"):
        if name in page.versions:
            parts.append(f"{name} {page.versions[name]}")
    return ", ".join(parts)


def _dice_table(dice: MeasuredDice) -> RenderableType:
    title = f"Dice on {dice.on}, with 95 % bootstrap interval over cases"
    table = Table(box=None, pad_edge=False)
    table.add_column("label", style="bold")
    table.add_column("mean [interval]")
    for row in dice.labels:
        table.add_row(visible(row.label), with_interval(row))
    return Group(Text(visible(title)), table)


def _names(page: ModelPage) -> str:
    if page.also_called is None:
        return page.name
    return f"{page.name} ({page.also_called})"


def _overall(page: ModelPage) -> str:
    if page.dice is None:
        return "not measured"
    return with_interval(page.dice.overall)

"""The page about a study of trainings: one file, which asks no other host for anything."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path

from lunet_cli.config.metrics import METRICS
from lunet_cli.render.figures.pareto import pareto_figure
from lunet_cli.render.figures.style import write_figure
from lunet_cli.render.report.page import environment_of, read_part
from lunet_cli.render.training_study_tables import (
    difference_cells,
    notes_of,
    number_text,
    title_of,
    variant_cells,
)
from lunet_cli.results.training_studies import TrainingStudy
from lunet_cli.results.views import Pareto
from lunet_cli.results.words import visible


def render_study_page(
    study: TrainingStudy, *, command: str = "", reword: Callable[[str], str] = str
) -> str:
    """The page as HTML.

    Args:
        study: What is told.
        command: The command line that makes it again.
        reword: Applied to what is said of fields.
    """
    page: str = (
        environment_of(reword)
        .get_template("study.html.j2")
        .render(
            study=study,
            name=study.folder.resolve().name,
            title=title_of(study),
            variants=_cells(variant_cells(study)),
            differences=_cells(difference_cells(study)),
            trials=_cells(_trial_cells(study)),
            notes=notes_of(study),
            pictures=[_picture(pareto) for pareto in study.pictures],
            command=command,
            style=read_part("page.css"),
        )
    )
    return page


def _cells(table: tuple[list[str], list[list[str]]]) -> dict[str, object]:
    headings, rows = table
    return {"headings": [heading.replace("\n", " ") for heading in headings], "rows": rows}


def _trial_cells(study: TrainingStudy) -> tuple[list[str], list[list[str]]]:
    """Headings, and the cells of each combination with each seed."""
    metric = METRICS[study.metric]  # type: ignore[index]  # one of its keys
    headings = ["folder", *study.keys, "seed", "folds", metric.title]
    rows = []
    for trial in study.trials:
        values = [trial.values[key] for key in study.keys]
        counts = [str(trial.seed), str(trial.num_folds)]
        rows.append([visible(trial.trial), *values, *counts, number_text(trial.value, metric)])
    return headings, rows


def _picture(pareto: Pareto) -> dict[str, str]:
    """A picture with its image as a part of the page."""
    buffer = io.BytesIO()
    write_figure(pareto_figure(pareto), buffer, Path("pareto.png"))
    content = base64.b64encode(buffer.getvalue()).decode()
    points = [f"{point.name} {point.quality:.4f}" for point in pareto.points]
    return {
        "address": f"data:image/png;base64,{content}",
        "words": f"{pareto.quality} against {pareto.cost}: {', '.join(points)}",
    }

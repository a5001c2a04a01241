"""`lunet models`: trained networks that are found by their names; PyTorch is loaded for `add`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lunet_cli.cli.helping import AsJson, PlainCommand, new_app
from lunet_cli.cli.options import complete_model

if TYPE_CHECKING:
    from lunet_cli.records.model_folder import NamedModel

app = new_app("List trained networks that are ready to use, show one, or add your own.")

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="A model, such as hippocampus-mri; lunet models list shows all.",
        autocompletion=complete_model,
    ),
]


@app.command("list", cls=PlainCommand)
def list_all(as_json: AsJson = False) -> None:
    """List the models that predict, eval, bench, export and viz know by name."""
    from lunet_cli.records.model_folder import list_models
    from lunet_cli.records.record import json_text
    from lunet_cli.render.console import make_console, make_status_console
    from lunet_cli.render.model_tables import models_table
    from lunet_cli.results.words import visible

    found = list_models()
    if as_json:
        typer.echo(json_text([_described(model) for model in found.models]), nl=False)
    else:
        folder = visible(str(found.own_folder))
        below = (
            "What one expects, and its limits: lunet models show NAME",
            f"Your own: lunet models add RUN --name NAME (kept in {folder})",
        )
        make_console().print(models_table(found, below))
    for problem in found.problems:
        make_status_console().print(f"warning: {problem}", style="yellow", markup=False)


@app.command("show", cls=PlainCommand)
def show(name: Name, as_json: AsJson = False) -> None:
    """Show what a model expects, what it reaches, and what it must not be used for."""
    from lunet_cli.records.model_folder import require_model
    from lunet_cli.records.record import json_text
    from lunet_cli.render.console import make_console
    from lunet_cli.render.model_tables import model_page

    found = require_model(name)
    if as_json:
        typer.echo(json_text(_described(found)), nl=False)
    else:
        make_console().print(model_page(found))


@app.command("add", cls=PlainCommand)
def add(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A run folder, or a checkpoint in one.")
    ],
    name: Annotated[
        str,
        typer.Option(metavar="NAME", help="What it is called from now on."),
    ],
) -> None:
    """Copy a trained network of yours to where it is found by a name, in any folder."""
    from lunet_cli.engine.checkpoints.keeping import add_model
    from lunet_cli.render.console import make_console
    from lunet_cli.results.words import visible

    found = add_model(run, name)
    make_console().print(
        f"{found.page.name}: {visible(str(found.weights))}", markup=False, soft_wrap=True
    )


@app.command("remove", cls=PlainCommand)
def remove(name: Name) -> None:
    """Remove a model of yours; the run that it was made of stays."""
    from lunet_cli.records.model_folder import remove_model
    from lunet_cli.render.console import make_console
    from lunet_cli.results.words import visible

    for path in remove_model(name):
        make_console().print(f"removed {visible(str(path))}", markup=False, soft_wrap=True)


def _described(found: NamedModel) -> dict[str, object]:
    """A page as plain values, with what follows from it."""
    return {
        **dict(found.page),
        "num_parameters": found.page.num_parameters,
        "is_shipped": found.is_shipped,
        "weights": found.weights,
    }

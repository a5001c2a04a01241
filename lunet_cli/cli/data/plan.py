"""`lunet data plan`: from a folder to a commented configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lunet_cli.cli.options import option
from lunet_cli.cli.wording import show_progress
from lunet_cli.config.options import PlanOptions

USUAL_PLAN = PlanOptions()
Minutes = Annotated[float, option(PlanOptions, "minutes", metavar="M")]
Arch = Annotated[str | None, option(PlanOptions, "architecture", "--arch", metavar="NAME")]
Memory = Annotated[str | None, option(PlanOptions, "memory_mib", "--memory", metavar="SIZE")]
NnunetPlans = Annotated[Path | None, option(PlanOptions, "nnunet_plans", metavar="FILE")]


def plan(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A labelled data set.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The configuration; - prints it.")
    ],
    minutes: Minutes = USUAL_PLAN.minutes,
    architecture: Arch = None,
    memory_mib: Memory = None,
    nnunet_plans: NnunetPlans = None,
    force: Annotated[
        bool, typer.Option("--force", help="Write over a file that is there.")
    ] = False,
) -> None:
    """Write a configuration that fits a data set and this machine, and say why."""
    options = plan_options(minutes, architecture, memory_mib, nnunet_plans)
    from lunet_cli.engine.training.planning import plan as make_plan
    from lunet_cli.errors import OutputError
    from lunet_cli.records.files import require_place
    from lunet_cli.render.console import make_status_console

    is_printed = str(output) == "-"
    if not is_printed:
        require_place(output)
        if output.exists() and not force:
            raise OutputError(
                f"{output}: is there already, and is not overwritten",
                hint="Name another file, or add --force.",
            )
    split_file = Path("split.json") if is_printed else output.with_suffix(".split.json")
    with show_progress(make_status_console()) as on_event:
        planned = make_plan(folder, options=options, split_file=split_file, on_event=on_event)
    if is_printed:
        typer.echo(planned.text, nl=False)
    else:
        planned.write(output)
        typer.echo(f"{output}: train with `lunet train {output}`")


def plan_options(
    minutes: float,
    architecture: str | None,
    memory_mib: str | None,
    nnunet_plans: Path | None = None,
) -> PlanOptions:
    """The options of a plan, from the command line."""
    given: dict[str, object] = {
        "minutes": minutes,
        "architecture": architecture,
        "memory_mib": memory_mib,
        "nnunet_plans": nnunet_plans,
    }
    return PlanOptions.model_validate(given)

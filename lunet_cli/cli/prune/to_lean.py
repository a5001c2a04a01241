"""`lunet prune to-lean`: the flat network of the same budget, as a configuration."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from lunet_cli.errors import ConfigError
from lunet_cli.results.words import plural, visible


def to_lean(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|CONFIG|PRESET",
            help="Run folder, configuration or preset, whose network the flat one stands beside.",
        ),
    ],
    parameters: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Parameters that it may have; those of the network if not given, of a pruning "
            "those of the step that is chosen.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE.yaml", help="The file; NAME_lean.yaml if not given."
        ),
    ] = None,
) -> None:
    """Write a configuration that trains the LUNet or LUNet++ of the same depth and budget."""
    if output is not None and output.suffix.lower() not in (".yaml", ".yml"):
        raise ConfigError(f"-o {output}: is not a configuration", hint="End the name with .yaml.")
    from lunet_cli.config.load import dump_yaml
    from lunet_cli.engine.pruning.leaning import lean_config
    from lunet_cli.records.files import write_new

    lean = lean_config(source, parameters)
    place = output or Path(f"{lean.config.experiment.name}.yaml")
    write_new(place, dump_yaml(lean.config).encode())
    inputs = plural(lean.spec.in_channels, "image channel")
    outputs = plural(lean.spec.out_channels, "output channel")
    typer.echo(visible(f"{place}: {lean.config.model.architecture} for {inputs} and {outputs}"))
    own = plural(lean.parameters, "parameter")
    typer.echo(visible(f"{own} of at most {lean.budget:,} ({lean.origin})"))
    typer.echo(visible(f"train it: {shlex.join(['lunet', 'train', str(place)])}"))

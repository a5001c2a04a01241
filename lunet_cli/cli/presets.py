"""`lunet presets`: which networks there are, without loading PyTorch."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from lunet_cli.cli.helping import AsJson, PlainCommand, new_app

if TYPE_CHECKING:
    from lunet_cli.config.presets import Preset

app = new_app("List the named networks, or show one level by level.")


@app.command("list", cls=PlainCommand)
def list_presets(
    family: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Only one family: unet, lunet, unetpp, lunetpp or mednext."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the 29 named presets with their parameters."""
    from lunet_cli.config.names import closest
    from lunet_cli.config.network import FAMILIES
    from lunet_cli.config.presets import named_presets
    from lunet_cli.errors import ConfigError

    if family is not None and family not in FAMILIES:
        raise ConfigError(
            f"--family {family}: unknown family. {closest(family, FAMILIES)}",
            hint=f"Known: {', '.join(FAMILIES)}",
        )
    presets = [preset for preset in named_presets() if family in (None, preset.family)]
    if as_json:
        typer.echo(json.dumps([describe(preset) for preset in presets], indent=2))
        return
    from lunet_cli.render.console import make_console
    from lunet_cli.render.preset_tables import presets_table

    make_console().print(presets_table(presets))


@app.command("show", cls=PlainCommand)
def show(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="A preset, such as lunet_small_4f or lunet_small_8f."),
    ],
    as_json: AsJson = False,
) -> None:
    """Show one network level by level, and the YAML that selects it."""
    from lunet_cli.config.network_cost import level_costs
    from lunet_cli.config.presets import parse_preset

    preset = parse_preset(name)
    levels = [
        {
            "level": c.level,
            "channels": c.channels,
            "edge": 64 >> c.level,
            "parameters": c.parameters,
            "flops": c.flops,
        }
        for c in level_costs(preset.spec)
    ]
    if as_json:
        typer.echo(json.dumps({**describe(preset), "levels_at_64": levels}, indent=2))
        return
    from lunet_cli.render.console import make_console
    from lunet_cli.render.preset_tables import preset_levels

    make_console().print(preset_levels(preset))


def describe(preset: Preset) -> dict[str, object]:
    """A preset as plain values."""
    from lunet_cli.config.network_cost import count_conv_flops, count_parameters

    spec = preset.spec
    return {
        "name": preset.name,
        "family": preset.family,
        "size": preset.size,
        "levels": spec.num_levels,
        "channels": list(spec.channels),
        "convs_per_block": spec.convs_per_block,
        "parameters": count_parameters(spec),
        "conv_flops_at_64": count_conv_flops(spec),
    }

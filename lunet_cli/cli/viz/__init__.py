"""`lunet viz`: courses, cases, volumes and networks, in the terminal or as pictures."""

import typer

from lunet_cli.cli.viz import channels, curves, network, pareto, slices, volume

app = typer.Typer(
    help="Look at trainings, cases, volumes and networks, in the terminal or as pictures.", no_args_is_help=True
)
app.command("curves")(curves.curves)
app.command("slices")(slices.slices)
app.command("volume")(volume.volume)
app.command("network")(network.network)
app.command("pareto")(pareto.pareto)
app.command("channels")(channels.channels)

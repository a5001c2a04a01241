"""`lunet viz`: trainings, cases, volumes and networks, in the terminal or as pictures."""

from collections.abc import Callable

from lunet_cli.cli.helping import PlainCommand, new_app
from lunet_cli.cli.viz import channels, curves, network, pareto, slices, volume

app = new_app("Look at trainings, cases, volumes and networks, in the terminal or as pictures.")
_COMMANDS: dict[str, tuple[Callable[..., None], str]] = {
    "curves": (curves.curves, "Loss, Dice and learning rate of trainings."),
    "slices": (slices.slices, "Cases beside what a network makes of them."),
    "volume": (volume.volume, "Any volume, with its label map."),
    "network": (network.network, "The levels of a network, and what they cost."),
    "pareto": (pareto.pareto, "Networks by quality and cost."),
    "channels": (channels.channels, "What a pruning has left of each layer."),
}
for _name, (_command, _summary) in _COMMANDS.items():
    app.command(_name, cls=PlainCommand, short_help=_summary)(_command)

"""`lunet viz`: trainings, cases, volumes and networks, in the terminal or as pictures."""

from lunet_cli.cli.helping import Command, new_app

_COMMANDS = {
    "curves": Command(
        "lunet_cli.cli.viz.curves:curves", "Loss, Dice and learning rate of trainings."
    ),
    "slices": Command(
        "lunet_cli.cli.viz.slices:slices", "Cases beside what a network makes of them."
    ),
    "volume": Command("lunet_cli.cli.viz.volume:volume", "Any volume, with its label map."),
    "network": Command(
        "lunet_cli.cli.viz.network:network", "The levels of a network, and what they cost."
    ),
    "pareto": Command("lunet_cli.cli.viz.pareto:pareto", "Networks by quality and cost."),
    "channels": Command(
        "lunet_cli.cli.viz.channels:channels", "What a pruning has left of each layer."
    ),
}
app = new_app(
    "Look at trainings, cases, volumes and networks, in the terminal or as pictures.", _COMMANDS
)

"""`lunet prune`: the job itself, and behind the same word what goes with it."""

from lunet_cli.cli.helping import LENIENT, Command, new_app

_COMMANDS = {
    "show": Command("lunet_cli.cli.prune.show:show", "Channels, Dice and the step to take."),
    "study": Command(
        "lunet_cli.cli.prune.study:study", "Strategies and seeds against each other.", LENIENT
    ),
    "to-lean": Command(
        "lunet_cli.cli.prune.to_lean:to_lean", "The flat network of the same number of parameters."
    ),
}
app = new_app("What goes with a pruning.", _COMMANDS)

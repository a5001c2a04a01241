"""`lunet data`: check and describe a data set before a training, and plan one."""

from lunet_cli.cli.helping import Command, new_app

_COMMANDS = {
    "check": Command("lunet_cli.cli.data.check:check", "List all that is wrong with a data set."),
    "fingerprint": Command(
        "lunet_cli.cli.data.fingerprint:fingerprint", "Shapes, spacings, intensities, volumes."
    ),
    "plan": Command("lunet_cli.cli.data.plan:plan", "Write a configuration that fits a data set."),
    "cache": Command("lunet_cli.cli.data.cache:app", "Preprocessed volumes that are kept."),
    "phantom": Command("lunet_cli.cli.data.phantom:phantom", "Write built-in volumes as files."),
}
app = new_app("Check and describe data sets, and plan their training.", _COMMANDS)

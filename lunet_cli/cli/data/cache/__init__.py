"""`lunet data cache`: what is kept of preprocessed volumes, and making room."""

from lunet_cli.cli.helping import Command, new_app

_COMMANDS = {
    "info": Command("lunet_cli.cli.data.cache.info:info", "Show what is kept, of which data."),
    "clear": Command("lunet_cli.cli.data.cache.clear:clear", "Remove kept volumes."),
}
app = new_app("Preprocessed volumes that are kept in files.", _COMMANDS)

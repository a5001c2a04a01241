"""`lunet data cache info`: what is kept."""

from __future__ import annotations

import typer

from lunet_cli.cli.data.cache.place import USUAL_PLACE, Place
from lunet_cli.cli.helping import AsJson


def info(folder: Place = USUAL_PLACE, as_json: AsJson = False) -> None:
    """Show what is kept in a cache: of which data, how much, and what is stale."""
    from lunet_cli.engine.data.cache_folder import cache_info
    from lunet_cli.records.record import json_text
    from lunet_cli.render.cache import cache_table
    from lunet_cli.render.console import make_console

    found = cache_info(folder)
    if as_json:
        typer.echo(json_text(found), nl=False)
    else:
        make_console().print(cache_table(found))

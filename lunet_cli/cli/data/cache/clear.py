"""`lunet data cache clear`: making room."""

from __future__ import annotations

from typing import Annotated

import typer

from lunet_cli.cli.data.cache.place import USUAL_PLACE, Place


def clear(
    folder: Place = USUAL_PLACE,
    stale: Annotated[
        bool, typer.Option("--stale", help="Only what no training can use any more.")
    ] = False,
    days: Annotated[
        float,
        typer.Option("--older-than", metavar="DAYS", min=0.0, help="Only what is older than this."),
    ] = 0.0,
) -> None:
    """Remove kept volumes; a training prepares anew what it needs."""
    from lunet_cli.engine.data.cache_folder import clear_cache
    from lunet_cli.render.cache import size_in_words
    from lunet_cli.results.words import plural, visible

    removed = clear_cache(folder, only_stale=stale, older_than_days=days)
    text = f"{visible(removed.folder)}: {plural(removed.num_cases, 'case')} removed"
    if removed.num_unfinished:
        text += f", {removed.num_unfinished} unfinished"
    typer.echo(f"{text}, {size_in_words(removed.num_bytes)} freed")

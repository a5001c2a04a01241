"""The argument that names a cache."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Place = Annotated[
    Path,
    typer.Argument(
        metavar="[FOLDER]",
        help="The cache, or the folder with .cache in it; runs if not given.",
        show_default=False,
    ),
]
USUAL_PLACE = Path("runs")

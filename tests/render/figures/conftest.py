"""What the tests of pictures for papers share: their files, and the words and boxes in them."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from matplotlib.transforms import BboxBase

from lunet_cli.render.figures.style import write_figure


@pytest.fixture(scope="session")
def written() -> Callable[[Figure, str], bytes]:
    """The content of a figure's file of some name."""

    def write(figure: Figure, name: str) -> bytes:
        file = io.BytesIO()
        write_figure(figure, file, Path(name))
        return file.getvalue()

    return write


@pytest.fixture(scope="session")
def texts(written: Callable[[Figure, str], bytes]) -> Callable[[Figure], str]:
    """All words of a figure, as they stand in its SVG."""

    def find(figure: Figure) -> str:
        svg = written(figure, "a.svg").decode()
        return " | ".join(re.findall(r">([^<>]+)</(?:text|tspan)>", svg))

    return find


@pytest.fixture(scope="session")
def inside() -> Callable[[Figure, Iterable[BboxBase]], bool]:
    """Whether all boxes stand within a figure."""

    def are_inside(figure: Figure, boxes: Iterable[BboxBase]) -> bool:
        return all(
            figure.bbox.x0 <= box.x0
            and box.x1 <= figure.bbox.x1
            and figure.bbox.y0 <= box.y0
            and box.y1 <= figure.bbox.y1
            for box in boxes
        )

    return are_inside

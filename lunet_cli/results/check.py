"""What is wrong with a data set, and what is known of its cases to compare them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lunet_cli.errors import LunetError

ProblemKind = Literal[
    "layout", "split", "file", "header", "grid", "channels", "spacing", "intensities", "labels",
    "copy",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something wrong with a data set.

    Args:
        case: Id of the case; empty where it is about more than one.
        kind: What it is about.
        is_error: Whether a training refuses such data; it only warns of other problems.
        text: What is wrong, where, and the value.
        hint: How to mend it; may be empty.
    """

    case: str
    kind: ProblemKind
    is_error: bool
    text: str
    hint: str = ""


@dataclass(frozen=True, kw_only=True)
class CaseFindings:
    """What was found in a case that could be read.

    Args:
        case: Its id.
        problems: What is odd about it by itself.
        num_channels: Image channels.
        spacing_mm: Size of a voxel (z, y, x) along the patient's axes.
        lows: Smallest intensity of each channel.
        spreads: Standard deviation of the intensities of each channel.
        values: Label values that occur, without background.
        planes: A check sum of each axial plane that is not of one value, over all channels.
        label_sum: A check sum of the label map; empty where nothing is labelled.
    """

    case: str
    problems: tuple[Problem, ...]
    num_channels: int
    spacing_mm: tuple[float, float, float]
    lows: tuple[float, ...]
    spreads: tuple[float, ...]
    values: tuple[int, ...]
    planes: tuple[str, ...]
    label_sum: str


@dataclass(frozen=True, kw_only=True)
class Change:
    """Something that was mended.

    Args:
        file: Name of the file within the data set.
        text: What was changed, with the values before and after.
    """

    file: str
    text: str


def problems_of(error: LunetError, kind: ProblemKind, case: str = "") -> list[Problem]:
    """Each line of an error as a problem."""
    problems = []
    for line in error.lines:
        problem = Problem(case=case, kind=kind, is_error=True, text=line, hint=error.hint)
        problems.append(problem)
    return problems

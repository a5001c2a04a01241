"""Names as messages tell them: paths of keys, texts from outside, and what a mistyped one means."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

KeyPath = tuple[str | int, ...]

# As many as one reads at a glance; a fourth is hardly ever the one that is meant.
_MOST_OFFERED = 3


def dotted(place: KeyPath) -> str:
    """A path of keys as people write it, in one line whatever the keys hold."""
    parts = [one_line(str(part)) for part in place]
    return ".".join(parts)


def one_line(text: str, *, longest: int = 80) -> str:
    """A text from outside as a part of a message: cut, and control characters written out."""
    if len(text) > longest:
        text = f"{text[: longest - 3]}..."
    return text if text.isprintable() else repr(text)[1:-1]


def closest(name: str, known: Iterable[str]) -> str:
    """Ask whether one of the most similar `known` names was meant; empty if none is similar.

    Names that end with what was typed come first, since the number of a case is often all that is
    typed; then those that start with it.
    """
    typed = name.lower()
    known = list(known)
    ending = [one for one in known if one.lower().endswith(typed)]
    if ending:
        return did_you_mean(ending[:_MOST_OFFERED])
    # Below one half, difflib offers names that have only their underscores in common.
    similar = get_close_matches(typed, known, n=_MOST_OFFERED, cutoff=0.5)
    if similar or not typed:
        return did_you_mean(similar)
    starting = [one for one in known if one.lower().startswith(typed)]
    return did_you_mean(starting[:_MOST_OFFERED])


def did_you_mean(names: Sequence[str]) -> str:
    """The question whether one of these names was meant; empty if there are none."""
    return f"Did you mean {', '.join(names)}?" if names else ""

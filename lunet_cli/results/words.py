"""Text as people read it: numbers, durations, and words of strangers without their powers."""

from __future__ import annotations

import re

# What moves a cursor, changes colours, begins a line or turns the direction of what follows, and
# half characters: C0, DEL, C1, the marks and overrides of bidirectional text (Unicode Standard
# Annex 9), line and paragraph separators, the byte order mark, and surrogates, as which Python
# reads the bytes of file names that are not UTF-8 (PEP 383).
_HARMFUL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
_FIRST_BYTE, _LAST_BYTE = 0xDC80, 0xDCFF
# Between `://` and `@` of the URL of a database stand a name and a password.
_PASSWORD = re.compile(r"(?<=://)([^/:@\s]*):[^/\s]*@")


def visible(text: object) -> str:
    r"""The text in one line, without power over a screen or page.

    What has such a power is written as Python writes it: `\x1b`, `\n`, `\u202e`.

    Args:
        text: A file name, a label, a key, a case or anything else that comes from outside, or a
            line that holds some.
    """
    return _HARMFUL.sub(_escaped, str(text))


def visible_lines(text: str) -> str:
    """The same of a text that may have several lines."""
    return "\n".join(map(visible, text.split("\n")))


def plural(number: int, noun: str, nouns: str = "") -> str:
    """A number with its noun: `1 case`, `2,000 cases`.

    Args:
        number: How many.
        noun: What one of them is called.
        nouns: What several are called, where that is not the noun with an s.
    """
    if number == 1:
        return f"1 {noun}"
    return f"{number:,} {nouns or f'{noun}s'}"


def format_seconds(seconds: float) -> str:
    """A duration as people say it: `42 s`, `3 min 05 s`, `2 h 10 min`."""
    # Rounded first, so that 59.7 s is not "60 s".
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    # Python reads a byte that is not UTF-8 as one of these half characters (PEP 383).
    if _FIRST_BYTE <= code <= _LAST_BYTE:
        return f"\\x{code - 0xDC00:02x}"
    return match[0].encode("unicode_escape").decode()


def without_password(text: str) -> str:
    """The URL of a database with asterisks for its password; any other text as it is."""
    return _PASSWORD.sub(r"\1:***@", text)

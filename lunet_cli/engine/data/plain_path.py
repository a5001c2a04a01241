"""Names of files that ITK can open, given to files that are called otherwise.

ITK aborts on names that are not UTF-8, and on all that are not ASCII under an ASCII locale.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lunet_cli.engine.data.volume import SUFFIXES


@contextlib.contextmanager
def plain_path(path: Path) -> Iterator[Path]:
    """Lend a file, or one to be written, a name in ASCII: a link to it that ends with the block.

    Its ending stays as it is, and where only its folder needs another name, what lies beside it is
    there, too.
    """
    path = path.absolute()
    if str(path).isascii():
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="lunet-") as scratch:
        if path.name.isascii():
            link = Path(scratch, "folder")
            link.symlink_to(path.parent, target_is_directory=True)
            yield link / path.name
            return
        link = Path(scratch, f"volume{_plain_suffix(path)}")
        link.symlink_to(path)
        yield link


def _plain_suffix(path: Path) -> str:
    """The ending by which ITK tells the format; empty where it is not ASCII, which none is."""
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix):
            return suffix
    return path.suffix if path.suffix.isascii() else ""

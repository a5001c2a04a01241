"""Names of files that ITK can open: it aborts on names that are not UTF-8, and on others under an ASCII locale."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lunet_cli.engine.data.volume import SUFFIXES


@contextlib.contextmanager
def plain_path(path: Path) -> Iterator[Path]:
    """Lend a file, or one to be written, another name in ASCII: the way to it through a link that ends with the block.

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
        name = path.name.lower()
        suffix = next((suffix for suffix in SUFFIXES if name.endswith(suffix)), path.suffix)
        link = Path(scratch, f"volume{suffix if suffix.isascii() else ''}")
        link.symlink_to(path)
        yield link

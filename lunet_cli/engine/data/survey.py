"""Many cases looked at side by side: one thread per core, as many at once as memory has room for.

Threads, not processes: unpacking, check sums and array operations leave the interpreter's lock,
files are read without code that could end the process (docs/adr/0017), and no script is imported
again.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Condition
from typing import TypeVar

from lunet_cli.config.machine import memory_bytes
from lunet_cli.engine.data.cases import Case, naming
from lunet_cli.engine.data.reading import read_header
from lunet_cli.errors import LunetError

Found = TypeVar("Found")
# Whatever else runs has the rest; what is decided by a rough count must not come near all of it.
_SHARE_OF_MEMORY = 0.125
# As stored, as float32, and what is made of both on the way.
_BYTES_PER_VOXEL = 16


def survey(
    cases: Sequence[Case],
    look: Callable[[Case], Found],
    *,
    num_threads: int | None = None,
    room_bytes: float | None = None,
) -> Iterator[Found | LunetError]:
    """What `look` finds in each case, in the order of the cases; an error stands for its case.

    Args:
        cases: The cases.
        look: Called once per case, in a thread.
        num_threads: How many cases at once; one per core if None.
        room_bytes: Memory for all that are open at once; an eighth of the machine's if None. A case
            that needs more is looked at alone.

    Raises:
        Exception: Whatever `look` raises that no user can mend.
    """
    room = _Room(_SHARE_OF_MEMORY * memory_bytes() if room_bytes is None else room_bytes)

    def guarded(case: Case) -> Found | LunetError:
        try:
            with room.for_bytes(bytes_of(case)), naming(case):
                return look(case)
        except LunetError as error:
            return error

    pool = ThreadPoolExecutor(num_threads or os.cpu_count() or 1, thread_name_prefix="lunet-survey")
    try:
        yield from pool.map(guarded, cases)
    finally:  # Of an interrupted survey, the cases that have begun end, and no other begins.
        pool.shutdown(cancel_futures=True)


def bytes_of(case: Case) -> float:
    """About the memory that looking at a case takes, from the headers of its files."""
    needed = 0.0
    for image in case.images:
        with contextlib.suppress(LunetError):  # Whoever reads it tells.
            geometry, num_channels = read_header(image)
            needed += _BYTES_PER_VOXEL * num_channels * math.prod(geometry.size)
    return needed


class _Room:
    """Memory that threads take and give back."""

    def __init__(self, size: float) -> None:
        self._size = self._free = size
        self._changed = Condition()

    @contextlib.contextmanager
    def for_bytes(self, needed: float) -> Iterator[None]:
        """Wait until there is room; more than there is at all waits until nobody else has any."""
        needed = min(needed, self._size)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= needed)
            self._free -= needed
        try:
            yield
        finally:
            with self._changed:
                self._free += needed
                self._changed.notify_all()

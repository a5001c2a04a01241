"""Volumes of which one holds planes of the other."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

# Half of the planes of a case in another one is no accident: not even of empty ones, which do not
# count.
_SHARED_PLANES = 0.5
# Of a scan of the whole body; a plane that more cases have is a picture of nothing.
_MOST_SHARING = 50


def sum_of(arrays: Sequence[npt.NDArray[Any]]) -> str:
    """A check sum of arrays of one shape and of any number type."""
    found = hashlib.blake2b(digest_size=8)
    for array in arrays:
        found.update(np.ascontiguousarray(array, dtype=np.float32).tobytes())
    return found.hexdigest()


def plane_sums(channels: Sequence[npt.NDArray[Any]]) -> list[str]:
    """A check sum of each plane (y, x) of channels (z, y, x), of all channels together.

    A plane of one value has none: outside of a head, it is the same in all cases.
    """
    sums = []
    for planes in zip(*channels, strict=True):
        if any(plane.min() != plane.max() for plane in planes):
            sums.append(sum_of(planes))
    return sums


def find_copies(planes: Mapping[str, Collection[str]]) -> list[tuple[str, str]]:
    """Pairs of cases of which one has at least half of the planes of the other.

    Args:
        planes: Check sums of the planes of each case.
    """
    holders: dict[str, list[str]] = {}
    for case, sums in planes.items():
        for plane in set(sums):
            holders.setdefault(plane, []).append(case)
    shared: Counter[tuple[str, str]] = Counter()
    for cases in holders.values():
        if len(cases) <= _MOST_SHARING:
            shared.update(itertools.combinations(cases, 2))
    found = []
    for (one, other), number in shared.items():
        if number >= _SHARED_PLANES * min(len(set(planes[one])), len(set(planes[other]))):
            found.append((one, other))
    return sorted(found)

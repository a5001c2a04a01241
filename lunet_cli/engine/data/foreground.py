"""Where the labelled voxels of a case lie, so that a patch finds one without a look at all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

MOST_PER_VALUE = 10_000  # As nnU-Net keeps: far more than the patches that an epoch takes.


@dataclass(frozen=True)
class Foreground:
    """Some voxels of every label value of a case, evenly drawn; all of them where there are few.

    Args:
        values: The label values that occur (K,), ascending, without background.
        ends: Where the voxels of each value end in `positions` (K,).
        positions: Flat indices into the label map (N,), int64, ascending for each value.
    """

    values: tuple[int, ...]
    ends: tuple[int, ...]
    positions: npt.NDArray[np.int64]

    @classmethod
    def of(
        cls, label: npt.NDArray[np.unsignedinteger], *, ignored: int | None = None
    ) -> Foreground:
        """Go through a label map (D, H, W) twice, plane by plane; the same map gives the same.

        `ignored` is a value that stands for unlabelled voxels.
        """
        totals = np.zeros(int(label.max(initial=0)) + 1, np.int64)
        for plane in label:
            totals += np.bincount(plane.ravel(), minlength=len(totals))
        totals[0] = 0
        if ignored is not None:
            totals[ignored : ignored + 1] = 0
        values = np.flatnonzero(totals)
        wanted = {int(value): _ranks(int(value), int(totals[value])) for value in values}
        found: dict[int, list[npt.NDArray[np.int64]]] = {value: [] for value in wanted}
        seen = dict.fromkeys(wanted, 0)
        for z, plane in enumerate(label):
            for value, places in _by_value(plane.ravel()):
                if value not in wanted:
                    continue
                ranks = wanted[value]
                first, last = np.searchsorted(ranks, (seen[value], seen[value] + len(places)))
                found[value].append(places[ranks[first:last] - seen[value]] + z * plane.size)
                seen[value] += len(places)
        parts = [np.concatenate(found[value]) for value in wanted]
        ends = np.cumsum([len(part) for part in parts], dtype=np.int64)
        positions = np.concatenate(parts) if parts else np.zeros(0, np.int64)
        return cls(tuple(wanted), tuple(ends.tolist()), positions)

    def draw(self, rng: np.random.Generator) -> int | None:
        """Flat index of a voxel: first a value is drawn, each as likely, then a voxel of it.

        Returns:
            None where nothing is labelled.
        """
        if not self.values:
            return None
        which = int(rng.integers(len(self.values)))
        first = self.ends[which - 1] if which else 0
        return int(self.positions[first + int(rng.integers(self.ends[which] - first))])


def _ranks(value: int, total: int) -> npt.NDArray[np.int64]:
    """Which of the voxels of a value are kept, counted in array order."""
    if total <= MOST_PER_VALUE:
        return np.arange(total)
    # One from each of so many equal parts: even all over the organ, and without duplicates.
    edges = np.linspace(0, total, MOST_PER_VALUE + 1).astype(np.int64)
    return np.random.default_rng(value).integers(edges[:-1], edges[1:])


def _by_value(plane: npt.NDArray[np.unsignedinteger]) -> list[tuple[int, npt.NDArray[np.int64]]]:
    """Label values of a flat plane and where they are, ascending; background left out."""
    places = np.flatnonzero(plane)
    if not len(places):
        return []
    values = plane[places]
    order = np.argsort(values, kind="stable")
    found, firsts = np.unique(values[order], return_index=True)
    return list(zip(found.tolist(), np.split(places[order], firsts[1:]), strict=True))

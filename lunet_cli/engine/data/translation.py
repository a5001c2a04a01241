"""From the labels of one source of probabilities to those of a network that learns from them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lunet_cli.config.labels import Activation
from lunet_cli.engine.data.labels import LabelScheme
from lunet_cli.errors import DataError


@dataclass(frozen=True)
class Translation:
    """Which regions of a source make up each region that is wanted.

    Args:
        sums: For each region that is wanted, the indices of regions whose probabilities add up to
            its own.
    """

    sums: tuple[tuple[int, ...], ...]

    @classmethod
    def between(cls, source: LabelScheme, wanted: LabelScheme, name: str) -> Translation:
        """How the regions of `source` become those of `wanted`, told apart by their label values.

        A region of several values may be the sum of classes that exclude each other. Overlapping
        regions cannot be added: each must be there as it is wanted.

        Args:
            source: Labels of what gives probabilities.
            wanted: Labels of what takes them.
            name: What `source` is of, for messages.

        Raises:
            DataError: A region cannot be made, or is called like one of other values.
        """
        _require_same_meaning(source, wanted, name)
        sums = []
        for region, values in wanted.regions:
            parts = _parts(source, frozenset(values))
            if not parts:
                listed = ", ".join(f"{known}: {list(of)}" for known, of in source.regions)
                raise DataError(
                    f"{name}: has no probabilities for the label {region} {list(values)}; its "
                    f"labels are {listed} ({source.activation})",
                    hint="Teacher and student need labels of the same values; classes of a softmax "
                    "may be added up to larger labels.",
                )
            sums.append(parts)
        return cls(tuple(sums))

    @property
    def is_identity(self) -> bool:
        """Whether all regions stay as they are."""
        return self.sums == tuple((index,) for index in range(len(self.sums)))

    def __call__(self, regions: Tensor) -> Tensor:
        """Turn probabilities of regions (B, R, D, H, W) into those that are wanted."""
        found = [regions[:, list(parts)].sum(dim=1) for parts in self.sums]
        return torch.stack(found, dim=1)


def _require_same_meaning(source: LabelScheme, wanted: LabelScheme, name: str) -> None:
    theirs = dict(source.regions)
    for region, values in wanted.regions:
        if set(theirs.get(region, values)) != set(values):
            raise DataError(
                f"{name}: its label {region} has the values {list(theirs[region])}, and here it "
                f"has {list(values)}",
                hint="Call labels of other values by other names, or correct the values.",
            )


def _parts(source: LabelScheme, values: frozenset[int]) -> tuple[int, ...]:
    """The regions of a source that make up values together; none where they do not."""
    sets = [frozenset(of) for _, of in source.regions]
    if values in sets:
        return (sets.index(values),)
    if source.activation == "sigmoid":
        return ()
    within = tuple(index for index, of in enumerate(sets) if of <= values)
    covered = frozenset[int]().union(*(sets[index] for index in within))
    return within if covered == values else ()


def channels_of_regions(regions: Tensor, activation: Activation) -> Tensor:
    """Probabilities of the channels of a network from those of its regions.

    Args:
        regions: Probabilities (B, R, D, H, W), float32.
        activation: With `softmax`, a background is put in front, which has what is left. Where
            regions that were not exclusive have more than 1 together, they are divided by it.
    """
    if activation == "sigmoid":
        return regions
    total = regions.sum(dim=1, keepdim=True)
    background = (1 - total).clamp(min=0)
    return torch.cat([background, regions / total.clamp(min=1)], dim=1)

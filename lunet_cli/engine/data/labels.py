"""The meaning of label values: named regions, and how they become target channels and back."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from lunet_cli.config.labels import Activation, Regions, resolve_regions
from lunet_cli.config.run import RunConfig
from lunet_cli.engine.data.cases import CaseSet
from lunet_cli.errors import ConfigError
from lunet_cli.results.words import visible


@dataclass(frozen=True)
class LabelScheme:
    """Named regions of label values and the output channels that stand for them.

    Args:
        regions: Name and label values of each region, in channel order.
        activation: `sigmoid`: a channel per region, which may overlap; `softmax`: exclusive
            classes, with a background channel in front.
        ignored: Value of voxels that nobody has labelled; None where all are.
    """

    regions: tuple[tuple[str, tuple[int, ...]], ...]
    activation: Activation
    ignored: int | None = None

    def __post_init__(self) -> None:
        if self.ignored in self.values:
            raise ConfigError(
                f"the ignored value {self.ignored} is the value of a label, too",
                hint="Ignore another value, or none.",
            )
        for name in self.names:
            if visible(name) != name:
                raise ConfigError(
                    f"labels: {name}: has a control character",
                    hint="Name it with letters and digits.",
                )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the regions, without background."""
        return tuple(name for name, _ in self.regions)

    @property
    def values(self) -> frozenset[int]:
        """All label values that belong to a region."""
        return frozenset(value for _, values in self.regions for value in values)

    @property
    def num_channels(self) -> int:
        """Logit channels that a network needs."""
        return len(self.regions) + (self.activation == "softmax")

    def ignoring(self, value: int | None) -> LabelScheme:
        """The same labels, where voxels of a value are unlabelled if none are so far."""
        return self if value is None or self.ignored is not None else replace(self, ignored=value)

    @property
    def with_unlabelled(self) -> LabelScheme:
        """The same labels, with a value for voxels that nobody has labelled, if it lacks one.

        Raises:
            ConfigError: No value is left.
        """
        # As many bits as the label maps have that prepared cases are kept with.
        highest = 255 if max(self.values) < 256 else 65535
        for value in range(highest, 0, -1):
            if value not in self.values:
                return self.ignoring(value)
        raise ConfigError(
            f"labels: all values up to {highest} are taken, and unlabelled voxels need one",
            hint="Leave out a label, or the unlabelled volumes.",
        )

    def encode(self, label: Tensor) -> Tensor:
        """Turn label values (B, D, H, W), integers, into target channels (B, C, D, H, W), bool."""
        channels = [_is_one_of(label, values) for _, values in self.regions]
        if self.activation == "softmax":
            channels.insert(0, ~torch.stack(channels).any(dim=0))
        return torch.stack(channels, dim=1)

    def known(self, label: Tensor) -> Tensor | None:
        """Whether voxels (B, D, H, W) are labelled, as a mask (B, 1, D, H, W); None if all are."""
        if self.ignored is None:
            return None
        return (label != self.ignored)[:, None]

    @property
    def code_type(self) -> torch.dtype:
        """Number type that holds the values of `codes`."""
        highest = len(self.regions)
        if self.activation == "sigmoid":
            highest = (1 << len(self.regions)) - 1
        # A volume of codes is kept at full size, so that a byte where it is enough saves memory.
        for number in (torch.uint8, torch.int16, torch.int32):
            if highest <= torch.iinfo(number).max:
                return number
        return torch.int64

    def codes(self, logits: Tensor) -> Tensor:
        """Turn logits (B, C, D, H, W) into a number per voxel (B, D, H, W) that tells its regions.

        With softmax, 0 is background and `i + 1` region `i`; with sigmoid, bit `i` is set in region
        `i`.
        """
        codes = torch.zeros_like(logits[:, 0], dtype=self.code_type)
        if self.activation == "sigmoid":
            for index in range(len(self.regions)):
                codes |= (logits[:, index] > 0).to(self.code_type) << index
            return codes
        # The first largest channel, as argmax gives, at a fiftieth of its time on a CPU. Channels
        # count upwards: the largest number that was above all before it is the right one. With
        # `torch.where`, which walks voxel by voxel, it takes five times as long.
        highest = logits[:, 0]
        for channel in range(1, self.num_channels):
            is_above = (logits[:, channel] > highest).to(self.code_type)
            codes = torch.maximum(codes, is_above * channel)
            highest = torch.maximum(highest, logits[:, channel])
        return codes

    def decode(self, logits: Tensor) -> Tensor:
        """Turn logits (B, C, D, H, W) into region masks (B, regions, D, H, W), bool."""
        if self.activation == "sigmoid":
            return logits > 0
        codes = self.codes(logits)
        return torch.stack([codes == index + 1 for index in range(len(self.regions))], dim=1)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Turn logits (B, C, D, H, W) into the probability of each region (B, regions, D, H, W)."""
        if self.activation == "sigmoid":
            return torch.sigmoid(logits)
        return torch.softmax(logits, dim=1)[:, 1:]

    def painted_values(self, order: Sequence[str] | None = None) -> dict[str, int]:
        """The label value that stands for each region in a label map, in the order of painting.

        Later regions cover earlier ones, so each gets the first of its values that no later region
        has. With `whole: [1, 2]` and then `anterior: 1`, whole is painted as 2 and anterior over it
        as 1. A region whose values all belong to later ones gets the smallest number that no region
        has, and that does not stand for unlabelled voxels.

        Args:
            order: All region names; None takes them as they are configured.

        Raises:
            ConfigError: `order` is not a reordering of the regions.
        """
        regions = dict(self.regions)
        names = list(regions) if order is None else list(order)
        if sorted(names) != sorted(regions):
            raise ConfigError(
                f"`order={','.join(names)}`: is not an order of the labels {', '.join(regions)}",
                hint="Name each label once; later ones cover earlier ones.",
            )
        values: dict[str, int] = {}
        known = {*self.values, self.ignored}
        # Values of no region, each given out once.
        spare = (value for value in itertools.count(1) if value not in known)
        for index, name in enumerate(names):
            taken = set(values.values())
            for later in names[index + 1 :]:
                taken.update(regions[later])
            free = [value for value in regions[name] if value not in taken]
            values[name] = free[0] if free else next(spare)
        return values

    def masks(self, label: Tensor) -> Tensor:
        """Turn label values (B, D, H, W) into region masks (B, regions, D, H, W), bool."""
        return self.encode(label)[:, self.num_channels - len(self.regions) :]

    def unknown_values(self, values: Iterable[int]) -> list[int]:
        """Those of the values of a label map that are neither background nor configured."""
        return sorted(set(values) - self.values - {0, self.ignored})

    def to_dict(self) -> dict[str, object]:
        """Plain values for a checkpoint."""
        values: dict[str, object] = {
            "regions": {name: list(values) for name, values in self.regions},
            "activation": self.activation,
        }
        if self.ignored is not None:
            values["ignored"] = self.ignored
        return values


def _is_one_of(label: Tensor, values: tuple[int, ...]) -> Tensor:
    mask = label == values[0]
    for value in values[1:]:
        mask |= label == value
    return mask


def labels_for(config: RunConfig, case_set: CaseSet) -> LabelScheme:
    """The labels that a training of these cases has.

    Raises:
        ConfigError: Configuration and data do not fit together.
    """
    ignored = config.data.ignored_value
    scheme = resolve_labels(
        config.labels,
        case_set.labels,
        activation=config.model.activation,
        out_channels=config.model.out_channels,
        ignored=case_set.ignored if ignored is None else ignored,
    )
    for name in config.label_codes:
        if name not in scheme.names:
            raise ConfigError(
                f"label_codes: there is no label {name}", hint=f"Labels: {', '.join(scheme.names)}"
            )
    return scheme


def resolve_labels(
    configured: dict[str, list[int]] | None,
    known: Regions | None,
    *,
    activation: Literal["auto", "sigmoid", "softmax"],
    out_channels: int | None,
    ignored: int | None = None,
) -> LabelScheme:
    """Decide on regions and activation; see `resolve_regions`.

    Raises:
        ConfigError: They do not fit together.
    """
    regions, chosen = resolve_regions(
        configured, known, activation=activation, out_channels=out_channels
    )
    return LabelScheme(tuple(regions.items()), chosen, ignored)

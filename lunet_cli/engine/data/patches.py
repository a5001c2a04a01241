"""From prepared cases to training batches, drawn by seed, epoch and position alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lunet_cli.config.augmentation import AugmentationConfig
from lunet_cli.config.vocabulary import Size
from lunet_cli.engine.data.augmentation import augment
from lunet_cli.engine.data.cache import CaseStore
from lunet_cli.engine.data.cases import Case
from lunet_cli.engine.data.store import PreparedCase
from lunet_cli.errors import DataError, LunetError


@dataclass(frozen=True)
class PatchKey:
    """Names one training patch of one epoch; the same key always gives the same patch.

    Args:
        epoch: The epoch, from 0.
        position: Its place among the patches of the epoch, before they are shuffled.
        case_index: The case it is taken from.
    """

    epoch: int
    position: int
    case_index: int


@dataclass(frozen=True)
class Failure:
    """An error in a worker process, carried home in place of a sample."""

    error: LunetError


class JoinedStores:
    """Stores whose cases are counted through, those of the first one first.

    Args:
        stores: The stores.
    """

    def __init__(self, *stores: CaseStore) -> None:
        self._places = [(store, index) for store in stores for index in range(len(store))]
        self.cases: tuple[Case, ...] = sum((store.cases for store in stores), ())

    def __getitem__(self, index: int) -> PreparedCase:
        """See `CaseStore`."""
        store, place = self._places[index]
        return store[place]


class Batch(NamedTuple):
    """Training patches, or a single one without the first axis.

    Args:
        image: (B, C, D, H, W), float32.
        label: Label maps (B, D, H, W), uint8 or int32.
        soft: Probabilities of each region (B, R, D, H, W), float32; None where none belong to the
            cases.
    """

    image: Tensor
    label: Tensor
    soft: Tensor | None = None


class PatchDataset(Dataset[Batch | Failure]):
    """Training patches.

    Args:
        store: The training cases.
        unlabelled_value: What the label maps of unlabelled cases hold in every voxel.
        patch_size: Voxels (D, H, W) of a patch; smaller volumes are padded with zeros, larger ones
            cropped.
        foreground_fraction: Share of crops that are centred on a labelled voxel; each label value
            of a case is as likely, however few voxels it has.
        augmentation: Random changes.
        seed: Seed of crops and changes.
    """

    def __init__(
        self,
        store: CaseStore | JoinedStores,
        *,
        patch_size: Size,
        foreground_fraction: float,
        augmentation: AugmentationConfig,
        seed: int,
        unlabelled_value: int = 0,
    ) -> None:
        self._store = store
        self._unlabelled_value = unlabelled_value
        self._patch_size = patch_size
        self._foreground_fraction = foreground_fraction
        self._augmentation = augmentation
        self._seed = seed

    def __getitem__(self, key: PatchKey) -> Batch | Failure:
        """A patch, or what went wrong."""
        try:
            return self._sample(key)
        except LunetError as error:
            return Failure(error)
        except Exception as error:
            # A defect of lunet: it keeps its traceback, in which a worker would not name the case.
            error.add_note(f"while preparing a patch of {self._store.cases[key.case_index]}")
            raise

    def _sample(self, key: PatchKey) -> Batch:
        rng = np.random.default_rng([self._seed, key.epoch, key.position])
        prepared = self._store[key.case_index]
        z, y, x = self._draw_start(prepared, rng)
        depth, height, width = self._patch_size
        window = (slice(z, z + depth), slice(y, y + height), slice(x, x + width))
        image = torch.from_numpy(np.array(prepared.image[:, *window], dtype=np.float32))
        label = torch.from_numpy(np.array(prepared.label[window]))
        if label.dtype == torch.uint16:  # a type that torch hardly computes with
            label = label.int()
        image, label = pad_to(image, self._patch_size), pad_to(label, self._patch_size)
        num_soft = 0
        if prepared.soft is not None:
            soft = torch.from_numpy(np.array(prepared.soft[:, *window], dtype=np.float32))
            # As channels of the image, they go through the one interpolation of the augmentation.
            image = torch.cat([image, pad_to(soft, self._patch_size)])
            num_soft = len(soft)
        if self._augmentation.changes.any:
            generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
            spacing_mm = prepared.spacing_mm
            image, label = augment(
                image,
                label,
                self._augmentation,
                generator,
                spacing_mm=spacing_mm,
                num_soft=num_soft,
            )
        # Last of all: the zeros around a patch say no more of such a case than the others.
        if self._store.cases[key.case_index].is_unlabelled:
            label.fill_(self._unlabelled_value)
        if num_soft == 0:
            return Batch(image, label)
        return Batch(image[:-num_soft], label, image[-num_soft:])

    def _draw_start(self, prepared: PreparedCase, rng: np.random.Generator) -> list[int]:
        """First voxel (z, y, x) of a patch; the order of the draws is part of what a seed means."""
        shape = prepared.label.shape
        size = np.array(self._patch_size)
        room = np.maximum(0, np.array(shape) - size)
        if not room.any():
            return [0, 0, 0]
        start = [int(rng.integers(free + 1)) for free in room.tolist()]
        if rng.random() >= self._foreground_fraction:
            return start
        centre = prepared.foreground.draw(rng)
        if centre is None:
            return start
        centred: list[int] = np.clip(np.unravel_index(centre, shape) - size // 2, 0, room).tolist()
        return centred


def pad_to(tensor: Tensor, size: Size) -> Tensor:
    """Pad the last three axes with zeros, as evenly as possible, to at least `size`."""
    padding: list[int] = []  # as `F.pad` takes it: the last axis first, both of its ends
    for edge, wanted in zip(reversed(tensor.shape[-3:]), reversed(size), strict=True):
        missing = max(0, wanted - edge)
        padding += [missing // 2, missing - missing // 2]
    return F.pad(tensor, padding) if any(padding) else tensor


class EpochSampler:
    """Batches of patch keys; set `epoch` and `first_step` before iterating.

    With `max_steps`, an epoch ends after so many steps; each epoch begins with other patches.

    Args:
        num_cases: Training cases.
        patches_per_case: Patches drawn from each per epoch.
        batch_size: Patches per batch; the last batch may be smaller.
        seed: Seed of the order.
        batches_per_step: Batches between two changes of the weights; the last step of an epoch may
            have fewer.
        rank: Which of `num_shares` equal parts of each batch is yielded, from 0.
        num_shares: Processes that share each batch.
    """

    def __init__(
        self,
        *,
        num_cases: int,
        patches_per_case: int,
        batch_size: int,
        seed: int,
        batches_per_step: int = 1,
        rank: int = 0,
        num_shares: int = 1,
    ) -> None:
        self.epoch = 0
        self.first_step = 0
        self.max_steps: int | None = None
        self._num_cases = num_cases
        self._num_patches = num_cases * patches_per_case
        self._batch_size = batch_size
        self._seed = seed
        self._batches_per_step = batches_per_step
        self._rank, self._num_shares = rank, num_shares

    def __len__(self) -> int:
        """Batches of an epoch."""
        num_batches = -(-self._num_patches // self._batch_size)
        if self.max_steps is None:
            return num_batches
        return min(num_batches, self.max_steps * self._batches_per_step)

    @property
    def num_steps(self) -> int:
        """Steps of an epoch."""
        return -(-len(self) // self._batches_per_step)

    def num_patches(self, step: int) -> list[int]:
        """Patches in each batch of a step, those of all processes."""
        first = step * self._batches_per_step
        ends = range(first, min(first + self._batches_per_step, len(self)))
        left = [self._num_patches - batch * self._batch_size for batch in ends]
        return [min(self._batch_size, number) for number in left]

    def num_own(self, num_patches: int) -> int:
        """How many of the patches of a batch belong to this process; there may be none."""
        own = self._own_part(num_patches)
        return int(own.stop - own.start)

    def __iter__(self) -> Iterator[list[PatchKey]]:
        """Yield this process's part of the batches of `epoch` from `first_step` on.

        Where it has none, the first patch of the batch stands in.
        """
        order = np.random.default_rng([self._seed, self.epoch]).permutation(self._num_patches)
        for batch in range(self.first_step * self._batches_per_step, len(self)):
            chosen = order[batch * self._batch_size : (batch + 1) * self._batch_size]
            own = chosen[self._own_part(len(chosen))]
            chosen = own if len(own) else chosen[:1]
            cases = (chosen % self._num_cases).tolist()
            yield [
                PatchKey(self.epoch, position, case)
                for position, case in zip(chosen.tolist(), cases, strict=True)
            ]

    def _own_part(self, num_patches: int) -> slice:
        start, end = (
            num_patches * part // self._num_shares for part in (self._rank, self._rank + 1)
        )
        return slice(start, end)


def collate(samples: list[Batch | Failure]) -> Batch | Failure:
    """Stack samples to a batch, or hand on a failure."""
    images, labels, soft = [], [], []
    for sample in samples:
        if isinstance(sample, Failure):
            return sample
        images.append(sample.image)
        labels.append(sample.label)
        if sample.soft is not None:
            soft.append(sample.soft)
    return Batch(torch.stack(images), torch.stack(labels), torch.stack(soft) if soft else None)


def make_loader(
    dataset: PatchDataset,
    sampler: EpochSampler,
    *,
    num_workers: int,
    pin_memory: bool,
    persistent_workers: bool,
) -> DataLoader[Batch | Failure]:
    """A loader over the batches of `sampler`."""
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        collate_fn=collate,
        # A generator of its own: a loader draws a seed each time it is iterated, and would move
        # that of dropout.
        generator=torch.Generator(),
        num_workers=num_workers,
        pin_memory=pin_memory,
        persistent_workers=persistent_workers and num_workers > 0,
    )


def batches(loader: DataLoader[Batch | Failure]) -> Iterator[Batch]:
    """Iterate over a loader; an error in a worker surfaces here with its true cause.

    Raises:
        DataError: A case could not be read, or a worker process died.
    """
    try:
        for batch in loader:
            if isinstance(batch, Failure):
                raise batch.error
            yield batch
    except RuntimeError as error:
        # So torch begins when a worker was killed or has ended; it has no kind of error for that.
        if not str(error).startswith("DataLoader worker (pid"):
            raise
        raise DataError(
            f"a data worker died: {str(error).splitlines()[0]}",
            hint="It was probably out of memory; try `data.num_workers=0`, "
            "or a smaller training.patch_size.",
        ) from None

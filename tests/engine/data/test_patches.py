from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lunet_cli.config.augmentation import AugmentationConfig
from lunet_cli.engine.data.cache import CaseStore
from lunet_cli.engine.data.labels import LabelScheme
from lunet_cli.engine.data.layouts import find_cases
from lunet_cli.engine.data.patches import (
    Batch,
    EpochSampler,
    PatchDataset,
    PatchKey,
    batches,
    make_loader,
    pad_to,
)
from lunet_cli.engine.data.preprocessing import Normalization, Preprocessing
from lunet_cli.errors import DataError

# From Python 3.12 on, a fork of a process with threads warns; torch forks its workers.
forks = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
OFF = AugmentationConfig()
ON = AugmentationConfig(
    enabled=True, flip_probability=0.5, affine_probability=0.5, noise_probability=0.5
)
NUM_CASES = 4
SHAPE = (10, 12, 14)


@pytest.fixture
def folder(tmp_path: Path, write_volume: Any) -> Path:
    """Four cases, each voxel with its own value; in the first, one labelled voxel in a corner."""
    for index in range(NUM_CASES):
        image = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE) + 10000 * index
        label = np.zeros(SHAPE, np.uint8)
        label[[(9, 11, 13), (0, 0, 0), (5, 6, 7), (2, 11, 4)][index]] = 1
        write_volume(tmp_path / "images" / f"c{index}.nii.gz", image)
        write_volume(tmp_path / "labels" / f"c{index}.nii.gz", label)
    return tmp_path


def _dataset(
    folder: Path,
    *,
    patch_size: tuple[int, int, int] = (6, 6, 6),
    foreground_fraction: float = 0.5,
    augmentation: AugmentationConfig = OFF,
    seed: int = 1,
    values: tuple[int, ...] = (1,),
) -> PatchDataset:
    case_set = find_cases(folder, "paired")
    store = CaseStore(
        case_set,
        case_set.cases,
        Preprocessing(None, None, Normalization("none", 40, 400)),
        LabelScheme((("spot", values),), "sigmoid"),
        kind="memory",
        folder=folder / "cache",
    )
    return PatchDataset(
        store,
        patch_size=patch_size,
        foreground_fraction=foreground_fraction,
        augmentation=augmentation,
        seed=seed,
    )


def _patch(dataset: PatchDataset, epoch: int, position: int, case_index: int) -> Batch:
    sample = dataset[PatchKey(epoch, position, case_index)]
    assert isinstance(sample, tuple)
    return sample


def _batches(
    dataset: PatchDataset, num_workers: int, *, epoch: int = 0, first_step: int = 0
) -> Iterator[Batch]:
    sampler = EpochSampler(num_cases=NUM_CASES, patches_per_case=2, batch_size=3, seed=5)
    sampler.epoch, sampler.first_step = epoch, first_step
    return batches(
        make_loader(
            dataset, sampler, num_workers=num_workers, pin_memory=False, persistent_workers=False
        )
    )


@pytest.mark.parametrize("augmentation", [OFF, ON])
def test_same_key_gives_the_same_patch(augmentation: AugmentationConfig, folder: Path) -> None:
    first = _patch(_dataset(folder, augmentation=augmentation), 3, 5, 1)
    dataset = _dataset(folder, augmentation=augmentation)
    _patch(dataset, 0, 0, 0)
    torch.rand(3)
    again = _patch(dataset, 3, 5, 1)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])


@pytest.mark.parametrize("other", [(4, 5, 1), (3, 6, 1), (3, 5, 2)])
def test_another_key_gives_another_patch(other: tuple[int, int, int], folder: Path) -> None:
    dataset = _dataset(folder, foreground_fraction=0)
    assert not torch.equal(_patch(dataset, 3, 5, 1)[0], _patch(dataset, *other)[0])


def test_another_seed_gives_another_patch(folder: Path) -> None:
    one, two = (
        _patch(_dataset(folder, foreground_fraction=0, seed=seed), 0, 0, 0)[0] for seed in (1, 2)
    )
    assert not torch.equal(one, two)


def test_patch_is_a_piece_of_the_volume_with_its_label(folder: Path) -> None:
    dataset = _dataset(folder, foreground_fraction=0)
    starts = set()
    for position in range(60):
        image, label, _ = _patch(dataset, 0, position, 2)
        assert image.shape == (1, 6, 6, 6)
        assert image.dtype == torch.float32
        start = np.unravel_index(int(image[0, 0, 0, 0]) - 20000, SHAPE)
        whole = np.arange(np.prod(SHAPE)).reshape(SHAPE) + 20000
        np.testing.assert_array_equal(image[0], whole[tuple(slice(s, s + 6) for s in start)])
        spot = tuple(place - int(first) for place, first in zip((5, 6, 7), start, strict=True))
        expected = torch.zeros(6, 6, 6, dtype=torch.uint8)
        if all(0 <= place < 6 for place in spot):
            expected[spot] = 1
        assert torch.equal(label, expected)
        starts.add(start)
    assert {0, 4} <= {int(start[0]) for start in starts}
    assert {0, 8} <= {int(start[2]) for start in starts}
    assert max(int(start[1]) for start in starts) == 6


@pytest.mark.parametrize("case_index", range(NUM_CASES))
def test_foreground_fraction_of_one_always_shows_foreground(case_index: int, folder: Path) -> None:
    dataset = _dataset(folder, patch_size=(5, 4, 6), foreground_fraction=1)
    assert all(_patch(dataset, epoch, 0, case_index)[1].sum() == 1 for epoch in range(40))


def test_foreground_patch_is_centred_where_the_volume_allows(folder: Path) -> None:
    dataset = _dataset(folder, patch_size=(5, 4, 6), foreground_fraction=1)
    assert _patch(dataset, 0, 0, 2)[1].nonzero().tolist() == [[2, 2, 3]]
    # In the last corner, which is the corner of the patch too.
    assert _patch(dataset, 0, 0, 0)[1].nonzero().tolist() == [[4, 3, 5]]


def test_foreground_fraction_of_zero_draws_anywhere(folder: Path) -> None:
    dataset = _dataset(folder, foreground_fraction=0)
    hits = sum(int(_patch(dataset, epoch, 0, 0)[1].sum()) for epoch in range(60))
    assert hits < 10


def test_volume_without_foreground_still_gives_patches(folder: Path, write_volume: Any) -> None:
    write_volume(folder / "labels" / "c0.nii.gz", np.zeros(SHAPE, np.uint8))
    image, label, _ = _patch(_dataset(folder, foreground_fraction=1), 0, 0, 0)
    assert image.shape == (1, 6, 6, 6)
    assert label.sum() == 0


def test_large_label_values_become_int32(folder: Path, write_volume: Any) -> None:
    for index in range(NUM_CASES):
        write_volume(folder / "labels" / f"c{index}.nii.gz", np.full(SHAPE, 40000, np.uint16))
    _, label, _ = _patch(_dataset(folder, values=(40000,)), 0, 0, 0)
    assert label.dtype == torch.int32
    assert label.unique().tolist() == [40000]


def test_small_volume_is_padded_with_zeros_on_both_sides(folder: Path) -> None:
    image, label, _ = _patch(_dataset(folder, patch_size=(13, 12, 16)), 0, 0, 1)
    assert image.shape == (1, 13, 12, 16)
    assert label.shape == (13, 12, 16)
    # 3 planes are missing along z (1 before, 2 after) and 2 along x (1 before, 1 after).
    assert image[0, 1:11, :, 1:15].min() == 10000
    assert image.count_nonzero() == 10 * 12 * 14
    assert label.nonzero().tolist() == [[1, 0, 1]]


def test_pad_to_by_hand() -> None:
    padded = pad_to(torch.tensor([[[1, 2], [3, 4]]]), (2, 2, 5))
    assert padded.tolist() == [[[0, 1, 2, 0, 0], [0, 3, 4, 0, 0]], [[0] * 5] * 2]
    kept = torch.ones(2, 3, 4, 5)
    assert pad_to(kept, (3, 2, 5)) is kept


@forks
@pytest.mark.parametrize("augmentation", [OFF, ON])
def test_number_of_workers_does_not_change_the_batches(
    augmentation: AugmentationConfig, folder: Path
) -> None:
    alone = list(_batches(_dataset(folder, augmentation=augmentation), 0, epoch=2))
    helped = list(_batches(_dataset(folder, augmentation=augmentation), 2, epoch=2))
    assert [len(batch.image) for batch in alone] == [3, 3, 2]
    for one, other in zip(alone, helped, strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])


def test_resumed_epoch_gives_the_same_remaining_batches(folder: Path) -> None:
    whole = list(_batches(_dataset(folder), 0, epoch=1))
    rest = list(_batches(_dataset(folder), 0, epoch=1, first_step=1))
    assert len(rest) == 2
    for one, other in zip(whole[1:], rest, strict=True):
        assert torch.equal(one[0], other[0])


def test_loader_leaves_the_global_generator_alone(folder: Path) -> None:
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    list(_batches(_dataset(folder, augmentation=ON), 0))
    assert torch.equal(torch.rand(2), expected)


@forks
@pytest.mark.parametrize("num_workers", [0, 1])
def test_unreadable_case_is_named_from_a_worker_too(num_workers: int, folder: Path) -> None:
    path = folder / "images" / "c2.nii.gz"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError) as caught:
        list(_batches(_dataset(folder), num_workers))
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message
    assert "copy it again" in caught.value.hint


def test_death_of_a_worker_is_a_data_error() -> None:
    def dying() -> Iterator[Batch]:
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. \nMore")
        yield

    with pytest.raises(DataError) as caught:
        list(batches(dying()))  # type: ignore[arg-type]
    assert (
        caught.value.message
        == "a data worker died: DataLoader worker (pid 7) is killed by signal: Killed."
    )
    assert "data.num_workers=0" in caught.value.hint


def test_error_of_another_kind_is_not_hidden() -> None:
    def failing() -> Iterator[Batch]:
        raise RuntimeError("CUDA error: out of memory")
        yield

    with pytest.raises(RuntimeError, match="CUDA error"):
        list(batches(failing()))  # type: ignore[arg-type]


@forks
@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_defect_keeps_its_traceback_and_names_the_case(num_workers: int, folder: Path) -> None:
    dataset = _dataset(folder)
    dataset._augmentation = None  # type: ignore[assignment]
    with pytest.raises(AttributeError) as caught:
        list(_batches(dataset, num_workers))
    notes = getattr(caught.value, "__notes__", [])
    assert "while preparing a patch of Case(case_id=" in str(caught.value) + "".join(notes)


def test_an_error_within_a_worker_is_not_taken_for_its_death() -> None:
    def failing() -> Iterator[Batch]:
        raise RuntimeError("Caught RuntimeError in DataLoader worker process 0.\nTraceback")
        yield

    with pytest.raises(RuntimeError, match="Caught RuntimeError"):
        list(batches(failing()))  # type: ignore[arg-type]


def _epoch(sampler: EpochSampler, epoch: int, first_step: int = 0) -> list[list[PatchKey]]:
    sampler.epoch, sampler.first_step = epoch, first_step
    return list(sampler)


@pytest.fixture
def sampler() -> EpochSampler:
    return EpochSampler(num_cases=5, patches_per_case=3, batch_size=4, seed=0)


def test_sampler_covers_every_patch_once_per_epoch(sampler: EpochSampler) -> None:
    found = _epoch(sampler, 2)
    assert len(sampler) == 4
    assert [len(batch) for batch in found] == [4, 4, 4, 3]
    keys = [key for batch in found for key in batch]
    assert {key.epoch for key in keys} == {2}
    assert sorted(key.position for key in keys) == list(range(15))
    assert sorted(key.case_index for key in keys) == sorted([0, 1, 2, 3, 4] * 3)


def test_sampler_resumes_at_first_step(sampler: EpochSampler) -> None:
    assert _epoch(sampler, 1, first_step=2) == _epoch(sampler, 1)[2:]
    assert _epoch(sampler, 1, first_step=4) == []


def test_order_differs_between_epochs_and_seeds_and_repeats_otherwise(
    sampler: EpochSampler,
) -> None:
    def positions(source: EpochSampler, epoch: int) -> list[int]:
        return [key.position for batch in _epoch(source, epoch) for key in batch]

    other = EpochSampler(num_cases=5, patches_per_case=3, batch_size=4, seed=1)
    assert positions(sampler, 0) != positions(sampler, 1)
    assert positions(sampler, 0) != positions(other, 0)
    assert positions(sampler, 1) == positions(sampler, 1)

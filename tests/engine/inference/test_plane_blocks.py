from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from lunet_cli.config.options import PredictionOptions
from lunet_cli.engine.checkpoints.models import Model
from lunet_cli.engine.data.volume import Geometry
from lunet_cli.engine.inference import stream
from lunet_cli.engine.inference.predictor import Predictor
from lunet_cli.errors import DataError

SIZE = (45, 20, 24)
SPACING = (1.5, 1.0, 2.0)


MakeFlowing = Callable[..., Model]


def predictor_of(model: Model, **options: Any) -> Predictor:
    usual = {"window": "stream", "device": "cpu", "precision": "fp32", **options}
    return Predictor([model], PredictionOptions(**usual))


def make_array(channels: int = 1) -> np.ndarray:
    return np.random.default_rng(0).normal(100, 30, (channels, *SIZE)).astype(np.float32)


def blocks_of(array: np.ndarray, count: int, *, read: list[int] | None = None) -> Iterator[Any]:
    for first in range(0, array.shape[1], count):
        if read is not None:
            read.append(first)
        yield array[:, first : first + count]


@pytest.fixture(autouse=True)
def _few_planes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_STEP_VOXELS", 4 * SIZE[1] * SIZE[2])


@pytest.mark.parametrize("count", [1, 7, 45])
@pytest.mark.parametrize(
    "model",
    [
        {},
        {"normalization": "zscore"},
        {"in_channels": 2},
        # The first plane that comes is the last of the network; and no plane is one of its planes.
        {"orientation": "LPI"},
        {"orientation": "SRA", "normalization": "minmax"},
        {"spacing_mm": (4.1, 1.7, 1.3)},
        {"spacing_mm": (0.7, 1.7, 1.3), "normalization": "none"},
    ],
)
def test_label_map_is_that_of_the_array(
    model: dict[str, Any], count: int, make_flowing: MakeFlowing
) -> None:
    predictor = predictor_of(make_flowing(**{"normalization": "ct_window", **model}))
    array = make_array(model.get("in_channels", 1))
    expected = predictor.predict(array, spacing_mm=SPACING).label_map
    blocks = list(predictor.predict_planes(blocks_of(array, count), SIZE, spacing_mm=SPACING))
    found = np.concatenate(blocks)
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    assert np.mean(found == expected) >= 0.9999
    assert len(np.unique(found)) == 3


def test_planes_come_while_others_are_still_to_be_read(make_flowing: MakeFlowing) -> None:
    array, read = make_array(), []
    array = np.concatenate([array] * 4, axis=1)
    labels = predictor_of(make_flowing(normalization="ct_window")).predict_planes(
        blocks_of(array, 3, read=read), (180, *SIZE[1:])
    )
    assert read == []
    next(labels)
    assert 0 < max(read) < 60
    assert sum(map(len, labels)) < 180
    assert max(read) == 177


def test_windows_and_bands_give_the_same_through_this_door(make_flowing: MakeFlowing) -> None:
    array, model = make_array(), make_flowing(normalization="ct_window")
    windows = predictor_of(model, window=None)
    (found,) = windows.predict_planes(blocks_of(array, 5), SIZE, spacing_mm=SPACING)
    np.testing.assert_array_equal(found, windows.predict(array, spacing_mm=SPACING).label_map)
    tall = np.random.default_rng(0).normal(100, 30, (1, 8, 190, 24)).astype(np.float32)
    free = predictor_of(model)
    grid = Geometry((8, 190, 24), (1, 1, 1), (0, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    plan = free.plan_windows(grid, reads_planes=True, keeps_result=False)
    limit = plan.memory.total_mib - 0.4 * plan.memory.network_mib
    banded = predictor_of(model, max_memory_mib=limit)
    assert banded.plan_windows(grid, reads_planes=True).num_windows > plan.num_windows
    (found,) = banded.predict_planes(blocks_of(tall, 5), (8, 190, 24))
    assert np.mean(found == free.predict(tall).label_map) >= 0.9999


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ([np.zeros((1, 30, 20, 24))], "30 of the 45 planes of the volume came"),
        ([np.zeros((1, 30, 20, 24))] * 2, "more than the 45 planes of the volume came"),
        ([np.zeros((1, 45, 20, 24)), np.zeros((1, 1, 20, 24))], "more than the 45 planes"),
        ([np.zeros((30, 20, 24))], r"a block of shape \(30, 20, 24\) is not one of planes"),
        ([np.zeros((2, 45, 20, 24))], r"planes \(1, n, 20, 24\)"),
        ([np.zeros((1, 45, 20, 25))], r"planes \(1, n, 20, 24\)"),
        ([np.zeros((1, 45, 20, 24), complex)], "an array of complex128 is not an image"),
        ([np.zeros((1, 9, 20, 24)), np.full((1, 36, 20, 24), np.nan)], "planes 10 to 45 are NaN"),
        ([], "0 of the 45 planes of the volume came"),
    ],
)
@pytest.mark.parametrize("normalization", ["ct_window", "zscore"])
def test_planes_that_are_not_those_of_the_volume(
    normalization: str, blocks: list[np.ndarray], message: str, make_flowing: MakeFlowing
) -> None:
    predictor = predictor_of(make_flowing(normalization=normalization))
    with pytest.raises(DataError, match=message):
        list(predictor.predict_planes(blocks, SIZE))


@pytest.mark.parametrize(
    ("size", "spacing_mm"), [((0, 2, 2), SPACING), ((2, 2), SPACING), (SIZE, (1.0, -1.0, 1.0))]
)
def test_a_size_that_cannot_be_is_told_at_once(
    size: Any, spacing_mm: Any, make_flowing: MakeFlowing
) -> None:
    with pytest.raises(DataError, match="expected three positive"):
        predictor_of(make_flowing(normalization="ct_window")).predict_planes(
            [], size, spacing_mm=spacing_mm
        )


def test_a_temporary_folder_that_is_full(
    monkeypatch: pytest.MonkeyPatch, make_flowing: MakeFlowing
) -> None:
    def refuse() -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    labels = predictor_of(make_flowing(normalization="zscore")).predict_planes(
        blocks_of(make_array(), 5), SIZE
    )
    with pytest.raises(DataError, match=r"planes cannot be kept there \(No space left"):
        list(labels)

"""One pass from file to file, plane by plane, beside the same with the whole volume in memory."""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from lunet_cli.config.options import OutputOptions, PredictionOptions
from lunet_cli.engine.checkpoints.models import Model
from lunet_cli.engine.data import intensities, stored_bytes, writing
from lunet_cli.engine.inference import predict as job
from lunet_cli.engine.inference import stream
from lunet_cli.engine.inference.predict import predict
from lunet_cli.engine.inference.predictor import Predictor
from lunet_cli.results.prediction import PredictResult

LPS = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
DIRECTIONS = {
    "LPS": LPS,
    "RAS": (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0),
    # x and y change places, so that rows of the network are columns of the file.
    "turned": (0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0),
    "upside down": (1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, -1.0),
    "sagittal": (0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
}
SIZE = (23, 18, 21)


def make_array(size: tuple[int, ...] = SIZE, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(100, 30, size).astype(np.int16)


def run(
    model: Model, inputs: list[Path], output: Path, *, options: object = None, **writing: object
) -> PredictResult:
    usual = {"device": "cpu", "precision": "fp32", "window": "stream"}
    predictor = Predictor([model], PredictionOptions(**usual | (options or {})))
    result = predict(predictor, inputs, OutputOptions(output=output, **writing))
    assert result.failures == ()
    return result


def read(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


@pytest.fixture(autouse=True)
def _few_planes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_STEP_VOXELS", 3 * SIZE[1] * SIZE[2])


def run_both_ways(
    monkeypatch: pytest.MonkeyPatch, model: Model, inputs: list[Path], folder: Path, **more: object
) -> tuple[PredictResult, PredictResult]:
    """Plane by plane if possible, and with the volume in memory."""
    planes = run(model, inputs, folder / "planes", **more)
    with monkeypatch.context() as patched:
        patched.setattr(job, "can_read_planes", lambda volumes, placement: False)
        memory = run(model, inputs, folder / "memory", **more)
    return planes, memory


def require_equal_files(folder: Path) -> list[np.ndarray]:
    """The files of both ways hold the same; returns them."""
    found: list[np.ndarray] = []
    expected = sorted((folder / "memory").rglob("*.n*"))
    assert [path.name for path in expected] == sorted(
        path.name for path in (folder / "planes").rglob("*.n*")
    )
    for path in expected:
        array = read(folder / "planes" / path.relative_to(folder / "memory"))
        np.testing.assert_allclose(array, read(path), rtol=0, atol=1e-5)
        found.append(array)
    return found


@pytest.mark.parametrize(
    ("suffix", "direction"),
    [
        *((".nii.gz", direction) for direction in DIRECTIONS),
        *((suffix, "RAS") for suffix in (".nii", ".nrrd", ".mha")),
        *((suffix, "upside down") for suffix in (".nii", ".nrrd", ".mha")),
    ],
)
def test_label_maps_are_those_of_the_volume_in_memory(
    suffix: str,
    direction: str,
    tmp_path: Path,
    write_volume,
    make_flowing,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = write_volume(
        tmp_path / f"a{suffix}",
        make_array(),
        spacing=(1.0, 1.5, 2.0),
        direction=DIRECTIONS[direction],
    )
    planes, memory = run_both_ways(
        monkeypatch, make_flowing(), [source], tmp_path, suffix=".nii.gz"
    )
    (labels,) = require_equal_files(tmp_path)
    assert set(np.unique(labels)) == {0, 1, 2}
    volumes = [result.predicted[0].volume_ml for result in (planes, memory)]
    assert volumes[0] == pytest.approx(volumes[1])
    written = sitk.ReadImage(str(tmp_path / "planes/a.nii.gz"))
    np.testing.assert_allclose(written.GetDirection(), DIRECTIONS[direction], atol=1e-6)
    # What is known before: reading a part at a time takes less.
    is_packed = suffix == ".nii.gz"
    is_read = direction != "sagittal" and not (direction == "upside down" and is_packed)
    assert (planes.planned[0].memory_mib < memory.planned[0].memory_mib) == is_read


@pytest.mark.parametrize(
    ("activation", "normalization"),
    [("softmax", "zscore"), ("sigmoid", "minmax"), ("sigmoid", "ct_window"), ("softmax", "none")],
)
def test_every_normalization_and_activation(
    activation: str,
    normalization: str,
    tmp_path: Path,
    write_volume,
    make_flowing,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = make_flowing(activation=activation, normalization=normalization)
    source = write_volume(tmp_path / "a.nii.gz", make_array().astype(np.float32) / 50)
    run_both_ways(monkeypatch, model, [source], tmp_path, probabilities=True)
    assert len(require_equal_files(tmp_path)) == 3


# Finer and coarser along each axis.
@pytest.mark.parametrize("spacing_mm", [(1.7, 1.1, 1.3), (3.1, 2.2, 0.6)])
@pytest.mark.parametrize("direction", ["RAS", "turned"])
def test_volumes_on_another_grid(
    spacing_mm: tuple[float, float, float],
    direction: str,
    tmp_path: Path,
    write_volume,
    make_flowing,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = write_volume(
        tmp_path / "a.nii.gz",
        make_array((31, 28, 33)),
        spacing=(1.0, 1.5, 2.0),
        direction=DIRECTIONS[direction],
    )
    model = make_flowing(spacing_mm=spacing_mm)
    run_both_ways(monkeypatch, model, [source], tmp_path, probabilities=True)
    # ITK interpolates in double precision: label maps may differ where two labels are as likely.
    for path in sorted((tmp_path / "memory").glob("*_prob_*")):
        np.testing.assert_allclose(read(tmp_path / "planes" / path.name), read(path), atol=1e-4)
    ours, theirs = read(tmp_path / "planes/a.nii.gz"), read(tmp_path / "memory/a.nii.gz")
    assert np.mean(ours == theirs) >= 0.9999


@pytest.mark.parametrize("size", [(1, 30, 21), (9, 17, 40), (40, 9, 7)])
@pytest.mark.parametrize("spacing_mm", [None, (1.7, 1.1, 1.3)])
def test_volumes_that_are_thinner_than_the_window(
    size: tuple[int, int, int],
    spacing_mm: tuple[float, float, float] | None,
    tmp_path: Path,
    write_volume,
    make_flowing,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = write_volume(tmp_path / "a.nii.gz", make_array(size))
    model = make_flowing(spacing_mm=spacing_mm)
    run_both_ways(monkeypatch, model, [source], tmp_path)
    require_equal_files(tmp_path)


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [("files", ".nii.gz"), ("stacked", ".nii.gz"), ("stacked", ".nrrd"), ("beside", ".nrrd")],
)
def test_several_channels(
    kind: str,
    suffix: str,
    tmp_path: Path,
    write_volume,
    make_flowing,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arrays = [make_array(seed=0), make_array(seed=1)]
    folder = tmp_path / "in"
    if kind == "files":
        for index, array in enumerate(arrays):
            write_volume(folder / f"a_000{index}{suffix}", array)
    else:
        folder.mkdir()
        images = [sitk.GetImageFromArray(array) for array in arrays]
        joined = sitk.JoinSeries(images) if kind == "stacked" else sitk.Compose(images)
        sitk.WriteImage(joined, str(folder / f"a{suffix}"))
    model = make_flowing(in_channels=2)
    run_both_ways(monkeypatch, model, [folder], tmp_path, suffix=".nii.gz")
    require_equal_files(tmp_path)


def test_cleaning_and_bands_keep_the_result_and_change_nothing(
    tmp_path: Path, write_volume, make_flowing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "_STEP_VOXELS", 1 << 19)
    source = write_volume(tmp_path / "a.nii.gz", make_array((24, 190, 30)))
    model = make_flowing()
    cleaned, _ = run_both_ways(
        monkeypatch, model, [source], tmp_path / "cleaned", postprocess=("largest-component",)
    )
    require_equal_files(tmp_path / "cleaned")
    free = run(model, [source], tmp_path / "free")
    assert free.planned[0].memory_mib < cleaned.planned[0].memory_mib
    limit = 380 + 0.2 * (free.planned[0].memory_mib - 380)
    banded = run(model, [source], tmp_path / "banded", options={"max_memory_mib": limit})
    assert banded.planned[0].num_windows > free.planned[0].num_windows
    assert banded.planned[0].memory_mib <= limit
    same = read(tmp_path / "banded/a.nii.gz") == read(tmp_path / "free/a.nii.gz")
    assert np.mean(same) >= 0.9999


def test_memory_does_not_grow_with_the_planes(
    tmp_path: Path, write_volume, make_flowing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside the estimate, what Python allocates; numpy's voxels are among that."""
    monkeypatch.setattr(intensities, "_LOOK_VOXELS", 1 << 14)
    monkeypatch.setattr(writing, "_CHUNK_BYTES", 1 << 16)
    monkeypatch.setattr(stored_bytes, "_CHUNK", 1 << 13)
    model = make_flowing()
    taken: dict[int, int] = {}
    planned: dict[int, float] = {}
    for depth in (16, 40, 200):
        source = write_volume(tmp_path / f"{depth}.nii.gz", make_array((depth, 32, 32)))
        tracemalloc.start()
        result = run(model, [source], tmp_path / f"out{depth}")
        taken[depth] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        planned[depth] = result.planned[0].memory_mib
    assert taken[200] < 1.2 * taken[40]
    assert planned[200] == planned[40]


@pytest.mark.parametrize("damage", ["cut", "flipped", "nan"])
def test_a_file_that_breaks_off_fails_alone_and_leaves_nothing(
    damage: str, tmp_path: Path, write_volume, make_flowing
) -> None:
    array = make_array().astype(np.float32)
    if damage == "nan":
        array[-1, 3, 4] = np.nan
    source = write_volume(tmp_path / "in/a.nii.gz", array)
    content = bytearray(source.read_bytes())
    if damage == "cut":
        source.write_bytes(content[:-2000])
    elif damage == "flipped":
        # A stored block, in which a value is another one; only the checksum tells.
        raw = bytearray(gzip.compress(gzip.decompress(bytes(content)), 0))
        raw[len(raw) // 2] ^= 0x01
        source.write_bytes(raw)
    write_volume(tmp_path / "in/b.nii.gz", make_array())
    usual = PredictionOptions(device="cpu", precision="fp32", window="stream")
    predictor = Predictor([make_flowing(normalization="ct_window")], usual)
    result = predict(predictor, tmp_path / "in", tmp_path / "out")
    (failure,) = result.failures
    assert failure.message.startswith(f"{source}: ")
    assert failure.message.count(str(source)) == 1
    if damage == "nan":
        assert "1 of 378 voxels of plane 23 are NaN or infinite" in failure.message
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["b.nii.gz", "lunet_predict.json"]


def test_a_disk_that_is_full_is_told_of_the_output(
    tmp_path: Path, write_volume, make_flowing, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(file: object, planes: np.ndarray) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lunet_cli.engine.data.packing.PlaneFile.write", refuse)
    source = write_volume(tmp_path / "a.nii.gz", make_array())
    usual = PredictionOptions(device="cpu", precision="fp32", window="stream")
    result = predict(Predictor([make_flowing()], usual), source, tmp_path / "out")
    assert [failure.message for failure in result.failures] == [
        f"{tmp_path / 'out/a.nii.gz'}: cannot be written (No space left on device)"
    ]
    assert list((tmp_path / "out").iterdir()) == []

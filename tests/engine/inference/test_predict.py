"""The job as a whole: from files to files."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from lunet_cli.config.options import OutputOptions, PredictionOptions
from lunet_cli.engine.data.packing import PlaneFile
from lunet_cli.engine.data.plain_path import plain_path
from lunet_cli.engine.data.volume import Geometry
from lunet_cli.engine.data.writing import PARTIAL, write_volume
from lunet_cli.engine.inference.predict import predict
from lunet_cli.engine.inference.predictor import Predictor
from lunet_cli.errors import DataError, OutputError
from lunet_cli.results.events import CaseFailed, Event, WarningIssued
from lunet_cli.results.prediction import CasePredicted, PredictResult
from lunet_cli.results.words import visible


def usual(**options: object) -> PredictionOptions:
    return PredictionOptions(device="cpu", precision="fp32", **options)


FP32 = usual()
LPS = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
RAS = (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0)
MIRRORED = (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
SRP = (0.0, -1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0)
OBLIQUE = tuple(
    (
        np.array([[np.cos(0.3), -np.sin(0.3), 0], [np.sin(0.3), np.cos(0.3), 0], [0, 0, 1]])
        @ np.array([[1, 0, 0], [0, np.cos(0.2), -np.sin(0.2)], [0, np.sin(0.2), np.cos(0.2)]])
    )
    .ravel()
    .tolist()
)
DIRECTIONS = {"LPS": LPS, "RAS": RAS, "mirrored": MIRRORED, "permuted": SRP, "oblique": OBLIQUE}
SIZES = {"odd": (19, 23, 17), "small": (5, 7, 3), "thin": (1, 30, 21), "large": (40, 33, 36)}
SPACING, ORIGIN = (0.7, 1.3, 2.5), (-31.7, 12.25, 480.5)


def run(
    model: Path,
    inputs: list[Path],
    output: Path,
    *,
    options: PredictionOptions = FP32,
    **writing_options,
) -> PredictResult:
    predictor = Predictor.load([model], options=options)
    return predict(predictor, inputs, OutputOptions(output=output, **writing_options))


def random_image(size: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 200, size).astype(np.int16)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, make_threshold_model) -> Path:
    return make_threshold_model(tmp_path_factory.mktemp("model") / "model.pt")


def read_back(path: Path) -> sitk.Image:
    return sitk.ReadImage(str(path))


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_output_lies_on_its_input_voxel_for_voxel(
    suffix: str, size: str, direction: str, model: Path, tmp_path: Path, write_volume
) -> None:
    array = random_image(SIZES[size])
    source = write_volume(
        tmp_path / f"in{suffix}",
        array,
        spacing=SPACING,
        origin=ORIGIN,
        direction=DIRECTIONS[direction],
    )
    result = run(model, [source], tmp_path / "out")
    assert result.failures == ()
    stored, written = read_back(source), read_back(tmp_path / "out" / f"in{suffix}")
    assert np.array_equal(sitk.GetArrayFromImage(written), (array > 100.5).astype(np.uint8))
    assert written.GetSize() == stored.GetSize()
    # As the format stores it: what ITK read from the one file, it reads from the other, to float32
    # in NIfTI.
    tolerance = 1e-6 if "nii" in suffix else 1e-12
    np.testing.assert_allclose(written.GetSpacing(), stored.GetSpacing(), rtol=tolerance)
    np.testing.assert_allclose(
        written.GetOrigin(), stored.GetOrigin(), rtol=tolerance, atol=1e-5 * (tolerance > 1e-9)
    )
    np.testing.assert_allclose(written.GetDirection(), stored.GetDirection(), atol=tolerance)


def srow(path: Path) -> np.ndarray:
    """The affine of a NIfTI-1 file as it is stored."""
    return np.frombuffer(path.read_bytes(), "<f4", count=12, offset=280).reshape(3, 4)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_affine_of_nifti_is_that_of_the_input(
    direction: str, model: Path, tmp_path: Path, write_volume
) -> None:
    array = random_image((9, 8, 7))
    source = write_volume(
        tmp_path / "in.nii", array, spacing=SPACING, origin=ORIGIN, direction=DIRECTIONS[direction]
    )
    run(model, [source], tmp_path / "out")
    np.testing.assert_allclose(srow(tmp_path / "out/in.nii"), srow(source), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("direction", ["LPS", "oblique", "mirrored"])
@pytest.mark.parametrize("depth", [12, 1])
def test_dicom_series(
    direction: str, depth: int, model: Path, tmp_path: Path, write_series
) -> None:
    array = random_image((depth, 11, 13))
    series = write_series(
        tmp_path / "patient", array, spacing=SPACING, origin=ORIGIN, direction=DIRECTIONS[direction]
    )
    result = run(model, [series], tmp_path / "out")
    assert result.failures == ()
    written = read_back(tmp_path / "out/patient.nii.gz")
    assert np.array_equal(sitk.GetArrayFromImage(written), (array > 100.5).astype(np.uint8))
    np.testing.assert_allclose(written.GetSpacing(), SPACING, rtol=1e-5)
    np.testing.assert_allclose(written.GetOrigin(), ORIGIN, rtol=1e-5)
    np.testing.assert_allclose(written.GetDirection(), DIRECTIONS[direction], atol=1e-6)


def test_resampling_to_the_network_and_back_keeps_the_grid(
    tmp_path: Path, make_threshold_model, write_volume
) -> None:
    model = make_threshold_model(tmp_path / "model.pt", spacing_mm=(1.0, 1.0, 1.0))
    array = np.zeros((12, 30, 40), np.int16)
    array[3:9, 8:22, 10:30] = 200
    source = write_volume(
        tmp_path / "in.nii.gz", array, spacing=SPACING, origin=ORIGIN, direction=OBLIQUE
    )
    result = run(model, [source], tmp_path / "out")
    written = read_back(tmp_path / "out/in.nii.gz")
    assert Geometry.of(written).differences(Geometry.of(read_back(source))) == []
    found = sitk.GetArrayFromImage(written) > 0
    # The threshold lies in the middle of the step, so the block keeps its border to within a voxel.
    dice = 2 * (found & (array > 0)).sum() / (found.sum() + (array > 0).sum())
    assert dice > 0.97
    volume = found.sum() * np.prod(SPACING) / 1000
    assert result.predicted[0].volume_ml["label1"] == pytest.approx(volume)


def test_what_is_odd_about_a_file_is_told_once(model: Path, tmp_path: Path, write_volume) -> None:
    source = write_volume(
        tmp_path / "in.nii", random_image((9, 8, 7)), spacing=SPACING, origin=ORIGIN
    )
    content = bytearray(source.read_bytes())
    content[80:92] = np.array([1, 1, 1], "<f4").tobytes()  # pixdim
    source.write_bytes(content)
    events: list[Event] = []
    predictor = Predictor.load([model], options=FP32)
    predict(predictor, [source], OutputOptions(output=tmp_path / "out"), on_event=events.append)
    told = [str(event) for event in events if isinstance(event, WarningIssued)]
    assert len([text for text in told if "its pixdim 1, 1, 1" in text]) == 1
    np.testing.assert_allclose(srow(tmp_path / "out/in.nii"), srow(source), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["größe", os.fsdecode(b"\xff\xfe")])
def test_names_that_itk_cannot_write(name: str, model: Path, tmp_path: Path, write_volume) -> None:
    array = random_image((9, 8, 7))
    source = write_volume(tmp_path / "in.nii.gz", array).rename(tmp_path / f"{name}.nii.gz")
    result = run(model, [source], tmp_path / name, probabilities=True)
    assert result.failures == ()
    assert {path.name for path in (tmp_path / name).iterdir()} == {
        f"{visible(name)}.nii.gz",
        f"{visible(name)}_prob_label1.nii.gz",
        "lunet_predict.json",
    }
    with plain_path(tmp_path / name / f"{visible(name)}.nii.gz") as plain:
        assert np.array_equal(sitk.GetArrayFromImage(read_back(plain)), array > 100.5)


def test_several_channels_and_exclusive_labels(
    tmp_path: Path, make_threshold_model, write_volume
) -> None:
    model = make_threshold_model(
        tmp_path / "model.pt", thresholds=(50.5, 120.5), activation="softmax", in_channels=2
    )
    first, second = random_image((9, 20, 18), 0), random_image((9, 20, 18), 1)
    write_volume(tmp_path / "in/x_0000.nii.gz", first)
    write_volume(tmp_path / "in/x_0001.nii.gz", second)
    run(model, [tmp_path / "in"], tmp_path / "out")
    found = sitk.GetArrayFromImage(read_back(tmp_path / "out/x.nii.gz"))
    assert np.array_equal(found, np.digitize(first, (50.5, 120.5)))


def test_four_dimensional_file_holds_the_channels(tmp_path: Path, make_threshold_model) -> None:
    model = make_threshold_model(tmp_path / "model.pt", in_channels=2)
    parts = [sitk.GetImageFromArray(random_image((6, 7, 8), seed)) for seed in (0, 1)]
    sitk.WriteImage(sitk.JoinSeries(parts), str(tmp_path / "x.nii.gz"))
    run(model, [tmp_path / "x.nii.gz"], tmp_path / "out")
    found = read_back(tmp_path / "out/x.nii.gz")
    assert found.GetDimension() == 3
    assert np.array_equal(sitk.GetArrayFromImage(found), random_image((6, 7, 8), 0) > 100.5)


def test_overlapping_regions_become_one_label_map(
    tmp_path: Path, make_threshold_model, write_volume
) -> None:
    model = make_threshold_model(
        tmp_path / "model.pt", thresholds=(50.5, 120.5), labels={"whole": (1, 2), "core": (2,)}
    )
    array = random_image((8, 9, 10))
    source = write_volume(tmp_path / "in.nii.gz", array)
    assert run(model, [source], tmp_path / "a").values == {"whole": 1, "core": 2}
    assert np.array_equal(
        sitk.GetArrayFromImage(read_back(tmp_path / "a/in.nii.gz")),
        np.digitize(array, (50.5, 120.5)),
    )
    volumes = run(model, [source], tmp_path / "c").predicted[0].volume_ml
    assert volumes == pytest.approx(
        {"whole": (array > 50.5).sum() / 1000, "core": (array > 120.5).sum() / 1000}
    )
    run(model, [source], tmp_path / "b", order=("core", "whole"))
    assert np.array_equal(sitk.GetArrayFromImage(read_back(tmp_path / "b/in.nii.gz")), array > 50.5)


def test_probabilities_lie_on_the_grid_of_the_input(
    tmp_path: Path, make_threshold_model, write_volume
) -> None:
    model = make_threshold_model(
        tmp_path / "model.pt",
        thresholds=(50.5, 120.5),
        labels={"whole": (1, 2), "tumor core": (2,)},
    )
    array = random_image((8, 19, 10))
    source = write_volume(
        tmp_path / "in.nrrd", array, spacing=SPACING, origin=ORIGIN, direction=SRP
    )
    run(model, [source], tmp_path / "out", probabilities=True)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "in.nrrd",
        "in_prob_tumor_core.nrrd",
        "in_prob_whole.nrrd",
        "lunet_predict.json",
    ]
    found = read_back(tmp_path / "out/in_prob_whole.nrrd")
    assert found.GetPixelID() == sitk.sitkFloat32
    assert Geometry.of(found) == Geometry.of(read_back(source))
    expected = 1 / (1 + np.exp(-(array.astype(float) - 50.5)))
    np.testing.assert_allclose(sitk.GetArrayFromImage(found), expected, atol=1e-5)


def test_cleaning_happens_before_writing(model: Path, tmp_path: Path, write_volume) -> None:
    array = np.zeros((8, 8, 8), np.int16)
    array[1:4, 1:4, 1:4] = array[6, 6, 6] = 150
    source = write_volume(tmp_path / "in.nii.gz", array)
    run(model, [source], tmp_path / "out", postprocess=("largest-component",))
    assert sitk.GetArrayFromImage(read_back(tmp_path / "out/in.nii.gz")).sum() == 27


def test_single_output_file_and_other_format(model: Path, tmp_path: Path, write_volume) -> None:
    source = write_volume(tmp_path / "in.nii.gz", random_image((5, 5, 5)))
    run(model, [source], tmp_path / "mask.mha")
    assert (tmp_path / "mask.mha").is_file()
    run(model, [source], tmp_path / "out", suffix=".nrrd")
    assert (tmp_path / "out/in.nrrd").is_file()
    with pytest.raises(OutputError, match="is the name of one file, and there are 2 cases"):
        run(
            model,
            [source, write_volume(tmp_path / "b.nii.gz", random_image((5, 5, 5)))],
            tmp_path / "two.nii.gz",
        )


def test_existing_outputs_are_refused_or_skipped(model: Path, tmp_path: Path, write_volume) -> None:
    for name in "abc":
        write_volume(tmp_path / f"in/{name}.nii.gz", random_image((5, 5, 5)))
    run(model, [tmp_path / "in/b.nii.gz"], tmp_path / "out")
    before = (tmp_path / "out/b.nii.gz").stat().st_mtime_ns
    with pytest.raises(OutputError, match=r"b\.nii\.gz: is there already and is not overwritten"):
        run(model, [tmp_path / "in"], tmp_path / "out")
    assert not (tmp_path / "out/a.nii.gz").exists()
    result = run(model, [tmp_path / "in"], tmp_path / "out", resume=True)
    assert [case.case for case in result.predicted] == ["a", "c"]
    assert result.skipped == (tmp_path / "out/b.nii.gz",)
    assert (tmp_path / "out/b.nii.gz").stat().st_mtime_ns == before
    assert not (tmp_path / "out" / PARTIAL).exists()


def test_dry_run_estimates_and_writes_nothing(model: Path, tmp_path: Path, write_volume) -> None:
    source = write_volume(tmp_path / "in.nii.gz", random_image((40, 16, 16)))
    predictor = Predictor.load([model], options=FP32)
    result = predict(predictor, [source], OutputOptions(output=tmp_path / "out"), dry_run=True)
    (plan,) = result.planned
    assert (plan.size, plan.grid, plan.window, plan.num_windows) == (
        (40, 16, 16),
        (40, 16, 16),
        (16, 16, 16),
        4,
    )
    assert plan.memory_mib > 300
    assert plan.seconds is not None
    assert plan.seconds > 0
    assert not (tmp_path / "out").exists()


def test_dry_run_of_one_pass_tells_its_planes(model: Path, tmp_path: Path, write_volume) -> None:
    source = write_volume(tmp_path / "in.nii.gz", random_image((40, 16, 18)))
    predictor = Predictor.load([model], options=FP32.model_copy(update={"window": "stream"}))
    result = predict(predictor, [source], OutputOptions(output=tmp_path / "out"), dry_run=True)
    (plan,) = result.planned
    assert (plan.flows, plan.window, plan.num_windows) == (True, (48, 16, 32), 1)
    assert plan.seconds is not None
    assert plan.seconds > 0
    assert plan.memory_mib > 300


@pytest.mark.parametrize("count", [2, 3, 7])
def test_shards_share_the_cases(count: int, model: Path, tmp_path: Path, write_volume) -> None:
    for index in range(5):
        write_volume(tmp_path / f"in/{index}.nii.gz", random_image((4, 4, 4), index))
    done: list[str] = []
    for index in range(count):
        result = run(model, [tmp_path / "in"], tmp_path / "out", shard=(index, count))
        done += [case.case for case in result.predicted]
    assert sorted(done) == ["0", "1", "2", "3", "4"]


def test_broken_cases_do_not_stop_the_others(
    model: Path, tmp_path: Path, write_volume, write_series
) -> None:
    folder = tmp_path / "in"
    good = write_volume(folder / "good.nii.gz", random_image((6, 6, 6)))
    (folder / "text.nii.gz").write_text("this is not an image")
    (folder / "short.nii.gz").write_bytes(good.read_bytes()[:200])
    sitk.WriteImage(sitk.GetImageFromArray(random_image((1, 6, 6))[0]), str(folder / "flat.nii.gz"))
    nan = np.full((4, 4, 4), np.nan, np.float32)
    write_volume(folder / "nan.nii.gz", nan)
    sitk.WriteImage(
        sitk.JoinSeries([sitk.GetImageFromArray(random_image((4, 4, 4)))] * 2),
        str(folder / "two.nii.gz"),
    )
    gap = write_series(folder / "gap", random_image((5, 6, 6)))
    sorted(gap.iterdir())[2].unlink()
    write_series(folder / "mixed", random_image((5, 6, 6)), uid="1.2.3", number=1)
    write_series(folder / "mixed", random_image((5, 6, 6)), uid="1.2.4", number=2)
    (tmp_path / "empty").mkdir()
    events: list[Event] = []
    predictor = Predictor.load([model], options=FP32)
    result = predict(
        predictor,
        [folder, tmp_path / "empty"],
        OutputOptions(output=tmp_path / "out"),
        on_event=events.append,
    )
    assert [case.case for case in result.predicted] == ["good"]
    reasons = {
        folder / "text.nii.gz": "cannot be read",
        folder / "short.nii.gz": "cannot be read",
        folder / "flat.nii.gz": "expected a volume of three dimensions",
        folder / "nan.nii.gz": "64 of 64 voxels are NaN or infinite",
        folder / "two.nii.gz": "has 2 channels, and the network takes 1",
        folder / "gap": "the 4 slices of its DICOM series lie 1 to 2 mm apart",
        folder / "mixed": "holds 2 DICOM series",
        tmp_path / "empty": "holds no volume and no DICOM series",
    }
    messages = [failure.message for failure in result.failures]
    assert len(messages) == len(reasons)
    for path, reason in reasons.items():
        assert any(message.startswith(f"{path}: ") and reason in message for message in messages), (
            path,
            messages,
        )
    assert all("\n" not in message for message in messages)
    assert sum(isinstance(event, CaseFailed) for event in events) == len(reasons)
    assert sum(isinstance(event, CasePredicted) for event in events) == 1
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "good.nii.gz",
        "lunet_predict.json",
    }


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_a_file_that_does_not_reach_the_disk_is_an_error(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = PlaneFile.finish

    def lose_half(file: PlaneFile) -> None:
        finish(file)
        os.truncate(file.path, os.path.getsize(file.path) // 2)

    monkeypatch.setattr(PlaneFile, "finish", lose_half)
    array = np.random.default_rng(0).integers(0, 2, (20, 20, 20)).astype(np.uint8)
    geometry = Geometry((20, 20, 20), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), LPS)
    with pytest.raises(DataError, match=rf"mask{suffix}: cannot be written \("):
        write_volume(array, geometry, tmp_path / f"mask{suffix}")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("place", ["/proc/nowhere", "a_file"])
def test_folder_that_cannot_be_made_is_an_error(place: str, tmp_path: Path) -> None:
    (tmp_path / "a_file").touch()
    geometry = Geometry((2, 2, 2), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), LPS)
    with pytest.raises(DataError, match=r"mask\.nii\.gz: cannot be written \("):
        write_volume(np.zeros((2, 2, 2), np.uint8), geometry, tmp_path / place / "mask.nii.gz")


def test_full_disk_fails_one_case_after_the_other(
    model: Path, tmp_path: Path, write_volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(file: PlaneFile, planes: np.ndarray) -> None:
        raise OSError(28, "No space left on device")

    for name in "ab":
        write_volume(tmp_path / f"in/{name}.nii.gz", random_image((5, 5, 5)))
    monkeypatch.setattr(PlaneFile, "write", refuse)
    result = run(model, [tmp_path / "in"], tmp_path / "out")
    assert [failure.message for failure in result.failures] == [
        f"{tmp_path / 'out' / name}.nii.gz: cannot be written (No space left on device)"
        for name in "ab"
    ]


@pytest.mark.slow
def test_killed_at_any_moment_and_run_again_gives_the_same_files(
    model: Path, tmp_path: Path, write_volume, nursery: Any
) -> None:
    for index in range(12):
        write_volume(tmp_path / f"in/{index:02d}.nii.gz", random_image((40, 40, 40), index))
    run(model, [tmp_path / "in"], tmp_path / "whole")
    expected = {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()}
    assert len(expected) == 13  # with the record
    script = (
        "import sys, torch; torch.set_num_threads(1)\n"
        "from pathlib import Path\n"
        "from lunet_cli.config.options import OutputOptions, PredictionOptions\n"
        "from lunet_cli.engine.inference.predict import predict\n"
        "from lunet_cli.engine.inference.predictor import Predictor\n"
        "model, inputs, out, ready = map(Path, sys.argv[1:])\n"
        "options = PredictionOptions(device='cpu', precision='fp32')\n"
        "predictor = Predictor.load([model], options=options)\n"
        "ready.touch()\n"
        "predict(predictor, [inputs], OutputOptions(output=out, resume=True))\n"
    )
    out = tmp_path / "killed"
    seen = []
    for delay in (0.05, 0.13, 0.21, 0.34):
        ready = tmp_path / str(delay)
        process = nursery.start(model, tmp_path / "in", out, ready, code=script)
        wait_for(ready)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        present = (
            {path.name: path.read_bytes() for path in out.glob("*.nii.gz")} if out.exists() else {}
        )
        assert all(expected[name] == content for name, content in present.items())
        seen.append(len(present))
    assert max(seen) < 12
    run(model, [tmp_path / "in"], out, resume=True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == expected


def wait_for(path: Path) -> None:
    end = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.01)


def test_two_shards_give_the_same_files(model: Path, tmp_path: Path, write_volume) -> None:
    for index in range(6):
        write_volume(tmp_path / f"in/{index}.nii.gz", random_image((20, 20, 20), index))
    run(model, [tmp_path / "in"], tmp_path / "whole")
    for index in (0, 1):
        run(model, [tmp_path / "in"], tmp_path / "shared", shard=(index, 2))
    assert {p.name: p.read_bytes() for p in (tmp_path / "shared").iterdir()} == {
        p.name: p.read_bytes() for p in (tmp_path / "whole").iterdir()
    }


def test_memory_that_is_not_there_fails_the_case(model: Path, tmp_path: Path, write_volume) -> None:
    write_volume(tmp_path / "in/a.nii.gz", random_image((30, 30, 30)))
    result = run(model, [tmp_path / "in"], tmp_path / "out", options=usual(max_memory_mib=5))
    (failure,) = result.failures
    assert failure.message.startswith(f"{tmp_path / 'in/a.nii.gz'}: needs about")
    assert "`max_memory_mib`" in failure.hint


def test_dicom_is_planned_by_its_header_and_has_probabilities(
    model: Path, tmp_path: Path, write_series
) -> None:
    series = write_series(tmp_path / "patient", random_image((7, 11, 30)), spacing=SPACING)
    predictor = Predictor.load([model], options=FP32)
    plan = predict(
        predictor, [series], OutputOptions(output=tmp_path / "out"), dry_run=True
    ).planned[0]
    assert (plan.size, plan.num_windows) == ((7, 11, 30), 3)
    run(model, [series], tmp_path / "out", probabilities=True)
    assert read_back(tmp_path / "out/patient_prob_label1.nii.gz").GetSize() == (30, 11, 7)


def test_mixed_orientations_and_sizes_in_one_series(
    model: Path, tmp_path: Path, write_series
) -> None:
    folder = tmp_path / "a"
    write_series(folder, random_image((4, 9, 9)), uid="1.2.3")
    for path in sorted(folder.iterdir()):
        path.rename(folder / f"axial_{path.name}")
    write_series(
        folder, random_image((4, 9, 9)), uid="1.2.3", direction=(1, 0, 0, 0, 0, 1, 0, -1, 0)
    )
    other = tmp_path / "b"
    write_series(other, random_image((4, 9, 9)), uid="1.2.3")
    for path in sorted(other.iterdir()):
        path.rename(other / f"small_{path.name}")
    write_series(other, random_image((4, 5, 5)), uid="1.2.3", origin=(0, 0, 50))
    result = run(model, [folder, other], tmp_path / "out")
    messages = sorted(failure.message for failure in result.failures)
    assert len(messages) == 2
    assert "have several orientations" in messages[0]
    assert "its slices differ in size" in messages[1]


def test_shards_and_a_single_file_lose_no_case(model: Path, tmp_path: Path, write_volume) -> None:
    for name in "ab":
        write_volume(tmp_path / f"in/{name}.nii.gz", random_image((5, 5, 5)))
    with pytest.raises(OutputError, match="is the name of one file, and there are 2 cases"):
        run(model, [tmp_path / "in"], tmp_path / "out.nii.gz", shard=(0, 2))


def test_inputs_are_no_outputs(model: Path, tmp_path: Path, write_volume) -> None:
    write_volume(tmp_path / "in/a.nii.gz", random_image((5, 5, 5)))
    for resume in (False, True):
        with pytest.raises(OutputError, match="is an input and would be the output too"):
            run(model, [tmp_path / "in"], tmp_path / "in", resume=resume)


def test_resuming_replaces_no_label_map_to_make_its_probability_maps(
    model: Path, tmp_path: Path, write_volume
) -> None:
    source = write_volume(tmp_path / "a.nii.gz", random_image((5, 5, 5)))
    run(model, [source], tmp_path / "out")
    with pytest.raises(OutputError, match="is there without its probability maps"):
        run(model, [source], tmp_path / "out", probabilities=True, resume=True)
    run(model, [source], tmp_path / "maps", probabilities=True)
    assert run(model, [source], tmp_path / "maps", probabilities=True, resume=True).skipped != ()
    with pytest.raises(OutputError, match="1 more are, too"):
        run(model, [source], tmp_path / "maps", probabilities=True)


def test_folder_that_cannot_be_written_is_told_before_computing(
    model: Path, tmp_path: Path, write_volume
) -> None:
    source = write_volume(tmp_path / "a.nii.gz", random_image((5, 5, 5)))
    (tmp_path / "link").symlink_to("/proc/nowhere")
    events: list[Event] = []
    with pytest.raises(OutputError, match="cannot be made"):
        predict(
            Predictor.load([model], options=FP32),
            [source],
            OutputOptions(output=tmp_path / "link/x"),
            on_event=events.append,
        )
    assert events == []


def test_mirroring_is_warned_of_where_it_was_not_trained(
    tmp_path: Path, make_threshold_model, write_volume
) -> None:
    source = write_volume(tmp_path / "a.nii.gz", random_image((5, 5, 5)))
    for probability, expected in ((0.0, 1), (0.5, 0)):
        config = {"augmentation": {"enabled": True, "flip_probability": probability}}
        model = make_threshold_model(tmp_path / f"{probability}.pt", config=config)
        events: list[Event] = []
        predictor = Predictor.load([model], options=usual(tta=True))
        predict(
            predictor,
            [source],
            OutputOptions(output=tmp_path / f"{probability}"),
            on_event=events.append,
        )
        assert sum(isinstance(event, WarningIssued) for event in events) == expected


def test_single_slice_of_a_series_is_refused(model: Path, tmp_path: Path, write_series) -> None:
    series = write_series(tmp_path / "patient", random_image((4, 9, 9)))
    result = run(model, [sorted(series.iterdir())[0]], tmp_path / "out")
    assert "is one slice of a DICOM series" in result.failures[0].message


def test_format_and_name_of_a_file_must_agree(model: Path, tmp_path: Path, write_volume) -> None:
    source = write_volume(tmp_path / "a.nii.gz", random_image((5, 5, 5)))
    with pytest.raises(
        OutputError, match=r"is the name of a \.nii\.gz file, and `suffix` asks for \.nrrd"
    ):
        run(model, [source], tmp_path / "x.nii.gz", suffix=".nrrd")
    with pytest.raises(OutputError, match="is not a format that can be written"):
        run(model, [source], tmp_path / "x.hdr")


def test_a_folder_that_another_process_removes_is_made_again(tmp_path: Path, nursery: Any) -> None:
    geometry = Geometry((3, 3, 3), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), LPS)
    script = (
        "import sys; from pathlib import Path\n"
        "from lunet_cli.engine.data.writing import remove_partial_folder\n"
        "Path(sys.argv[2]).touch()\n"
        "while True: remove_partial_folder(Path(sys.argv[1]))\n"
    )
    process = nursery.start(tmp_path, tmp_path / "ready", code=script)
    wait_for(tmp_path / "ready")
    try:
        for index in range(100):
            write_volume(np.zeros((3, 3, 3), np.uint8), geometry, tmp_path / f"{index}.nii.gz")
    finally:
        process.kill()
        process.wait()


def test_resume_does_not_mix_label_maps_of_two_networks(
    model: Path, tmp_path: Path, write_volume, make_threshold_model
) -> None:
    source = write_volume(tmp_path / "in/a.nii.gz", random_image((8, 9, 10)))
    run(model, [source], tmp_path / "out")
    assert run(model, [source], tmp_path / "out", resume=True).skipped == (
        tmp_path / "out/a.nii.gz",
    )
    other = make_threshold_model(tmp_path / "other.pt", thresholds=(50.5,))
    with pytest.raises(
        OutputError,
        match=r"out: its label maps were made with other networks \(lunet_predict\.json\)",
    ):
        run(other, [source], tmp_path / "out", resume=True)
    with pytest.raises(OutputError, match="with other postprocess"):
        run(model, [source], tmp_path / "out", resume=True, postprocess=("fill-holes",))
    (tmp_path / "out/lunet_predict.json").unlink()
    predictor = Predictor.load([other], options=FP32)
    events: list[Event] = []
    writing_options = OutputOptions(output=tmp_path / "out", resume=True)
    predict(predictor, [source], writing_options, on_event=events.append)
    assert [str(event) for event in events if isinstance(event, WarningIssued)] == [
        f"warning: {tmp_path / 'out'}: does not say which network made the 1 label map there"
    ]


def test_maps_do_not_stay_behind_without_their_label_map(
    model: Path, tmp_path: Path, write_volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_volume(tmp_path / "in/a.nii.gz", random_image((8, 9, 10)))
    replace = os.replace

    def move_maps_only(source: Path, target: Path) -> None:
        if target.suffix == ".gz" and "_prob_" not in target.name:
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", move_maps_only)
    result = run(model, [source], tmp_path / "out", probabilities=True)
    assert len(result.failures) == 1
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_leave_whole_files_only(
    model: Path, tmp_path: Path, write_volume, nursery: Any, number: signal.Signals
) -> None:
    """The writing is slow, so that the signal comes before a file is moved to its place."""
    for index in range(3):
        write_volume(tmp_path / f"in/{index}.nii.gz", random_image((16, 16, 16), index))
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from lunet_cli.cli import app\n"
        "from lunet_cli.engine.data.packing import PlaneFile\n"
        "finish = PlaneFile.finish\n"
        "def finish_slowly(file):\n"
        "    finish(file)\n"
        "    Path(ready).touch()\n"
        "    time.sleep(20)\n"
        "PlaneFile.finish = finish_slowly\n"
        "ready = sys.argv[1]\n"
        "sys.argv = ['lunet', 'predict', *sys.argv[2:], '--device', 'cpu', '--threads', '1']\n"
        "app.main()\n"
    )
    out, ready = tmp_path / "out", tmp_path / "ready"
    process = nursery.start(ready, model, tmp_path / "in", "-o", out, code=script)
    wait_for(ready)
    process.send_signal(number)
    assert process.wait(timeout=60) == 130
    assert list((tmp_path / "out").iterdir()) == []


def test_whole_volumes_are_seen_in_the_window_of_the_training(model: Path) -> None:
    predictor = Predictor.load([model], options=usual(window="whole"))
    sizes = {(5, 30, 16): (16, 32, 16), (3, 2, 1): (16, 16, 16)}
    for size, window in sizes.items():
        assert (
            predictor.plan_windows(Geometry(size, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), LPS)).window
            == window
        )
    assert "volumes larger than the 16 x 16 x 16 voxels of the training" in predictor.warnings()[0]

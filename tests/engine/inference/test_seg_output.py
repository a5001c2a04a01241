"""DICOM segmentations as `predict` writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813

from lunet_cli.config.options import OutputOptions, PredictionOptions
from lunet_cli.engine.data.dicom_seg import open_segmentation
from lunet_cli.engine.data.reading import read_header, read_label
from lunet_cli.engine.inference.predict import predict
from lunet_cli.engine.inference.predictor import Predictor
from lunet_cli.errors import ConfigError, MissingDependencyError, OutputError
from lunet_cli.results.prediction import PredictResult

pytest.importorskip("highdicom")
FP32 = PredictionOptions(device="cpu", precision="fp32")
IMAGE = np.random.default_rng(0).integers(0, 200, (6, 7, 9)).astype(np.int16)
MIDDLE, HIGH = (IMAGE > 60.5) & (IMAGE < 120.5), IMAGE > 120.5
OBLIQUE = (1.0, 0.0, 0.0, 0.0, 0.8, -0.6, 0.0, 0.6, 0.8)


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory, write_series: Any) -> Path:
    folder = tmp_path_factory.mktemp("in") / "patient"
    return write_series(folder, IMAGE, spacing=(0.7, 0.8, 2.5), direction=OBLIQUE)


@pytest.fixture(scope="module")
def exclusive(tmp_path_factory: pytest.TempPathFactory, make_threshold_model: Any) -> Predictor:
    path = make_threshold_model(
        tmp_path_factory.mktemp("model") / "model.pt",
        thresholds=(60.5, 120.5),
        activation="softmax",
        labels={"liver": (5,), "lump": (3,)},
        config={"label_codes": {"lump": {"code": "L1", "scheme": "99CLINIC"}}},
    )
    return Predictor.load([path], options=FP32)


def run(predictor: Predictor, source: Path, output: Path, **options: Any) -> PredictResult:
    result = predict(predictor, source, OutputOptions(output=output, **options))
    assert result.failures == ()
    return result


def masks_in(path: Path, series: Path) -> dict[str, np.ndarray]:
    grid, seg = read_header(series)[0], open_segmentation(path)
    return {one.label: seg.mask(one.number, grid) for one in seg.segments}


def test_segments_are_the_labels_in_the_order_of_their_values(
    exclusive: Predictor, series: Path, tmp_path: Path
) -> None:
    result = run(exclusive, series, tmp_path, suffix="dicom-seg")
    assert result.values == {"lump": 1, "liver": 2}, "segments are counted from 1"
    found = masks_in(tmp_path / "patient.dcm", series)
    assert list(found) == ["lump", "liver"]
    assert np.array_equal(found["liver"], MIDDLE)
    assert np.array_equal(found["lump"], HIGH)
    lump, liver = pydicom.dcmread(tmp_path / "patient.dcm").SegmentSequence
    assert lump.SegmentedPropertyTypeCodeSequence[0].CodingSchemeDesignator == "99CLINIC"
    assert liver.SegmentedPropertyTypeCodeSequence[0].CodeValue == "10200004"
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


def test_the_name_of_a_file_asks_for_it(exclusive: Predictor, series: Path, tmp_path: Path) -> None:
    run(exclusive, series, tmp_path / "seg.dcm", labelmap=True)
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    assert seg.SegmentationType == "LABELMAP"
    numbers = [one.SegmentNumber for one in seg.SegmentSequence]
    assert numbers == [0, 3, 5], "the values of the labels, and the background"
    found = read_label(tmp_path / "seg.dcm", grid=read_header(series)[0])
    assert np.array_equal(sitk.GetArrayFromImage(found), 5 * MIDDLE + 3 * HIGH)


def test_overlapping_labels_and_their_probabilities(
    series: Path, tmp_path: Path, make_threshold_model: Any
) -> None:
    path = make_threshold_model(
        tmp_path / "model.pt", thresholds=(60.5, 120.5), labels={"whole": (1, 2), "core": (2,)}
    )
    predictor = Predictor.load([path], options=FP32)
    run(predictor, series, tmp_path / "out", suffix=".dcm", probabilities=True)
    found = masks_in(tmp_path / "out/patient.dcm", series)
    assert np.array_equal(found["whole"], IMAGE > 60.5)
    assert np.array_equal(found["core"], HIGH)
    made = [pydicom.dcmread(tmp_path / f"out/patient{end}.dcm") for end in ("", "_prob_whole")]
    assert len({one.SeriesInstanceUID for one in made}) == 1
    assert [one.InstanceNumber for one in made] == [1, 2]
    assert made[1].SegmentationFractionalType == "PROBABILITY"
    assert made[1].SegmentSequence[0].SegmentLabel == "whole"
    again = OutputOptions(output=tmp_path / "out", suffix=".dcm", probabilities=True)
    with pytest.raises(OutputError, match="is there already"):
        predict(predictor, series, again)
    resumed = again.model_copy(update={"resume": True})
    assert len(predict(predictor, series, resumed).skipped) == 1


def test_frames_of_one_file(exclusive: Predictor, tmp_path: Path, write_enhanced: Any) -> None:
    write_enhanced(tmp_path / "a/scan.dcm", IMAGE.astype(np.uint16), order=[3, 1, 0, 2, 5, 4])
    run(exclusive, tmp_path / "a/scan.dcm", tmp_path / "out", suffix=".dcm")
    found = masks_in(tmp_path / "out/scan.dcm", tmp_path / "a")
    assert np.array_equal(found["liver"], MIDDLE)


def test_other_inputs_get_a_line_each_and_the_others_go_on(
    exclusive: Predictor, series: Path, tmp_path: Path, write_volume: Any
) -> None:
    volume = write_volume(tmp_path / "a.nii.gz", IMAGE)
    output = OutputOptions(output=tmp_path / "out", suffix=".dcm")
    result = predict(exclusive, [volume, series], output)
    (failure,) = result.failures
    assert "is no DICOM series, and a DICOM segmentation refers to one" in failure.message
    assert [case.case for case in result.predicted] == ["patient"]


def test_nothing_is_left_where_the_disk_is_full(
    exclusive: Predictor, series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("highdicom.seg.Segmentation.save_as", fail)
    output = OutputOptions(output=tmp_path / "out", suffix=".dcm", probabilities=True)
    (failure,) = predict(exclusive, series, output).failures
    assert "cannot be written (No space left on device)" in failure.message
    assert list((tmp_path / "out").iterdir()) == []


def test_a_package_that_is_missing_is_named(
    exclusive: Predictor, series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lunet_cli.engine.runtimes.runtime.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="highdicom") as caught:
        run(exclusive, series, tmp_path, suffix=".dcm")
    assert 'pip install "lunet[dicom]"' in caught.value.hint


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"labelmap": True}, "`labelmap`: is a way to write DICOM segmentations"),
        ({"suffix": "dicom-seg", "order": "a,b"}, "`order`: in a DICOM segmentation"),
        ({"suffix": "dicom"}, "`suffix`"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        OutputOptions(output=Path("out"), **options)

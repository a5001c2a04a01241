"""Predictions as derivatives of BIDS, read back as a data set."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from lunet_cli.config.data import DataConfig
from lunet_cli.config.options import OutputOptions, PredictionOptions
from lunet_cli.engine.data.splits import load_cases
from lunet_cli.engine.inference.predict import predict
from lunet_cli.engine.inference.predictor import Predictor
from lunet_cli.errors import ConfigError, OutputError

IMAGE = np.random.default_rng(0).integers(0, 200, (6, 7, 9)).astype(np.int16)


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory, make_threshold_model: Any) -> Predictor:
    path = make_threshold_model(
        tmp_path_factory.mktemp("model") / "model.pt",
        thresholds=(60.5, 120.5),
        labels={"whole tumor": (2, 1), "core": (1,)},
    )
    return Predictor.load([path], options=PredictionOptions(device="cpu", precision="fp32"))


@pytest.fixture
def data(tmp_path: Path, write_volume: Any) -> Path:
    root = tmp_path / "data"
    for name in ("sub-01/anat/sub-01_acq-fast_run-2_T1w", "sub-02/ses-b/anat/sub-02_ses-b_T1w"):
        write_volume(root / f"{name}.nii.gz", IMAGE)
    return root


def test_names_and_descriptions(predictor: Predictor, data: Path) -> None:
    output = data / "derivatives/lunet"
    options = OutputOptions(output=output, bids=True, probabilities=True)
    assert predict(predictor, data, options).failures == ()
    files = {str(path.relative_to(output)) for path in output.rglob("*") if path.is_file()}
    one, two = "sub-01/anat/sub-01_acq-fast_run-2", "sub-02/ses-b/anat/sub-02_ses-b"
    endings = (
        "_desc-lunet_dseg.nii.gz",
        "_desc-lunet_dseg.json",
        "_label-wholetumor_desc-lunet_probseg.nii.gz",
        "_label-core_desc-lunet_probseg.nii.gz",
    )
    assert files == {
        *(f"{case}{ending}" for case in (one, two) for ending in endings),
        *("dataset_description.json", "dseg.tsv", "README", ".bidsignore", "lunet_predict.json"),
    }
    found = sitk.GetArrayFromImage(sitk.ReadImage(str(output / f"{one}{endings[0]}")))
    assert np.array_equal(found, 2 * (IMAGE > 60.5) - (IMAGE > 120.5))
    described = json.loads((output / "dataset_description.json").read_text())
    assert described["DatasetType"] == "derivative"
    assert described["GeneratedBy"][0]["Name"] == "lunet"
    assert described["DatasetLinks"] == {"raw": "../.."}
    sources = json.loads((output / f"{two}{endings[1]}").read_text())["Sources"]
    assert sources == [f"bids:raw:{two}_T1w.nii.gz"]
    table = (output / "dseg.tsv").read_text()
    assert table == "index\tname\n0\tbackground\n1\tcore\n2\twhole tumor\n"
    shutil.rmtree(output / "sub-02")
    resumed = predict(predictor, data, options.model_copy(update={"resume": True}))
    assert (len(resumed.skipped), len(resumed.predicted)) == (1, 1)


def test_a_derivative_is_a_data_set_to_train_on(predictor: Predictor, data: Path) -> None:
    predict(predictor, data, OutputOptions(output=data / "derivatives/lunet", bids=True))
    case_set, _ = load_cases(DataConfig(root=data, dataset="bids"), seed=0)
    assert [case.case_id for case in case_set.cases] == ["sub-01_acq-fast_run-2", "sub-02_ses-b"]
    assert case_set.labels == {"core": (1,), "whole tumor": (2,)}


def test_names_that_are_not_of_bids_get_a_line_each(
    predictor: Predictor, data: Path, tmp_path: Path, write_volume: Any
) -> None:
    scan = write_volume(tmp_path / "scan.nii.gz", IMAGE)
    loose = write_volume(tmp_path / "sub-03_T1w.nii.gz", IMAGE)
    result = predict(
        predictor, [scan, loose, data], OutputOptions(output=tmp_path / "o", bids=True)
    )
    assert [failure.message.rpartition(": ")[2] for failure in result.failures] == [
        "is not named as BIDS asks, such as sub-01_ses-2_T1w.nii.gz",
        "does not lie in a folder sub-03, as BIDS asks",
    ]
    assert len(result.predicted) == 2


def test_what_would_be_mixed_is_refused(
    predictor: Predictor, data: Path, tmp_path: Path, write_volume: Any
) -> None:
    options = OutputOptions(output=data / "derivatives/lunet", bids=True)
    t1 = data / "sub-01/anat/sub-01_acq-fast_run-2_T1w.nii.gz"
    t2 = write_volume(Path(str(t1).replace("T1w", "T2w")), IMAGE)
    with pytest.raises(OutputError, match="two images would have this label map"):
        predict(predictor, [t1, t2], options)
    other = write_volume(tmp_path / "other/sub-09/anat/sub-09_T1w.nii.gz", IMAGE)
    with pytest.raises(OutputError, match="a derivative is of one data set"):
        predict(predictor, [t1, other], options)
    (data / "dataset_description.json").write_text('{"Name": "mine", "BIDSVersion": "1.10.0"}')
    with pytest.raises(OutputError, match="is a data set of BIDS already") as caught:
        predict(predictor, t1, options.model_copy(update={"output": data}))
    assert "derivatives/lunet" in caught.value.hint


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"suffix": "nrrd", "output": "out"}, "BIDS keeps label maps as NIfTI"),
        ({"suffix": "dicom-seg", "output": "out"}, "BIDS keeps label maps as NIfTI"),
        ({"output": "out.nii.gz"}, "is the name of a file, and `bids` fills a folder"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        OutputOptions(bids=True, **options)


def test_nothing_is_left_where_the_disk_is_full(
    predictor: Predictor, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("SimpleITK.WriteImage", fail)
    output = data / "derivatives/lunet"
    result = predict(predictor, data, OutputOptions(output=output, bids=True))
    assert len(result.failures) == 2
    assert [path for path in output.rglob("sub-*") if path.is_file()] == []

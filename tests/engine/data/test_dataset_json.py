from __future__ import annotations

import json
from pathlib import Path

import pytest

from lunet_cli.engine.data.dataset_json import DatasetJson, has_dataset_json, read_dataset_json
from lunet_cli.errors import DataError


def _read(folder: Path, values: object) -> DatasetJson:
    (folder / "dataset.json").write_text(json.dumps(values))
    return read_dataset_json(folder)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"0": "background", "1": "head", "2": "tail"}, {"head": (1,), "tail": (2,)}),
        ({"background": 0, "whole": [1, 2], "core": 2}, {"whole": (1, 2), "core": (2,)}),
        ({"background": 0, "a": 1, "ignore": 5}, {"a": (1,)}),
        ({"background": 0}, None),
        (["a", "b"], None),
        (None, None),
    ],
)
def test_labels_as_either_tool_writes_them(
    labels: object, expected: dict[str, tuple[int, ...]] | None, tmp_path: Path
) -> None:
    found = _read(tmp_path, {"labels": labels})
    assert found.labels == expected
    assert found.ignored == (5 if isinstance(labels, dict) and "ignore" in labels else None)


def test_a_single_value_is_ignored(tmp_path: Path) -> None:
    assert _read(tmp_path, {"labels": {"0": "background", "255": "ignore"}}).ignored == 255
    with pytest.raises(DataError, match=r"label ignore has several values, \[3, 4\]"):
        assert _read(tmp_path, {"labels": {"a": 1, "ignore": [3, 4]}}).ignored


@pytest.mark.parametrize("value", ["one", None, [[1]], float("inf"), {"a": 1}])
def test_labels_that_are_not_numbers_are_refused(value: object, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"dataset\.json: cannot read the labels"):
        _ = _read(tmp_path, {"labels": {"a": value}}).labels


def test_channels_and_ending(tmp_path: Path) -> None:
    assert _read(tmp_path, {"channel_names": {"0": "T1", "1": "T2"}}).num_channels == 2
    assert _read(tmp_path, {"modality": {"0": "MRI"}}).num_channels == 1
    nothing = _read(tmp_path, {})
    assert (nothing.num_channels, nothing.file_ending, nothing.labels) == (0, "", None)
    assert (nothing.has_training, nothing.training) == (False, [])
    assert _read(tmp_path, {"file_ending": ".mha"}).file_ending == ".mha"
    with pytest.raises(DataError, match="cannot read the channels 5"):
        _ = _read(tmp_path, {"channel_names": 5}).num_channels
    with pytest.raises(DataError, match="cannot read the file_ending 5"):
        _ = _read(tmp_path, {"file_ending": 5}).file_ending


def test_what_is_not_an_object_is_refused(tmp_path: Path) -> None:
    assert not has_dataset_json(tmp_path)
    with pytest.raises(DataError, match="expected an object"):
        _read(tmp_path, [1])
    assert has_dataset_json(tmp_path)

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lunet_cli.config.data import DataConfig
from lunet_cli.engine.data.labels import resolve_labels
from lunet_cli.engine.data.preprocessing import Normalization, Preprocessing
from lunet_cli.engine.data.splits import load_cases
from lunet_cli.engine.data.store import prepare_case

pytestmark = pytest.mark.real_data


def test_hippocampus_is_found_divided_and_named(hippocampus: Path) -> None:
    case_set, split = load_cases(DataConfig(root=hippocampus), seed=0)
    assert case_set.layout == "msd"
    assert case_set.labels == {"Anterior": (1,), "Posterior": (2,)}
    assert len(case_set.cases) == 200
    assert (len(split.train), len(split.val)) == (160, 40)
    assert "splits.json" in split.origin


def test_hippocampus_cases_are_prepared(hippocampus: Path) -> None:
    case_set, _ = load_cases(DataConfig(root=hippocampus), seed=0)
    scheme = resolve_labels(None, case_set.labels, activation="auto", out_channels=None)
    assert scheme.names == ("Anterior", "Posterior")
    assert scheme.activation == "softmax"
    preprocessing = Preprocessing("LPS", None, Normalization("zscore", 40, 400))
    for case in case_set.cases[::20]:
        prepared, _ = prepare_case(case, case_set, preprocessing=preprocessing, scheme=scheme)
        depth, height, width = prepared.image.shape[1:]
        assert 24 <= depth <= 47
        assert 40 <= height <= 59
        assert 31 <= width <= 43
        assert prepared.spacing_mm == (1.0, 1.0, 1.0)
        assert float(prepared.image.mean()) == pytest.approx(0, abs=1e-4)
        assert float(prepared.image.std()) == pytest.approx(1, abs=1e-4)
        assert np.unique(prepared.label).tolist() == [0, 1, 2]

"""Plans of nnU-Net, as version 2 writes them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lunet_cli.engine.data.nnunet_plans import read_nnunet_plan
from lunet_cli.errors import DataError

_FULL = {
    "spacing": [3.0, 0.8, 0.7],
    "patch_size": [40, 128, 96],
    "batch_size": 2,
    "normalization_schemes": ["CTNormalization"],
}


def _write(path: Path, **values: object) -> Path:
    path.write_text(json.dumps(values), encoding="utf-8")
    return path


def test_full_resolution_in_the_axes_of_files(tmp_path: Path) -> None:
    # nnU-Net put the axis y in front: backward, its second axis becomes the first one.
    path = _write(
        tmp_path / "p.json", configurations={"3d_fullres": _FULL}, transpose_backward=[1, 0, 2]
    )
    plan = read_nnunet_plan(path)
    assert plan.spacing == (0.8, 3.0, 0.7)
    assert plan.patch_size == (128, 40, 96)
    assert plan.batch_size == 2
    assert plan.is_ct


@pytest.mark.parametrize("values", [{}, {"configurations": []}, {"configurations": {"2d": _FULL}}])
def test_anything_else_is_refused(tmp_path: Path, values: dict[str, object]) -> None:
    with pytest.raises(DataError, match="3d_fullres"):
        read_nnunet_plan(_write(tmp_path / "p.json", **values))

"""Volumes as pictures."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from lunet_cli.engine.viewing.volumes import read_volume
from lunet_cli.render.figures.slices import slices_figure
from lunet_cli.render.figures.volume import volume_figure
from lunet_cli.results.views import (
    LabeledVolume,
)


def slices(run: Path, case: LabeledVolume) -> Figure:
    return slices_figure([case.cut(axis, case.best_position(axis)) for axis in range(3)])


def test_real_volume(hippocampus: Path, texts) -> None:
    name = "hippocampus_001.nii.gz"
    volume, facts = read_volume(hippocampus / "imagesTr" / name, hippocampus / "labelsTr" / name)
    cuts = [volume.cut(axis, volume.best_position(axis)) for axis in range(3)]
    figure = volume_figure(volume, facts, cuts)
    found = texts(figure)
    for word in (
        "axial 13",
        "stored intensity",
        "voxels",
        "Anterior: 1.324 ml",
        "spacing x, y, z: 1 x 1 x 1 mm",
    ):
        assert word in found
    figure.draw_without_rendering()
    scales = [
        axes.get_window_extent().width / cut.extent_mm[1]
        for axes, cut in zip(figure.axes[:3], cuts, strict=True)
    ]
    assert scales == pytest.approx([scales[0]] * 3, rel=0.02), "the three slices have one scale"

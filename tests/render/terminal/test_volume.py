"""Volumes in terminals."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.text import Text

from lunet_cli.engine.viewing.volumes import read_volume
from lunet_cli.render.terminal.screen import Screen
from lunet_cli.render.terminal.volume import draw_orthogonal, draw_volume
from lunet_cli.results.views import LabeledVolume

Show = Callable[..., tuple[list[str], Screen]]


def test_three_slices_fit_whatever_their_titles(tmp_path: Path) -> None:
    import SimpleITK as sitk  # noqa: N813

    image = sitk.GetImageFromArray(
        np.random.default_rng(0).integers(0, 99, (35, 51, 35)).astype(np.int16)
    )
    sitk.WriteImage(image, str(tmp_path / "image.nii.gz"))
    volume, _ = read_volume(tmp_path / "image.nii.gz")
    cuts = [volume.cut(axis, 17) for axis in range(3)]
    console = Console(
        file=io.StringIO(),
        width=80,
        height=24,
        force_terminal=True,
        color_system="truecolor",
        _environ={},
    )
    with console.capture() as captured:
        console.print(draw_orthogonal(cuts, Screen.of(console)))
    lines = Text.from_ansi(captured.get()).plain.splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in "".join(lines)
    first = next(line for line in lines if "▀" in line)
    ratios = [len(part) / cut.extent_mm[1] for part, cut in zip(first.split(), cuts, strict=True)]
    assert max(ratios) - min(ratios) < 0.05, "one scale"


def test_volume(show: Show, hippocampus: Path) -> None:
    name = "hippocampus_001.nii.gz"
    volume, facts = read_volume(hippocampus / "imagesTr" / name, hippocampus / "labelsTr" / name)
    cuts = [volume.cut(axis, volume.best_position(axis)) for axis in range(3)]
    text = "\n".join(show(lambda screen: draw_volume(volume, facts, cuts, screen))[0])
    for word in (
        "axial 13",
        "coronal",
        "sagittal",
        "35 x 51 x 35 voxels",
        "RAS",
        "8-bit",
        "1.324",
        "1.624",
        "Anterior",
    ):
        assert word in text
    assert "█" in text
    assert "R left, A top" in text
    histogram = next(line for line in text.splitlines() if line.startswith("2  "))
    assert histogram.endswith(" 139"), "both ends of the histogram are told"


def test_planes_of_a_volume_have_one_scale() -> None:
    volume = LabeledVolume("c", np.zeros((35, 60, 50), np.float32), (6.0, 0.5, 0.7))
    console = Console(file=io.StringIO(), width=100, _environ={})
    with console.capture() as captured:
        console.print(
            draw_orthogonal(
                [volume.cut(axis, 0) for axis in range(3)], Screen(100, 40, colors=False)
            )
        )
    last = captured.get().splitlines()[-1]
    # Coronal and sagittal planes are both 210 mm high.
    assert len(last.split()) == 2

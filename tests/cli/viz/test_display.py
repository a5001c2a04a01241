"""Options that the views share."""

from __future__ import annotations

from pathlib import Path

import pytest

from lunet_cli.cli.viz.display import axis_number, intensity_window, require_output
from lunet_cli.errors import ConfigError


@pytest.mark.parametrize(("axis", "number"), [("axial", 0), ("sagittal", 2), ("1", 1)])
def test_axes_have_names_and_numbers(axis, number: int) -> None:
    assert axis_number(axis) == number


def test_level_and_width_become_bounds() -> None:
    assert intensity_window(40.0, 400.0) == (-160.0, 240.0)
    assert intensity_window(None, None) is None


def test_pictures_are_refused_before_they_are_made(tmp_path: Path) -> None:
    require_output(tmp_path / "a.PNG", no_color=False)
    with pytest.raises(ConfigError, match="is not a picture that can be written"):
        require_output(tmp_path / "a.bmp", no_color=False)

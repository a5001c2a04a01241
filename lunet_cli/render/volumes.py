"""What a file says about its volume, in words."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from lunet_cli.results.views import VolumeFacts


def described(facts: VolumeFacts) -> list[tuple[str, str]]:
    """Names and values: geometry, type and intensities."""
    extent_mm = np.multiply(facts.size, facts.spacing_mm).tolist()
    rows = [
        ("size x, y, z", " x ".join(map(str, facts.size)) + " voxels"),
        ("spacing x, y, z", _joined(facts.spacing_mm, " x ") + " mm"),
        ("extent x, y, z", _joined(extent_mm, " x ") + " mm"),
        ("origin x, y, z", _joined(facts.origin_mm, ", ") + " mm (LPS)"),
        ("orientation", _orientation(facts)),
        ("stored as", facts.number_type),
    ]
    if facts.num_channels > 1:
        rows.append(("channels", f"{facts.num_channels}, shown is {facts.channel}"))
    rows.append(("intensities", _intensities(facts)))
    if facts.label_ml == {}:
        rows.append(("labels", "none: every voxel of the label map is 0"))
    return rows


def _joined(numbers: Iterable[float], between: str) -> str:
    return between.join(f"{number:.4g}" for number in numbers)


def _orientation(facts: VolumeFacts) -> str:
    # Direction cosines are often written with few digits: a tenth of a degree is their rounding.
    if facts.angle_degrees <= 0.1:
        return facts.orientation
    return f"{facts.orientation}, oblique by {facts.angle_degrees:.1f} degrees"


def _intensities(facts: VolumeFacts) -> str:
    lowest = facts.intensity["lowest"]
    if lowest == facts.intensity["highest"]:
        return f"all {lowest:.4g}: the image is constant"
    return ", ".join(f"{name} {value:.4g}" for name, value in facts.intensity.items())

"""What a file says about its volume, in words."""

from __future__ import annotations

from lunet_cli.results.views import VolumeFacts


def described(facts: VolumeFacts) -> list[tuple[str, str]]:
    """Names and values: geometry, type and intensities."""
    rows = [
        ("size x, y, z", " x ".join(map(str, facts.size)) + " voxels"),
        ("spacing x, y, z", " x ".join(f"{edge:.4g}" for edge in facts.spacing_mm) + " mm"),
        (
            "extent x, y, z",
            " x ".join(f"{n * mm:.4g}" for n, mm in zip(facts.size, facts.spacing_mm, strict=True))
            + " mm",
        ),
        ("origin x, y, z", ", ".join(f"{edge:.4g}" for edge in facts.origin_mm) + " mm (LPS)"),
        (
            "orientation",
            facts.orientation
            + (
                f", oblique by {facts.angle_degrees:.1f} degrees"
                if facts.angle_degrees > 0.1
                else ""
            ),
        ),
        ("stored as", facts.number_type),
    ]
    if facts.num_channels > 1:
        rows.append(("channels", f"{facts.num_channels}, shown is {facts.channel}"))
    intensities = ", ".join(f"{name} {value:.4g}" for name, value in facts.intensity.items())
    is_constant = facts.intensity["lowest"] == facts.intensity["highest"]
    rows.append(
        (
            "intensities",
            f"all {facts.intensity['lowest']:.4g}: the image is constant"
            if is_constant
            else intensities,
        )
    )
    if facts.label_ml == {}:
        rows.append(("labels", "none: every voxel of the label map is 0"))
    return rows

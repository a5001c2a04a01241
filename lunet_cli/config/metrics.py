"""What can be measured on a segmentation, and the definitions that every number here follows."""

from __future__ import annotations

from typing import Literal, NamedTuple

from lunet_cli.errors import ConfigError

MetricName = Literal[
    "dice",
    "iou",
    "sensitivity",
    "precision",
    "relative_volume_difference",
    "absolute_volume_difference",
    "hausdorff95",
    "hausdorff",
    "assd",
    "nsd",
]


class Metric(NamedTuple):
    """A measure of how well a predicted mask P fits a reference mask R.

    Args:
        short: Its name in tables.
        unit: `mm`, `ml`, or empty for a ratio.
        better: Which values are better.
        definition: What it is, and what it is where masks are empty.
    """

    short: str
    unit: Literal["", "mm", "ml"]
    better: Literal["higher", "lower", "zero"]
    definition: str

    @property
    def title(self) -> str:
        """Its short name with unit, for people."""
        return f"{self.short} {self.unit}".rstrip()

    @property
    def decimals(self) -> int:
        """How many are worth showing: four of ratios, two of mm and ml."""
        return 2 if self.unit else 4

    def column(self, name: str) -> str:
        """Its name with unit, as in `metrics.csv`."""
        return f"{name}_{self.unit}" if self.unit else name


_EMPTY_OVERLAP = "1 where both masks are empty, 0 where one is"
_EMPTY_DISTANCE = "0 where both masks are empty, undefined where one is"
_SURFACE = (
    "surface: voxels of a mask with one of six neighbours outside it; distances between voxel "
    "centres in mm"
)
METRICS: dict[MetricName, Metric] = {
    "dice": Metric("Dice", "", "higher", f"2 |P and R| / (|P| + |R|); {_EMPTY_OVERLAP}"),
    "iou": Metric("IoU", "", "higher", f"|P and R| / |P or R|; {_EMPTY_OVERLAP}"),
    "sensitivity": Metric("sensitivity", "", "higher", f"|P and R| / |R|; {_EMPTY_OVERLAP}"),
    "precision": Metric("precision", "", "higher", f"|P and R| / |P|; {_EMPTY_OVERLAP}"),
    "relative_volume_difference": Metric(
        "RVD",
        "",
        "zero",
        "(|P| - |R|) / |R|; 0 where both masks are empty, undefined where only R is",
    ),
    "absolute_volume_difference": Metric("AVD", "ml", "lower", "||P| - |R|| as a volume"),
    "hausdorff95": Metric(
        "HD95",
        "mm",
        "lower",
        f"larger of both directions' 95th percentiles; {_SURFACE}; {_EMPTY_DISTANCE}",
    ),
    "hausdorff": Metric(
        "HD", "mm", "lower", f"largest distance of both directions; {_SURFACE}; {_EMPTY_DISTANCE}"
    ),
    "assd": Metric(
        "ASSD",
        "mm",
        "lower",
        f"mean over the distances of both directions together; {_SURFACE}; {_EMPTY_DISTANCE}",
    ),
    "nsd": Metric(
        "NSD",
        "",
        "higher",
        "share of both surfaces' voxels within the tolerance of the other surface; "
        f"{_SURFACE}; {_EMPTY_OVERLAP}",
    ),
}


def require_metric(name: str) -> MetricName:
    """The metric of that name.

    Raises:
        ConfigError: There is none.
    """
    for metric in METRICS:
        if metric == name:
            return metric
    raise ConfigError(f"`metric={name}`: unknown metric.", hint=f"Known: {', '.join(METRICS)}")

from __future__ import annotations

from typing import get_args

from lunet_cli.config.metrics import METRICS, MetricName


def test_every_name_has_its_definition() -> None:
    assert tuple(METRICS) == get_args(MetricName)


def test_units_stand_in_titles_and_columns() -> None:
    assert (METRICS["dice"].title, METRICS["dice"].column("dice")) == ("Dice", "dice")
    distance = METRICS["hausdorff95"]
    assert (distance.title, distance.column("hausdorff95")) == ("HD95 mm", "hausdorff95_mm")
    assert (METRICS["dice"].decimals, distance.decimals) == (4, 2)

"""The dry run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lunet_cli.engine.training.dry_run import dry_run


@pytest.mark.parametrize("cache", ["auto", "memory", "disk", "none"])
@pytest.mark.parametrize("limit_mib", [0, 4096])
def test_dry_run_writes_nothing_and_estimates(
    runs: Any, tmp_path: Path, cache: str, limit_mib: int
) -> None:
    config = runs.tiny(tmp_path, "dry", f"data.cache={cache}", f"data.cache_limit_mib={limit_mib}")
    estimate = dry_run(config, on_event=lambda event: None)
    assert list(tmp_path.iterdir()) == []
    assert estimate.num_parameters == 692
    assert estimate.activation_mib > 2 * 32**3 * 4 * 4 / 2**20
    assert estimate.epoch_seconds > 0

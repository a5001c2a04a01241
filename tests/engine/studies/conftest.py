from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lunet_cli.config.load import load_config
from lunet_cli.config.run import RunConfig


@pytest.fixture(scope="session")
def tiny_config() -> Callable[..., RunConfig]:
    """A configuration of short trainings of tiny networks, in a study folder `study`."""

    def make(folder: Path, *settings: str) -> RunConfig:
        return load_config(
            "quickstart",
            [
                f"experiment.output_dir={folder}",
                "experiment.name=study",
                "model.architecture=lunet_small_1f",
                "data.phantom.num_cases=6",
                "data.phantom.size=32",
                "training.epochs=2",
                "training.warmup_epochs=0",
                "training.precision=fp32",
                # Two threads wait long for each other where other tests want their cores too.
                "training.num_threads=1",
                *settings,
            ],
        )

    return make

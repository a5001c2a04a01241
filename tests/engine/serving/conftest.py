from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lunet_cli.config.options import PredictionOptions, ServeOptions
from lunet_cli.engine.serving.served_models import ServedModel, load_models
from lunet_cli.engine.serving.service import Service

MakeService = Callable[..., Service]


@pytest.fixture(scope="session")
def model_file(make_threshold_model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that finds `low` from 100 and `high` from 200 on, of which `high` lies on top."""
    path: Path = make_threshold_model(
        tmp_path_factory.mktemp("served") / "bright.pt",
        thresholds=(100.5, 200.5),
        labels={"low": (1,), "high": (2,)},
    )
    return path


@pytest.fixture(scope="session")
def models(model_file: Path) -> dict[str, ServedModel]:
    options = PredictionOptions(device="cpu", precision="fp32", max_memory_mib=4000)
    return load_models([model_file], options)


@pytest.fixture
def make_service(models: dict[str, ServedModel], tmp_path: Path) -> Iterator[MakeService]:
    """Start a service with some options; it is ended behind the test."""
    started: list[Service] = []

    def make(*, start: bool = True, **changes: Any) -> Service:
        folder = tmp_path / "work"
        folder.mkdir()
        service = Service(models, ServeOptions(grace_seconds=5, **changes), folder)
        if start:
            service.start()
            started.append(service)
        return service

    yield make
    for service in started:
        service.hurry()
        service.end()


@pytest.fixture(scope="session")
def scan() -> np.ndarray[Any, Any]:
    """Intensities (z, y, x) of three values: a dark, a bright and a very bright part."""
    array = np.zeros((12, 14, 16), np.int16)
    array[3:8, 4:9, 5:12] = 150
    array[5:7, 5:8, 6:9] = 250
    return array

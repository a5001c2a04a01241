from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from lunet_cli.config import options
from lunet_cli.config.options import (
    BenchOptions,
    EvaluationOptions,
    ExportOptions,
    Options,
    PhantomOptions,
    PlanOptions,
    PredictionOptions,
)
from lunet_cli.errors import ConfigError


def test_the_options_of_every_job_tell_what_is_wrong() -> None:
    found = [value for name, value in vars(options).items() if name.endswith("Options")]
    assert len(found) > 8
    assert all(issubclass(each, Options) for each in found)


def test_every_wrong_value_is_told_by_its_field_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        PredictionOptions(overlap=2, batch_size=True, device="gpu", tta="maybe", windw=3)
    assert caught.value.lines == (
        "`overlap`: expected at most 0.9, found 2",
        "`batch_size`: cannot be true or false",
        "`tta`: expected true or false, found 'maybe'",
        "`device`: expected one of auto, cpu, cuda, mps, found 'gpu'",
        "`windw`: unknown field. Did you mean window?",
    )


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: PredictionOptions(window="9x9"), "`window`: '9x9' is not a window; write 96, "),
        (lambda: PredictionOptions(window=[1, 2]), "`window`[2]: is missing"),
        (lambda: PlanOptions(minutes=0), "`minutes`: expected more than 0.0, found 0"),
        (lambda: PlanOptions(architecture="unett"), "`architecture`: 'unett' is not a preset."),
        (
            lambda: PhantomOptions(layout="msd", num_channels=2),
            "`num_channels`: layout msd has one",
        ),
        (lambda: PredictionOptions(window=[1, 2, 0]), "`window`: expected at least 1, found 0"),
        (lambda: PredictionOptions(max_memory_mib="4 apples"), "`max_memory_mib`: '4 apples' is "),
        (lambda: BenchOptions(sizes=["64", "0x1x1"]), "`sizes`: '0x1x1' is not a size"),
        (lambda: BenchOptions(devices=["gpu"]), "`devices`: expected one of auto, cpu, "),
        (lambda: BenchOptions(batch_sizes=3), "`batch_sizes`: expected a list in brackets"),
        (lambda: ExportOptions(), "`format`: is missing"),
        (lambda: ExportOptions(format="onnx", output=3), "`output`: expected a path, found 3"),
        (lambda: EvaluationOptions(zzz=1), "`zzz`: unknown field. Known: metrics, "),
    ],
)
def test_a_wrong_value_is_told_once(make: Callable[[], Options], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make()
    (told,) = caught.value.lines
    assert told.startswith(line)


@pytest.mark.parametrize(
    ("given", "mib"),
    [("4G", 4096), ("800M", 800), ("2GiB", 2048), ("512", 512), ("1.5t", 1.5 * 2**20), (7, 7)],
)
def test_memory_is_read_with_its_unit(given: str | float, mib: float) -> None:
    assert PredictionOptions(max_memory_mib=given).max_memory_mib == mib


@pytest.mark.parametrize(
    ("given", "window"),
    [
        (None, None),
        ("whole", "whole"),
        (64, (64, 64, 64)),
        ("64", (64, 64, 64)),
        ("96X80x64", (96, 80, 64)),
        ([1, 2, 3], (1, 2, 3)),
    ],
)
def test_a_window_is_read_as_people_write_it(given: object, window: object) -> None:
    assert PredictionOptions(window=given).window == window


@pytest.mark.parametrize("text", ["", "x", "1x2", "1x2x3x4", "-1", "1.5", "٣", "1x 2x3"])
def test_other_texts_are_not_sizes(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a size"):
        BenchOptions(sizes=[text])


def test_options_are_frozen_and_made_by_keywords_only() -> None:
    options = PredictionOptions(overlap=0.25)
    with pytest.raises(ValidationError):
        options.overlap = 0.5
    with pytest.raises(TypeError):
        PredictionOptions("whole")
    assert options.model_fields_set == {"overlap"}


def test_presets_are_named_once() -> None:
    assert BenchOptions(architectures=["b", "a", "b"]).architectures == ("b", "a")
    assert BenchOptions(targets=["runs/a"]).targets == (Path("runs/a"),)

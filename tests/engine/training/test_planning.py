"""Plans: what the data decides, by hand; what is measured, within its limits."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from lunet_cli.config.load import load_config
from lunet_cli.config.options import PhantomOptions, PlanOptions
from lunet_cli.config.planned import Setting, planned_yaml
from lunet_cli.engine.data.phantom_files import write_phantom
from lunet_cli.engine.training import planning
from lunet_cli.engine.training.data_rules import (
    coarser_rule,
    foreground_rule,
    groups_of,
    intensity_rule,
    spacing_rule,
)
from lunet_cli.engine.training.planning import plan
from lunet_cli.errors import ConfigError
from lunet_cli.records.fingerprint import Fingerprint
from lunet_cli.results.fingerprint import CaseFacts, ChannelFacts, ValueFacts


def _case(
    name: str, spacing: tuple[float, float, float], size: tuple[int, int, int], low: float = 0.0
) -> CaseFacts:
    channel = ChannelFacts(low=low, high=900, percentiles=(-100, 50, 300), mean=50, std=9)
    value = ValueFacts(value=1, num_voxels=9, volume_ml=1, num_components=1)
    return CaseFacts(
        case_id=name,
        size=size,
        spacing_mm=spacing,
        orientation="LPS",
        dtype="int16",
        channels=(channel,),
        values=(value,),
    )


def _found(*cases: CaseFacts, copies: tuple[tuple[str, str], ...] = ()) -> Fingerprint:
    return Fingerprint(layout="paired", labels=None, channel_names=(), cases=cases, copies=copies)


def test_the_thick_axis_takes_its_tenth_percentile() -> None:
    cases = [_case(str(z), (float(z), 1.0, 1.0), (20, 300, 300)) for z in range(2, 13)]
    spacing, is_resampled, _ = spacing_rule(_found(*cases), None)
    assert spacing == (3.0, 1.0, 1.0)  # 2, 3, ..., 12: the median is 7.
    assert is_resampled


def test_equal_spacings_are_kept() -> None:
    cases = [_case(name, (3.0, 1.0, 1.0), (20, 30, 30)) for name in "ab"]
    assert spacing_rule(_found(*cases), None)[:2] == ((3.0, 1.0, 1.0), False)


def test_a_patch_sees_half_of_each_axis_and_no_label_is_lost() -> None:
    def found(volume_ml: float) -> Fingerprint:
        cases = [_case(name, (3.0, 0.8, 0.8), (256, 256, 96)) for name in "ab"]
        (value,) = cases[0].values
        value = replace(value, volume_ml=volume_ml, num_components=2)
        return _found(*(replace(case, values=(value,)) for case in cases))

    spacing = (3.0, 0.8, 0.8)
    coarse = coarser_rule(found(200.0), spacing, (64, 64, 64))
    assert coarse is not None
    assert coarse[0] == (6.0, 1.6, 0.8)
    # Pieces of 184.32 mm3 keep their 64 voxels of 2.88 mm3: 1.5 times those of the volumes.
    narrow = coarser_rule(found(0.36864), spacing, (64, 64, 64))
    assert narrow is not None
    assert math.prod(narrow[0]) == pytest.approx(1.5 * 3.0 * 0.8 * 0.8, rel=1e-3)
    assert coarser_rule(found(0.01), spacing, (64, 64, 64)) is None
    assert coarser_rule(found(200.0), spacing, (112, 128, 64)) is None


def test_ct_is_told_by_its_air() -> None:
    names = [
        setting.value
        for setting in intensity_rule(_found(_case("a", (1, 1, 1), (9, 9, 9), -1024)), None)
    ]
    assert names == ["ct_window", 100, 400]
    (setting,) = intensity_rule(_found(_case("a", (1, 1, 1), (9, 9, 9))), None)
    assert setting.value == "zscore"


def test_copies_of_copies_stand_together() -> None:
    cases = [_case(name, (1, 1, 1), (9, 9, 9)) for name in "abcd"]
    groups = groups_of(_found(*cases, copies=(("a", "b"), ("c", "b"))))
    assert sorted(map(sorted, groups)) == [["a", "b", "c"], ["d"]]


def test_cases_of_a_subject_of_bids_stand_together() -> None:
    names = ["sub-01_run-1", "sub-01", "sub-010", "sub-02_ses-1", "sub-02_ses-2"]
    cases = tuple(_case(name, (1, 1, 1), (9, 9, 9)) for name in names)
    found = Fingerprint(
        layout="bids", labels=None, channel_names=(), cases=cases, copies=(("sub-010", "sub-01"),)
    )
    groups = sorted(map(sorted, groups_of(found)))
    assert groups == [["sub-01", "sub-010", "sub-01_run-1"], ["sub-02_ses-1", "sub-02_ses-2"]]


def test_yaml_says_why() -> None:
    settings = [Setting("training.epochs", 3), Setting("training.epochs", 5, "There is time.")]
    text = planned_yaml([*settings, Setting("labels", {"a: b": [1]})], "Heading.")
    assert "  # There is time.\n  epochs: 5\n" in text
    assert yaml.safe_load(text) == {"training": {"epochs": 5}, "labels": {"a: b": [1]}}


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "flat"
    write_phantom(folder, PhantomOptions(num_cases=3, size=(6, 32, 32), modality="ct"))
    return folder


def test_a_plan_is_a_configuration(flat: Path, tmp_path: Path) -> None:
    planned = plan(flat, options=PlanOptions(minutes=1))
    planned.write(tmp_path / "plan.yaml")
    config = load_config(tmp_path / "plan.yaml")
    assert config == planned.config
    assert config.model.architecture == "lunet_large_4f"
    assert config.training.patch_size == (8, 24, 24)
    assert config.preprocessing.normalization.name == "ct_window"
    assert config.training.epochs > 10
    assert config.training.max_minutes is not None
    assert config.training.max_minutes < 1


def test_no_time_is_told_with_what_is_needed(flat: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = PlanOptions(minutes=0.001)
    with pytest.raises(ConfigError, match="too slow for that here") as found:
        plan(flat, options=options)
    assert "more time" in str(found.value.hint)
    # Where a step is fast enough, an epoch may still be too long.
    monkeypatch.setattr(planning, "_rough_seconds", lambda *_: 0.0)
    with pytest.raises(ConfigError, match="too few for one epoch: reading the data takes") as found:
        plan(flat, options=options)
    assert "Set `minutes=1` or more" in str(found.value.hint)


def test_a_network_that_does_not_fit_is_told(flat: Path) -> None:
    options = PlanOptions(architecture="unet_large_256f", memory_mib=64)
    with pytest.raises(ConfigError, match="MiB"):
        plan(flat, options=options)


@pytest.mark.parametrize("num_labels", [1, 2, 3])
@pytest.mark.parametrize("batch_size", [2, 4, 12])
def test_each_label_is_in_a_third_of_the_batches(num_labels: int, batch_size: int) -> None:
    fraction, why = foreground_rule(num_labels, batch_size)
    assert 1 - (1 - fraction / num_labels) ** batch_size >= 0.33
    assert "a third of the batches" in why


def test_a_third_of_the_patches_is_anywhere() -> None:
    fraction, why = foreground_rule(66, 2)
    assert fraction == 0.67
    assert "anywhere" in why

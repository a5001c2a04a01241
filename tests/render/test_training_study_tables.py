"""Studies of trainings as tables, and as a page."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from rich.console import Console

from lunet_cli.render.report.study_page import render_study_page
from lunet_cli.render.training_study_tables import runs_table, training_study_table
from lunet_cli.results.studies import OverSeeds, TrialFailed
from lunet_cli.results.training_studies import (
    RunListed,
    StudiedTrial,
    StudiedVariant,
    TrainingStudy,
)


@pytest.fixture
def search() -> TrainingStudy:
    """A search, whose values and names have what tables and pages must make harmless."""
    values = {"data.source": "<b>\x1b[31m", "training.learning_rate": "0.0056115164153345"}
    trial = StudiedTrial("trial_0001_seed1", "trial_0001", values, 1, 1, 686, 10**9, 0, math.nan)
    variant = StudiedVariant(
        variant="trial_0001",
        architecture="lunet_small_1f",
        values=values,
        parameters=686,
        flops=10**9,
        latency_ms=None,
        value=OverSeeds.of([math.nan]),
        change=None,
        p_value=None,
        on_parameter_front=False,
        on_flop_front=False,
    )
    return TrainingStudy(
        folder=Path("runs/<i>"),
        metric="hausdorff95",
        keys=tuple(values),
        is_search=True,
        trials=(trial,),
        variants=(variant,),
        num_cases=0,
        num_left_out=3,
        failures=(TrialFailed("trial_0002", "is <u>wrong</u>"),),
        hopeless=("trial_0003", "trial_0004"),
        unfinished=("trial_0005_seed1",),
        latency="median latency in ms, 64 x 64 x 64 voxels on cpu, 1 thread",
        machine="a machine",
    )


def lines_of(renderable: object) -> list[str]:
    console = Console(width=140, color_system=None)
    with console.capture() as captured:
        console.print(renderable)
    return [line.rstrip() for line in captured.get().splitlines()]


def test_a_search_tells_its_values(search: TrainingStudy) -> None:
    lines = lines_of(training_study_table(search))
    words = [line.split() for line in lines]
    assert ["trial_0001", "<b>\\x1b[31m", "0.005612", "686", "1.000", "-", "-"] in words
    assert any(line[:2] == ["source", "learning_rate"] for line in words)
    text = " ".join(lines)
    for note in (
        "1 combination, 1 training, 0 cases",
        "3 cases left out: without a value in one.",
        "latency: median, 64 x 64 x 64 voxels on cpu, 1 thread; a machine.",
        "given up on the way: trial_0003, trial_0004",
        "1 training not finished yet.",
        "measure it on cases that had no part in it.",
    ):
        assert note in text
    assert "Wilcoxon" not in text


def test_the_page_is_harmless(search: TrainingStudy) -> None:
    page = render_study_page(search, command="lunet study mine.yaml")
    assert "<h1>&lt;i&gt;</h1>" in page
    assert "&lt;b&gt;\\x1b[31m" in page
    assert "trial_0002: is &lt;u&gt;wrong&lt;/u&gt;" in page
    assert "<pre>lunet study mine.yaml</pre>" in page
    assert "<img" not in page  # A single network makes no picture.
    assert 'id="differences"' not in page


def test_runs_are_listed_with_how_far_they_are() -> None:
    states = ("finished", "running", "begun", "new")
    runs = [RunListed(f"a_seed{n}", "lunet_small_1f", state) for n, state in enumerate(states)]
    lines = lines_of(runs_table(runs, cores=8, jobs=2))
    assert lines[0] == "4 trainings, 3 of them to do: dry run, nothing was written"
    assert [line.split()[2:] for line in lines[2:6]] == [
        ["finished"],
        ["is", "being", "trained"],
        ["goes", "on"],
        ["to", "do"],
    ]
    assert lines[-1] == "2 at once by each process, each on 4 cores"

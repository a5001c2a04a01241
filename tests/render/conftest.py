"""What the tests of pictures share: real results, and consoles of any kind."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from lunet_cli.config.pruning import PruningConfig
from lunet_cli.engine.inference.predictor import Predictor
from lunet_cli.engine.viewing.cases import CaseViews
from lunet_cli.engine.viewing.prunings import summarize_pruning
from lunet_cli.render.terminal.screen import Screen
from lunet_cli.results.pruning import PruningStep
from lunet_cli.results.studies import (
    CaseDifference,
    OverSeeds,
    StrategyAtBudget,
    StudyComparison,
    StudyCurve,
    StudyResult,
    TrainedNetwork,
)
from lunet_cli.results.views import LabeledVolume, PruningView

Draw = Callable[[Screen], RenderableType]
# Columns, rows, whether it is a terminal, and its colours.
SCREENS = {
    "80x24": (80, 24, True, "truecolor"),
    "200x60": (200, 60, True, "truecolor"),
    "256 colors": (100, 30, True, "256"),
    "16 colors": (80, 24, True, "standard"),
    "no colors": (80, 24, True, None),
    "pipe": (120, 25, False, None),
}


@pytest.fixture(params=SCREENS)
def show(request: pytest.FixtureRequest) -> Callable[[Draw], tuple[list[str], Screen]]:
    """Draw something on a console, and return its lines; none may be longer than the screen."""
    width, height, is_terminal, colors = SCREENS[request.param]

    def draw_on(draw: Draw) -> tuple[list[str], Screen]:
        console = Console(
            file=io.StringIO(),
            width=width,
            height=height,
            force_terminal=is_terminal,
            color_system=colors,
            _environ={},
            highlight=False,
        )
        screen = Screen.of(console)
        with console.capture() as captured:
            console.print(draw(screen))
        console_text = captured.get()
        assert ("\x1b[38" in console_text or "\x1b[48" in console_text) <= (colors is not None)
        from rich.text import Text

        lines = [line.rstrip() for line in Text.from_ansi(console_text).plain.splitlines()]
        assert max(map(len, lines)) <= width
        return lines, screen

    return draw_on


@pytest.fixture(scope="session")
def case(trained_run: Path) -> LabeledVolume:
    """A validation case with its prediction."""
    views = CaseViews(Predictor.load([trained_run]))
    return views.load(views.names[0])


@pytest.fixture(scope="session")
def pruning(pruning_steps: Callable[..., tuple[PruningStep, ...]]) -> PruningView:
    """A pruning whose Dice rises to step 2 and falls then; step 3 is still as good."""
    return summarize_pruning(
        pruning_steps(0.0, 0.01, 0.005, -0.05),
        PruningConfig(margin=0.01),
        name="pruned",
        is_finished=True,
    )


@pytest.fixture
def study() -> StudyResult:
    """A study of two strategies and a control, which does not come down to the budget."""
    dice = OverSeeds(0.875, 0.87, 0.88, 2)
    unpruned = OverSeeds(0.885, 0.88, 0.89, 2)
    curves, strategies = [], []
    for name, parameters in (("stamp", 50_000), ("random-in-largest", 52_000)):
        curves.append(StudyCurve(name, ((parameters, dice), (353_949, unpruned))))
        change = CaseDifference(-0.01, (-0.015, -0.005), 60, 2)
        least = OverSeeds(parameters, parameters, parameters, 2)
        strategies.append(
            StrategyAtBudget(name, True, least, 4e8, dice, change, 16.0, OverSeeds(3.5, 3, 4, 2))
        )
    curves.append(StudyCurve("none", ((353_949, unpruned),)))
    same = OverSeeds(353_949, 353_949, 353_949, 2)
    strategies.append(
        StrategyAtBudget("none", False, same, 19e8, unpruned, None, 16.0, OverSeeds(16, 16, 16, 2))
    )
    difference = CaseDifference(0.001, (-0.002, 0.003), 60, 2)
    return StudyResult(
        folder=Path("runs/study"),
        architecture="unet_small_4f",
        budget=0.15,
        rows=(),
        curves=tuple(curves),
        trained=(
            TrainedNetwork("unet_small_4f", "start", 353_949, 1_909_194_752, unpruned),
            TrainedNetwork("lunet_small_4f", "from-scratch", 9_929, 1_135_849_472, dice),
        ),
        strategies=tuple(strategies),
        comparisons=(StudyComparison("random-in-largest", "stamp", difference, 0.00004),),
        failures=(),
    )

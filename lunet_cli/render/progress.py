"""Progress of a job: bars in a terminal, plain flushed lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from lunet_cli.render.epochs import EpochTable, legend
from lunet_cli.render.steps import StepTable
from lunet_cli.results.benchmarking import RoundDone
from lunet_cli.results.evaluation import CaseScored
from lunet_cli.results.events import CaseFailed, CaseRead, Event, WarningIssued
from lunet_cli.results.prediction import CasePredicted, WindowDone
from lunet_cli.results.pruning import ChannelsRemoved, PruningStepDone
from lunet_cli.results.training import (
    EpochDone,
    PlanChosen,
    StepDone,
    TrainingStarted,
    VerificationStep,
)
from lunet_cli.results.words import format_seconds, visible

OnEvent = Callable[[Event], None]
_FREQUENT = (CaseRead, StepDone, WindowDone, RoundDone, ChannelsRemoved)
# Without a line, after which one of the frequent events is told: who looks at a log wants to see
# within a minute that the job lives.
_QUIET_SECONDS = 30.0


@contextlib.contextmanager
def report_progress(console: Console, reword: Callable[[str], str] = str) -> Iterator[OnEvent]:
    """Yield a function that shows events on `console`.

    Args:
        console: Where.
        reword: Applied to what events say.
    """
    if not console.is_terminal:
        yield _PlainLines(reword)
        return
    bars = _Bars(console, reword)
    with bars.progress:
        yield bars


def _is_told_at_the_end(event: Event) -> bool:
    """Whether the table at the end has a row for it, and nothing of it should be told before."""
    return isinstance(event, CasePredicted) and not event.is_empty


def _is_usual(event: Event) -> bool:
    """Whether a line of it would say little."""
    if isinstance(event, VerificationStep):
        return event.step > 1
    return isinstance(event, _FREQUENT) or _is_told_at_the_end(event)


class _PlainLines:
    """One line per event; of what happens often, only a sign of life in a long silence."""

    def __init__(self, reword: Callable[[str], str]) -> None:
        self._reword = reword
        self._last = time.monotonic()
        self._epochs: EpochTable | None = None
        self._steps: StepTable | None = None
        self._prunes = False

    def __call__(self, event: Event) -> None:
        self._prunes |= isinstance(event, ChannelsRemoved | PruningStepDone)
        # The epochs between two steps of a pruning are a part of the step.
        is_usual = _is_usual(event) or (self._prunes and isinstance(event, EpochDone))
        if is_usual and time.monotonic() - self._last < _QUIET_SECONDS:
            return
        self._last = time.monotonic()
        for line in self._lines(event):
            # Straight to stderr: a console folds long lines at the width assumed for a pipe.
            print(visible(line), file=sys.stderr, flush=True)

    def _lines(self, event: Event) -> list[str]:
        if isinstance(event, TrainingStarted):
            return [str(event), *legend(event)]
        if isinstance(event, PruningStepDone):
            return self._lines_of_step(event)
        if not isinstance(event, EpochDone) or self._prunes:
            return [self._reword(str(event))]
        lines = []
        if self._epochs is None:
            self._epochs = EpochTable(event)
            lines = self._epochs.heading
        return [*lines, self._epochs.row(event).plain]

    def _lines_of_step(self, event: PruningStepDone) -> list[str]:
        lines = []
        if self._steps is None:
            self._steps = StepTable(event)
            lines = self._steps.heading
        return [*lines, self._steps.row(event).plain]


class _Bars:
    """Bars for what is being done; a line per epoch, or per step of a pruning."""

    def __init__(self, console: Console, reword: Callable[[str], str]) -> None:
        self._reword = reword
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=16),
            MofNCompleteColumn(),
            TextColumn("{task.fields[detail]}", markup=False),
            console=console,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._epochs: EpochTable | None = None
        self._steps: StepTable | None = None
        self._prunes = False
        self._best = ""
        self._clock: tuple[float, int] | None = None

    def __call__(self, event: Event) -> None:
        match event:
            case CaseRead():
                self._update("reading", event.num_done, event.num_cases)
                if event.num_done == event.num_cases:
                    self._remove("reading")
            case VerificationStep():
                self._update("verifying", event.step - 1, event.num_steps, event.name)
            case StepDone():
                detail = f"loss {event.loss:.4f}, learning rate {event.learning_rate:.2g}"
                self._update("step", event.step, event.num_steps, detail)
            case ChannelsRemoved() | PruningStepDone():
                self._show_pruning(event)
            case EpochDone():
                self._show_epoch(event)
            case CaseScored():
                self._update("cases", event.num_done, event.num_cases, str(event).partition(" ")[2])
            case WindowDone():
                detail = f"{event.case}  {self._left(event)}"
                self._update("windows", event.num_done, event.num_windows, detail)
            case RoundDone():
                self._update("passes", event.num_passes, event.total)
            case _:
                self._show(event)

    def _show(self, event: Event) -> None:
        """A line above the bars."""
        if _is_told_at_the_end(event):
            return
        if isinstance(event, PlanChosen):
            self._remove("verifying")
        self.progress.console.print(self._reword(str(event)), style=_style_of(event))
        if isinstance(event, TrainingStarted):
            for line in legend(event):
                self.progress.console.print(line, style="dim")
            self._update("epoch", event.first_epoch - 1, event.num_epochs)

    def _left(self, event: WindowDone) -> str:
        """Time left by the windows since the clock was started.

        That is at the first event, and where counting starts anew.
        """
        now = time.perf_counter()
        if self._clock is None or event.num_done <= self._clock[1]:
            self._clock = (now, event.num_done)
            return ""
        start, first = self._clock
        seconds_each = (now - start) / (event.num_done - first)
        seconds = seconds_each * (event.num_windows - event.num_done)
        return f"{format_seconds(seconds)} left"

    def _show_pruning(self, event: ChannelsRemoved | PruningStepDone) -> None:
        self._prunes = True
        if isinstance(event, ChannelsRemoved):
            detail = f"{event.parameters:,} parameters, Dice {event.val_dice:.4f}, recovering"
            self._update("pruning", event.step - 1, event.num_steps, detail)
            return
        record = event.record
        if self._steps is None:
            self._steps = StepTable(event)
            for line in self._steps.heading:
                self.progress.console.print(line, style="dim")
        self.progress.console.print(self._steps.row(event))
        detail = f"{record.seconds:.1f} s, {format_seconds(event.seconds_left)} left"
        self._update("pruning", record.step, event.num_steps, detail)

    def _show_epoch(self, event: EpochDone) -> None:
        record = event.record
        if not self._prunes:
            self._add_epoch_row(event)
        if event.is_best:
            self._best = f"best {record.val_dice:.4f} in epoch {record.epoch}, "
        left = format_seconds(event.seconds_left)
        detail = f"{self._best}{record.epoch_seconds:.1f} s each, {left} left"
        self._update("epoch", record.epoch, event.num_epochs, detail)

    def _add_epoch_row(self, event: EpochDone) -> None:
        if self._epochs is None:
            self._epochs = EpochTable(event)
            for line in self._epochs.heading:
                self.progress.console.print(line, style="dim")
        self.progress.console.print(self._epochs.row(event))

    def _remove(self, name: str) -> None:
        """Take a bar away, if it is there."""
        if name in self._tasks:
            self.progress.remove_task(self._tasks.pop(name))

    def _update(self, name: str, done: int, total: int, detail: str = "") -> None:
        shown = visible(detail)
        if name not in self._tasks:
            self._tasks[name] = self.progress.add_task(name, total=total, detail=shown)
        self.progress.update(self._tasks[name], completed=done, total=total, detail=shown)


def _style_of(event: Event) -> str:
    if isinstance(event, CaseFailed):
        return "red"
    if isinstance(event, WarningIssued | CasePredicted):
        return "yellow"
    return "dim"

"""Progress of a job: bars in a terminal, plain flushed lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from lunet_cli.results.benchmarking import RoundDone
from lunet_cli.results.evaluation import CaseScored
from lunet_cli.results.events import CaseFailed, CaseRead, Caution, Event, format_seconds
from lunet_cli.results.prediction import WindowDone
from lunet_cli.results.training import EpochDone, PlanChosen, StepDone, TrainingStarted, VerificationStep

OnEvent = Callable[[Event], None]


@contextlib.contextmanager
def report_progress(console: Console) -> Iterator[OnEvent]:
    """Yield a function that shows events on `console`."""
    if not console.is_terminal:
        yield _PlainLines()
        return
    bars = _Bars(console)
    with bars.progress:
        yield bars


class _PlainLines:
    """One line per event; of frequent ones, about ten per epoch or reading."""

    def __call__(self, event: Event) -> None:
        if isinstance(event, CaseRead) and event.num_done % -(-event.num_cases // 4):
            return
        if isinstance(event, StepDone) and event.step % max(1, event.num_steps // 4):
            return
        if isinstance(event, VerificationStep) and event.step % (event.num_steps // 2) != 1:
            return  # The first step of each side is told.
        if isinstance(event, WindowDone) and (event.num_windows < 100 or event.num_done % (event.num_windows // 10)):
            return
        if isinstance(event, RoundDone) and not event.is_tenth:
            return
        # Straight to stderr: a console would fold long lines at the width it assumes for a pipe.
        print(str(event), file=sys.stderr, flush=True)


class _Bars:
    """A bar for reading, one for the epochs and one for the steps of an epoch; a line per finished epoch."""

    def __init__(self, console: Console) -> None:
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[detail]}"),
            console=console,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._best = ""
        self._clock: tuple[float, int] | None = None

    def __call__(self, event: Event) -> None:
        if isinstance(event, CaseRead):
            self._update("reading", event.num_done, event.num_cases, "")
            if event.num_done == event.num_cases:
                self.progress.remove_task(self._tasks.pop("reading"))
        elif isinstance(event, VerificationStep):
            self._update("verifying", event.step - 1, event.num_steps, event.name)
        elif isinstance(event, StepDone):
            detail = f"loss {event.loss:.4f}  lr {event.learning_rate:.2g}"
            self._update("step", event.step, event.num_steps, detail)
        elif isinstance(event, EpochDone):
            self._show_epoch(event)
        elif isinstance(event, CaseScored):
            self._update("cases", event.num_done, event.num_cases, str(event).partition(" ")[2])
        elif isinstance(event, WindowDone):
            self._update("windows", event.num_done, event.num_windows, f"{event.case}  {self._left(event)}")
        elif isinstance(event, RoundDone):
            self._update("passes", event.num_passes, event.total, "")
        else:
            self._tell(event)

    def _tell(self, event: Event) -> None:
        """Print a line above the bars."""
        if isinstance(event, PlanChosen) and "verifying" in self._tasks:
            self.progress.remove_task(self._tasks.pop("verifying"))
        if isinstance(event, TrainingStarted):
            self._update("epoch", event.first_epoch - 1, event.num_epochs, "")
        style = "red" if isinstance(event, CaseFailed) else "yellow" if isinstance(event, Caution) else "dim"
        self.progress.console.print(str(event), style=style, markup=False, soft_wrap=True)

    def _left(self, event: WindowDone) -> str:
        """Time left by the windows since the clock was started: at the first event, and where counting starts anew."""
        now = time.perf_counter()
        if self._clock is None or event.num_done <= self._clock[1]:
            self._clock = (now, event.num_done)
            return ""
        start, first = self._clock
        seconds = (now - start) / (event.num_done - first) * (event.num_windows - event.num_done)
        return f"{format_seconds(seconds)} left"

    def _show_epoch(self, event: EpochDone) -> None:
        record = event.record
        if event.is_best:
            self._best = f"best {record.val_dice:.4f} in epoch {record.epoch}"
        detail = f"Dice {record.val_dice:.4f}  {self._best}  {record.epoch_seconds:.1f} s each, "
        self._update("epoch", record.epoch, event.num_epochs, detail + f"{format_seconds(event.seconds_left)} left")
        labels = "  ".join(f"{name} {value:.3f}" for name, value in record.val_dice_per_label.items())
        self.progress.console.print(
            f"epoch {record.epoch:>4}  loss {record.train_loss:.4f} / {record.val_loss:.4f}  "
            f"Dice [bold]{record.val_dice:.4f}[/bold]  {labels}{'  [green]best[/green]' if event.is_best else ''}"
        )

    def _update(self, name: str, done: int, total: int, detail: str) -> None:
        if name not in self._tasks:
            self._tasks[name] = self.progress.add_task(name, total=total, detail=detail)
        self.progress.update(self._tasks[name], completed=done, total=total, detail=detail)

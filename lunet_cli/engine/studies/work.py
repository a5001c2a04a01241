"""What a process does with one training of a study: claim it, train it, measure it."""

from __future__ import annotations

from collections.abc import Callable

from lunet_cli.engine.run_lock import RunHeldError, hold_run
from lunet_cli.engine.studies.plan import Run
from lunet_cli.engine.studies.trial_processes import Outcome
from lunet_cli.results.events import Event, WarningIssued

OnEvent = Callable[[Event], None]


def work_on(run: Run, on_event: OnEvent) -> Outcome:
    """Train, or go on with a training, and measure every case, unless another process does.

    Args:
        run: The training.
        on_event: Called with what happens.

    Raises:
        LunetError: Of the kind that fits; what was done before is kept.
    """
    try:
        with hold_run(run.claim, on_event):
            if run.is_done:
                return "taken"
            return _train_and_measure(run, on_event)
    except RunHeldError:
        return "taken"


def _train_and_measure(run: Run, on_event: OnEvent) -> Outcome:
    from lunet_cli.engine.evaluation.evaluate import evaluate
    from lunet_cli.engine.training.ended import has_ended
    from lunet_cli.engine.training.interrupts import unwinding
    from lunet_cli.engine.training.train import train

    if not has_ended(run.folder, run.config):
        trained = train(run.config, resume="auto", on_event=on_event)
        if trained.outcome == "interrupted":
            return "interrupted"
    with unwinding():
        found = evaluate(run.folder.path, on_event=on_event)
    for failure in found.failures:
        on_event(WarningIssued(f"{failure.case}: could not be measured ({failure.message})"))
    return "finished"

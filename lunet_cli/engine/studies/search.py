"""Combinations that Optuna chooses, by what those before them have reached.

Optuna keeps which values each trial has and what came of it; the folder of each training and its
claim say how far it is and who works on it. So Optuna needs no heartbeat, which its journal does
not have: a trial that is running there goes on wherever its trainings are free.
"""

from __future__ import annotations

import contextlib
import json
import math
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from lunet_cli.config.study import Range
from lunet_cli.engine.run_folder import RunFolder
from lunet_cli.engine.studies.findings import mean_dice
from lunet_cli.engine.studies.plan import Planner, Run, Variant, value_text
from lunet_cli.errors import ConfigError, LunetError, MissingDependencyError, OutputError
from lunet_cli.results.studies import TrialFailed, TrialMoved
from lunet_cli.results.words import without_password

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

_ASKED = "lunet"  # the attribute of a study in Optuna's store that holds what varies
_LOCK = ".search.lock"
# As many trials as Optuna's median pruner waits for by itself, and the share of the epochs that
# say little yet.
_FIRST_TRIALS, _FIRST_EPOCHS = 5, 0.2


class Search:
    """The combinations of a search, whoever has chosen them.

    Args:
        planner: Makes trainings of them.
        storage: URL of the database that keeps them; None for a file in the folder of the study.
        may_write: Whether the store may be made.

    Raises:
        MissingDependencyError: Optuna is not installed.
        ConfigError: The store is of another search, or cannot be opened.
    """

    def __init__(self, planner: Planner, storage: str | None, *, may_write: bool) -> None:
        self._planner = planner
        self._folder = RunFolder.of(planner.config)
        self._variants: dict[int, Variant] = {}
        self._failures: dict[int, TrialFailed] = {}
        self._states: dict[int, str] = {}
        self._study: Study | None = None
        optuna = _optuna()
        is_there = storage is not None or self._folder.search.exists()
        if may_write or is_there:
            if may_write:
                self._folder.path.mkdir(parents=True, exist_ok=True)
            with self._alone(may_write), _told(storage):
                self._study = optuna.create_study(
                    storage=_open(storage, self._folder.search),
                    study_name=planner.config.experiment.name,
                    sampler=optuna.samplers.RandomSampler(seed=0),
                    pruner=self._pruner(),
                    direction="maximize",
                    load_if_exists=True,
                )
                self._require_same(self._study)
            self._refresh()

    def runs(self) -> Sequence[Run]:
        """The trainings of all combinations that have not been given up, in their order."""
        self._refresh()
        found: list[Run] = []
        for number, variant in self._variants.items():
            if self._states[number] != "PRUNED":
                found += variant.runs
        return found

    def extend(self) -> bool:
        """Let Optuna choose a combination, if there are not enough."""
        assert self._study is not None  # Only a study that may write extends it.
        with self._alone(True):
            number = self._count_whole(self._study)
            if number >= self._planner.study.trials:
                return False
            # Seeded by its number, so that a random search is the same whoever works on it.
            self._study.sampler = self._sampler(self._planner.config.experiment.seed + number)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Of what is experimental in Optuna.
                self._study.ask(self._distributions())
        self._refresh()
        return True

    def num_to_come(self) -> int:
        """Trainings of combinations that have not been chosen yet."""
        chosen = len(self._variants) + len(self._failures)
        num_runs = [len(variant.runs) for variant in self._variants.values()]
        return (self._planner.study.trials - chosen) * max(
            num_runs, default=self._planner.study.seeds
        )

    def is_hopeless(self, run: Run, moved: TrialMoved) -> bool:
        """Report the Dice of an epoch of the first training of a combination, and ask Optuna."""
        number = self._number_of_first(run)
        if not self._planner.study.stop_hopeless or number is None or math.isnan(moved.val_dice):
            return False
        import optuna

        assert self._study is not None
        frozen = self._study.get_trials(deepcopy=False)[number]
        if frozen.state != optuna.trial.TrialState.RUNNING:
            return False
        trial = optuna.trial.Trial(self._study, frozen._trial_id)
        # After a kill, an epoch may be trained and told again.
        if moved.num_done not in frozen.intermediate_values:
            trial.report(moved.val_dice, moved.num_done)
        if not trial.should_prune():
            return False
        self._study.tell(number, state=optuna.trial.TrialState.PRUNED, skip_if_finished=True)
        self._refresh()
        return True

    def failures(self) -> Sequence[TrialFailed]:
        """Combinations whose values do not go with each other."""
        return tuple(self._failures.values())

    def variants(self) -> Sequence[Variant]:
        """All combinations so far, but for those that were given up."""
        kept = []
        for number, variant in self._variants.items():
            if self._states[number] != "PRUNED":
                kept.append(variant)
        return kept

    def hopeless(self) -> Sequence[str]:
        """Names of those that were given up."""
        given_up = []
        for number, variant in self._variants.items():
            if self._states[number] == "PRUNED":
                given_up.append(variant.name)
        return given_up

    def _refresh(self) -> None:
        """Read what has been chosen; tell Optuna of combinations that are done."""
        if self._study is None:
            return
        for trial in self._study.get_trials(deepcopy=False):
            if trial.number not in self._variants and trial.number not in self._failures:
                self._take(trial)
            self._states[trial.number] = trial.state.name
            variant = self._variants.get(trial.number)
            if variant is not None and trial.state.name == "RUNNING":
                self._tell_if_done(variant, trial.number)

    def _count_whole(self, study: Study) -> int:
        """Trials that have all their values; those whose process was killed before count as failed.

        Only for who holds the right to choose: nobody else is about to add values.
        """
        from optuna.trial import TrialState

        number = 0
        for trial in study.get_trials(deepcopy=False):
            if self._is_whole(trial):
                number += 1
            elif trial.state == TrialState.RUNNING:
                study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
        return number

    def _is_whole(self, trial: FrozenTrial) -> bool:
        return bool(trial.params.keys() == self._planner.study.vary.keys())

    def _take(self, trial: FrozenTrial) -> None:
        if not self._is_whole(trial):
            return
        values = {key: _value(value) for key, value in trial.params.items()}
        name = f"trial_{trial.number:04d}"
        in_order = {key: values[key] for key in self._planner.study.vary}
        try:
            self._variants[trial.number] = self._planner.one(name, in_order)
        except ConfigError as error:
            told = ", ".join(f"{key}={value_text(value)}" for key, value in in_order.items())
            self._failures[trial.number] = TrialFailed(name, f"{told}: {error.lines[0]}")

    def _tell_if_done(self, variant: Variant, number: int) -> None:
        if not all(run.is_done for run in variant.runs):
            return
        dice = mean_dice(variant)
        if not math.isnan(dice):
            assert self._study is not None
            self._study.tell(number, dice, skip_if_finished=True)
            self._states[number] = "COMPLETE"

    def _number_of_first(self, run: Run) -> int | None:
        """The combination whose first training this is."""
        for number, variant in self._variants.items():
            if variant.runs[0].name == run.name:
                return number
        return None

    @contextlib.contextmanager
    def _alone(self, may_write: bool) -> Iterator[None]:
        """Hold the right to choose, so that no two processes choose the last combination."""
        if not may_write:
            yield
            return
        try:
            with FileLock(self._folder.path / _LOCK, fallback_to_soft=False):
                yield
        except OSError as error:
            reason = error.strerror or str(error)
            raise OutputError(f"{self._folder.path}: cannot be locked ({reason})") from None

    def _require_same(self, study: Study) -> None:
        """Raise if the store holds the trials of another search."""
        vary = self._planner.study.model_dump(mode="json")["vary"]
        asked = json.dumps(vary, sort_keys=True)
        before = study.user_attrs.get(_ASKED)
        if before is None:
            study.set_user_attr(_ASKED, asked)
        elif before != asked:
            raise ConfigError(
                f"`vary`: differs from that of the search '{study.study_name}' that was begun: "
                f"{before}",
                hint="Ask for the same, or choose another `experiment.name`.",
            )

    def _distributions(self) -> dict[str, BaseDistribution]:
        from optuna import distributions

        found: dict[str, BaseDistribution] = {}
        for key, choices in self._planner.study.vary.items():
            if not isinstance(choices, Range):
                # As text: Optuna takes no lists.
                texts = [json.dumps(value) for value in choices]
                found[key] = distributions.CategoricalDistribution(texts)
            elif choices.is_whole:
                found[key] = distributions.IntDistribution(
                    int(choices.low), int(choices.high), log=choices.log
                )
            else:
                found[key] = distributions.FloatDistribution(
                    choices.low, choices.high, log=choices.log
                )
        return found

    def _sampler(self, seed: int) -> BaseSampler:
        from optuna import samplers

        seed %= 2**32  # numpy takes no larger ones.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of what is experimental in Optuna.
            match self._planner.study.search:
                case "tpe":
                    # Trials that run count as bad ones, so that processes try different things.
                    return samplers.TPESampler(seed=seed, constant_liar=True)
                case "gp":
                    return samplers.GPSampler(seed=seed)
                case "qmc":
                    # One sequence for all, of which each trial takes the next point.
                    first = self._planner.config.experiment.seed
                    return samplers.QMCSampler(seed=first, scramble=True)
        return samplers.RandomSampler(seed=seed)

    def _pruner(self) -> Any:
        from optuna import pruners

        epochs = self._planner.config.training.epochs
        return pruners.MedianPruner(
            n_startup_trials=_FIRST_TRIALS, n_warmup_steps=math.ceil(_FIRST_EPOCHS * epochs)
        )


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise MissingDependencyError(
            "`study.search`: needs Optuna, which is not installed",
            hint="pip install 'lunet[optuna]'; without it, every combination can be trained.",
        ) from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _open(storage: str | None, journal: Path) -> BaseStorage:
    from optuna import storages
    from optuna.storages import journal as journals

    if storage is not None:
        return storages.RDBStorage(storage)
    _mend(journal)
    lock: Any = _KernelLock(journal.with_name(f".{journal.name}.lock"))
    return storages.JournalStorage(journals.JournalFileBackend(str(journal), lock_obj=lock))


def _mend(journal: Path) -> None:
    """Cut off a last line that was only half written; without its end, nobody could read on."""
    if not journal.exists():
        return
    content = journal.read_bytes()
    if content and not content.endswith(b"\n"):
        with journal.open("r+b") as file:
            file.truncate(content.rfind(b"\n") + 1)


class _KernelLock:
    """A lock that the system takes back when its process dies; those of Optuna outlive it.

    Args:
        path: Its file.
    """

    def __init__(self, path: Path) -> None:
        self._lock = FileLock(path, fallback_to_soft=False)

    def acquire(self) -> bool:
        """Wait until nobody else holds it."""
        self._lock.acquire()
        return True

    def release(self) -> None:
        """Let others have it."""
        self._lock.release()


@contextlib.contextmanager
def _told(storage: str | None) -> Iterator[None]:
    """Tell what is wrong with a store in a line, without the password of a database."""
    try:
        yield
    except LunetError:
        raise
    except Exception as error:
        # SQLAlchemy and the drivers of databases raise whatever they like.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        where = "search.journal"
        if storage is not None:
            where = f"`storage={without_password(storage)}`"
            reason = reason.replace(storage, without_password(storage))
        raise ConfigError(f"{where}: cannot be opened ({reason})") from None


def _value(value: Any) -> Any:
    """A value as Optuna keeps it: text stands for a choice."""
    if isinstance(value, str):
        return json.loads(value)
    return value

"""The job `shrink`: from a trained network to the smallest one that is as good."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from lunet_cli.config.foresight import require_startable
from lunet_cli.config.load import load_config
from lunet_cli.config.options import BenchOptions, PredictionOptions, ShrinkOptions
from lunet_cli.config.pruning import PruningConfig
from lunet_cli.config.run import RunConfig
from lunet_cli.config.training import Scheduler
from lunet_cli.engine.benchmarking.benchmark import benchmark
from lunet_cli.engine.checkpoints.models import load_model
from lunet_cli.engine.data.splits import load_cases
from lunet_cli.engine.evaluation.non_inferiority import non_inferiority
from lunet_cli.engine.pruning.prune import ignore, prune
from lunet_cli.engine.pruning.pruner import count_removable, steps_of
from lunet_cli.engine.run_folder import RunFolder
from lunet_cli.errors import ConfigError, DataError, LunetError
from lunet_cli.results.evaluation import NonInferiority
from lunet_cli.results.events import Event, Notice, WarningIssued
from lunet_cli.results.pruning import PruneResult, PruningStep
from lunet_cli.results.shrinking import NetworkCost, PassTime, ShrinkComparison, ShrinkResult
from lunet_cli.results.words import plural

OnEvent = Callable[[Event], None]

# A tenth of the channels is about a fifth of the parameters: twenty steps leave some hundredths.
_SHARE_PER_STEP = 0.1
_PATIENCE = 3
_DISTILLATION = 0.5
# Of the learning rate of the training, since the network is in a good place: with all of it, the
# first steps on the phantom lost 0.08 of Dice, with 0.3 or 0.1 of it 0.01.
_LEARNING_RATE_SHARE = 0.3
# So that twenty steps together train as long as the run has.
_EPOCHS_SHARE = 1 / 20


def shrink(
    run: Path | str,
    options: ShrinkOptions | None = None,
    *,
    overrides: Iterable[str] = (),
    resume: str | None = None,
    on_event: OnEvent = ignore,
) -> ShrinkResult:
    """Make a trained network smaller, as far as it stays as good.

    It is pruned and trained on step by step, on the data of its training. The smallest network is
    kept whose Dice over the validation cases is at most the margin below that of the network of
    `run`, by the 95 % confidence interval of the difference. It is the best model of a run folder
    of its own; `run` stays as it is.

    The time of both networks is measured in processes of their own. A script that calls this needs
    `if __name__ == "__main__":`.

    Args:
        run: Run folder of the trained network.
        options: How far, and where the result is kept.
        overrides: Strings `section.key=value` for the configuration of the run and the settings of
            the pruning.
        resume: `auto` goes on where an earlier call was interrupted, and begins otherwise.
        on_event: Called with what happens, in the process and thread of the caller.

    Returns:
        The steps, and both networks beside each other.

    Raises:
        LunetError: Of the kind that fits; what was done before is kept.

    Example:
        >>> settings = ["pruning.channels_per_step=0.5", "pruning.steps=1"]
        >>> options = lunet.ShrinkOptions(margin=1.0, name="small")
        >>> result = lunet.shrink("runs/phantom", options, overrides=settings)
        >>> result.comparison.before.parameters, result.comparison.is_smaller
        (9944, True)
    """
    path, overrides = _named(Path(run)), tuple(overrides)
    folder = RunFolder(path)
    _require_training(folder)
    config = _config_of(folder, options or ShrinkOptions(), overrides)
    _require_comparable(config, folder)
    on_event(_told(config))
    result = prune(config, start=folder.best, resume=resume, on_event=on_event)
    if result.outcome == "interrupted" or result.chosen is None:
        return ShrinkResult(result, None)
    return ShrinkResult(result, _compare(folder, result, config.pruning.margin, on_event))


def _named(run: Path) -> Path:
    """A path that ends with the name of its folder, which `.` and `..` do not."""
    if run.name in ("", ".."):
        return run.resolve()
    return run


def _require_training(folder: RunFolder) -> None:
    """Raise if a path is not the folder of a training.

    Raises:
        DataError: With what it lacks.
    """
    if folder.path.is_file():
        raise DataError(
            f"{folder.path}: is a file, and its training is needed to go on with it",
            hint=f"Name the run folder that it comes from, such as {folder.path.absolute().parent}",
        )
    for file in (folder.config, folder.best):
        if not file.exists():
            raise DataError(
                f"{folder.path}: is not the folder of a training: it has no {file.name}",
                hint="Name a run folder, such as runs/quickstart; `train(CONFIG)` makes it.",
            )


def _config_of(folder: RunFolder, options: ShrinkOptions, overrides: tuple[str, ...]) -> RunConfig:
    """The configuration of a run with the settings of the pruning.

    Raises:
        ConfigError: A setting is wrong, or given twice.
    """
    given = {override.partition("=")[0].strip() for override in overrides}
    _require_given_once(options, given)
    # Checked as a name here too, since folders may be called otherwise.
    name = ShrinkOptions(name=options.name or f"{folder.path.name}_small").name
    of_training = [override for override in overrides if override.startswith("training.")]
    training = load_config(folder.config, of_training).training
    scheduler: Scheduler | None = None
    if training.scheduler == "none":
        # A network is validated at the end of each step, where large updates are only noise.
        scheduler = "cosine"
    pruning = PruningConfig(
        strategy="largest-l1",
        channels_per_step=_SHARE_PER_STEP,
        learning_rate=_LEARNING_RATE_SHARE * training.learning_rate,
        scheduler=scheduler,
        recovery_epochs=min(1000, math.ceil(_EPOCHS_SHARE * training.epochs)),
        targeted_dropout=0.0,
        protect=(),
        margin=options.margin,
        reference="unpruned",
        patience=_PATIENCE,
        distillation=_DISTILLATION,
    )
    settings = (
        # JSON is YAML, whatever characters a path has, and where a name is a number.
        f"experiment.output_dir={json.dumps(str(folder.path.parent))}",
        f"experiment.name={json.dumps(name)}",
        f"pruning={pruning.model_dump_json()}",
    )
    config = load_config(folder.config, (*settings, *overrides))
    if "pruning.steps" in given:
        return config
    removable = count_removable(load_model(folder.best).card.network, config.pruning)
    # The search usually ends long before; without channels to spare, the pruning says so in words.
    steps = max(1, sum(1 for _ in steps_of(config.pruning, removable)))
    return config.model_copy(update={"pruning": config.pruning.model_copy(update={"steps": steps})})


def _require_given_once(options: ShrinkOptions, given: Collection[str]) -> None:
    """Raise if an option is a key of the configuration as well."""
    if "pruning.margin" in given:
        raise ConfigError("pruning.margin: is the option `margin` here, and not set as a key")
    if options.name is not None and "experiment.name" in given:
        raise ConfigError("`name` and experiment.name: are the same", hint="Give one of them.")


def _require_comparable(config: RunConfig, folder: RunFolder) -> None:
    """Raise if the validation cases cannot tell whether a network is as good.

    Raises:
        DataError: There is one only, or the network has learned from some of them.
        ConfigError: The data cannot be found or divided.
    """
    require_startable(config)
    _, split = load_cases(config.data, seed=config.experiment.seed)
    if len(split.val) < 2:
        raise DataError(
            f"{folder.path}: has {plural(len(split.val), 'validation case')}, and a confidence "
            "interval takes two at least, better 20",
            hint="Train with a larger share: `data.split.val_fraction=0.25`",
        )
    manifest = folder.read_manifest()
    if manifest is None:
        return
    learned = {case.case_id for case in split.val} & {*manifest.split.train}
    if learned:
        raise DataError(
            f"{folder.path}: was trained on {plural(len(learned), 'of its validation case')}, such "
            f"as {min(learned)}: the data or their division have changed",
            hint="Name the data set as it was: `data.root=FOLDER`",
        )


def _told(config: RunConfig) -> Notice:
    pruning = config.pruning
    per_step = plural(int(pruning.channels_per_step), "channel")
    if pruning.channels_per_step < 1:
        per_step = f"{pruning.channels_per_step:.0%} of the channels"
    epochs = plural(pruning.recovery_epochs, "epoch")
    return Notice(
        f"each step removes {per_step} and trains for {epochs}; the search ends when no smaller "
        f"network stays within a Dice of {pruning.margin:g}"
    )


def _compare(
    run: RunFolder, result: PruneResult, margin: float, on_event: OnEvent
) -> ShrinkComparison:
    """The network of the run and the chosen one beside each other."""
    unpruned, chosen = result.steps[0], result.chosen
    assert chosen is not None  # The caller has made sure.
    best = RunFolder(result.run_dir).best
    card = load_model(best).card
    batch = (PredictionOptions().batch_size, card.network.in_channels, *card.window)
    times: dict[Path, PassTime] = {}
    if chosen.step > 0:
        times = _time(run.best, best, batch, on_event)

    def difference(step: PruningStep) -> NonInferiority:
        return non_inferiority(step.dice_per_case, unpruned.dice_per_case, margin=margin)

    found = map(difference, result.steps[1:])
    inferior = [compared for compared in found if not compared.is_shown]
    return ShrinkComparison(
        before=_cost(unpruned, run.best, times),
        after=_cost(chosen, best, times),
        difference=difference(chosen),
        nearest=max(inferior, key=_lower_end, default=None),
        batch=batch,
    )


def _lower_end(difference: NonInferiority) -> float:
    return difference.interval[0]


def _time(
    before: Path, after: Path, batch: tuple[int, ...], on_event: OnEvent
) -> dict[Path, PassTime]:
    """Time both networks in turns, in fp32, each by the fastest runtime that is installed."""
    num_samples, _, *window = batch
    options = BenchOptions(
        targets=(before, after),
        batch_sizes=(num_samples,),
        sizes=(window,),
        # Else, `auto` may take bf16 for one of them only, and compare two arithmetics.
        precisions=("fp32",),
        runtimes=("auto",),
    )
    try:
        measured = benchmark(options, on_event=on_event)
    except LunetError as error:  # A time must not hide the network.
        on_event(WarningIssued(f"the networks are not timed: {error.message}"))
        return {}
    times: dict[Path, PassTime] = {}
    for row in measured.rows:
        how = f"{row.runtime} {row.precision} on {row.device}"
        times[Path(str(row.source))] = PassTime(row.latency_ms.median, how)
    return times


def _cost(step: PruningStep, path: Path, times: Mapping[Path, PassTime]) -> NetworkCost:
    return NetworkCost(
        path=path,
        parameters=step.parameters,
        flops=step.flops,
        num_channels=sum(step.widths.values()),
        size_bytes=path.stat().st_size,
        dice=step.val_dice,
        pass_time=times.get(path),
    )

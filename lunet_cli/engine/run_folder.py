"""The run folder: which files it has, and the door to each of them."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from lunet_cli.config.document import CONFIG_FILE
from lunet_cli.config.load import dump_yaml
from lunet_cli.config.run import RunConfig
from lunet_cli.errors import DataError, OutputError
from lunet_cli.records.channels import channels_text, read_channels_table
from lunet_cli.records.files import read_text, require_makeable, write_atomically
from lunet_cli.records.history import history_text, read_history
from lunet_cli.records.manifest import Manifest
from lunet_cli.records.pruning import pruning_cases_text, pruning_text, read_pruning
from lunet_cli.records.study import read_validation_cases, study_text, validation_cases_text
from lunet_cli.records.training_study import training_study_text
from lunet_cli.records.training_summary import TrainingSummary
from lunet_cli.results.events import Event
from lunet_cli.results.pruning import PruningStep
from lunet_cli.results.studies import StudyRow
from lunet_cli.results.training import EpochRecord
from lunet_cli.results.training_studies import TrainingStudy
from lunet_cli.results.views import ChannelHistory
from lunet_cli.results.words import visible

LAST, BEST, LOG = "last.pt", "best_model.pt", "train.log"
_MANIFEST, _HISTORY, _TRAINING = "manifest.json", "history.csv", "training.json"
_TRACKING = "tracking.json"
_PLAN, _PLANNED_SPLIT = "plan.yaml", "planned_split.json"
_PRUNING, _PRUNING_CASES, _CHANNELS = "pruning.csv", "pruning_cases.csv", "channels.csv"
PRUNED_CONFIG = "pruned.yaml"
_STUDY, _VALIDATION_CASES = "study.csv", "validation_cases.csv"
# What a run that was killed before its first state may have left.
_AT_START = (CONFIG_FILE, _MANIFEST, _HISTORY, LOG)
_WRITTEN_WHOLE = (
    "*.pt",
    "*.png",
    CONFIG_FILE,
    _PLAN,
    _PLANNED_SPLIT,
    _MANIFEST,
    _HISTORY,
    _TRAINING,
    _TRACKING,
    _PRUNING,
    _PRUNING_CASES,
    _CHANNELS,
    PRUNED_CONFIG,
    _VALIDATION_CASES,
)


class RunFolder:
    """Files of one run.

    Args:
        path: `<output_dir>/<name>`; made by `hold_run`, not before.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, config: RunConfig) -> Self:
        """The folder that a configuration names."""
        return cls(config.experiment.output_dir / config.experiment.name)

    @property
    def last(self) -> Path:
        """State after the newest epoch, or where the run was interrupted."""
        return self.path / LAST

    @property
    def best(self) -> Path:
        """The model with the best validation Dice."""
        return self.path / BEST

    @property
    def history(self) -> Path:
        """One line per epoch."""
        return self.path / _HISTORY

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / CONFIG_FILE

    @property
    def plan(self) -> Path:
        """The commented configuration that a training planned for itself."""
        return self.path / _PLAN

    @property
    def planned_split(self) -> Path:
        """The division of the cases, where a plan has to make one of its own."""
        return self.path / _PLANNED_SPLIT

    @property
    def manifest(self) -> Path:
        """What is needed to understand and repeat the run."""
        return self.path / _MANIFEST

    @property
    def summary(self) -> Path:
        """How the training ended; an evaluation has a summary of its own, in a folder below."""
        return self.path / _TRAINING

    @property
    def tracking(self) -> Path:
        """What the run is called at services that show its history."""
        return self.path / _TRACKING

    @property
    def channels(self) -> Path:
        """The channels of every layer of a pruned network."""
        return self.path / _CHANNELS

    @property
    def pruning(self) -> Path:
        """One line per step of a pruning."""
        return self.path / _PRUNING

    @property
    def pruning_cases(self) -> Path:
        """Dice of every validation case at each step of a pruning."""
        return self.path / _PRUNING_CASES

    @property
    def pruned_config(self) -> Path:
        """A configuration that trains the chosen network of a pruning from the beginning."""
        return self.path / PRUNED_CONFIG

    @property
    def validation_cases(self) -> Path:
        """Dice of every validation case with the best model of a training in a study."""
        return self.path / _VALIDATION_CASES

    @property
    def study(self) -> Path:
        """One line per network or trial of a study, in the folder that holds its trials."""
        return self.path / _STUDY

    @property
    def comparison(self) -> Path:
        """The combinations of a study, as a comparison of runs."""
        return self.path / "comparison.json"

    @property
    def bench(self) -> Path:
        """How fast the networks of a study compute."""
        return self.path / "bench.json"

    @property
    def search(self) -> Path:
        """The trials of a search, as Optuna keeps them."""
        return self.path / "search.journal"

    @property
    def study_page(self) -> Path:
        """Everything about a study as one page."""
        return self.path / "study.html"

    @property
    def pareto_picture(self) -> Path:
        """The combinations of a study by what they reach and cost."""
        return self.path / "pareto.png"

    @property
    def evaluations(self) -> Path:
        """A folder for each evaluation."""
        return self.path / "eval"

    def evaluation(self, name: str) -> Path:
        """The folder of one evaluation."""
        return self.evaluations / name

    @property
    def curves_picture(self) -> Path:
        """Losses and validation Dice over the epochs."""
        return self.path / "training_curves.png"

    @property
    def slices_picture(self) -> Path:
        """Slices of validation cases with their predictions."""
        return self.path / "slices.png"

    @property
    def report(self) -> Path:
        """Everything about the run as one page."""
        return self.path / "report.html"

    @property
    def folds(self) -> list[Path]:
        """Run folders of the folds of a cross-validation, if this folder holds them."""
        found = [path for path in self.path.glob("fold_*") if RunFolder(path).best.is_file()]
        return sorted(found, key=lambda path: (len(path.name), path.name))

    @property
    def is_used(self) -> bool:
        """Whether a run has left a state here; one that was killed before its first has none."""
        return any(self.path.glob("*.pt"))

    def kept_checkpoint(self, epoch: int) -> Path:
        """Where the state of `epoch` is kept for good."""
        return self.path / f"checkpoint_epoch{epoch:03d}.pt"

    def kept_step(self, step: int) -> Path:
        """Where the network after `step` of a pruning is kept for good."""
        return self.path / f"checkpoint_step{step:03d}.pt"

    def require_free(self) -> None:
        """Raise if a run is here already, or other things that a run might overwrite.

        Raises:
            OutputError: With the two ways on.
        """
        if self.is_used:
            number = 2
            while (self.path.parent / f"{self.path.name}_{number}").exists():
                number += 1
            raise OutputError(
                f"{self.path}: a run is here already, and is not overwritten",
                hint="Go on with it: `resume=auto`. Or start another: "
                f"`experiment.name={self.path.name}_{number}`",
            )
        foreign = self._foreign_names()
        # The first three are enough to see what folder it is.
        if foreign:
            listed = ", ".join(foreign[:3])
            if len(foreign) > 3:
                listed += ", ..."
            raise OutputError(
                f"{self.path}: is not a run folder and holds other things ({listed})",
                hint="Choose another `experiment.name`, or a folder that is empty.",
            )

    def _foreign_names(self) -> list[str]:
        """What lies here and was not left by a run that was killed before its first state.

        Such a run has a log, which is the first thing that it writes. Hidden files do not count.
        """
        if not self.path.is_dir():
            return []
        names = {path.name for path in self.path.iterdir() if not path.name.startswith(".")}
        names.difference_update((_PLAN, _PLANNED_SPLIT))
        if LOG in names:
            names.difference_update(_AT_START)
        return sorted(names)

    def require_writable(self) -> None:
        """Raise if the folder cannot be made or written to; makes nothing.

        Raises:
            OutputError: It cannot.
        """
        require_makeable(self.path)

    def remove_leftovers(self) -> None:
        """Remove what a process that was killed has left half-written.

        Raises:
            OutputError: It cannot be removed.
        """
        try:
            for name in _WRITTEN_WHOLE:
                # Eight characters of `tempfile` after the name, see `write_atomically`.
                for leftover in self.path.glob(f".{name}.????????"):
                    leftover.unlink()
        except OSError as error:
            raise OutputError(
                f"{error.filename}: cannot be removed ({error.strerror or error})"
            ) from None

    def has_ended(self, num_epochs: int) -> bool:
        """Whether a training of so many epochs has written its end here.

        One that was resumed since has more.
        """
        try:
            summary = self.read_summary()
        except DataError:
            return False
        return summary is not None and summary.num_epochs == num_epochs

    def write_text(self, name: str, text: str) -> None:
        """Write a text file, whole or not at all."""
        write_atomically(self.path / name, lambda file: file.write(text.encode()))

    def write_config(self, config: RunConfig) -> None:
        """Write the resolved configuration."""
        self.write_text(self.config.name, dump_yaml(config))

    def read_config_text(self) -> str:
        """The configuration as it was written.

        Raises:
            DataError: There is none, or it is not text.
        """
        return read_text(self.config)

    def write_manifest(self, manifest: Manifest) -> None:
        """Write what is needed to understand and repeat the run."""
        manifest.write(self.manifest)

    def read_manifest(self) -> Manifest | None:
        """What the run was made of; None where a checkpoint lies outside of its folder.

        Raises:
            DataError: It is damaged.
        """
        return Manifest.read(self.manifest) if self.manifest.exists() else None

    def write_summary(self, summary: TrainingSummary) -> None:
        """Write how the training ended."""
        summary.write(self.summary)

    def remove_summary(self) -> None:
        """Take back that the run has ended: it goes on.

        Raises:
            OutputError: It cannot be removed.
        """
        try:
            self.summary.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(
                f"{self.summary}: cannot be removed ({error.strerror or error})"
            ) from None

    def read_summary(self) -> TrainingSummary | None:
        """How the training ended; None before its end.

        Raises:
            DataError: It is damaged.
        """
        return TrainingSummary.read(self.summary) if self.summary.exists() else None

    def write_history(self, records: Sequence[EpochRecord]) -> None:
        """Write the whole history."""
        self.write_text(self.history.name, history_text(records))

    def holds_history(self, records: Sequence[EpochRecord]) -> bool:
        """Whether the history is there as it was written."""
        try:
            return self.history.read_bytes() == history_text(records).encode()
        except OSError:
            return False

    def read_history(self) -> list[EpochRecord]:
        """Read the history back; labels are called as their columns are.

        Raises:
            DataError: There is none, or it is damaged.
        """
        self._require_folder(
            self.history,
            f"has no {self.history.name}",
            hint="Name a run folder, such as runs/quickstart; `train(CONFIG)` makes it.",
        )
        return read_history(self.history)

    def read_channels(self) -> ChannelHistory:
        """How the channels changed while the network was pruned.

        Raises:
            DataError: It was not pruned, or the table is damaged.
        """
        self._require_folder(
            self.channels,
            f"was not pruned: it has no {self.channels.name}",
            hint="`viz_network(CHECKPOINT)` shows a network as it is.",
        )
        return read_channels_table(self.channels, self.path.resolve().name)

    def write_pruning(self, steps: Sequence[PruningStep]) -> None:
        """Write all steps of a pruning, into three tables."""
        self.write_text(self.channels.name, channels_text(steps))
        self.write_text(self.pruning_cases.name, pruning_cases_text(steps))
        # Last, since its reader looks for the same steps in the others.
        self.write_text(self.pruning.name, pruning_text(steps))

    def read_pruning(self) -> list[PruningStep]:
        """Read the steps of a pruning back.

        Raises:
            DataError: There is none, or a table is damaged.
        """
        self._require_folder(
            self.pruning,
            f"was not pruned: it has no {self.pruning.name}",
            hint="`prune(RUN)` writes it.",
        )
        return read_pruning(self.pruning, self.pruning_cases, self.channels)

    def write_validation_cases(self, epoch: int, dice_per_case: Mapping[str, float]) -> None:
        """Write what the best model, of `epoch`, reaches on each validation case."""
        text = validation_cases_text(epoch, dice_per_case)
        self.write_text(self.validation_cases.name, text)

    def read_validation_cases(self, epoch: int) -> dict[str, float] | None:
        """Dice of each validation case with the model of `epoch`; None where it is not measured.

        Raises:
            DataError: The table is damaged.
        """
        if not self.validation_cases.exists():
            return None
        measured, dice = read_validation_cases(self.validation_cases)
        # A training that went on since may have found a better one.
        if measured != epoch:
            return None
        return dice

    def write_study(self, rows: Sequence[StudyRow]) -> None:
        """Write the networks of a study."""
        self.write_text(self.study.name, study_text(rows))

    def write_training_study(self, study: TrainingStudy) -> None:
        """Write what the trainings of a study have found."""
        self.write_text(self.study.name, training_study_text(study))

    def _require_folder(self, file: Path, lacks: str, *, hint: str) -> None:
        """Raise if the folder is not there, or lacks a file."""
        if self.path.is_file():
            raise DataError(f"{self.path}: is not a run folder", hint=hint)
        if not self.path.is_dir():
            raise DataError(f"{self.path}: there is no such folder", hint=hint)
        if not file.exists():
            raise DataError(f"{self.path}: {lacks}", hint=hint)

    def log(self, event: Event | str) -> None:
        """Add a line with the time to `train.log`."""
        now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        path = self.path / LOG
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(f"{now} {visible(event)}\n")
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from None


def names_of(runs: Sequence[Path]) -> list[str]:
    """What runs are called beside each other.

    Their folders' names, or whole paths where those are not enough.
    """
    names = [visible(run.resolve().name) for run in runs]
    if len(set(names)) == len(names):
        return names
    return list(map(visible, runs))

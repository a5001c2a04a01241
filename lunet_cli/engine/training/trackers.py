"""Services that show the history of a run: for each, a class that knows its library."""

from __future__ import annotations

import json
import os
import re
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from lunet_cli.config.base import Section
from lunet_cli.config.load import dump_yaml
from lunet_cli.config.run import RunConfig
from lunet_cli.engine.provenance import versions
from lunet_cli.engine.run_folder import RunFolder
from lunet_cli.records.tracking import TrackingIds

Ending = Literal["finished", "stopped early", "interrupted", "failed"]

GRACE_S = 20
"""How long a service may take to begin, and at the end of a training for what is left to send."""

# What MLflow takes at once.
_MOST_PARAMS, _MOST_METRICS = 100, 1000
# The value of an epoch that is sent last: where it is, the others are.
_SENT_LAST = "train_loss"
_MLFLOW_STATUS: dict[Ending, str] = {
    "finished": "FINISHED",
    "stopped early": "FINISHED",
    "interrupted": "KILLED",
    "failed": "FAILED",
}


@dataclass(frozen=True)
class Point:
    """What is shown of an epoch.

    Args:
        epoch: Its number.
        values: By name, which is that of the column in `history.csv`.
        time: When it ended, in seconds since 1970.
    """

    epoch: int
    values: dict[str, float]
    time: float


class KnownIds:
    """What a run is called at the services: kept in its folder, and used by several threads."""

    def __init__(self, folder: RunFolder) -> None:
        self._path = folder.tracking
        self._lock = threading.Lock()

    def read(self) -> TrackingIds:
        """Those of the run.

        Raises:
            DataError: The file is damaged.
        """
        return TrackingIds.read(self._path) if self._path.exists() else TrackingIds()

    def keep(self, service: Literal["wandb", "mlflow"], value: str) -> None:
        """Keep a name for when the run goes on."""
        with self._lock:
            self.read().model_copy(update={service: value}).write(self._path)


@dataclass(frozen=True)
class TrackedRun:
    """The run that is shown."""

    config: RunConfig
    folder: RunFolder
    ids: KnownIds


class Tracker(Protocol):
    """A service that shows one run. Its library may raise anything; who calls it is prepared."""

    place: str
    """Where the run can be seen, in words."""

    def send(self, points: Sequence[Point]) -> None:
        """Show epochs; those that the service has already may be among them."""

    def close(self, ending: Ending) -> None:
        """Send what is left, and say how the training ended."""


class WandbTracker:
    """The run at Weights & Biases, or below the run folder for `wandb sync`."""

    def __init__(self, run: TrackedRun) -> None:
        import wandb

        config = run.config.wandb
        known = run.ids.read().wandb
        name = known or secrets.token_hex(4)
        if known is None:
            run.ids.keep("wandb", name)
        is_online = config.mode == "online"
        self._run: Any = wandb.init(
            id=name,
            # Offline there is nobody to ask: the file then holds the whole curve again.
            resume="allow" if is_online else None,
            project=config.project,
            name=run.config.experiment.name,
            mode=config.mode,
            dir=str(run.folder.path),
            config=run.config.model_dump(mode="json"),
            # Another run of the same process may be open.
            reinit="create_new",
            settings=wandb.Settings(
                # Without a network, its own 90 seconds would look like a training that hangs, and
                # it would send without an end.
                init_timeout=GRACE_S,
                finish_timeout=GRACE_S,
                # The engine never prints; nor is its progress worth keeping there.
                silent=True,
                console="off",
            ),
        )
        self.place = f"after `wandb sync {Path(self._run.dir).parent}`"
        if is_online:
            self.place = str(self._run.url)
        self._first = self._run.starting_step

    def send(self, points: Sequence[Point]) -> None:
        """Show epochs. Of one that is sent twice, the service would warn."""
        for point in points:
            if point.epoch >= self._first:
                self._run.log(point.values, step=point.epoch)

    def close(self, ending: Ending) -> None:
        """Send what is left."""
        self._run.finish(exit_code=int(ending == "failed"))


class TensorBoardTracker:
    """An event file in the run folder. It is written anew from the history when a run goes on."""

    def __init__(self, run: TrackedRun) -> None:
        from torch.utils.tensorboard import SummaryWriter

        ours = ".lunet"
        for path in run.folder.path.glob(f"events.out.tfevents.*{ours}"):
            path.unlink()
        self.place = f"event file in {run.folder.path}"
        # A TensorBoard that is watching forgets the points of the file that is gone.
        self._writer = SummaryWriter(str(run.folder.path), filename_suffix=ours, purge_step=1)
        as_markdown = dump_yaml(run.config).replace("\n", "\n    ")
        self._writer.add_text("config", f"    {as_markdown}", global_step=0)

    def send(self, points: Sequence[Point]) -> None:
        """Show epochs."""
        for point in points:
            for name, value in point.values.items():
                self._writer.add_scalar(name, value, point.epoch, walltime=point.time)
        self._writer.flush()

    def close(self, ending: Ending) -> None:
        """End the file."""
        self._writer.close()


class MlflowTracker:
    """The run at an MLflow tracking server."""

    def __init__(self, run: TrackedRun) -> None:
        # What MLflow's makers would like to know of its use is not ours to tell.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient

        self._config = run.config
        self._client = MlflowClient(tracking_uri=run.config.mlflow.tracking_uri)
        self._id = self._begun(run.ids.read().mlflow) or self._begin(run.ids)
        self.place = (
            f"run {self._id} of the experiment {run.config.mlflow.experiment} at "
            f"{_without_password(self._client.tracking_uri)}"
        )
        self._known = {
            point.step for point in self._client.get_metric_history(self._id, _SENT_LAST)
        }

    def _begun(self, name: str | None) -> str | None:
        """The run of this name, which goes on; None if it is not there any more."""
        from mlflow import MlflowException

        if name is None:
            return None
        try:
            found = self._client.get_run(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        if found.info.lifecycle_stage != "active":
            return None
        self._client.update_run(name, status="RUNNING")
        return name

    def _begin(self, ids: KnownIds) -> str:
        """A new run with the configuration as its parameters."""
        from mlflow.entities import Param

        run = self._client.create_run(
            self._experiment(),
            run_name=self._config.experiment.name,
            tags={"lunet": versions()["lunet"]},
        )
        name = str(run.info.run_id)
        ids.keep("mlflow", name)
        params = [Param(key, value) for key, value in _settings(self._config)]
        for first in range(0, len(params), _MOST_PARAMS):
            self._client.log_batch(name, params=params[first : first + _MOST_PARAMS])
        return name

    def _experiment(self) -> str:
        from mlflow import MlflowException

        name = self._config.mlflow.experiment
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        try:
            return str(self._client.create_experiment(name))
        except MlflowException:
            # It may be there since a moment: folds begin at once.
            found = self._client.get_experiment_by_name(name)
            if found is None:
                raise
            return str(found.experiment_id)

    def send(self, points: Sequence[Point]) -> None:
        """Show epochs that the server has not yet."""
        from mlflow.entities import Metric

        waiting: list[Metric] = []
        for point in points:
            if point.epoch in self._known:
                continue
            self._known.add(point.epoch)
            if len(waiting) + len(point.values) > _MOST_METRICS:
                self._client.log_batch(self._id, metrics=waiting)
                waiting = []
            when = int(1000 * point.time)
            for name, value in _ordered(point.values):
                waiting.append(Metric(name, value, when, point.epoch))
        if waiting:
            self._client.log_batch(self._id, metrics=waiting)

    def close(self, ending: Ending) -> None:
        """Say how the training ended."""
        self._client.set_terminated(self._id, status=_MLFLOW_STATUS[ending])


def _ordered(values: dict[str, float]) -> list[tuple[str, float]]:
    return sorted(values.items(), key=lambda item: item[0] == _SENT_LAST)


def _settings(section: Section, above: str = "") -> Iterator[tuple[str, str]]:
    """All keys of a configuration with their values as text."""
    for key in type(section).model_fields:
        value = getattr(section, key)
        if isinstance(value, Section):
            yield from _settings(value, f"{above}{key}.")
            continue
        plain = section.model_dump(mode="json", include={key})[key]
        yield above + key, plain if isinstance(plain, str) else json.dumps(plain)


def _without_password(uri: str) -> str:
    return re.sub(r"(?<=//)[^/@]*@", "", uri)


@dataclass(frozen=True)
class Service:
    """A service that a configuration can enable.

    Args:
        section: Its section there, and the extra that installs it.
        title: How people call it.
        module: What is imported for it.
        show: Begins to show a run.
    """

    section: Literal["wandb", "tensorboard", "mlflow"]
    title: str
    module: str
    show: Callable[[TrackedRun], Tracker]

    def is_wanted(self, config: RunConfig) -> bool:
        """Whether a configuration asks for it."""
        if self.section == "wandb" and config.wandb.mode == "disabled":
            return False
        return bool(getattr(config, self.section).enabled)


SERVICES: tuple[Service, ...] = (
    Service("wandb", "Weights & Biases", "wandb", WandbTracker),
    Service("tensorboard", "TensorBoard", "torch.utils.tensorboard", TensorBoardTracker),
    Service("mlflow", "MLflow", "mlflow", MlflowTracker),
)

"""The optional mirror at Weights & Biases; whatever goes wrong there becomes one warning."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lunet_cli.config.run import RunConfig
from lunet_cli.results.events import Event
from lunet_cli.results.training import EpochDone


class WandbMirror:
    """Sends each epoch to Weights & Biases.

    Args:
        config: The configuration of the run.
        run_dir: Where its local files go.
        on_problem: Called once, with a sentence, when the mirror gives up.
    """

    def __init__(self, config: RunConfig, run_dir: Path, on_problem: Callable[[str], None]) -> None:
        self._on_problem = on_problem
        self._run: Any = None
        if not config.wandb.enabled or config.wandb.mode == "disabled":
            return
        try:
            import wandb
        except ImportError:
            on_problem(
                "wandb.enabled is true, but wandb is not installed: pip install 'lunet[wandb]'"
            )
        except Exception as error:
            # A broken installation may raise anything.
            self._give_up(error)
        else:
            self._guard(lambda: self._start(wandb, config, run_dir))

    def __call__(self, event: Event) -> None:
        """Mirror an event, if it is the end of an epoch."""
        if self._run is not None and isinstance(event, EpochDone):
            record = event.record
            values = {"train_loss": record.train_loss, "learning_rate": record.learning_rate}
            if record.is_validated:
                values |= {"val_loss": record.val_loss, "val_dice": record.val_dice}
                for name, value in record.val_dice_per_label.items():
                    values[f"val_dice/{name}"] = value
            self._guard(lambda: self._run.log(values, step=record.epoch))

    def close(self) -> None:
        """End the mirror."""
        if self._run is not None:
            self._guard(lambda: self._run.finish())

    def _start(self, wandb: Any, config: RunConfig, run_dir: Path) -> None:
        self._run = wandb.init(
            project=config.wandb.project,
            name=config.experiment.name,
            mode=config.wandb.mode,
            dir=str(run_dir),
            config=config.model_dump(mode="json"),
            # Without a network, its own 90 seconds would look like a training that hangs.
            settings=wandb.Settings(init_timeout=20),
        )

    def _guard(self, action: Callable[[], Any]) -> None:
        try:
            action()
        except Exception as error:
            # A mirror must never stop a training, whatever its library raises.
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._run = None
        self._on_problem(f"Weights & Biases is left out from here on: {error!r}")

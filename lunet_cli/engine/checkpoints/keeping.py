"""The job `add_model`: a trained network becomes a model that is found by its name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePath

from pydantic import JsonValue

from lunet_cli.engine.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from lunet_cli.engine.checkpoints.models import find_checkpoint, load_model
from lunet_cli.engine.run_folder import RunFolder
from lunet_cli.errors import OutputError
from lunet_cli.records.files import sha256_of
from lunet_cli.records.manifest import Manifest
from lunet_cli.records.model_folder import (
    PAGE_SUFFIX,
    WEIGHTS_SUFFIX,
    NamedModel,
    own_folder,
    require_free,
)
from lunet_cli.records.model_page import MeasuredDice, ModelPage
from lunet_cli.records.network_card import KeptConfig
from lunet_cli.records.training_summary import TrainingSummary

# Sections of services, whose addresses are nobody's concern; without them, they are off.
_SERVICES = ("wandb", "mlflow", "tensorboard")
_DATA_PLACES = ("root", "train_dir", "val_dir", "cache_dir")
_NO_SOURCE = "A model does not keep where the data of its training lie."


def add_model(run: Path, name: str) -> NamedModel:
    """Copy a trained network into the folder of a user's own models.

    The copy holds the weights and the recipe, without the state of the training and without places
    of this machine. Its Dice is that of the validation at the end of the training.

    Args:
        run: A run folder or a checkpoint of lunet.
        name: What it is called from now on.

    Raises:
        OutputError: It is not a name, is taken, or the folder cannot be written.
        CheckpointError: There is no such checkpoint, or it is of another kind.
    """
    require_free(name)
    folder = own_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made ({error.strerror or error})") from None
    return keep_model(run, folder, name)


def keep_model(run: Path, folder: Path, name: str) -> NamedModel:
    """Write the two files of a model; ones that are there already are replaced.

    Args:
        run: A run folder or a checkpoint of lunet.
        folder: Where they go.
        name: What they are called.

    Raises:
        CheckpointError: There is no such checkpoint, or it is of another kind.
        OutputError: A file cannot be written.
    """
    load_model(run)  # Weights that fit no network or are not finite are found now, not by a user.
    source = find_checkpoint(run)
    checkpoint = load_checkpoint(source)
    config = without_places(checkpoint.config)
    kept = replace(checkpoint, config=config, training=None)
    weights = folder / f"{name}{WEIGHTS_SUFFIX}"
    save_checkpoint(kept, weights)
    run_folder = RunFolder(source.parent)
    page = _page_of(kept, weights, name, run_folder)
    page.write(folder / f"{name}{PAGE_SUFFIX}")
    return NamedModel(page, folder)


def _page_of(checkpoint: Checkpoint, weights: Path, name: str, run: RunFolder) -> ModelPage:
    manifest = run.read_manifest()
    seed = commit = None
    if manifest is not None:
        seed, commit = manifest.seed, manifest.git_commit
    return ModelPage(
        **dict(checkpoint.card.to_record()),
        name=name,
        sha256=sha256_of(weights),
        num_bytes=weights.stat().st_size,
        architecture=checkpoint.config.architecture or checkpoint.card.network.family,
        epoch=checkpoint.epoch,
        seed=seed,
        git_commit=commit,
        versions=checkpoint.versions,
        config=checkpoint.config,
        dice=_dice_of(run, manifest),
    )


def _dice_of(run: RunFolder, manifest: Manifest | None) -> MeasuredDice | None:
    """The Dice at the end of the training; None where it did not come to its end."""
    if manifest is None or not run.summary.exists():
        return None
    num_cases = len(manifest.split.val)
    measured = TrainingSummary.read(run.summary).metrics
    return MeasuredDice.of(measured, f"the {num_cases} validation cases of its training")


def without_places(config: KeptConfig) -> KeptConfig:
    """A configuration without folders and addresses of the place where it was trained."""
    values = {key: value for key, value in config.root.items() if key not in _SERVICES}
    experiment, data = values.get("experiment"), values.get("data")
    if isinstance(experiment, dict):
        values["experiment"] = _without(experiment, ["output_dir"])
    if isinstance(data, dict):
        values["data"] = _data_without_places(data)
    return KeptConfig(values)


def _data_without_places(data: dict[str, JsonValue]) -> dict[str, JsonValue]:
    has_files = data.get("root") is not None or data.get("train_dir") is not None
    kept = _without(data, _DATA_PLACES)
    if has_files and kept.get("source") is None:
        # Data that are not there are then asked for; without a word, phantoms would be meant.
        kept["source"] = _NO_SOURCE
    split = kept.get("split")
    if isinstance(split, dict) and isinstance(split.get("file"), str):
        kept["split"] = split | {"file": PurePath(str(split["file"])).name}
    return kept


def _without(values: dict[str, JsonValue], keys: Sequence[str]) -> dict[str, JsonValue]:
    return {key: value for key, value in values.items() if key not in keys}

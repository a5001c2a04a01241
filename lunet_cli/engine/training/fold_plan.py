"""The folds of a cross-validation: what each is asked to do."""

from __future__ import annotations

import json
from pathlib import Path

from lunet_cli.config.load import with_settings
from lunet_cli.config.run import RunConfig
from lunet_cli.engine.data.splits import count_folds, find_folds_file
from lunet_cli.engine.run_folder import RunFolder
from lunet_cli.errors import ConfigError


def fold_configs(config: RunConfig) -> list[RunConfig]:
    """The configuration of each fold: `<output_dir>/<name>/fold_<number>` is its run folder.

    The folds are those of `data.split.file`, or of a splits file that lies with the data and has
    several; else `data.split.num_folds` of equal size.

    Raises:
        ConfigError: There is a single fold, or the cases are divided already.
    """
    data = config.data
    if data.train_dir is not None:
        raise ConfigError(
            "`fold`: train_dir and val_dir are one division, and folds need several",
            hint="Put all cases into one folder, and name it as data.root.",
        )
    file, number = find_folds_file(data), data.split.num_folds
    if file is not None:
        number = count_folds(file)
    if number < 2:
        raise ConfigError(f"`fold`: {file} has one division, and folds need several")
    shared = _shared_settings(config, file)
    return [
        with_settings(config, [*shared, f"data.split.fold={fold}", f"experiment.name=fold_{fold}"])
        for fold in range(number)
    ]


def _shared_settings(config: RunConfig, file: Path | None) -> list[str]:
    """What all folds have instead of what the configuration says."""
    cache = config.data.cache_dir or config.experiment.output_dir / ".cache"
    settings = [
        f"experiment.output_dir={_quoted(RunFolder.of(config).path)}",
        f"data.cache_dir={_quoted(cache)}",
        "data.split.val_fraction=null",
    ]
    if file is not None:
        settings.append(f"data.split.file={_quoted(file.resolve())}")
    return settings


def _quoted(path: Path) -> str:
    """A path as YAML that holds it whatever its letters are: `a: b` would be a mapping."""
    return json.dumps(str(path))

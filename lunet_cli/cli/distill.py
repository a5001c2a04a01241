"""`lunet distill`: from a configuration and a teacher to a lean network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from lunet_cli.cli.config_file import ConfigFile, Overrides, read_config, refuse_extras
from lunet_cli.cli.following import launched_program
from lunet_cli.cli.options import option
from lunet_cli.cli.train import show_dry_run, train_and_show
from lunet_cli.cli.wording import call_also
from lunet_cli.config.distillation import DistillationConfig
from lunet_cli.errors import ConfigError

_field = partial(option, DistillationConfig)


def distill(
    context: typer.Context,
    config_file: ConfigFile,
    teacher: Annotated[list[Path] | None, _field("teacher", metavar="RUN|FOLDER")] = None,
    weight: Annotated[float | None, _field("weight", metavar="SHARE")] = None,
    temperature: Annotated[float | None, _field("temperature", metavar="T")] = None,
    tta: Annotated[bool, _field("tta", "--tta")] = False,
    unlabelled_dir: Annotated[
        Path | None, _field("unlabelled_dir", "--unlabelled", metavar="DIR")
    ] = None,
    overrides: Overrides = None,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="PATH|auto",
            help="Go on with a checkpoint or run folder; auto: with the run of CONFIG, if there is "
            "one.",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Check everything, run one step, estimate the cost, write nothing."
        ),
    ] = False,
) -> None:
    """Train a network as CONFIG says, on the labels and on the probabilities of a teacher.

    The run folder is that of a training; its configuration says which teacher it had, in the
    section distillation, and `lunet train` does the same with it.
    """
    refuse_extras(context, config_file, section="distillation")
    given = {
        "teacher": [str(path) for path in teacher or ()] or None,
        "weight": weight,
        "temperature": temperature,
        "tta": tta or None,
        "unlabelled_dir": None if unlabelled_dir is None else str(unlabelled_dir),
    }
    settings = [*_settings(given), *(overrides or ())]
    config = read_config(config_file, settings)
    if not config.distillation.teacher:
        raise ConfigError(
            f"{config_file}: names no teacher",
            hint="Name a run, several of them, or a folder of probability maps: --teacher RUN",
        )
    if dry_run:
        show_dry_run(config)
        return
    said = [f"--set={item}" for item in settings]
    train_and_show(config, resume, [*launched_program(), "distill", str(config_file), *said])


def _settings(given: Mapping[str, object]) -> list[str]:
    """Settings of the section from options, which stand for its keys in what is told."""
    settings = []
    for name, value in given.items():
        call_also(f"distillation.{name}", f"--{name.removesuffix('_dir')}")
        if value is not None:
            # JSON is YAML, whatever characters a path has.
            settings.append(f"distillation.{name}={json.dumps(value)}")
    return settings

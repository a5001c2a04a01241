"""`lunet serve`: networks that stay in memory, for many scans over HTTP or from a drop folder."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lunet_cli.cli.options import Architecture, Threads, option
from lunet_cli.cli.predict import Labelmap, Order, Postprocess, Probabilities, Series, Suffix
from lunet_cli.cli.prediction import (
    USUAL_PREDICTION,
    BatchSize,
    Device,
    MaxMemory,
    Overlap,
    Precision,
    Runtime,
    Tta,
    Window,
)
from lunet_cli.cli.signals import stopped_by_signals
from lunet_cli.cli.wording import reworded
from lunet_cli.config.options import (
    JobLimits,
    OutputOptions,
    PredictionOptions,
    ServeOptions,
    WatchOptions,
)
from lunet_cli.errors import ConfigError
from lunet_cli.results.events import WarningIssued
from lunet_cli.results.words import visible

if TYPE_CHECKING:
    from lunet_cli.engine.serving.served_models import ServedModel
    from lunet_cli.results.events import Event

Models = Annotated[
    list[Path],
    typer.Argument(
        metavar="MODEL...", help="Run folders, checkpoints or exported files, or a folder of them."
    ),
]
Host = Annotated[str, option(ServeOptions, "host", metavar="ADDRESS")]
Port = Annotated[int, option(ServeOptions, "port", metavar="N")]
TokenFile = Annotated[Path | None, option(ServeOptions, "token_file", metavar="FILE")]
MaxUpload = Annotated[str, option(ServeOptions, "max_upload_mib", "--max-upload", metavar="SIZE")]
MaxVoxels = Annotated[int, option(JobLimits, "max_voxels", metavar="N")]
JobSeconds = Annotated[float, option(JobLimits, "job_seconds", metavar="SECONDS")]
MaxQueue = Annotated[int, option(ServeOptions, "max_queue", metavar="N")]
KeepSeconds = Annotated[float, option(ServeOptions, "keep_seconds", metavar="SECONDS")]
GraceSeconds = Annotated[float, option(ServeOptions, "grace_seconds", metavar="SECONDS")]
WorkDir = Annotated[Path | None, option(ServeOptions, "work_dir", metavar="DIR")]
Watch = Annotated[
    tuple[Path, Path] | None,
    typer.Option(
        metavar="IN OUT", help="Segment what is dropped into the folder IN, instead of listening."
    ),
]
SettleSeconds = Annotated[float, option(WatchOptions, "settle_seconds", metavar="SECONDS")]
Once = Annotated[bool, option(WatchOptions, "once", "--once")]
_USUAL, _USUAL_WATCH = ServeOptions(), WatchOptions()
_OF_LISTENING = tuple(
    name for name in ServeOptions.model_fields if name not in JobLimits.model_fields
)
_OF_WATCHING = (
    *("settle_seconds", "once"),
    *("suffix", "labelmap", "probabilities", "postprocess", "order", "series"),
)


def serve(
    context: typer.Context,
    models: Models,
    host: Host = _USUAL.host,
    port: Port = _USUAL.port,
    token_file: TokenFile = None,
    max_upload_mib: MaxUpload = f"{_USUAL.max_upload_mib:g}M",
    max_voxels: MaxVoxels = _USUAL.max_voxels,
    job_seconds: JobSeconds = _USUAL.job_seconds,
    max_queue: MaxQueue = _USUAL.max_queue,
    keep_seconds: KeepSeconds = _USUAL.keep_seconds,
    grace_seconds: GraceSeconds = _USUAL.grace_seconds,
    work_dir: WorkDir = None,
    watch: Watch = None,
    settle_seconds: SettleSeconds = _USUAL_WATCH.settle_seconds,
    once: Once = _USUAL_WATCH.once,
    suffix: Suffix = None,
    labelmap: Labelmap = False,
    probabilities: Probabilities = False,
    postprocess: Postprocess = None,
    order: Order = None,
    series: Series = None,
    tta: Tta = USUAL_PREDICTION.tta,
    window: Window = None,
    overlap: Overlap = USUAL_PREDICTION.overlap,
    batch_size: BatchSize = USUAL_PREDICTION.batch_size,
    max_memory_mib: MaxMemory = None,
    architecture: Architecture = None,
    device: Device = USUAL_PREDICTION.device,
    precision: Precision = USUAL_PREDICTION.precision,
    runtime: Runtime = None,
    threads: Threads = None,
) -> None:
    """Keep networks in memory, and segment what is sent to them or dropped into a folder."""
    _refuse_idle(context, is_watching=watch is not None)
    how = PredictionOptions(
        window=window,
        overlap=overlap,
        batch_size=batch_size,
        tta=tta,
        device=device,
        precision=precision,
        runtime=runtime,
        max_memory_mib=max_memory_mib,
    )
    if watch is not None:
        output = OutputOptions(
            output=watch[1],
            suffix=suffix,
            labelmap=labelmap,
            probabilities=probabilities,
            postprocess=tuple(postprocess or ()),
            order=order,
            series=series,
        )
        looking = WatchOptions(
            settle_seconds=settle_seconds,
            once=once,
            max_voxels=max_voxels,
            job_seconds=job_seconds,
        )
        _set_up(threads)
        _watch(_load_one(models, how, architecture), watch[0], output, looking)
        return
    options = ServeOptions(
        host=host,
        port=port,
        token_file=token_file,
        max_upload_mib=max_upload_mib,
        max_voxels=max_voxels,
        job_seconds=job_seconds,
        max_queue=max_queue,
        keep_seconds=keep_seconds,
        grace_seconds=grace_seconds,
        work_dir=work_dir,
    )
    from lunet_cli.engine.runtimes.runtime import require_packages

    require_packages("serve", "fastapi", "uvicorn", "python_multipart", "prometheus_client")
    from lunet_cli.engine.serving.web.serve import serve as serve_models

    _set_up(threads)
    serve_models(models, options, how, architecture=architecture, on_event=_tell)


def _refuse_idle(context: typer.Context, *, is_watching: bool) -> None:
    """Refuse options that would do nothing.

    Raises:
        ConfigError: There is one.
    """
    idle: tuple[str, ...] = _OF_WATCHING
    why = "belongs to `watch`; who sends a scan says it in the request"
    if is_watching:
        idle, why = _OF_LISTENING, "has no use with `watch`, which does not listen"
    for name in idle:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise ConfigError(f"`{name}`: {why}", hint="Leave one of them out.")


def _set_up(threads: int | None) -> None:
    from lunet_cli.engine.inference.predictor import set_up_process

    set_up_process(threads)


def _load_one(models: list[Path], how: PredictionOptions, architecture: str | None) -> ServedModel:
    """The only model.

    Raises:
        ConfigError: There are several.
    """
    from lunet_cli.engine.serving.served_models import load_models

    found = list(load_models(models, how, architecture=architecture).values())
    if len(found) > 1:
        raise ConfigError(
            f"{len(found)} models are named, and a folder is watched with one",
            hint="Start the command once for each, with folders of their own.",
        )
    return found[0]


def _watch(model: ServedModel, inbox: Path, output: OutputOptions, options: WatchOptions) -> None:
    """Watch until a signal comes; the first lets the scan that is worked on finish."""
    from lunet_cli.engine.serving.watch import watch

    for warning in model.predictor.warnings():
        _tell(WarningIssued(f"{model.name}: {warning}"))
    stop = threading.Event()
    with stopped_by_signals(stop):
        watch(model, inbox, output, options, stop=stop, on_event=_tell)


def _tell(event: Event) -> None:
    typer.echo(visible(reworded(str(event))), err=True)

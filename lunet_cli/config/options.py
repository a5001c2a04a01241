"""What each job can be asked beside its inputs: defaults, ranges and descriptions, written once.

The command line, the reference in the documentation and Python use the same classes. A description
speaks of fields; the command line turns a field into its option.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from lunet_cli.config.base import Section
from lunet_cli.config.experiment import RunName
from lunet_cli.config.metrics import METRICS, MetricName
from lunet_cli.config.mistakes import Mistake, find_mistakes
from lunet_cli.config.model import Architecture
from lunet_cli.config.names import KeyPath, closest
from lunet_cli.config.preprocessing import PositiveSpacing
from lunet_cli.config.vocabulary import (
    SEG_SUFFIX,
    DeviceName,
    ExportFormat,
    OutputSuffix,
    Precision,
    PrecisionChoice,
    RuntimeChoice,
    VolumeSuffix,
    WeightPrecision,
)
from lunet_cli.errors import ConfigError
from lunet_cli.results.words import visible

_LARGEST_EDGE = 4096  # Of a patch in a configuration too; no scanner has more voxels along an axis.
_MIB_PER_UNIT = {"": 1.0, "k": 1 / 1024, "m": 1.0, "g": 1024.0, "t": 1024.0**2}


def _read_size(value: Any) -> Any:
    """Voxels (z, y, x) of `64`, `"64"` or `"96x96x64"`; anything else is left to pydantic."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        return value
    # Four digits, as `_LARGEST_EDGE` has; pydantic tells a size beyond it.
    if not re.fullmatch(r"[1-9]\d{0,3}(x[1-9]\d{0,3}){2}|[1-9]\d{0,3}", value.lower(), re.ASCII):
        raise ValueError(f"'{visible(value)}' is not a size; write 96, or 96x96x64 (z, y, x)")
    edges = tuple(map(int, value.lower().split("x")))
    if len(edges) == 1:
        return edges * 3
    return edges


def _read_window(value: Any) -> Any:
    if value in ("trained", "whole", "stream"):
        return value
    try:
        return _read_size(value)
    except ValueError:
        raise ValueError(
            f"'{visible(value)}' is not a window; write 96, 96x96x64 (z, y, x), trained, whole or "
            "stream"
        ) from None


def _read_memory(value: Any) -> Any:
    """MiB of `4G`, `800M`, `2GiB`, `512` or a number."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", value.strip().lower())
    if match is None:
        raise ValueError(f"'{visible(value)}' is not a size; write 4G, 800M or a number of MiB")
    return float(match[1]) * _MIB_PER_UNIT[match[2]]


def _read_suffix(value: Any) -> Any:
    """A suffix with its dot, which people leave out."""
    if isinstance(value, str) and not value.startswith("."):
        return f".{value}"
    return value


def _read_output_suffix(value: Any) -> Any:
    """A suffix, of which a DICOM segmentation is also called by its kind."""
    return SEG_SUFFIX if value == "dicom-seg" else _read_suffix(value)


def _read_names(value: Any) -> Any:
    """Names of `a,b`."""
    if not isinstance(value, str):
        return value
    return tuple(name.strip() for name in value.split(","))


Edge = Annotated[int, Field(ge=1, le=_LARGEST_EDGE)]
Voxels = Annotated[tuple[Edge, Edge, Edge], BeforeValidator(_read_size)]
Window = Annotated[
    tuple[Edge, Edge, Edge] | Literal["trained", "whole", "stream"] | None,
    BeforeValidator(_read_window),
]
Positive = Annotated[int, Field(ge=1)]


class Options(Section):
    """Options of a job, checked where they are made.

    Raises:
        ConfigError: A value is wrong; a line for each, which names the field.
    """

    misplaced_truth: ClassVar[str] = "cannot be true or false"

    @model_validator(mode="wrap")
    @classmethod
    def _told_by_field(cls, values: Any, check: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return check(values)
        except ValidationError as error:
            mistakes = find_mistakes(error, cls, cls._unknown)
        # Of three edges that are wrong alike, one line.
        raise ConfigError(list(dict.fromkeys(map(_told, mistakes))))

    @classmethod
    def _unknown(cls, place: KeyPath) -> str:
        known = cls.model_fields
        hint = closest(str(place[-1]), known) or f"Known: {', '.join(known)}."
        return f"unknown field. {hint}"


def _told(mistake: Mistake) -> str:
    """A mistake with its field; of several values, the sentence has the one that is wrong."""
    if not mistake.place:
        return mistake.sentence
    field, *inside = mistake.place
    indices = ""
    if mistake.sentence == "is missing":
        indices = "".join(f"[{index}]" for index in inside)
    return f"`{field}`{indices}: {mistake.sentence}"


class PredictionOptions(Options):
    """How volumes go through a network."""

    window: Window = None
    """Voxels (z, y, x) that the network sees at once; `trained` takes the window of the training,
    `whole` volumes in one piece, `stream` likewise, plane by plane in little memory; both take
    small ones in the window of the training. If not given, `stream` where the validation has shown
    it to be as good, and else `trained`."""

    overlap: Annotated[float, Field(ge=0, le=0.9)] = 0.5
    """Share of a window that neighbours have in common."""

    batch_size: Positive = 2
    """Windows per forward pass."""

    tta: bool = False
    """Average over the eight mirrorings (test-time augmentation); for networks that were trained
    with mirrored volumes."""

    device: DeviceName = "auto"
    """Where to compute; auto takes CUDA, then MPS, then the CPU."""

    precision: PrecisionChoice = "auto"
    """Arithmetic; auto takes that in which the network was validated, where the device has it."""

    runtime: RuntimeChoice | None = None
    """What computes; auto takes the usually fastest that is installed, if the job is long."""

    max_memory_mib: Annotated[float | None, BeforeValidator(_read_memory)] = None
    """Memory that may be used, such as 4G; what needs more is refused."""


class OutputOptions(Options):
    """What a prediction writes, and where."""

    output: Path
    """Folder, or file for one volume."""

    suffix: Annotated[OutputSuffix | None, BeforeValidator(_read_output_suffix)] = None
    """Format of the outputs; that of each input if not given, and `.nii.gz` for DICOM. dicom-seg
    (`.dcm`) is a DICOM segmentation of a DICOM series."""

    labelmap: bool = False
    """Write DICOM segmentations as one label map (in the standard since 2024), which is smaller for
    many labels, and which older viewers cannot read."""

    probabilities: bool = False
    """Write a map per label too, as NAME_prob_LABEL: floats, or of dicom-seg a fractional
    segmentation in 255 steps."""

    bids: bool = False
    """Name and describe the outputs as a derivative of the BIDS data set that the images are of."""

    postprocess: tuple[str, ...] = ()
    """`[LABEL:]STEP`, one or several, in the order in which they are applied: min-volume=ML,
    fill-holes or largest-component."""

    order: Annotated[tuple[str, ...] | None, BeforeValidator(_read_names)] = None
    """Paint overlapping labels in this order, the last on top; that of the configuration if not
    given."""

    resume: bool = False
    """Skip volumes whose output is there; otherwise, files that are there are refused."""

    shard: tuple[int, int] = (0, 1)
    """Which share of the cases is done, counted from 0, and how many shares there are."""

    series: str | None = None
    """Number, description or UID of the DICOM series to take where a folder has several; `all`
    takes every scan."""

    @property
    def is_seg(self) -> bool:
        """Whether DICOM segmentations are written."""
        has_its_name = self.output.name.lower().endswith(SEG_SUFFIX)
        return self.suffix == SEG_SUFFIX or (self.suffix is None and has_its_name)

    @model_validator(mode="after")
    def _segmentation_fits(self) -> Self:
        if self.labelmap and not self.is_seg:
            raise ConfigError(
                "`labelmap`: is a way to write DICOM segmentations",
                hint="Add `suffix=dicom-seg`.",
            )
        if self.order is not None and self.is_seg and not self.labelmap:
            raise ConfigError(
                "`order`: in a DICOM segmentation, each label has a segment of its own, and covers "
                "no other",
                hint="Leave it out, or add `labelmap`.",
            )
        return self

    @model_validator(mode="after")
    def _fits_bids(self) -> Self:
        if not self.bids:
            return self
        if self.suffix not in (None, ".nii.gz", ".nii"):
            raise ConfigError(
                f"`suffix={self.suffix}` and `bids`: BIDS keeps label maps as NIfTI",
                hint="Leave one of them out.",
            )
        if self.output.name.lower().endswith((".nii.gz", ".nii", ".nrrd", ".mha", SEG_SUFFIX)):
            raise ConfigError(
                f"{self.output}: is the name of a file, and `bids` fills a folder",
                hint="Name the folder of the derivative: `output=DATASET/derivatives/lunet`.",
            )
        return self

    @field_validator("shard")
    @classmethod
    def _is_a_share(cls, shard: tuple[int, int]) -> tuple[int, int]:
        index, count = shard
        if not 0 <= index < count:
            raise ValueError(f"there is no share {index} of {count}; they are counted from 0")
        return shard


class EvaluationOptions(Options):
    """What is measured."""

    metrics: Annotated[tuple[MetricName, ...], Field(min_length=1)] = tuple(METRICS)
    """Which metrics, one or several; all if not given."""

    tolerance_mm: Annotated[float, Field(ge=0)] = 1.0
    """Distance that NSD still counts as equal."""

    undefined: Literal["count", "diagonal"] = "count"
    """Distances of a label that is only in one of prediction and reference: left out of the mean
    and counted, or the largest possible, the diagonal of the field of view."""


class ShrinkOptions(Options):
    """How far a trained network is made smaller, and where the small one is kept."""

    margin: Annotated[float, Field(ge=0, le=1)] = 0.005
    """How much Dice may be lost: the lower end of the 95 % confidence interval of the difference to
    the network of RUN, over the validation cases, is not below minus this."""

    name: RunName | None = None
    """Name of the run folder that is made beside RUN; RUN_small if not given."""


class ExportOptions(Options):
    """What is written for other programs."""

    format: ExportFormat
    """What to write."""

    output: Path | None = None
    """The file, or the folder of a MONAI bundle; beside the checkpoint if not given."""

    weights: WeightPrecision = "fp32"
    """How weights are kept; int8 computes in eight bits as well."""

    calibrate: Path | None = None
    """Typical volumes, whose windows give the ranges for `weights=int8`."""

    check: Path | None = None
    """Volumes to compare on; the validation cases of the training if not given."""

    @model_validator(mode="after")
    def _weights_fit(self) -> Self:
        if (self.weights == "int8") != (self.calibrate is not None):
            hint = "Add `weights=int8`."
            if self.calibrate is None:
                hint = "Name a folder of typical volumes: `calibrate=FOLDER`"
            raise ConfigError("`weights=int8` and `calibrate`: belong together", hint=hint)
        if self.weights == "int8" and self.format not in ("onnx", "openvino"):
            raise ConfigError(
                f"`weights=int8`: {self.format} has no quantised networks here",
                hint="Take `format=onnx` or `format=openvino`.",
            )
        if self.weights != "fp32" and self.format == "html":
            raise ConfigError(
                f"`weights={self.weights}`: a page keeps fp32",
                hint="Leave it out: what computes takes far more room in a page than the weights.",
            )
        if self.weights == "fp16" and self.format in ("torch-export", "monai-bundle"):
            raise ConfigError(
                "`weights=fp16`: PyTorch has no fp16 convolution on every CPU",
                hint="Take one of the other formats.",
            )
        return self


class BenchOptions(Options):
    """What is measured of networks. Each combination makes a row; of what is empty, the default."""

    targets: tuple[Path, ...] = ()
    """Configurations, checkpoints, run folders, exported files."""

    architectures: tuple[str, ...] = ()
    """Presets, such as lunet_small_4f."""

    families: tuple[str, ...] = ()
    """Families of named presets."""

    all_presets: bool = False
    """All 29 named presets."""

    sizes: tuple[Voxels, ...] = ()
    """Voxels (z, y, x) of the input; 64 each, or what a configuration says."""

    batch_sizes: tuple[Positive, ...] = ()
    """Samples per pass; 1, or what a configuration says."""

    channels: tuple[Positive, ...] = ()
    """Image channels of presets and configurations."""

    classes: tuple[Positive, ...] = ()
    """Output channels of presets and configurations."""

    devices: tuple[DeviceName, ...] = ()
    """Where to compute; auto takes an accelerator if there is one."""

    threads: tuple[Positive, ...] = ()
    """CPU threads; as many as PyTorch finds if not given."""

    precisions: tuple[Precision, ...] = ()
    """Arithmetic; fp32, and for the runtime auto any that agrees with it."""

    runtimes: tuple[RuntimeChoice, ...] = ()
    """What computes; torch, or for an exported file the first that can compute it. auto is what a
    prediction takes for a long job."""

    warmup_runs: Annotated[int | None, Field(ge=0)] = None
    """Passes before the timed ones; 3, or what a configuration says."""

    timed_runs: Positive | None = None
    """Timed passes; 10, or what a configuration says."""

    training: bool = False
    """Measure training steps instead of forward passes: forward, soft Dice, backward, Adam."""

    baseline: str | None = None
    """The row that others are compared with: names of a preset, runtime, precision or device,
    joined by `/`; the first row if not given."""

    @model_validator(mode="before")
    @classmethod
    def _none_is_not_given(cls, values: Any) -> Any:
        return {name: value for name, value in values.items() if value is not None}

    @field_validator("architectures", "families")
    @classmethod
    def _named_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(names))


class PlanOptions(Options):
    """What a plan may use."""

    architecture: Architecture | None = None
    """Name of a preset; chosen by the number of labels and the depth of the volumes if not
    given."""

    memory_mib: Annotated[
        Annotated[float, Field(ge=64, le=2**30)] | None, BeforeValidator(_read_memory)
    ] = None
    """Memory that a step of the training may take, such as 8G; half of that of the device if not
    given."""

    minutes: Annotated[float, Field(gt=0, le=1e6)] = 30.0
    """Time of the whole training in minutes, with its validations and its end."""

    nnunet_plans: Path | None = None
    """An `nnUNetPlans.json`, whose spacing, patch size, batch size and normalisation are taken; one
    that lies in the data folder is found."""


class StudyOptions(Options):
    """How the trainings of a study are worked on."""

    jobs: Positive = 1
    """Trainings at once by this process; the cores are divided among them."""

    storage: str | None = None
    """URL of the database that keeps the trials of a search, as SQLAlchemy writes it; a file in the
    folder of the study if not given."""

    wait: bool = True
    """Wait for trainings that other processes work on, and take over what they leave; otherwise end
    where nothing is left to begin."""

    latency: bool = True
    """Measure how long a pass of each network takes, once all have been trained."""


class JobLimits(Options):
    """What one scan may cost a service or a watched folder."""

    max_voxels: Positive = 2**28
    """Voxels of a volume, counted with its channels and on the grid of the network, and of its
    answer likewise."""

    job_seconds: Annotated[float, Field(gt=0, le=86400)] = 600.0
    """Time of one job in seconds, from its beginning; it is stopped then."""


class ServeOptions(JobLimits):
    """How a service listens, and what it bears."""

    host: Annotated[str, Field(min_length=1, max_length=253)] = "127.0.0.1"
    """Address to listen on; any other than that of this machine itself needs `token_file`."""

    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """Port to listen on; 0 takes a free one."""

    token_file: Path | None = None
    """File with the token that every request has to show, in one line of at least 16 characters."""

    max_upload_mib: Annotated[
        Annotated[float, Field(gt=0, le=2**20)], BeforeValidator(_read_memory)
    ] = 1024.0
    """Size of a request, such as 1G; what is larger is refused."""

    max_queue: Annotated[int, Field(ge=1, le=10_000)] = 16
    """Jobs that wait or are worked on; further ones are refused until one has ended."""

    keep_seconds: Annotated[float, Field(gt=0, le=86400)] = 600.0
    """Time in seconds for which a result waits to be fetched."""

    grace_seconds: Annotated[float, Field(ge=0, le=86400)] = 30.0
    """Time in seconds for accepted jobs when the service is asked to end."""

    work_dir: Path | None = None
    """Folder in which uploads and results lie while they are needed; one of your own in the
    temporary folder if not given."""


class WatchOptions(JobLimits):
    """How a drop folder is watched."""

    settle_seconds: Annotated[float, Field(gt=0, le=86400)] = 3.0
    """Time in seconds for which a scan has to stay as it is before it is taken."""

    once: bool = False
    """End when all scans that are there are finished, instead of waiting for more."""


class PhantomOptions(Options):
    """How built-in volumes are written as files."""

    layout: Literal["harp", "paired", "msd", "nnunet", "bids"] = "nnunet"
    """How the files are arranged."""

    num_cases: Annotated[int, Field(ge=1, le=9999)] = 10
    """Number of volumes."""

    size: Voxels = (48, 48, 48)
    """Voxels of a volume, such as 48 or 600x512x512 (z, y, x)."""

    spacing_mm: tuple[PositiveSpacing, PositiveSpacing, PositiveSpacing] = (1.0, 1.0, 1.0)
    """Size of a voxel in mm (z, y, x)."""

    num_channels: Annotated[int, Field(ge=1, le=99)] = 1
    """Image channels; every second one has its grey values reversed."""

    modality: Literal["mri", "ct"] = "mri"
    """`ct`: HU in 16-bit whole numbers; `mri`: grey values in 32-bit floats."""

    suffix: Annotated[VolumeSuffix, BeforeValidator(_read_suffix)] = ".nii.gz"
    """End of the names of the files, which says their format."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of the shapes and of the noise."""

    @field_validator("num_channels")
    @classmethod
    def _have_files(cls, number: int, info: ValidationInfo) -> int:
        layout = info.data.get("layout")
        if number > 1 and layout in ("harp", "msd"):
            raise ValueError(
                f"layout {layout} has one file for a case; several channels need nnunet or paired"
            )
        return number

"""The networks that are measured: presets, those of configurations, and those in files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lunet_cli.config.benchmark import BenchmarkConfig
from lunet_cli.config.load import load_config
from lunet_cli.config.names import closest
from lunet_cli.config.network import FAMILIES, NetworkSpec
from lunet_cli.config.presets import Preset, named_presets, parse_preset
from lunet_cli.engine.checkpoints.models import Model, load_model
from lunet_cli.engine.networks import build_network
from lunet_cli.engine.runtimes.exported_graph import ExportedGraph
from lunet_cli.engine.runtimes.runtime import Network, RuntimeName, runtimes_of
from lunet_cli.errors import CheckpointError, ConfigError
from lunet_cli.results.words import plural

Shape = tuple[int, int, int, int, int]


@dataclass(frozen=True)
class Subject:
    """A network to measure.

    Args:
        arch: Name of its preset.
        spec: The network.
        path: The file that holds it; None for fresh weights.
        is_graph: Whether the file is an exported graph, which no training step can be made from.
        runtimes: What can compute it, the usual one first.
        benchmark: What its configuration says about measuring; the defaults without one.
        needs_arch: Whether `path` does not say which network it holds.
    """

    arch: str
    spec: NetworkSpec
    path: Path | None
    is_graph: bool
    runtimes: tuple[RuntimeName, ...]
    benchmark: BenchmarkConfig
    needs_arch: bool = False

    @property
    def name(self) -> str:
        """What people call it."""
        return self.arch if self.path is None else f"{self.arch} {self.path}"

    def load(self) -> Network:
        """The network itself, in evaluation mode."""
        if self.path is None:
            return build_network(self.spec).eval()
        return load_model(self.path, architecture=self.arch if self.needs_arch else None).network


def find_subjects(
    targets: Iterable[Path],
    architectures: Sequence[str],
    families: Iterable[str],
    *,
    all_presets: bool,
) -> list[Subject]:
    """The networks that a command line names, each once.

    Args:
        targets: Configurations, checkpoints, run folders, exported files.
        architectures: Names of presets. One that a checkpoint of the authors of Lean Unet fits
            names the network of that, and is not a row of its own.
        families: Families of named presets.
        all_presets: Whether all named presets are meant.

    Raises:
        LunetError: A name is unknown, or a file is missing or damaged.
    """
    names = [parse_preset(name).name for name in architectures]
    subjects = [_from_file(path, names) for path in targets]
    taken = {subject.arch for subject in subjects if subject.needs_arch}
    presets = [parse_preset(name) for name in names if name not in taken]
    presets += _of_families(families) + (named_presets() if all_presets else [])
    subjects += [_fresh(preset.name, preset.spec, BenchmarkConfig()) for preset in presets]
    if not subjects:
        raise ConfigError(
            "nothing to measure: name a CONFIG, a CHECKPOINT, or presets",
            hint="For instance --arch lunet_small_4f, --family lunet or --all.",
        )
    return list(dict.fromkeys(subjects))


def with_channels(
    subject: Subject, in_channels: int | None, out_channels: int | None
) -> NetworkSpec:
    """The network with as many channels; None leaves them as they are.

    Raises:
        ConfigError: It comes from a file, which has another number.
    """
    own = subject.spec
    wanted = replace(
        own,
        in_channels=in_channels or own.in_channels,
        out_channels=out_channels or own.out_channels,
    )
    if subject.path is not None and wanted != own:
        option = (
            f"--channels {in_channels}"
            if wanted.in_channels != own.in_channels
            else f"--classes {out_channels}"
        )
        raise ConfigError(
            f"{option}: {subject.path} has {own.in_channels} image and {own.out_channels} output channels",
            hint="The channels of a trained network are fixed: leave --channels and --classes out.",
        )
    return wanted


def default_shape(subject: Subject) -> Shape:
    """Batch, channels, depth, height and width where the command line says nothing."""
    batch, _, depth, height, width = subject.benchmark.input_size
    return batch, subject.spec.in_channels, depth, height, width


def _of_families(families: Iterable[str]) -> list[Preset]:
    chosen = []
    for family in families:
        if family not in FAMILIES:
            raise ConfigError(
                f"--family {family}: unknown family. {closest(family, FAMILIES)}",
                hint=f"Known: {', '.join(FAMILIES)}",
            )
        chosen += [preset for preset in named_presets() if preset.family == family]
    return chosen


def _from_file(path: Path, names: Sequence[str]) -> Subject:
    if path.suffix in (".yaml", ".yml"):
        return _from_config(path)
    model, needs_arch = _load(path, names)
    is_graph = isinstance(model.network, ExportedGraph)
    runtimes = runtimes_of(model.network)
    return Subject(
        model.architecture,
        model.card.network,
        model.path,
        is_graph,
        runtimes,
        BenchmarkConfig(),
        needs_arch,
    )


def _from_config(path: Path) -> Subject:
    config = load_config(path)
    model, benchmark = config.model, config.benchmark
    channels = benchmark.input_size[1]
    if model.in_channels not in (None, channels) and "input_size" in benchmark.model_fields_set:
        raise ConfigError(
            f"{path}: benchmark.input_size has {plural(channels, 'channel')}, "
            f"and model.in_channels is {model.in_channels}",
            hint="Make them equal.",
        )
    preset = parse_preset(model.architecture)
    spec = replace(
        preset.spec,
        in_channels=model.in_channels or channels,
        out_channels=model.out_channels or preset.spec.out_channels,
        dropout=model.drop_prob,
    )
    return _fresh(preset.name, spec, benchmark)


def _fresh(name: str, spec: NetworkSpec, benchmark: BenchmarkConfig) -> Subject:
    return Subject(
        name, spec, None, False, ("torch", "eager", "torch-compile", "onnx", "openvino"), benchmark
    )


def _load(path: Path, names: Sequence[str]) -> tuple[Model, bool]:
    """The model in a file, and whether it took one of the `names` to know its network."""
    try:
        return load_model(path), False
    except CheckpointError:
        for name in names:
            try:
                return load_model(path, architecture=name), True
            except CheckpointError:
                continue
        raise

"""The networks that are measured: presets, those of configurations, and those in files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from lunet_cli.config.benchmark import BenchmarkConfig
from lunet_cli.config.load import load_config
from lunet_cli.config.names import closest
from lunet_cli.config.network import FAMILIES, NetworkSpec
from lunet_cli.config.options import BenchOptions
from lunet_cli.config.presets import Preset, named_presets, parse_preset
from lunet_cli.config.vocabulary import RuntimeName
from lunet_cli.engine.checkpoints.models import Model, load_model
from lunet_cli.engine.networks import build_network
from lunet_cli.engine.runtimes.exported_graph import ExportedGraph, Network
from lunet_cli.engine.runtimes.runtime import RUNTIMES_OF_NETWORKS, runtimes_of
from lunet_cli.errors import CheckpointError, ConfigError
from lunet_cli.results.words import plural

Shape = tuple[int, int, int, int, int]


@dataclass(frozen=True, kw_only=True)
class BenchTarget:
    """A network to measure.

    Args:
        arch: Name of its preset.
        spec: The network.
        path: The file that holds it; None for fresh weights.
        is_graph: Whether the file is an exported graph, which no training step can be made from.
        runtimes: What can compute it, the usual one first.
        benchmark: What its configuration says about measuring; the defaults without one.
        needs_arch: Whether `path` does not say which network it holds.
        warnings: What a user should know of it.
    """

    arch: str
    spec: NetworkSpec
    path: Path | None = None
    is_graph: bool = False
    runtimes: tuple[RuntimeName, ...] = RUNTIMES_OF_NETWORKS
    benchmark: BenchmarkConfig = field(default_factory=BenchmarkConfig)
    needs_arch: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What people call it."""
        if self.path is None:
            return self.arch
        return f"{self.arch} {self.path}"

    def load(self) -> Network:
        """The network itself, in evaluation mode."""
        if self.path is None:
            return build_network(self.spec).eval()
        if self.needs_arch:
            return load_model(self.path, architecture=self.arch).network
        return load_model(self.path).network


def find_targets(options: BenchOptions) -> list[BenchTarget]:
    """The networks that options name, each once.

    An architecture that a checkpoint of the authors of Lean Unet fits names the network of that
    checkpoint, and is not a row of its own.

    Raises:
        LunetError: A name is unknown, or a file is missing or damaged.
    """
    names = []
    for name in options.architectures:
        names.append(parse_preset(name).name)
    targets = []
    for path in options.targets:
        targets.append(_from_file(path, names))
    taken = {target.arch for target in targets if target.needs_arch}
    presets = [parse_preset(name) for name in names if name not in taken]
    presets += _of_families(options.families)
    if options.all_presets:
        presets += named_presets()
    for preset in presets:
        targets.append(BenchTarget(arch=preset.name, spec=preset.spec))
    if not targets:
        raise ConfigError(
            "nothing to measure: name a CONFIG, a CHECKPOINT, or presets",
            hint="For instance `architectures=lunet_small_4f`, `families=lunet` or "
            "`all_presets=True`.",
        )
    return list(dict.fromkeys(targets))


def with_channels(
    target: BenchTarget, in_channels: int | None, out_channels: int | None
) -> NetworkSpec:
    """The network with as many channels; None leaves them as they are.

    Raises:
        ConfigError: It comes from a file, which has another number.
    """
    own = target.spec
    wanted = replace(
        own,
        in_channels=in_channels or own.in_channels,
        out_channels=out_channels or own.out_channels,
    )
    if target.path is not None and wanted != own:
        asked = f"classes={out_channels}"
        if wanted.in_channels != own.in_channels:
            asked = f"channels={in_channels}"
        raise ConfigError(
            f"`{asked}`: {target.path} has {own.in_channels} image and {own.out_channels} output "
            "channels",
            hint="The channels of a trained network are fixed: leave `channels` and `classes` out.",
        )
    return wanted


def default_shape(target: BenchTarget) -> Shape:
    """Batch, channels, depth, height and width where the options say nothing."""
    batch, _, depth, height, width = target.benchmark.input_size
    return batch, target.spec.in_channels, depth, height, width


def _of_families(families: Iterable[str]) -> list[Preset]:
    chosen = []
    for family in families:
        if family not in FAMILIES:
            raise ConfigError(
                f"`families={family}`: unknown family. {closest(family, FAMILIES)}",
                hint=f"Known: {', '.join(FAMILIES)}",
            )
        chosen += [preset for preset in named_presets() if preset.family == family]
    return chosen


def _from_file(path: Path, names: Sequence[str]) -> BenchTarget:
    if path.suffix in (".yaml", ".yml"):
        return _from_config(path)
    model, needs_arch = _load(path, names)
    return BenchTarget(
        arch=model.architecture,
        spec=model.card.network,
        path=model.path,
        is_graph=isinstance(model.network, ExportedGraph),
        runtimes=runtimes_of(model.network),
        needs_arch=needs_arch,
        warnings=tuple(model.warnings()),
    )


def _from_config(path: Path) -> BenchTarget:
    config = load_config(path)
    model, benchmark = config.model, config.benchmark
    channels = benchmark.input_size[1]
    # Where the configuration leaves input_size out, its one channel is not meant.
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
        widths=model.widths or (),
    )
    return BenchTarget(arch=preset.name, spec=spec, benchmark=benchmark)


def _load(path: Path, names: Sequence[str]) -> tuple[Model, bool]:
    """The model in a file, and whether it took one of the `names` to know its network."""
    try:
        return load_model(path), False
    except CheckpointError:
        # Only a checkpoint of the authors needs a name, and says so: of the first error, which is
        # the one about the file as it was given, no other tells more.
        for name in names:
            try:
                return load_model(path, architecture=name), True
            except CheckpointError:
                continue
        raise

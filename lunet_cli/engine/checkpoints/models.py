"""A trained network ready for use, from a checkpoint or an exported file."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from lunet_cli.config.network import NetworkSpec
from lunet_cli.config.network_cost import count_parameters
from lunet_cli.config.presets import parse_preset
from lunet_cli.engine.checkpoints.authors import (
    authors_weights,
    holds_tensors_only,
    is_authors_checkpoint,
    load_authors_weights,
)
from lunet_cli.engine.checkpoints.checkpoint import ModelCard, load_checkpoint, load_values
from lunet_cli.engine.checkpoints.exported_files import (
    SAFETENSORS_SUFFIX,
    is_exported,
    read_metadata,
    read_weights,
)
from lunet_cli.engine.checkpoints.finite import require_finite_graph
from lunet_cli.engine.checkpoints.tensors import require_finite, require_fitting
from lunet_cli.engine.data.labels import LabelScheme
from lunet_cli.engine.data.preprocessing import Normalization, Preprocessing
from lunet_cli.engine.networks import build_network
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.run_folder import BEST, LAST, RunFolder
from lunet_cli.engine.runtimes.exported_graph import ExportedGraph, format_of
from lunet_cli.errors import CheckpointError, LunetError
from lunet_cli.records.checkpoint import Modes
from lunet_cli.records.model_folder import NamedModel, find_model, nearest_names
from lunet_cli.records.model_page import ModelPage, is_name
from lunet_cli.records.network_card import Execution, KeptConfig

# Their networks have seen whole volumes, with intensities as they are stored.
_FILE_SUFFIXES = (".pt", ".pth", ".yaml", ".yml", ".onnx", ".xml", ".pt2", SAFETENSORS_SUFFIX)
_AUTHORS_PREPROCESSING = Preprocessing(None, None, Normalization("none", 40.0, 400.0))


@dataclass(frozen=True)
class Model:
    """A trained network and how it is used.

    Args:
        path: Where it was loaded from.
        card: What it is.
        network: The network, in evaluation mode on the CPU, or the graph that was exported from it.
        window: Voxels (D, H, W) that it should see at once; None for whole volumes.
        architecture: Name of its preset.
        execution: How it was computed when it was validated; None if that is not known.
        config: The configuration of its training; None if that is not known.
        modes: Dice in windows and in one pass; None where it was not measured.
        stands_in: Whether it is the newest state of a run folder that has no best model.
        page: What is said of it, if it was found by its name.
        hides: The name of a model that was not taken, since there is a path of that name.
    """

    path: Path
    card: ModelCard
    network: SegmentationNetwork | ExportedGraph
    window: tuple[int, int, int] | None
    architecture: str
    execution: Execution | None
    config: KeptConfig | None
    modes: Modes | None = None
    stands_in: bool = False
    page: ModelPage | None = None
    hides: str | None = None

    def warnings(self) -> list[str]:
        """What a user should know who has named a run folder, or a path that is a name too."""
        found = []
        if self.stands_in:
            found.append(
                f"{self.path.parent}: has no {BEST}, so this is its {self.path.name}, the newest "
                "state of its training"
            )
        if self.hides is not None:
            found.append(
                f"{self.hides}: is a path here and a model of that name; the path was taken"
            )
        return found

    def notices(self) -> list[str]:
        """What a user should know of a model that others have trained."""
        if self.page is None or self.page.statement is None:
            return []
        statement = self.page.statement
        return [
            f"{self.page.name}, version {self.page.version}: for research, not a medical device; "
            f"expects {statement.expects} (more: `require_model({self.page.name})`)"
        ]

    @property
    def own_folder(self) -> Path:
        """Where results go that belong beside the model: into its run, or the current folder.

        What is found by its name lies where nobody looks, and where one may not be able to write.
        """
        if self.page is not None:
            # Not the bare name: a path of that name would win over it from then on.
            return Path("models") / self.page.name
        return self.path.parent


def _named(source: Path) -> NamedModel | None:
    """The model that a word is the name of; None where it can only be a path."""
    if len(source.parts) != 1 or not is_name(source.name) or source.suffix in _FILE_SUFFIXES:
        return None
    return find_model(source.name)


def _hidden_name(source: Path) -> str | None:
    """The name of the model that cannot be meant, since a path is called so; None without one."""
    # What is wrong with a model that is not taken is nobody's concern here.
    with contextlib.suppress(LunetError):
        if _named(source) is not None:
            return source.name
    return None


def _require_path(source: Path) -> None:
    """Raise if a word is neither a path nor a name."""
    if source.exists() or len(source.parts) != 1 or source.suffix in _FILE_SUFFIXES:
        return
    raise CheckpointError(
        f"{source}: there is no such checkpoint, run folder or model. {nearest_names(source.name)}",
        hint="`list_models()` shows the names of models.",
    )


def find_checkpoint(source: Path) -> Path:
    """The file that a path means: itself, or in a run folder the best model, or its last state.

    Raises:
        CheckpointError: There is no such file, or none in the folder.
    """
    if not source.is_dir():
        return source
    folder = RunFolder(source)
    for path in (folder.best, folder.last):
        if path.is_file():
            return path
    hint = "A run folder has best_model.pt after an epoch."
    if folder.folds:
        hint = f"It holds the folds of a cross-validation; name one of them: {folder.folds[0]}"
    elif _hidden_name(source) is not None:
        hint = "There is a model of that name, too, but a path wins: start in another folder."
    raise CheckpointError(f"{source}: holds no checkpoint", hint=hint)


def members_of(source: Path) -> list[Path]:
    """The run folders of an ensemble that one path means: the folds of a cross-validation."""
    folder = RunFolder(source)
    if folder.best.is_file() or folder.last.is_file():
        return [source]
    return folder.folds or [source]


def load_model(source: Path, *, architecture: str | None = None) -> Model:
    """Load a trained network.

    Args:
        source: A checkpoint, a run folder, a checkpoint of the authors' release of Lean Unet, an
            exported file, or the name of a model. A path wins over a name.
        architecture: Preset name; needed for, and only for, a checkpoint of the authors.

    Raises:
        CheckpointError: The file is missing, damaged, of a newer format, does not fit
            `architecture`, or its weights are not finite.
        ConfigError: There is no such preset.
        MissingDependencyError: Reading this kind of file needs a package that is not installed.
    """
    if source.exists():
        return replace(_load_file(source, architecture), hides=_hidden_name(source))
    named = _named(source)
    if named is None:
        _require_path(source)
        return _load_file(source, architecture)
    return replace(_load_file(named.checked_weights(), architecture), page=named.page)


def _load_file(source: Path, architecture: str | None) -> Model:
    path = find_checkpoint(source)
    if is_exported(path):
        if architecture is not None:
            raise _knows_its_network(path)
        return _load_exported(path)
    values = load_values(path)
    # The weights alone, as a state dictionary of the authors' networks is often kept.
    if values and holds_tensors_only(values):
        values = {"model_state_dict": values}
    if is_authors_checkpoint(values):
        return _load_authors_model(path, values, architecture)
    checkpoint = load_checkpoint(path, values)
    if architecture is not None:
        raise _knows_its_network(path)
    card, config = checkpoint.card, checkpoint.config
    network = _build(card.network, checkpoint.weights, path)
    name = config.architecture or card.network.family
    return Model(
        path=path,
        card=card,
        network=network,
        window=card.window,
        architecture=name,
        execution=checkpoint.execution,
        config=config,
        modes=checkpoint.modes,
        stands_in=source.is_dir() and path.name == LAST,
    )


def _knows_its_network(path: Path) -> CheckpointError:
    return CheckpointError(f"{path}: knows its own network", hint="Leave out `architecture`.")


def _load_exported(path: Path) -> Model:
    facts = read_metadata(path)
    card = ModelCard.of(facts)
    network: SegmentationNetwork | ExportedGraph
    graph_format = format_of(path)
    if graph_format is not None:
        network = ExportedGraph(path, graph_format)
        require_finite_graph(network)
    else:
        network = _build(card.network, read_weights(path), path)
    return Model(
        path=path,
        card=card,
        network=network,
        window=None if facts.takes_whole_volumes else card.window,
        architecture=facts.architecture,
        execution=facts.execution,
        config=facts.config,
    )


def _build(spec: NetworkSpec, weights: dict[str, Tensor], path: Path) -> SegmentationNetwork:
    """A network with these weights, in evaluation mode.

    Raises:
        CheckpointError: They are those of another network, or not finite.
    """
    _require_enough(spec, weights, path)
    network = build_network(spec).eval()
    require_fitting(weights, network, path)
    require_finite(weights, path)
    network.load_state_dict(weights)
    return network


def _require_enough(spec: NetworkSpec, weights: dict[str, Tensor], path: Path) -> None:
    """Raise if a network has more parameters than the file has values.

    It would be built in the memory that a false number in the file asks for.
    """
    held, wanted = sum(map(Tensor.numel, weights.values())), count_parameters(spec)
    if held < wanted:
        raise CheckpointError(
            f"{path}: its weights are not those of this network: {held:,} values for {wanted:,} "
            "parameters"
        )


def _load_authors_model(
    path: Path, values: Mapping[str, object], architecture: str | None
) -> Model:
    if architecture is None:
        raise CheckpointError(
            f"{path}: comes from the authors' release of Lean Unet, and does not say which network "
            "it holds",
            hint="Name it with `architecture`, such as `architecture=lunet_small_4f`.",
        )
    preset = parse_preset(architecture)
    weights = authors_weights(values, path)
    in_channels, out_channels = _channels(weights)
    spec = replace(preset.spec, in_channels=in_channels, out_channels=out_channels)
    _require_enough(spec, weights, path)
    network = build_network(spec).eval()
    load_authors_weights(values, network, path)
    stride = spec.total_stride
    card = ModelCard(
        network=spec,
        labels=_authors_labels(out_channels),
        preprocessing=_AUTHORS_PREPROCESSING,
        window=(stride, stride, stride),
    )
    return Model(
        path=path,
        card=card,
        network=network,
        window=None,
        architecture=preset.name,
        execution=None,
        config=None,
    )


def _authors_labels(out_channels: int) -> LabelScheme:
    """A label per channel: their files do not say what the channels mean."""
    if out_channels == 1:
        return LabelScheme((("foreground", (1,)),), "sigmoid")
    regions = [(f"channel_{value}", (value,)) for value in range(1, out_channels + 1)]
    return LabelScheme(tuple(regions), "sigmoid")


def _channels(weights: dict[str, Tensor]) -> tuple[int, int]:
    """Image channels, from the first convolution, and output channels, from the last.

    Where there is none, 1: what is wrong with the weights is said when they are compared.
    """
    in_channels, out_channels = [], []
    for name, tensor in weights.items():
        if tensor.ndim != 5 or tensor.numel() == 0:
            continue
        if name.startswith(("encoders.0.", "stem.")):
            in_channels.append(tensor.shape[1])
        elif name == "out_conv.weight":
            out_channels.append(tensor.shape[0])
    return (in_channels or [1])[0], (out_channels or [1])[0]

"""The models of a service: found by path, called by name, described for those who ask."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lunet_cli.config.network_cost import count_parameters
from lunet_cli.config.options import PredictionOptions
from lunet_cli.config.vocabulary import VolumeSuffix
from lunet_cli.engine.checkpoints.models import members_of
from lunet_cli.engine.data.header_text import refusing_other_files
from lunet_cli.engine.data.reading import open_channels
from lunet_cli.engine.inference.inputs import InputCase, find_inputs
from lunet_cli.engine.inference.load_model import load_model
from lunet_cli.engine.inference.predictor import Predictor
from lunet_cli.engine.run_folder import BEST, LAST
from lunet_cli.engine.serving.answers import ModelFacts
from lunet_cli.engine.serving.problems import NotFoundError, TooLargeError
from lunet_cli.errors import CheckpointError, ConfigError, DataError
from lunet_cli.results.words import plural

_MODEL_FILES = (".pt", ".pth", ".onnx", ".xml", ".pt2", ".safetensors")


@dataclass(frozen=True)
class ServedModel:
    """A network in memory.

    Args:
        name: What it is called.
        predictor: The network, or several that are averaged.
    """

    name: str
    predictor: Predictor

    @property
    def facts(self) -> ModelFacts:
        """What it is, for those who ask."""
        predictor = self.predictor
        card, values = predictor.card, predictor.card.labels.painted_values()
        return ModelFacts(
            name=self.name,
            architecture=predictor.models[0].architecture,
            labels=values,
            activation=card.labels.activation,
            channels=card.network.in_channels,
            spacing_mm=card.preprocessing.spacing_mm,
            orientation=card.preprocessing.orientation,
            normalization=card.preprocessing.normalization.name,
            parameters=sum(count_parameters(model.card.network) for model in predictor.models),
            sha256=predictor.digests,
            warnings=tuple(predictor.warnings()),
        )

    def look_at(self, paths: Sequence[Path], *, series: str | None, limit: int) -> VolumeSuffix:
        """Look at the headers of a scan, before anything large is made of it.

        Args:
            paths: What `arrange` has made of an upload.
            series: See `find_inputs`.
            limit: Voxels, with channels, that it may have on either grid.

        Returns:
            The usual format of its mask.

        Raises:
            TooLargeError: It has more, or needs more memory than is allowed.
            DataError: It is no scan for this network.
        """
        case = self._only_case(paths, series)
        with refusing_other_files():
            self.require_bearable(case, limit=limit)
        return case.suffix

    def require_bearable(self, case: InputCase, *, limit: int) -> None:
        """Raise if a scan is too large, by its headers.

        Args:
            case: The scan.
            limit: See `look_at`.

        Raises:
            TooLargeError: See `look_at`.
            DataError: See `look_at`.
        """
        volumes = open_channels(case.images)
        stored = volumes[0].geometry
        channels = sum(volume.num_channels for volume in volumes)
        _require_few(channels * math.prod(stored.size), limit, "has")
        self.predictor.require_channels(channels)
        # Of a header with a false voxel size, a small file becomes a huge grid.
        grid = self.predictor.card.preprocessing.place(stored).grid
        _require_few(channels * math.prod(grid.size), limit, "has, on the grid of the network,")
        try:
            self.predictor.plan_windows(stored)
        except DataError as error:
            raise TooLargeError(f"the scan: {error.message}", hint="Crop it.") from None

    def _only_case(self, paths: Sequence[Path], series: str | None) -> InputCase:
        channels = self.predictor.card.network.in_channels
        cases, failures = find_inputs(paths, num_channels=channels, series=series)
        if failures:
            raise DataError(failures[0].message, hint=failures[0].hint)
        if len(cases) != 1:
            raise DataError(
                f"the upload: holds {plural(len(cases), 'scan')}",
                hint="Send one scan at a time, with as many files as the network has channels.",
            )
        return cases[0]


def _require_few(count: int, limit: int, verb: str) -> None:
    if count > limit:
        raise TooLargeError(
            f"the scan: {verb} {count:,} voxels, more than {limit:,}",
            hint="Crop it, or ask who runs the service for a higher `max_voxels`.",
        )


def load_models(
    sources: Sequence[Path], options: PredictionOptions, *, architecture: str | None = None
) -> dict[str, ServedModel]:
    """Load models by name, in the order in which they are named.

    Args:
        sources: Checkpoints, run folders, folders of folds, exported files, or folders of those.
        options: How volumes go through the networks.
        architecture: See `load_model`.

    Raises:
        ConfigError: Two of them have the same name.
        LunetError: One cannot be loaded.
    """
    found: dict[str, ServedModel] = {}
    for path in [model for source in sources for model in _models_in(source)]:
        name = _name_of(path)
        if name in found:
            raise ConfigError(
                f"{path}: is called {name}, as is another model",
                hint="Rename a run folder or file, whose name is that of its model.",
            )
        predictor = load_model(path, architecture=architecture, options=options)
        found[name] = ServedModel(name, predictor)
        _ = predictor.digests  # Of the file that was loaded, whatever becomes of it.
    return found


def choose(models: dict[str, ServedModel], name: str | None) -> ServedModel:
    """The model of a name; the first one if none is given.

    Raises:
        NotFoundError: There is none of that name.
    """
    if name is None:
        return next(iter(models.values()))
    if name not in models:
        raise NotFoundError(f"there is no model '{name}' here", hint=f"Known: {', '.join(models)}.")
    return models[name]


def _models_in(source: Path) -> list[Path]:
    """A model itself, or the models of a folder."""
    if not source.is_dir() or _is_run(source):
        return [source]
    found: list[Path] = []
    for path in sorted(source.iterdir()):
        if _is_run(path) or (path.is_file() and path.name.lower().endswith(_MODEL_FILES)):
            found.append(path)
    if not found:
        raise CheckpointError(
            f"{source}: holds no model", hint="Name run folders, checkpoints or exported files."
        )
    return found


def _is_run(path: Path) -> bool:
    if not path.is_dir():
        return False
    has_state = (path / BEST).is_file() or (path / LAST).is_file()
    return has_state or members_of(path) != [path]


def _name_of(path: Path) -> str:
    """The name of the run folder, or of the file."""
    if path.name in (BEST, LAST):
        path = path.absolute().parent
    return path.absolute().name if path.is_dir() else path.stem

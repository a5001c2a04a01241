"""From the section `distillation` to the teacher of a training, and what is known about it."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from lunet_cli.config.augmentation import Axis
from lunet_cli.config.distillation import DistillationConfig
from lunet_cli.config.vocabulary import Size
from lunet_cli.engine.checkpoints.checkpoint import ModelCard
from lunet_cli.engine.checkpoints.models import Model, load_model, members_of
from lunet_cli.engine.data.cases import Case, CaseSet
from lunet_cli.engine.data.content import content_of
from lunet_cli.engine.data.labels import LabelScheme
from lunet_cli.engine.data.soft_maps import MapsOfRegions, SoftMaps, find_soft_maps
from lunet_cli.engine.data.translation import Translation, channels_of_regions
from lunet_cli.engine.networks.execution import ExecutionPlan
from lunet_cli.engine.run_folder import RunFolder
from lunet_cli.engine.runtimes.exported_graph import ExportedGraph
from lunet_cli.engine.runtimes.runtime import RuntimePlan, load_runtime, runtimes_of
from lunet_cli.engine.training.distillation import Teacher, probabilities_of
from lunet_cli.errors import CheckpointError, ConfigError, DataError
from lunet_cli.records.files import sha256_of
from lunet_cli.records.manifest import RecordedTeacher, TeacherFile
from lunet_cli.results.events import Event, Notice, WarningIssued
from lunet_cli.results.words import plural

_AXES: tuple[Axis, ...] = ("z", "y", "x")
_KEY = "distillation.teacher"
Probabilities = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class TeacherNetworks:
    """Trained networks, of which the mean of the probabilities teaches.

    Args:
        models: At least one.
        mirrored: For each of them, sets of spatial axes (0 to 2) along which images are mirrored
            and probabilities mirrored back, none first.
    """

    models: tuple[Model, ...]
    mirrored: tuple[tuple[tuple[int, ...], ...], ...]

    @classmethod
    def load(cls, config: DistillationConfig) -> TeacherNetworks:
        """Load the networks that the section names.

        Raises:
            LunetError: One cannot be loaded, or was not trained for what is asked.
        """
        members = itertools.chain(*map(members_of, config.teacher))
        models = tuple(map(load_model, members))
        mirrored = tuple(_mirrorings(model, tta=config.tta) for model in models)
        return cls(models, mirrored)

    def attached(self, case_set: CaseSet, _: LabelScheme) -> CaseSet:
        """The cases as they are: networks need nothing beside the images."""
        return case_set

    def require_fitting(self, card: ModelCard) -> None:
        """Raise if a network cannot teach that of `card`.

        Raises:
            CheckpointError: It takes other images.
            DataError: It knows other labels.
        """
        for model in self.models:
            _require_same_images(model, card)
            Translation.between(model.card.labels, card.labels, str(model.path))

    def remarks(self, val: Sequence[Case], window: Size) -> Iterator[Event]:
        """What a person should know who has named these networks.

        Args:
            val: The validation cases of the student.
            window: Voxels (D, H, W) of its patches.
        """
        networks = ", ".join(model.architecture for model in self.models)
        num_passes = sum(map(len, self.mirrored))
        text = f"teacher: {networks}, {plural(num_passes, 'pass', 'passes')} for each batch"
        yield Notice(text)
        for model in self.models:
            yield from map(WarningIssued, model.warnings())
            yield from _leaks(model, val)
            own = model.window
            if own is not None and any(a < b for a, b in zip(window, own, strict=True)):
                yield WarningIssued(
                    f"{model.path}: was trained on patches of {_edges(own)} voxels, and sees "
                    f"{_edges(window)} here, less around each voxel than it has learned with"
                )

    def record(self, _: Sequence[Case], __: Path) -> RecordedTeacher:
        """The files of the networks, by their bytes."""
        files = [TeacherFile(path=str(one.path), sha256=_sha256(one.path)) for one in self.models]
        return RecordedTeacher(kind="networks", files=tuple(files))

    def start(
        self, config: DistillationConfig, labels: LabelScheme, plan: ExecutionPlan
    ) -> Teacher:
        """The networks, ready to teach a student of these labels that is computed by `plan`."""
        members = []
        for model, mirrored in zip(self.models, self.mirrored, strict=True):
            members.append(_mirroring(_forward(model, labels, plan), mirrored))

        def expects(image: Tensor, _: Tensor | None) -> Tensor:
            total = members[0](image)
            for member in members[1:]:
                total = total + member(image)
            return total / len(members)

        return Teacher(expects, config.weight, config.temperature)


@dataclass(frozen=True)
class TeacherMaps:
    """A folder of probability maps, of whatever network.

    Args:
        maps: The folder.
    """

    maps: SoftMaps

    def attached(self, case_set: CaseSet, labels: LabelScheme) -> CaseSet:
        """The cases with their maps.

        Args:
            case_set: Cases that train.
            labels: Those of the student.

        Raises:
            DataError: A case has none, or two cases have the same.
        """
        cases: list[Case] = []
        lacking: list[Path] = []
        for case in case_set.cases:
            # An unlabelled case that is called like a labelled one has its folder in front.
            name = Path(case.case_id).name if case.is_unlabelled else case.case_id
            files = self.maps.of_case(name, labels)
            if not files:
                lacking.append(self.maps.expected(name, labels))
            elif name != case.case_id and name in case_set.names:
                raise DataError(
                    f"{files[0]}: two cases are called {name}, and it is not known of which it is",
                    hint="Call the unlabelled volume and its maps otherwise.",
                )
            cases.append(replace(case, maps=files))
        if lacking:
            raise DataError(
                f"{self.maps.folder}: has no probabilities for {plural(len(lacking), 'case')} of "
                f"{len(cases)} that train, such as {lacking[0].name}",
                hint="Predict all of them, or leave them out of the training.",
            )
        return replace(case_set, cases=tuple(cases), soft_maps=MapsOfRegions(self.maps, labels))

    def require_fitting(self, card: ModelCard) -> None:
        """Maps have been compared with the labels and the images of their cases already."""

    def remarks(self, _: Sequence[Case], __: Size) -> Iterator[Event]:
        """What a person should know who has named this folder."""
        yield Notice(
            f"teacher: probability maps of {self.maps.origin} in {self.maps.folder}; what their "
            "network was trained on is not known, and flatters the Dice where it has seen the "
            "validation cases"
        )

    def record(self, cases: Sequence[Case], known: Path) -> RecordedTeacher:
        """The folder, by the content of the maps that are used.

        Args:
            cases: Those with maps.
            known: Folder that remembers the digests of files, see `content_of`.
        """
        total = hashlib.sha256()
        for case in sorted(cases, key=lambda case: case.case_id):
            files = Case(case.case_id, case.maps)
            total.update(f"{case.case_id}\n{content_of(files, known).digest}\n".encode())
        file = TeacherFile(path=str(self.maps.folder), sha256=total.hexdigest())
        return RecordedTeacher(kind="maps", files=(file,))

    def start(self, config: DistillationConfig, labels: LabelScheme, _: ExecutionPlan) -> Teacher:
        """The maps, ready to teach a student of these labels."""

        def expects(_: Tensor, soft: Tensor | None) -> Tensor:
            assert soft is not None  # All cases have maps.
            return channels_of_regions(soft, labels.activation)

        return Teacher(expects, config.weight, config.temperature)


TeacherSource = TeacherNetworks | TeacherMaps


def find_teacher(config: DistillationConfig) -> TeacherSource | None:
    """The teacher that the section names; None where it names none.

    Raises:
        LunetError: It cannot be used.
    """
    if not config.teacher:
        return None
    folders = [path for path in config.teacher if path.is_dir() and not _holds_networks(path)]
    if not folders:
        return TeacherNetworks.load(config)
    maps = find_soft_maps(folders[0])
    if maps is None:
        raise DataError(
            f"{_KEY}: {folders[0]} holds neither a trained network nor probability maps",
            hint="Name a run folder, or a folder that `predict(RUN, FOLDER, output=MAPS, "
            "probabilities=True)` or nnUNetv2_predict with save_probabilities has written.",
        )
    if len(config.teacher) > 1:
        raise ConfigError(
            f"{_KEY}: {folders[0]} is a folder of probability maps, and teaches alone",
            hint="Name networks only, or one folder of maps.",
        )
    if config.tta:
        raise ConfigError(f"distillation.tta: {folders[0]} holds maps, which are as they are")
    return TeacherMaps(maps)


def _holds_networks(path: Path) -> bool:
    folder = RunFolder(path)
    return folder.best.is_file() or folder.last.is_file() or bool(folder.folds)


def _sha256(path: Path) -> str:
    digest = sha256_of(path)
    # OpenVINO keeps the graph in one file and the weights in another.
    if path.suffix == ".xml":
        digest += sha256_of(path.with_suffix(".bin"))
    return digest


def _edges(size: Size) -> str:
    return " x ".join(map(str, size))


def _require_same_images(model: Model, card: ModelCard) -> None:
    ours, theirs = card.network.in_channels, model.card.network.in_channels
    if ours != theirs:
        channels = plural(theirs, "image channel")
        raise CheckpointError(
            f"{_KEY}: {model.path} takes {channels}, and the images have {ours}",
            hint="Name a network for the same images.",
        )
    mine, other = card.preprocessing.to_dict(), model.card.preprocessing.to_dict()
    for part, value in mine.items():
        if other[part] != value:
            raise CheckpointError(
                f"{_KEY}: {model.path} sees images of another preprocessing: {part} {other[part]} "
                f"there, {value} here",
                hint="Set the section preprocessing as the teacher has it; or write its "
                "probability maps, and name their folder: "
                f"`predict({model.path}, FOLDER, output=MAPS, probabilities=True)`",
            )


def _mirrorings(model: Model, *, tta: bool) -> tuple[tuple[int, ...], ...]:
    """The sets of axes along which a network has seen mirrored images, none first."""
    if not tta:
        return ((),)
    axes: list[int] = []
    if model.config is not None:
        augmentation = model.config.resolve(str(model.path)).augmentation
        if augmentation.changes.flip_probability > 0:
            axes = sorted(map(_AXES.index, augmentation.flip_axes))
    if not axes:
        raise ConfigError(
            f"distillation.tta: {model.path} has not learned from mirrored images, and would teach "
            "wrong things about them",
            hint="Leave it out, or train the teacher with `augmentation.flip_probability=0.5`.",
        )
    counts = range(len(axes) + 1)
    return tuple(itertools.chain(*(itertools.combinations(axes, count) for count in counts)))


def _leaks(model: Model, val: Sequence[Case]) -> Iterator[Event]:
    """A warning if a network has learned from what validates its student."""
    manifest = RunFolder(model.path.parent).read_manifest()
    if manifest is None:
        text = f"{model.path}: does not say which cases it was trained on"
        yield Notice(f"{text}; if the validation cases are among them, the Dice is flattered")
        return
    learned = {*manifest.split.train} & {case.case_id for case in val}
    if learned:
        yield WarningIssued(
            f"{model.path}: was trained on {len(learned)} of {plural(len(val), 'validation case')},"
            f" such as {min(learned)}: what it hands on of them flatters the Dice"
        )


def _forward(model: Model, labels: LabelScheme, plan: ExecutionPlan) -> Probabilities:
    """From images to probabilities of the student's channels, by one network."""
    runtime = runtimes_of(model.network)[0]
    how = RuntimePlan(runtime, plan.device, plan.precision)
    # An exported graph has its arithmetic from its export.
    if isinstance(model.network, ExportedGraph):
        how = RuntimePlan(runtime, "cpu", "fp32")
    compute = load_runtime(how, model.network)
    theirs = model.card.labels
    translation = Translation.between(theirs, labels, str(model.path))
    is_same = translation.is_identity and theirs.num_channels == labels.num_channels
    is_same = is_same and theirs.activation == labels.activation

    def forward(image: Tensor) -> Tensor:
        logits = compute(image.to(how.device)).to(plan.device)
        if is_same:
            return probabilities_of(logits, theirs.activation)
        regions = translation(theirs.probabilities(logits.float()))
        return channels_of_regions(regions, labels.activation)

    return forward


def _mirroring(forward: Probabilities, mirrored: Sequence[tuple[int, ...]]) -> Probabilities:
    """The mean over mirrored images, of probabilities that are mirrored back."""

    def mean(image: Tensor) -> Tensor:
        total = torch.zeros(())
        for axes in mirrored:
            spatial = [axis + 2 for axis in axes]
            total = forward(image.flip(spatial)).flip(spatial) + total.to(image.device)
        return total / len(mirrored)

    if len(mirrored) == 1:
        return forward
    return mean

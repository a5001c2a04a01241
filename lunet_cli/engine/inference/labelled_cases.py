"""The labelled cases of a trained network: which they are, and what the network makes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk  # noqa: N813

from lunet_cli.config.data import DataConfig
from lunet_cli.config.run import RunConfig
from lunet_cli.config.vocabulary import SplitName
from lunet_cli.engine.checkpoints.models import Model
from lunet_cli.engine.data.cases import Case, CaseSet
from lunet_cli.engine.data.findings import present_values, require_known_values, require_same_grid
from lunet_cli.engine.data.labels import LabelScheme
from lunet_cli.engine.data.layouts import find_cases, find_phantom_cases
from lunet_cli.engine.data.splits import find_test_cases, load_cases
from lunet_cli.engine.data.volume import Geometry
from lunet_cli.engine.inference.predictor import Predictor
from lunet_cli.engine.inference.segmentation import Segmentation
from lunet_cli.engine.inference.volume_errors import errors_of
from lunet_cli.engine.run_folder import RunFolder
from lunet_cli.errors import CheckpointError, ConfigError, DataError
from lunet_cli.results.events import Event, warnings_to
from lunet_cli.results.prediction import WindowDone
from lunet_cli.results.words import plural


@dataclass(frozen=True, kw_only=True)
class SelectedCases:
    """Labelled cases, and what is known of them.

    Args:
        case_set: The data set that they belong to.
        cases: The cases.
        origin: Where they come from, in words.
        trained_on: Those that the network was trained on, as far as its run folder has recorded it.
    """

    case_set: CaseSet
    cases: tuple[Case, ...]
    origin: str
    trained_on: tuple[str, ...]


@dataclass(frozen=True)
class SegmentedCase:
    """A labelled case and its prediction, all on the grid of the files.

    Args:
        channels: The image, one per channel.
        label: Its reference, uint16.
        segmentation: The prediction.
    """

    channels: list[sitk.Image]
    label: sitk.Image
    segmentation: Segmentation


def segment_case(
    predictor: Predictor,
    scheme: LabelScheme,
    case_set: CaseSet,
    case: Case,
    *,
    num_cases: int = 1,
    on_event: Callable[[Event], None] = lambda event: None,
) -> SegmentedCase:
    """Read a labelled case and segment it.

    Args:
        predictor: The networks.
        scheme: What the label values mean.
        case_set: The data set of the case.
        case: The case.
        num_cases: Cases of the whole job.
        on_event: Called after each window, and when a runtime has been chosen.

    Raises:
        DataError: The case cannot be used; names its file.
    """
    channels, label = case_set.reader(case, warnings_to(on_event))
    require_same_grid(case, channels[0], label)
    require_known_values(str(case.label), present_values(label), scheme)
    source: Path | str = case.case_id
    if case.images:
        source = case.images[0]
    with errors_of(source):
        plan = predictor.plan_windows(Geometry.of(channels[0]))
        done = 0

        def on_window() -> None:
            nonlocal done
            done += 1
            on_event(WindowDone(done, plan.num_windows, case.case_id))

        segmentation = predictor.segment(
            channels,
            plan=plan,
            job_windows=num_cases * plan.num_windows,
            on_choice=on_event,
            on_window=on_window,
        )
    return SegmentedCase(channels, label, segmentation)


def select_cases(
    model: Model, data: Path | None, split: SplitName, *, beside: Sequence[Model] = ()
) -> SelectedCases:
    """The labelled cases of a split.

    Args:
        model: A trained network.
        data: A labelled data set; None takes that of the training.
        split: `train` or `val` of the training, `test` as the data set says, or `all`.
        beside: The other networks of an ensemble, which have trained on cases too.

    Raises:
        CheckpointError: The checkpoint stands alone, and no data set is named.
        DataError: The cases are not there.
    """
    recorded = recorded_split(model)
    case_set, cases, origin = _find(model, data, split, recorded)
    trained_on = set(recorded.get("train", ()))
    for other in beside:
        trained_on.update(recorded_split(other).get("train", ()))
    seen = [case.case_id for case in cases if case.case_id in trained_on]
    return SelectedCases(case_set=case_set, cases=cases, origin=origin, trained_on=tuple(seen))


def _find(
    model: Model, data: Path | None, split: SplitName, recorded: dict[str, list[str]]
) -> tuple[CaseSet, tuple[Case, ...], str]:
    if split == "all" and data is not None:
        # Whatever the network was trained on: its configuration may be one that lunet cannot read.
        case_set = find_cases(data, "auto")
        return case_set, case_set.cases, f"all cases of {data}"
    config = _config_for(model, data, split)
    place = _place_of(config.data)
    origin = f"{split} cases of {place}"
    if split == "test":
        case_set = find_test_cases(config.data)
        return case_set, case_set.cases, origin
    if split == "all":
        case_set = _find_all(config.data)
        return case_set, case_set.cases, origin
    if recorded:
        case_set = _find_all(config.data)
        return case_set, _named_cases(case_set, recorded[split], place, split), origin
    # A checkpoint without its run folder: the same configuration and seed divide alike again.
    case_set, computed = load_cases(config.data, seed=config.experiment.seed)
    sides = {"train": computed.train, "val": computed.val}
    return case_set, sides[split], origin


def _config_for(model: Model, data: Path | None, split: SplitName) -> RunConfig:
    """The configuration of the training, with other data if they are named.

    Raises:
        CheckpointError: It is not known.
        DataError: The data of the training are not there.
    """
    if model.config is None and data is None:
        raise CheckpointError(
            f"{model.path}: does not say what it was trained on",
            hint="Name a labelled data set with `data=FOLDER`.",
        )
    config = RunConfig()
    if model.config is not None:
        config = model.config.resolve(str(model.path))
    if data is not None:
        return config.model_copy(update={"data": DataConfig(root=data, split=config.data.split)})
    for path in (config.data.root, config.data.train_dir, config.data.val_dir):
        if path is not None and not path.is_dir():
            raise DataError(
                f"{path}: the data of the training are not there",
                hint=f"If they have moved, name their new place: `data=FOLDER` and `split={split}`",
            )
    return config


def _place_of(data: DataConfig) -> str:
    if data.root is not None:
        return str(data.root)
    if data.train_dir is not None:
        return f"{data.train_dir} and {data.val_dir}"
    return "phantom"


def _find_all(data: DataConfig) -> CaseSet:
    """All cases of a data set, without dividing them."""
    if data.train_dir is not None:
        case_set, _ = load_cases(data, seed=0)  # Two folders are divided already.
        return case_set
    if data.root is None:
        return find_phantom_cases(data)
    return find_cases(data.root, data.dataset)


def _named_cases(
    case_set: CaseSet, names: list[str], place: str, split: SplitName
) -> tuple[Case, ...]:
    by_id = {case.case_id: case for case in case_set.cases}
    gone = [name for name in names if name not in by_id]
    if gone:
        raise DataError(
            f"{place}: {len(gone)} of the {len(names)} {split} cases of the training are not "
            f"there, such as {gone[0]}",
            hint="Name the data set of the training with `data=FOLDER`, or take all cases of "
            "another: `split=all`.",
        )
    return tuple(by_id[name] for name in names)


def recorded_split(model: Model) -> dict[str, list[str]]:
    """The cases of the training, `train` and `val`, as its run folder has recorded them.

    Returns:
        Nothing where the checkpoint stands alone.

    Raises:
        DataError: The record is damaged.
    """
    manifest = RunFolder(model.path.parent).read_manifest()
    if manifest is None:
        return {}
    return {"train": list(manifest.split.train), "val": list(manifest.split.val)}


def scheme_of(model: Model, labels: dict[str, tuple[int, ...]] | None) -> LabelScheme:
    """What the outputs mean.

    Args:
        model: A trained network, whose checkpoint knows it, unless it is one of the authors.
        labels: What a user says of that one.

    Raises:
        ConfigError: The checkpoint knows its labels, or `labels` are not as many as its outputs.
    """
    scheme = model.card.labels
    if labels is None:
        return scheme
    if model.config is not None:
        raise ConfigError("`labels`: the checkpoint knows its labels", hint="Leave `labels` out.")
    if len(labels) != len(scheme.regions):
        channels = plural(len(scheme.regions), "output channel")
        raise ConfigError(f"`labels`: {plural(len(labels), 'label')} for a network of {channels}")
    return LabelScheme(tuple(labels.items()), scheme.activation)

"""The labelled cases of a trained network: which they are, and what the network makes of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import SimpleITK as sitk  # noqa: N813

from lunet_cli.config.data import DataConfig
from lunet_cli.config.run import RunConfig
from lunet_cli.engine.checkpoints.models import Model
from lunet_cli.engine.data.cases import Case, CaseSet
from lunet_cli.engine.data.labels import LabelScheme
from lunet_cli.engine.data.layouts import find_cases
from lunet_cli.engine.data.splits import find_test_cases, load_cases
from lunet_cli.engine.data.store import require_known_values, require_same_grid
from lunet_cli.engine.data.volume import Geometry
from lunet_cli.engine.inference.predictor import Predictor, errors_of
from lunet_cli.engine.inference.segmentation import Segmentation
from lunet_cli.engine.run_folder import RunFolder
from lunet_cli.errors import CheckpointError, ConfigError, DataError
from lunet_cli.results.events import Event, warnings_to
from lunet_cli.results.prediction import WindowDone
from lunet_cli.results.words import plural

SplitName = Literal["train", "val", "test", "all"]


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
    require_known_values(str(case.label), label, scheme)
    source = case.images[0] if case.images else case.case_id
    with errors_of(source):
        num_windows = predictor.plan_windows(Geometry.of(channels[0])).num_windows
    done = 0

    def on_window() -> None:
        nonlocal done
        done += 1
        on_event(WindowDone(done, num_windows, case.case_id))

    with errors_of(source):
        segmentation = predictor.segment(
            channels, job_windows=num_cases * num_windows, on_choice=on_event, on_window=on_window
        )
    return SegmentedCase(channels, label, segmentation)


def select_cases(
    model: Model, data: Path | None, split: SplitName
) -> tuple[CaseSet, tuple[Case, ...], str]:
    """The labelled cases of a split, and where they come from in words.

    Args:
        model: A trained network.
        data: A labelled data set; None takes that of the training.
        split: `train` or `val` of the training, `test` as the data set says, or `all`.

    Raises:
        CheckpointError: The checkpoint stands alone, and no data set is named.
        DataError: The cases are not there.
    """
    if model.config is None and data is None:
        raise CheckpointError(
            f"{model.path}: does not say what it was trained on",
            hint="Name a labelled data set with --data FOLDER.",
        )
    if split == "all" and data is not None:  # whatever the network was trained on
        case_set = find_cases(data, "auto")
        return case_set, case_set.cases, f"all cases of {data}"
    config = RunConfig() if model.config is None else model.config.resolve(str(model.path))
    if data is not None:
        config = config.model_copy(update={"data": DataConfig(root=data, split=config.data.split)})
    moved = [
        path
        for path in (config.data.root, config.data.train_dir, config.data.val_dir)
        if path and not path.is_dir()
    ]
    if data is None and moved:
        raise DataError(
            f"{moved[0]}: the data of the training are not there",
            hint=f"If they have moved, name their new place: --data FOLDER --split {split}",
        )
    place = str(data or config.data.root or f"{config.data.train_dir} and {config.data.val_dir}")
    if config.data.root is None and config.data.train_dir is None:
        place = "phantom"
    if split == "test":
        case_set = find_test_cases(config.data)
        return case_set, case_set.cases, f"test cases of {place}"
    recorded = recorded_split(model)
    case_set, computed = load_cases(config.data, seed=config.experiment.seed)
    if split == "all":
        return case_set, case_set.cases, f"all cases of {place}"
    if not recorded:
        return (
            case_set,
            computed.train if split == "train" else computed.val,
            f"{split} cases of {place}",
        )
    by_id = {case.case_id: case for case in case_set.cases}
    gone = [name for name in recorded[split] if name not in by_id]
    if gone:
        raise DataError(
            f"{place}: {len(gone)} of the {len(recorded[split])} {split} cases of the training are not there, such as "
            f"{gone[0]}",
            hint="Name the data set of the training with --data FOLDER, or take all cases of another: --split all.",
        )
    return case_set, tuple(by_id[name] for name in recorded[split]), f"{split} cases of {place}"


def recorded_split(model: Model) -> dict[str, list[str]]:
    """The cases of the training as its run folder has recorded them; empty where the checkpoint stands alone.

    Raises:
        DataError: The record is damaged.
    """
    manifest = RunFolder(model.path.parent).read_manifest()
    if manifest is None:
        return {}
    return {"train": list(manifest.split.train), "val": list(manifest.split.val)}


def scheme_of(model: Model, labels: dict[str, tuple[int, ...]] | None) -> LabelScheme:
    """What the outputs mean: as the checkpoint says, or as a user says of one of the authors, which does not.

    Raises:
        ConfigError: The checkpoint knows its labels, or `labels` are not as many as its outputs.
    """
    scheme = model.card.labels
    if labels is None:
        return scheme
    if model.config is not None:
        raise ConfigError("--label: the checkpoint knows its labels", hint="Leave --label out.")
    if len(labels) != len(scheme.regions):
        raise ConfigError(
            f"--label: {plural(len(labels), 'label')} for a network of {plural(len(scheme.regions), 'output channel')}"
        )
    return LabelScheme(tuple(labels.items()), scheme.activation)

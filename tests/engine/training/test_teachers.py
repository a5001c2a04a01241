"""Networks that teach: found, compared with their student, and followed through a training."""

from __future__ import annotations

import json
import pickle
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from torch import Tensor

from lunet_cli.config.distillation import DistillationConfig
from lunet_cli.config.labels import Activation
from lunet_cli.config.load import with_settings
from lunet_cli.config.options import OutputOptions, PhantomOptions, PredictionOptions
from lunet_cli.engine.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from lunet_cli.engine.checkpoints.models import load_model
from lunet_cli.engine.data.labels import LabelScheme
from lunet_cli.engine.data.patches import batches
from lunet_cli.engine.data.phantom_files import write_phantom
from lunet_cli.engine.inference.load_model import load_model as load_predictor
from lunet_cli.engine.inference.predict import predict
from lunet_cli.engine.networks.execution import ExecutionPlan
from lunet_cli.engine.training.dry_run import dry_run
from lunet_cli.engine.training.setup import set_up
from lunet_cli.engine.training.teachers import TeacherNetworks, find_teacher
from lunet_cli.engine.training.train import train
from lunet_cli.errors import CheckpointError, ConfigError, DataError, LunetError
from lunet_cli.records.files import sha256_of
from lunet_cli.records.manifest import Manifest
from lunet_cli.records.model_folder import SHIPPED
from lunet_cli.results.events import Event, Notice, WarningIssued

PLAN = ExecutionPlan("cpu", "fp32", channels_last=False, compile=False)


def taught(runs: Any, output_dir: Path, name: str, teacher: object, *more: str) -> Any:
    """The tiny training, with a teacher."""
    listed = json.dumps([str(teacher)])
    return runs.tiny(output_dir, name, f"distillation.teacher={listed}", *more)


@pytest.fixture(scope="session")
def teacher(runs: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a network that has learned a little, and from mirrored images."""
    folder = tmp_path_factory.mktemp("teacher")
    more = ("model.architecture=lunet_small_2f", "training.epochs=2")
    return train(runs.tiny(folder, "teacher", *more)).run_dir


def expected_of(
    source: Path | list[Path], labels: LabelScheme, image: Tensor, **settings: Any
) -> Tensor:
    paths = source if isinstance(source, list) else [source]
    config = DistillationConfig(teacher=tuple(paths), **settings)
    found = find_teacher(config)
    assert found is not None
    return found.start(config, labels, PLAN).expects(image, None)


def scheme(activation: Activation, **regions: tuple[int, ...]) -> LabelScheme:
    return LabelScheme(tuple(regions.items()), activation)


def relabelled(run: Path, to: Path, labels: LabelScheme) -> Path:
    """A model with the weights of another, whose channels are called otherwise."""
    checkpoint = load_checkpoint(run / "best_model.pt")
    save_checkpoint(replace(checkpoint, card=replace(checkpoint.card, labels=labels)), to)
    return to


@pytest.fixture(scope="module")
def image() -> Tensor:
    return torch.randn(2, 1, 20, 24, 17, generator=torch.Generator().manual_seed(3))


def test_a_network_teaches_its_probabilities(teacher: Path, image: Tensor) -> None:
    model = load_model(teacher)
    labels = model.card.labels
    with torch.no_grad():
        logits = model.network(image)
    found = expected_of(teacher, labels, image)
    expected = logits.softmax(dim=1) if labels.activation == "softmax" else logits.sigmoid()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_an_ensemble_teaches_the_arithmetic_mean(teacher: Path, whole: Any, image: Tensor) -> None:
    labels = load_model(teacher).card.labels
    each = [expected_of(run, labels, image) for run in (teacher, whole.run_dir)]
    found = expected_of([teacher, whole.run_dir], labels, image)
    torch.testing.assert_close(found, (each[0] + each[1]) / 2)
    assert not torch.allclose(each[0], each[1], atol=1e-3)


def test_a_folder_of_folds_is_the_ensemble_of_them(
    teacher: Path, whole: Any, image: Tensor, tmp_path: Path
) -> None:
    for index, run in enumerate((teacher, whole.run_dir)):
        shutil.copytree(run, tmp_path / "folds" / f"fold_{index}")
    labels = load_model(teacher).card.labels
    found = expected_of(tmp_path / "folds", labels, image)
    assert torch.equal(found, expected_of([teacher, whole.run_dir], labels, image))


def test_mirrored_images_are_averaged_along_the_axes_of_the_training(
    teacher: Path, image: Tensor
) -> None:
    labels = load_model(teacher).card.labels
    total = torch.zeros(())
    for axes in ([], [2], [3], [4], [2, 3], [2, 4], [3, 4], [2, 3, 4]):
        total = total + expected_of(teacher, labels, image.flip(axes)).flip(axes)
    found = expected_of(teacher, labels, image, tta=True)
    torch.testing.assert_close(found, total / 8, rtol=1e-4, atol=1e-5)


def test_mirroring_is_refused_where_it_was_not_learned(runs: Any, tmp_path: Path) -> None:
    more = ("augmentation.flip_probability=0", "training.epochs=1")
    run = train(runs.tiny(tmp_path, "plain", *more)).run_dir
    with pytest.raises(ConfigError, match="has not learned from mirrored images"):
        find_teacher(DistillationConfig(teacher=(run,), tta=True))


def test_classes_are_added_up_to_larger_labels(
    teacher: Path, image: Tensor, tmp_path: Path
) -> None:
    exclusive = scheme("softmax", a=(1,), b=(2,), c=(3,))
    path = relabelled(teacher, tmp_path / "model.pt", exclusive)
    channels = expected_of(path, exclusive, image)
    assert channels.shape[1] == 4
    overlapping = scheme("sigmoid", all=(1, 2, 3), late=(2, 3), b=(2,))
    found = expected_of(path, overlapping, image)
    for index, parts in enumerate(([1, 2, 3], [2, 3], [2])):
        torch.testing.assert_close(found[:, index], channels[:, parts].sum(dim=1))
    fewer = expected_of(path, scheme("softmax", c=(3,), a=(1,)), image)
    torch.testing.assert_close(fewer[:, 1:], channels[:, [3, 1]])
    torch.testing.assert_close(fewer[:, 0], channels[:, [0, 2]].sum(dim=1))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (scheme("softmax", a=(1,), d=(4,)), r"no probabilities for the label d \[4\]"),
        (scheme("softmax", b=(1,)), r"its label b has the values \[2\], and here it has \[1\]"),
    ],
)
def test_other_labels_are_refused(
    teacher: Path, labels: LabelScheme, message: str, image: Tensor, tmp_path: Path
) -> None:
    exclusive = scheme("softmax", a=(1,), b=(2,), c=(3,))
    path = relabelled(teacher, tmp_path / "model.pt", exclusive)
    with pytest.raises(DataError, match=message):
        expected_of(path, labels, image)


def test_another_preprocessing_is_refused(runs: Any, teacher: Path, tmp_path: Path) -> None:
    config = taught(runs, tmp_path, "run", teacher, "preprocessing.spacing_mm=[2, 1, 1]")
    with pytest.raises(CheckpointError, match="another preprocessing: spacing_mm None") as caught:
        train(config)
    assert "probabilities=True" in caught.value.hint
    assert not (tmp_path / "run").exists()


def test_a_ready_model_teaches_by_its_name() -> None:
    source = TeacherNetworks.load(DistillationConfig(teacher=(Path("hippocampus-mri-1f"),)))
    assert [model.architecture for model in source.models] == ["lunet_small_1f"]
    record = source.record((), Path())
    assert record.files[0].sha256 == sha256_of(SHIPPED / "hippocampus-mri-1f.pt")


@pytest.mark.parametrize("name", ["nothing", "empty"])
def test_what_is_no_teacher_is_refused(runs: Any, tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(LunetError, match=str(tmp_path / name)):
        train(taught(runs, tmp_path, "run", tmp_path / name))
    assert not (tmp_path / "run").exists()


def test_a_teacher_that_knows_the_validation_cases_is_told(
    runs: Any, teacher: Path, tmp_path: Path
) -> None:
    told: list[Event] = []
    set_up(taught(runs, tmp_path, "same", teacher), told.append)
    assert not [event for event in told if isinstance(event, WarningIssued)]
    set_up(taught(runs, tmp_path, "other", teacher, "data.split.seed=1"), told.append)
    (warning,) = [str(event) for event in told if isinstance(event, WarningIssued)]
    assert "was trained on 1 of 1 validation case, such as phantom_0" in warning


@pytest.fixture(scope="session")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three volumes that nobody has labelled."""
    folder = tmp_path_factory.mktemp("volumes")
    write_phantom(folder / "data", PhantomOptions(num_cases=3, size=(32, 32, 32), seed=9))
    return folder / "data" / "imagesTr"


@pytest.fixture(scope="session")
def learned(
    runs: Any, teacher: Path, volumes: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Two epochs with a teacher, unlabelled volumes and heads of deep supervision."""
    return train(student(runs, tmp_path_factory.mktemp("learned"), "run", teacher, volumes)).run_dir


def student(runs: Any, output_dir: Path, name: str, teacher: Path, volumes: Path) -> Any:
    more = (
        f"distillation.unlabelled_dir={volumes}",
        "training.epochs=2",
        "training.deep_supervision=true",
        "training.accumulate_batches=2",
        "training.patch_size=[24, 24, 24]",
    )
    return taught(runs, output_dir, name, teacher, *more)


def test_the_manifest_says_who_taught_and_on_what(learned: Path, teacher: Path) -> None:
    manifest = Manifest.read(learned / "manifest.json")
    assert manifest.teacher is not None
    assert [file.path for file in manifest.teacher.files] == [str(teacher / "best_model.pt")]
    assert len(manifest.split.train) == 5
    assert len(manifest.split.unlabelled) == 3
    assert manifest.labels.ignored is None


def test_a_killed_student_goes_on_exactly(
    runs: Any, teacher: Path, volumes: Path, learned: Path, tmp_path: Path
) -> None:
    config = student(runs, tmp_path, "run", teacher, volumes)
    runs.train_in_subprocess(config, kill_at=(2, 1), number=signal.SIGKILL)
    train(config, resume="auto")
    runs.assert_same_result(tmp_path / "run", learned)


def test_another_teacher_is_refused_when_a_run_goes_on(
    runs: Any, whole: Any, teacher: Path, learned: Path, tmp_path: Path
) -> None:
    copied = runs.copy_of(learned, tmp_path / "run")
    config = with_settings(
        student(runs, tmp_path, "run", whole.run_dir, Path("unused")),
        ["distillation.unlabelled_dir=null", "training.epochs=3"],
    )
    with pytest.raises(CheckpointError, match=r"learned from another teacher: .* there, .* here"):
        train(config, resume=str(copied))
    alone = with_settings(config, ["distillation.teacher=[]"])
    with pytest.raises(CheckpointError, match="there, none here"):
        train(alone, resume=str(copied))


def test_unlabelled_volumes_count_towards_the_teacher_only(
    runs: Any, teacher: Path, volumes: Path, tmp_path: Path
) -> None:
    config = student(runs, tmp_path, "run", teacher, volumes)
    setup = set_up(config, lambda _: None)
    value = setup.learned_labels.ignored
    assert setup.card.labels.ignored is None
    assert value is not None
    seen = {False: 0, True: 0}
    setup.sampler.epoch = setup.sampler.first_step = 0
    for keys, batch in zip(setup.sampler, setup.loader, strict=True):
        assert isinstance(batch, tuple)
        for key, label in zip(keys, batch[1], strict=True):
            is_unlabelled = key.case_index >= len(setup.train)
            assert bool((label == value).all()) == is_unlabelled
            assert bool((label == value).any()) == is_unlabelled
            seen[is_unlabelled] += 1
    assert seen == {False: 5, True: 3}


def test_labelled_volumes_in_the_folder_are_left_out(
    runs: Any, teacher: Path, volumes: Path, tmp_path: Path
) -> None:
    data = volumes.parent
    config = taught(runs, tmp_path, "run", teacher, f"data.root={data}")
    config = with_settings(config, [f"distillation.unlabelled_dir={volumes}"])
    with pytest.raises(DataError, match="holds no volume that is not a labelled case"):
        set_up(config, lambda _: None)
    more = tmp_path / "more"
    shutil.copytree(volumes, more)
    told: list[Event] = []
    setup = set_up(with_settings(config, [f"distillation.unlabelled_dir={more}"]), told.append)
    assert len(setup.unlabelled_cases) == 3
    assert all(case.case_id.startswith("more/") for case in setup.unlabelled_cases)
    warnings = [str(event) for event in told if isinstance(event, WarningIssued)]
    assert any("one trains and the other validates" in text for text in warnings)


def test_damaged_unlabelled_volumes_are_told_in_lines(
    runs: Any, teacher: Path, volumes: Path, tmp_path: Path
) -> None:
    shutil.copytree(volumes, tmp_path / "volumes")
    (tmp_path / "volumes" / "broken.nii.gz").write_bytes(b"no volume")
    config = student(runs, tmp_path, "run", teacher, tmp_path / "volumes")
    with pytest.raises(DataError, match=r"broken\.nii\.gz"):
        train(config)
    assert not (tmp_path / "run").exists()


def test_a_dry_run_asks_the_teacher(runs: Any, teacher: Path, tmp_path: Path) -> None:
    config = taught(runs, tmp_path, "run", teacher, "distillation.weight=1")
    told: list[Event] = []
    alone = dry_run(runs.tiny(tmp_path), on_event=told.append)
    assert dry_run(config, on_event=told.append).loss != alone.loss
    assert any(isinstance(event, Notice) and "teacher: lunet" in str(event) for event in told)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four labelled volumes of anisotropic voxels."""
    folder = tmp_path_factory.mktemp("labelled") / "data"
    options = PhantomOptions(num_cases=4, size=(32, 32, 32), spacing_mm=(2.0, 1.0, 1.5), seed=4)
    write_phantom(folder, options)
    return folder


@pytest.fixture(scope="session")
def maps(teacher: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the teacher predicts for them in a single window, of the size of a patch."""
    folder = tmp_path_factory.mktemp("maps") / "maps"
    output = OutputOptions(output=folder, probabilities=True)
    options = PredictionOptions(window="trained", device="cpu", tta=False, precision="fp32")
    model = load_predictor(teacher, options=options)
    predict(model, [data / "imagesTr"], output)
    return folder


def on_maps(runs: Any, output_dir: Path, name: str, source: Path, data: Path, *more: str) -> Any:
    whole = ("training.patch_size=[32, 32, 32]", "training.batch_size=3", "distillation.weight=1")
    return taught(runs, output_dir, name, source, f"data.root={data}", *whole, *more)


def first_expected(config: Any) -> tuple[Tensor, Tensor]:
    """Images of the first batch, and what the teacher expects of them."""
    setup = set_up(config, lambda _: None)
    setup.sampler.epoch = setup.sampler.first_step = 0
    batch = next(batches(setup.loader))
    teacher = setup.start_teacher(PLAN)
    assert teacher is not None
    with torch.no_grad():
        return batch.image, teacher.expects(batch.image, batch.soft)


@pytest.mark.parametrize("cache", ["memory", "disk", "none"])
def test_maps_teach_what_the_network_does_that_wrote_them(
    runs: Any, teacher: Path, maps: Path, data: Path, tmp_path: Path, cache: str
) -> None:
    more = ("augmentation.enabled=false", "augmentation.flip_probability=0", f"data.cache={cache}")
    image, expected = first_expected(on_maps(runs, tmp_path, "network", teacher, data, *more))
    again, found = first_expected(on_maps(runs, tmp_path, "maps", maps, data, *more))
    assert torch.equal(image, again)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-3)


def test_maps_are_mirrored_with_their_image(
    runs: Any, maps: Path, data: Path, tmp_path: Path
) -> None:
    still = ("augmentation.enabled=false", "augmentation.flip_probability=0")
    flips = ("augmentation.enabled=null", "augmentation.flip_probability=1")
    image, expected = first_expected(on_maps(runs, tmp_path, "still", maps, data, *still))
    mirrored, found = first_expected(on_maps(runs, tmp_path, "flips", maps, data, *flips))
    assert torch.equal(mirrored, image.flip(2, 3, 4))
    assert torch.equal(found, expected.flip(2, 3, 4))


def test_maps_stay_with_their_image_when_it_is_resampled(
    runs: Any, maps: Path, data: Path, tmp_path: Path
) -> None:
    more = ("preprocessing.spacing_mm=[1, 1, 1]", "augmentation.enabled=null")
    config = on_maps(runs, tmp_path, "run", maps, data, *more, "training.patch_size=[64, 32, 48]")
    setup = set_up(config, lambda _: None)
    prepared = setup.train[0]
    assert prepared.soft is not None
    assert prepared.soft.shape[1:] == prepared.label.shape == (64, 32, 48)


def test_a_student_of_maps_goes_on_exactly_and_with_no_others(
    runs: Any, maps: Path, data: Path, volumes: Path, tmp_path: Path
) -> None:
    copied = tmp_path / "maps"
    shutil.copytree(maps, copied)
    more = ("training.epochs=2", "training.batch_size=2", "data.cache=disk")
    whole = train(on_maps(runs, tmp_path, "whole", copied, data, *more)).run_dir
    config = on_maps(runs, tmp_path, "run", copied, data, *more)
    runs.train_in_subprocess(config, kill_at=(2, 1), number=signal.SIGKILL)
    train(config, resume="auto")
    runs.assert_same_result(tmp_path / "run", whole)
    names = sorted(copied.glob("*_prob_anterior.nii.gz"))
    for first, second in ((names[0], names[1]), (names[2], names[3])):
        shutil.copy(first, second)
        shutil.copy(second, first)
    longer = with_settings(config, ["training.epochs=3"])
    with pytest.raises(CheckpointError, match=f"the content of {copied} has changed since"):
        train(longer, resume="auto")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("distillation.tta=true",), r"distillation\.tta: .* holds maps"),
        (("labels.front=1", "labels.b=[2, 3]"), "has no probabilities for 3 cases of 3 that train"),
    ],
)
def test_maps_that_do_not_fit(
    runs: Any, maps: Path, data: Path, tmp_path: Path, more: Any, message: str
) -> None:
    with pytest.raises(LunetError, match=message):
        train(on_maps(runs, tmp_path, "run", maps, data, *more))
    assert not (tmp_path / "run").exists()


def test_maps_and_networks_do_not_teach_together(teacher: Path, maps: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder of probability maps, and teaches alone"):
        find_teacher(DistillationConfig(teacher=(teacher, maps)))


def test_unlabelled_volumes_need_maps_too(
    runs: Any, maps: Path, data: Path, volumes: Path, tmp_path: Path
) -> None:
    config = on_maps(runs, tmp_path, "run", maps, data)
    others = tmp_path / "others"
    shutil.copytree(volumes, others)
    for path in sorted(others.iterdir()):
        path.rename(others / f"new_{path.name}")
    config = with_settings(config, [f"distillation.unlabelled_dir={others}"])
    with pytest.raises(DataError, match="no probabilities for 3 cases of 6 that train"):
        set_up(config, lambda _: None)


@pytest.mark.real_data
def test_a_student_of_real_volumes_learns_from_arrays_of_nnunet(
    runs: Any, teacher: Path, tmp_path: Path, hippocampus: Path
) -> None:
    """Arrays and properties as nnU-Net 2 writes them, for volumes of several shapes."""
    source = tmp_path / "data"
    arrays = tmp_path / "arrays"
    for name in ("imagesTr", "labelsTr"):
        (source / name).mkdir(parents=True)
    arrays.mkdir()
    for path in sorted((hippocampus / "labelsTr").glob("*.nii.gz"))[:5]:
        case = path.name.removesuffix(".nii.gz")
        shutil.copy(
            hippocampus / "imagesTr" / path.name, source / "imagesTr" / f"{case}_0000.nii.gz"
        )
        shutil.copy(path, source / "labelsTr" / path.name)
        label = sitk.ReadImage(str(path))
        values = sitk.GetArrayFromImage(label)
        classes = np.stack([values == value for value in range(3)]).astype(np.float32)
        np.savez_compressed(arrays / f"{case}.npz", probabilities=classes)
        stuff = {
            "spacing": label.GetSpacing(),
            "origin": label.GetOrigin(),
            "direction": label.GetDirection(),
        }
        (arrays / f"{case}.pkl").write_bytes(pickle.dumps({"sitk_stuff": stuff}))
    labels = {"background": 0, "Anterior": 1, "Posterior": 2}
    about = {"labels": labels, "channel_names": {"0": "MRI"}, "file_ending": ".nii.gz"}
    for folder in (source, arrays):
        (folder / "dataset.json").write_text(json.dumps({**about, "numTraining": 5}))
    config = taught(runs, tmp_path, "run", arrays, f"data.root={source}")
    config = with_settings(config, ["training.epochs=1", "augmentation.level=strong"])
    setup = set_up(config, lambda _: None)
    setup.sampler.epoch = setup.sampler.first_step = 0
    batch = next(batches(setup.loader))
    assert batch.soft is not None
    # Moved linearly, and the labels from the nearest voxel: where a class is sure, it is the label.
    for index in range(2):
        sure = batch.soft[:, index] > 0.99
        assert int(sure.sum()) > 100
        agree = (batch.label[sure] == index + 1).float().mean()
        assert agree > 0.99
    assert train(config).outcome == "finished"

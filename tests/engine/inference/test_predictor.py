from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch

from lunet_cli.config.options import PredictionOptions
from lunet_cli.config.presets import parse_preset
from lunet_cli.engine.checkpoints.checkpoint import ModelCard
from lunet_cli.engine.checkpoints.models import Model, load_model
from lunet_cli.engine.data.labels import LabelScheme
from lunet_cli.engine.data.preprocessing import Normalization, Preprocessing
from lunet_cli.engine.data.volume import Geometry
from lunet_cli.engine.inference.predictor import Predictor
from lunet_cli.engine.networks import build_network
from lunet_cli.errors import CheckpointError, DataError
from lunet_cli.records.network_card import Execution


def usual(**options: object) -> PredictionOptions:
    return PredictionOptions(device="cpu", precision="fp32", **options)


FP32 = usual()


def make_model(
    seed: int,
    *,
    activation: str = "softmax",
    spacing_mm: tuple[float, float, float] | None = None,
    levels: int = 3,
) -> Model:
    """A network with random weights and statistics."""
    torch.manual_seed(seed)
    scheme = LabelScheme((("a", (1,)), ("b", (2,))), activation)
    preset = parse_preset("lunet_small_2f").spec
    spec = replace(preset, channels=(2,) * levels, out_channels=scheme.num_channels)
    network = build_network(spec).eval()
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point() and "conv" not in name:
            tensor.add_(torch.rand_like(tensor))
    with torch.no_grad():  # Let every channel win somewhere.
        network.head[1].bias -= network(torch.randn(1, 1, 16, 16, 16)).mean(dim=(0, 2, 3, 4))
    card = ModelCard(
        spec,
        scheme,
        Preprocessing("LPS", spacing_mm, Normalization("zscore", 40, 400)),
        (16, 16, 16),
    )
    return Model(Path(f"{seed}.pt"), card, network, (16, 16, 16), "lunet_small_2f", None, None)


def make_image(size: tuple[int, int, int], seed: int = 0) -> sitk.Image:
    rng = np.random.default_rng(seed)
    image = sitk.GetImageFromArray(rng.normal(100, 30, size).astype(np.int16))
    image.SetSpacing((1.0, 1.5, 2.0))
    return image


def probabilities_of(
    models: list[Model], image: sitk.Image, options: PredictionOptions
) -> np.ndarray:
    found = np.zeros((2, *reversed(image.GetSize())), np.float32)
    Predictor(models, options).segment([image], probabilities=found)
    return found


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_whole_volume_gives_what_the_network_gives(activation: str) -> None:
    model, image = make_model(0, activation=activation), make_image((20, 16, 24))
    found = probabilities_of([model], image, usual(window="whole"))
    array = sitk.GetArrayFromImage(image).astype(np.float64)
    normalized = torch.from_numpy(((array - array.mean()) / array.std()).astype(np.float32))
    with torch.inference_mode():
        logits = model.network(normalized[None, None])
    expected = (
        torch.sigmoid(logits)[0] if activation == "sigmoid" else torch.softmax(logits, 1)[0, 1:]
    )
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


@pytest.mark.parametrize("window", ["whole", "stream"])
def test_zeros_and_not_edges_lie_around_a_volume_in_one_piece(window: str) -> None:
    """Networks have seen zeros around volumes; by itself one copies the edge up to its stride."""
    model, image = make_model(0), make_image((21, 13, 26))
    found = probabilities_of([model], image, usual(window=window))
    array = sitk.GetArrayFromImage(image).astype(np.float64)
    normalized = torch.from_numpy(((array - array.mean()) / array.std()).astype(np.float32))
    padded = torch.nn.functional.pad(normalized, (1, 1, 1, 2, 1, 2))
    assert padded.shape == (24, 16, 28)
    with torch.inference_mode():
        logits = model.network(padded[None, None])[..., 1:22, 1:14, 1:27]
    expected = torch.softmax(logits, 1)[0, 1:].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_ensemble_averages_probabilities(activation: str) -> None:
    models, image = (
        [make_model(seed, activation=activation) for seed in range(3)],
        make_image((12, 16, 10)),
    )
    single = [probabilities_of([model], image, FP32) for model in models]
    np.testing.assert_allclose(
        probabilities_of(models, image, FP32), np.mean(single, axis=0), atol=1e-5
    )


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_test_time_augmentation_averages_over_mirrorings(activation: str) -> None:
    model, image = make_model(0, activation=activation), make_image((16, 16, 16))
    found = probabilities_of([model], image, usual(tta=True))
    each = []
    for flips in np.ndindex(2, 2, 2):
        axes = tuple(axis for axis, flip in enumerate(flips) if flip)
        mirrored = sitk.GetImageFromArray(
            np.ascontiguousarray(np.flip(sitk.GetArrayFromImage(image), axes))
        )
        each.append(
            np.flip(probabilities_of([model], mirrored, FP32), tuple(axis + 1 for axis in axes))
        )
    np.testing.assert_allclose(found, np.mean(each, axis=0), atol=1e-5)


@pytest.mark.parametrize("spacing_mm", [None, (1.7, 1.1, 1.3)])
def test_bands_that_spare_memory_change_nothing(
    spacing_mm: tuple[float, float, float] | None,
) -> None:
    model, image = make_model(0, spacing_mm=spacing_mm), make_image((24, 90, 30))
    free = Predictor([model], FP32)
    needs = free.plan_windows(Geometry.of(image))
    tight = Predictor(
        [model], usual(max_memory_mib=needs.memory.total_mib - 0.3 * needs.memory.slab_mib)
    )
    plan = tight.plan_windows(Geometry.of(image))
    assert len(needs.bands) == 1
    assert len(plan.bands) > 1
    assert plan.memory.slab_mib < needs.memory.slab_mib
    done = []
    found = tight.segment([image], on_window=lambda: done.append(1))
    assert np.array_equal(found.codes, free.segment([image]).codes)
    assert len(np.unique(found.codes)) > 1
    assert abs(len(done) - plan.num_windows) <= 0.2 * plan.num_windows


def test_too_little_memory_is_refused_with_the_estimate() -> None:
    predictor = Predictor([make_model(0)], usual(max_memory_mib=10))
    with pytest.raises(
        DataError, match=r"needs about [\d,]+ MiB of memory, more than the 10 MiB allowed"
    ):
        predictor.plan_windows(Geometry.of(make_image((8, 8, 8))))


def test_number_of_windows_is_told_beforehand() -> None:
    predictor, image, done = Predictor([make_model(0)], FP32), make_image((40, 20, 33)), []
    predictor.segment([image], on_window=lambda: done.append(1))
    assert len(done) == predictor.plan_windows(Geometry.of(image)).num_windows > 1


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_label_map_fits_its_probabilities(activation: str) -> None:
    model, image = (
        make_model(3, activation=activation, spacing_mm=(1.0, 1.0, 1.0)),
        make_image((12, 20, 18)),
    )
    found = np.zeros((2, 12, 20, 18), np.float32)
    segmentation = Predictor([model], FP32).segment([image], probabilities=found)
    if activation == "sigmoid":
        expected = found > 0.5
    else:
        everything = np.concatenate([1 - found.sum(axis=0, keepdims=True), found])
        expected = np.stack([everything.argmax(axis=0) == index for index in (1, 2)])
    agreement = np.mean(
        [np.mean(segmentation.mask(index) == expected[index]) for index in range(2)]
    )
    assert agreement > 0.9999


def test_wrong_number_of_channels() -> None:
    image = make_image((8, 8, 8))
    with pytest.raises(DataError, match="has 2 channels, and the network takes 1"):
        Predictor([make_model(0)], FP32).segment([image, image])


def test_networks_of_different_labels_are_not_averaged() -> None:
    with pytest.raises(
        CheckpointError, match=r"1\.pt: cannot be averaged with 0\.pt: its labels differ"
    ):
        Predictor([make_model(0), make_model(1, activation="sigmoid")], FP32)
    with pytest.raises(CheckpointError, match="its preprocessing differ"):
        Predictor([make_model(0), make_model(1, spacing_mm=(1.0, 1.0, 1.0))], FP32)


def execution(device: str, precision: str) -> Execution:
    values = {"device": device, "precision": precision, "channels_last": True, "compile": False}
    return Execution.model_validate(values)


def test_precision_is_that_of_the_validation_where_the_machine_has_it() -> None:
    validated = replace(make_model(0), execution=execution("cpu", "bf16"))
    has_bf16 = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    automatic = Predictor([validated], PredictionOptions(device="cpu"))
    assert automatic.ensemble.plan.precision == ("bf16" if has_bf16 else "fp32")
    assert Predictor([validated], FP32).ensemble.plan.precision == "fp32"
    from_cuda = replace(make_model(0), execution=execution("cuda", "fp16"))
    assert Predictor([from_cuda], PredictionOptions(device="cpu")).ensemble.plan.precision == "fp32"


def test_arrays_are_segmented_from_python(tmp_path: Path, make_threshold_model) -> None:
    checkpoint = make_threshold_model(
        tmp_path / "model.pt", thresholds=(50.5, 120.5), activation="softmax"
    )
    image = np.random.default_rng(0).integers(0, 200, (1, 9, 20, 17)).astype(np.float32)
    predictor = Predictor.load([checkpoint], options=FP32)
    found = predictor.predict(image, spacing_mm=(3.0, 1.0, 1.0))
    assert found.label_map.dtype == np.uint8
    assert np.array_equal(found.label_map, np.digitize(image[0], (50.5, 120.5)))
    assert found.volume_ml["label1"] == pytest.approx((found.label_map == 1).sum() * 3 / 1000)
    assert found.probabilities == {}
    with_maps = predictor.predict(image, probabilities=True)
    assert list(with_maps.probabilities) == ["label1", "label2"]
    assert with_maps.probabilities["label1"].shape == (9, 20, 17)


def test_images_and_files_give_images_on_their_grid(tmp_path: Path, make_threshold_model) -> None:
    predictor = Predictor.load([make_threshold_model(tmp_path / "model.pt")], options=FP32)
    image = make_image((9, 8, 7))
    image.SetOrigin((5.0, -3.0, 80.0))
    image.SetDirection((-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0))
    sitk.WriteImage(image, str(tmp_path / "in.mha"))
    of_image = predictor.predict(image, probabilities=True)
    of_path = predictor.predict(tmp_path / "in.mha")
    expected = sitk.GetArrayFromImage(image) > 100.5
    for label_map in (of_image.label_map, of_path.label_map):
        assert Geometry.of(label_map) == Geometry.of(image)
        assert np.array_equal(sitk.GetArrayFromImage(label_map), expected)
    assert Geometry.of(of_image.probabilities["label1"]) == Geometry.of(image)


def test_vector_components_are_channels(tmp_path: Path, make_threshold_model) -> None:
    model = make_threshold_model(tmp_path / "model.pt", in_channels=2)
    first, second = make_image((9, 8, 7)), make_image((9, 8, 7), seed=1)
    found = Predictor.load([model], options=FP32).predict(sitk.Compose(first, second))
    expected = sitk.GetArrayFromImage(first) > 100.5
    assert np.array_equal(sitk.GetArrayFromImage(found.label_map), expected)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (np.zeros((4, 4, 4)), r"an array of shape \(4, 4, 4\) is not an image"),
        (np.full((1, 4, 4, 4), np.nan), "64 of 64 voxels are NaN or infinite"),
        (sitk.Image([4, 4], sitk.sitkFloat32), "an image of 2 dimensions is not a volume"),
        (np.zeros((2, 4, 4, 4)), "has 2 channels, and the network takes 1"),
    ],
)
def test_what_is_not_a_volume_is_refused(
    image: np.ndarray | sitk.Image, reason: str, tmp_path: Path, make_threshold_model
) -> None:
    predictor = Predictor.load([make_threshold_model(tmp_path / "model.pt")], options=FP32)
    with pytest.raises(DataError, match=reason):
        predictor.predict(image)


def test_a_volume_that_changed_since_it_was_planned_is_refused() -> None:
    predictor, image = Predictor([make_model(0)], FP32), make_image((8, 8, 8))
    plan = predictor.plan_windows(Geometry.of(make_image((8, 9, 8))))
    with pytest.raises(DataError, match="a moment ago"):
        predictor.segment([image], plan=plan)


def test_run_folder_stands_for_its_best_model(tmp_path: Path, make_threshold_model) -> None:
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        load_model(tmp_path)
    make_threshold_model(tmp_path / "last.pt")
    assert load_model(tmp_path).path == tmp_path / "last.pt"
    make_threshold_model(tmp_path / "best_model.pt")
    assert load_model(tmp_path).path == tmp_path / "best_model.pt"
    with pytest.raises(CheckpointError, match="knows its own network"):
        load_model(tmp_path, architecture="lunet_small_1f")

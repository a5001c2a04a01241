from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from torch import nn

from lunet_cli.config.network import NetworkSpec
from lunet_cli.config.options import PredictionOptions
from lunet_cli.engine.checkpoints.checkpoint import ModelCard
from lunet_cli.engine.checkpoints.models import Model
from lunet_cli.engine.data.labels import LabelScheme
from lunet_cli.engine.data.preprocessing import Normalization, Preprocessing
from lunet_cli.engine.data.volume import Geometry
from lunet_cli.engine.inference import stream
from lunet_cli.engine.inference.predictor import Predictor
from lunet_cli.engine.networks import build_network
from lunet_cli.engine.runtimes import selection
from lunet_cli.engine.runtimes.exported_graph import ExportedGraph
from lunet_cli.errors import ConfigError, DataError
from lunet_cli.records.checkpoint import Modes
from lunet_cli.results.runtimes import RuntimeChosen

WINDOW = (16, 16, 16)


def make_model(
    seed: int = 0,
    *,
    activation: str = "softmax",
    spacing_mm: tuple[float, float, float] | None = None,
    spec: NetworkSpec | None = None,
) -> Model:
    """A network with random weights, and statistics of noise, that finds every label somewhere."""
    torch.manual_seed(seed)
    scheme = LabelScheme((("a", (1,)), ("b", (2,))), activation)
    spec = replace(spec or NetworkSpec("lunet", (2, 2, 2)), out_channels=scheme.num_channels)
    network, noise = build_network(spec), torch.randn(1, 1, 32, 32, 32)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.momentum = 1.0
            nn.init.uniform_(module.weight, 1, 2)
            nn.init.uniform_(module.bias)
    *_, bias = network.parameters()
    with torch.no_grad():
        network(noise)
        bias -= network.eval()(noise).mean(dim=(0, 2, 3, 4))
    preprocessing = Preprocessing("LPS", spacing_mm, Normalization("zscore", 40, 400))
    card = ModelCard(spec, scheme, preprocessing, WINDOW)
    return Model(Path(f"{seed}.pt"), card, network, WINDOW, spec.family, None, None)


def make_image(size: tuple[int, int, int]) -> sitk.Image:
    rng = np.random.default_rng(0)
    image = sitk.GetImageFromArray(rng.normal(100, 30, size).astype(np.int16))
    image.SetSpacing((1.0, 1.5, 2.0))
    return image


def predictor_of(models: list[Model], window: object, **options: object) -> Predictor:
    usual = {"device": "cpu", "precision": "fp32", **options}
    return Predictor(models, PredictionOptions(window=window, **usual))


def probabilities_of(predictor: Predictor, image: sitk.Image) -> np.ndarray:
    found = np.zeros((2, *reversed(image.GetSize())), np.float32)
    predictor.segment([image], probabilities=found)
    return found


# Larger than the window along all axes; and shorter along some, where zeros surround the volume.
@pytest.mark.parametrize("size", [(21, 18, 35), (50, 9, 17), (5, 30, 12)])
@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_one_pass_segments_like_the_volume_in_one_piece(
    activation: str, size: tuple[int, int, int]
) -> None:
    model, image = make_model(activation=activation), make_image(size)
    whole, flowing = (predictor_of([model], window) for window in ("whole", "stream"))
    expected = probabilities_of(whole, image)
    np.testing.assert_allclose(probabilities_of(flowing, image), expected, atol=1e-5)
    codes = whole.segment([image]).codes
    assert np.mean(flowing.segment([image]).codes == codes) >= 0.9999
    assert len(np.unique(codes)) > 1


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_ensembles_and_mirrorings_are_averaged_as_in_one_piece(activation: str) -> None:
    models = [make_model(seed, activation=activation) for seed in range(2)]
    # Another reach: its planes come earlier.
    models.append(
        make_model(2, activation=activation, spec=NetworkSpec("lunetpp", (3, 3), convs_per_block=1))
    )
    image = make_image((19, 18, 21))
    expected = probabilities_of(predictor_of(models, "whole", tta=True), image)
    found = probabilities_of(predictor_of(models, "stream", tta=True), image)
    np.testing.assert_allclose(found, expected, atol=1e-5)


AS_GOOD = Modes(windows=0.88, one_pass=0.8785, share_larger=1.0)
WORSE = Modes(windows=0.88, one_pass=0.8775, share_larger=1.0)
HIDDEN = Modes(windows=0.88, one_pass=0.8785, share_larger=0.05)


@pytest.mark.parametrize(
    ("measured", "options", "expected"),
    [
        ([AS_GOOD], {}, "stream"),
        ([AS_GOOD, AS_GOOD], {"runtime": "auto"}, "stream"),
        ([WORSE], {}, None),
        ([HIDDEN], {}, None),
        ([AS_GOOD], {"overlap": 0.7}, None),
        ([None], {}, None),
        ([AS_GOOD, None], {}, None),
        ([AS_GOOD], {"tta": True}, None),
        ([AS_GOOD], {"runtime": "onnx"}, None),
        ([AS_GOOD], {"window": "trained"}, None),
        ([WORSE], {"window": "stream"}, "stream"),
        ([AS_GOOD], {"window": (32, 32, 32)}, (32, 32, 32)),
    ],
)
def test_one_pass_is_taken_where_the_validation_has_found_it_as_good(
    measured: list[Modes | None], options: dict[str, Any], expected: object
) -> None:
    models = [replace(make_model(), modes=modes) for modes in measured]
    predictor = Predictor(models, PredictionOptions(device="cpu", **options))
    assert predictor.window == expected
    notices = predictor.notices()
    assert bool(notices) == ("window" not in options and measured != [None])
    if notices:
        assert notices[0].startswith("one pass" if expected == "stream" else "windows")
        assert f"validated with a Dice of {measured[0].one_pass}" in notices[0]
    is_warned = any("has not learned" in warning for warning in predictor.warnings())
    assert is_warned == (WORSE in measured and expected == "stream")


def test_windows_are_taken_where_one_pass_has_no_room_and_nobody_asked_for_it() -> None:
    model, image = replace(make_model(), modes=AS_GOOD), make_image((16, 160, 160))
    geometry = Geometry.of(image)
    plan = predictor_of([model], None).plan_windows(geometry)
    assert plan.flows
    limits = np.geomspace(0.2, 1, 30) * plan.memory.total_mib
    plans = []
    for limit in limits.tolist():
        limited = predictor_of([model], None, max_memory_mib=limit)
        try:
            plans.append(limited.plan_windows(geometry).flows)
        except DataError:
            plans.append(None)
    # First nothing fits, then windows or one pass in bands, at last one pass.
    assert plans[-1] is True
    asked = predictor_of([model], "stream", max_memory_mib=float(limits[0]))
    with pytest.raises(DataError) as caught:
        asked.plan_windows(geometry)
    assert "window=trained" in caught.value.hint


def test_small_volume_goes_through_the_window_of_the_training() -> None:
    model, image = make_model(), make_image((9, 16, 12))
    flowing = predictor_of([model], "stream")
    plan = flowing.plan_windows(Geometry.of(image))
    assert (plan.flows, plan.window, plan.num_windows) == (False, WINDOW, 1)
    assert np.array_equal(
        flowing.segment([image]).codes, predictor_of([model], None).segment([image]).codes
    )


@pytest.mark.parametrize("spacing_mm", [None, (1.7, 1.1, 1.3)])
def test_too_little_memory_makes_fewer_planes_and_bands_that_change_nothing(
    spacing_mm: tuple[float, float, float] | None,
) -> None:
    model, image = make_model(spacing_mm=spacing_mm), make_image((24, 190, 30))
    free = predictor_of([model], "stream")
    needs = free.plan_windows(Geometry.of(image))
    assert needs.flows
    assert len(needs.bands) == 1
    assert needs.window[0] > 2
    limit = needs.memory.total_mib - 0.87 * needs.memory.network_mib
    tight = predictor_of([model], "stream", max_memory_mib=limit)
    plan = tight.plan_windows(Geometry.of(image))
    assert len(plan.bands) > 1
    assert plan.window[0] == 2
    assert plan.memory.total_mib <= limit
    done: list[int] = []
    found = tight.segment([image], on_window=lambda: done.append(1))
    assert len(done) == plan.num_windows
    assert np.mean(found.codes == free.segment([image]).codes) >= 0.9999


def test_memory_that_does_not_suffice_for_planes_is_one_line() -> None:
    predictor = predictor_of([make_model()], "stream", max_memory_mib=10)
    with pytest.raises(DataError, match=r"needs about [\d,]+ MiB of memory, more than") as found:
        predictor.plan_windows(Geometry.of(make_image((40, 40, 40))))
    assert found.value.hint is not None
    assert "`window=trained`" in found.value.hint


def test_steps_are_told_beforehand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_STEP_VOXELS", 4 * 20 * 36)
    predictor, image, done = predictor_of([make_model()], "stream"), make_image((37, 20, 33)), []
    predictor.segment([image], on_window=lambda: done.append(1))
    assert len(done) == predictor.plan_windows(Geometry.of(image)).num_windows == 10


def test_networks_and_runtimes_that_take_windows_only_are_refused() -> None:
    mednext = NetworkSpec("mednext", (2, 4), 1, 1, 1, 0.0, 3, (2, 2, 2), (1, 1, 1))
    with pytest.raises(ConfigError, match=r"0.pt: mednext normalises over the whole volume"):
        predictor_of([make_model(spec=mednext)], "stream")
    graph = replace(make_model(), network=ExportedGraph(Path("a.onnx"), "onnx"))
    with pytest.raises(ConfigError, match=r"0.pt: an exported file takes windows only"):
        predictor_of([graph], "stream")
    with pytest.raises(ConfigError, match=r"`window=stream`: is computed by the runtime torch"):
        predictor_of([make_model()], "stream", runtime="openvino")


def test_logits_that_are_not_finite_are_one_line() -> None:
    model = make_model()
    with torch.no_grad():
        model.network.head[1].bias += 3e38
        model.network.head[1].weight.fill_(3e38)
    with pytest.raises(DataError, match="numbers that are not finite"):
        predictor_of([model], "stream").segment([make_image((20, 20, 20))])


@pytest.mark.parametrize("size", [(20, 24, 30), (12, 16, 16)])
@pytest.mark.parametrize(("threshold", "is_tried"), [(1.0, True), (1e30, False)])
def test_auto_tries_arithmetic_where_the_job_is_long(
    monkeypatch: pytest.MonkeyPatch,
    size: tuple[int, int, int],
    threshold: float,
    is_tried: bool,
) -> None:
    monkeypatch.setattr(selection, "_WORTH_TRYING_PRECISION_FLOPS", threshold)
    predictor = predictor_of([make_model()], "stream", precision="auto", runtime="auto")
    found: list[RuntimeChosen] = []
    predictor.segment([make_image(size)], on_choice=found.append)
    (choice,) = found
    assert choice.name.startswith("torch ")
    assert (choice.trials[0].difference is not None) == is_tried

from __future__ import annotations

import numpy as np
import pytest

from lunet_cli.engine.data.labels import LabelScheme
from lunet_cli.engine.data.volume import Geometry
from lunet_cli.engine.inference.postprocessing import Step, parse_step, postprocess
from lunet_cli.engine.inference.segmentation import Segmentation
from lunet_cli.errors import ConfigError

AXES = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
SCHEME = LabelScheme((("a", (1,)), ("b", (2,))), "softmax")


def clean(
    labels: np.ndarray, *steps: str, spacing_mm: tuple[float, float, float] = (10.0, 10.0, 10.0)
) -> np.ndarray:
    found = Segmentation(
        labels.astype(np.uint8), SCHEME, Geometry(labels.shape, spacing_mm, (0.0, 0.0, 0.0), AXES)
    )
    postprocess(found, [parse_step(step, SCHEME.names) for step in steps])
    return found.label_map()


@pytest.fixture
def blobs() -> np.ndarray:
    """Label 1 as blocks of 8 and 1 voxels that are apart, label 2 as blocks of 2 and 1."""
    labels = np.zeros((6, 6, 6), int)
    labels[0:2, 0:2, 0:2] = 1
    labels[4, 4, 4] = 1
    labels[0, 5, 4:6] = 2
    labels[5, 0, 0] = 2
    return labels


def test_largest_component_is_kept_of_each_label(blobs: np.ndarray) -> None:
    cleaned = clean(blobs, "largest-component")
    expected = blobs.copy()
    expected[4, 4, 4] = expected[5, 0, 0] = 0
    assert np.array_equal(cleaned, expected)


def test_a_step_may_name_a_label(blobs: np.ndarray) -> None:
    expected = blobs.copy()
    expected[5, 0, 0] = 0
    assert np.array_equal(clean(blobs, "b:largest-component"), expected)


def test_voxels_that_touch_at_a_corner_are_one_component() -> None:
    labels = np.zeros((4, 4, 4), int)
    labels[0, 0, 0] = labels[1, 1, 1] = 1
    assert np.array_equal(clean(labels, "largest-component"), labels)


def test_small_components_go_by_their_volume(blobs: np.ndarray) -> None:
    # A voxel of 10 x 10 x 10 mm is 1 ml.
    expected = blobs.copy()
    expected[4, 4, 4] = expected[5, 0, 0] = 0
    assert np.array_equal(clean(blobs, "min-volume=2"), expected)
    expected[0, 5, 4:6] = 0
    assert np.array_equal(clean(blobs, "min-volume=2.5"), expected)
    assert np.array_equal(clean(blobs, "min-volume=1"), blobs)
    assert np.array_equal(clean(blobs, "min-volume=0.5", spacing_mm=(5.0, 10.0, 10.0)), blobs)
    assert not clean(blobs, "min-volume=9").any()


def test_holes_are_filled_but_not_with_what_is_another_label() -> None:
    labels = np.zeros((7, 7, 7), int)
    labels[1:6, 1:6, 1:6] = 1
    labels[2, 2, 2] = 0
    labels[4, 4, 4] = 2
    expected = labels.copy()
    expected[2, 2, 2] = 1
    assert np.array_equal(clean(labels, "a:fill-holes"), expected)


def test_steps_go_in_their_order() -> None:
    shell = np.zeros((9, 5, 5), int)
    shell[0:5] = 1
    shell[1:4, 1:4, 1:4] = 0  # 98 voxels around a hole of 27
    shell[6:9, 0:5, 0:5] = 1
    assert clean(shell, "fill-holes", "largest-component")[:5].sum() == 125
    assert clean(shell, "fill-holes", "min-volume=100").sum() == 125
    assert clean(shell, "min-volume=100", "fill-holes").sum() == 0


def test_nothing_happens_to_an_empty_label() -> None:
    assert not clean(
        np.zeros((3, 3, 3), int), "largest-component", "fill-holes", "min-volume=1"
    ).any()


def test_steps_are_read() -> None:
    assert parse_step("largest-component", ["a"]) == Step("largest-component", None)
    assert parse_step("a:min-volume=0.5", ["a"]) == Step("min-volume", "a", 0.5)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("biggest", "unknown operation 'biggest'"),
        ("c:fill-holes", "unknown label 'c'"),
        ("min-volume", "only min-volume takes a volume"),
        ("fill-holes=3", "only min-volume takes a volume"),
        ("min-volume=much", "'much' is not a volume"),
        ("min-volume=-1", "'-1' is not a volume"),
        ("min-volume=nan", "'nan' is not a volume"),
    ],
)
def test_wrong_steps_are_refused(text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        parse_step(text, ["a", "b"])

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from lunet_cli.config.data import PhantomConfig
from lunet_cli.engine.data.cases import Case
from lunet_cli.engine.data.phantom import PhantomReader, phantom_case_set

DEFAULT = PhantomConfig()


class Drawn(NamedTuple):
    image: np.ndarray[Any, Any]
    label: np.ndarray[Any, Any]


def _draw(
    index: int, *, size: int = DEFAULT.size, noise: float = DEFAULT.noise, seed: int = DEFAULT.seed
) -> Drawn:
    (image,), label = PhantomReader(size, noise, seed)(Case(f"phantom_{index:04d}"))
    return Drawn(sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(label))


@pytest.fixture(scope="module")
def drawn() -> list[Drawn]:
    """The 40 cases that the default settings give."""
    return [_draw(index) for index in range(DEFAULT.num_cases)]


def test_same_seed_and_index_give_the_same_volume() -> None:
    first, again = _draw(3, size=24), _draw(3, size=24)
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.label, again.label)


@pytest.mark.parametrize("other", [{"index": 4}, {"index": 3, "seed": 1}])
def test_another_index_or_seed_gives_another_volume(other: dict[str, int]) -> None:
    first, second = _draw(3, size=24), _draw(**other, size=24)
    assert not np.array_equal(first.image, second.image)
    assert not np.array_equal(first.label, second.label)


def test_every_default_case_holds_every_label(drawn: list[Drawn]) -> None:
    for index, (_, label) in enumerate(drawn):
        counts = np.bincount(label.ravel(), minlength=4)
        assert len(counts) == 4
        assert counts.min() >= 50, (index, counts)


def test_default_cases_are_all_different(drawn: list[Drawn]) -> None:
    assert len({label.tobytes() for _, label in drawn}) == len(drawn)


def test_structure_is_brighter_and_cavity_darker_than_their_surroundings(
    drawn: list[Drawn],
) -> None:
    for image, label in drawn:
        structure, cavity = image[(label == 1) | (label == 2)], image[label == 3]
        assert np.median(cavity) < 85 < 110 < np.median(structure)


def test_every_case_holds_look_alikes_away_from_the_labels(drawn: list[Drawn]) -> None:
    for image, label in drawn:
        labelled = sitk.GetImageFromArray((label > 0).astype(np.uint8))
        near = sitk.GetArrayFromImage(sitk.BinaryDilate(labelled, (2, 2, 2))) > 0
        # 125 lies half-way between tissue (100) and structure (150).
        assert np.count_nonzero((image > 125) & ~near) >= 40


def test_no_threshold_finds_the_structure_or_parts_it(drawn: list[Drawn]) -> None:
    best = {"structure": [], "posterior": []}
    for image, label in drawn:
        for name, mask in (("structure", (label == 1) | (label == 2)), ("posterior", label == 2)):
            found = [image > threshold for threshold in range(90, 180, 6)]
            scores = [
                2 * np.count_nonzero(f & mask) / (np.count_nonzero(f) + mask.sum()) for f in found
            ]
            best[name].append(max(scores))
    assert np.mean(best["structure"]) < 0.92
    assert np.mean(best["posterior"]) < 0.6


@pytest.mark.parametrize("size", [16, 33])
def test_size_is_respected(size: int) -> None:
    drawn = _draw(0, size=size)
    assert drawn.image.shape == drawn.label.shape == (size, size, size)
    assert drawn.image.dtype == np.float32
    assert drawn.label.dtype == np.uint16


def test_noise_is_relative_to_the_contrast_of_the_structure() -> None:
    # The same draws precede the noise, so the difference is the noise: 0.2 x (150 - 100) = 10.
    difference = _draw(0, size=24, noise=0.2).image - _draw(0, size=24, noise=0.0).image
    assert difference.std() == pytest.approx(10, rel=0.03)


def test_volumes_are_centred_on_the_origin() -> None:
    (image,), label = PhantomReader(17, 0.1, 0)(Case("phantom_0000"))
    assert image.GetOrigin() == label.GetOrigin() == (-8.0, -8.0, -8.0)
    assert image.GetSpacing() == (1.0, 1.0, 1.0)


def test_case_set_names_its_cases_and_labels() -> None:
    found = phantom_case_set(12, PhantomReader(16, 0.1, 0))
    assert [case.case_id for case in found.cases][::11] == ["phantom_0000", "phantom_0011"]
    assert found.labels == {"anterior": (1,), "posterior": (2,), "ventricle": (3,)}

"""Colours of labels and errors."""

from __future__ import annotations

import numpy as np
import pytest

from lunet_cli.render.palette import ERRORS, label_colors, to_hex, to_oklab

# Linear RGB as people without one kind of cone see it: Machado, Oliveira and Fernandes (2009),
# severity 1.
DEUTERANOPIA = np.array(
    [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ]
)
PROTANOPIA = np.array(
    [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ]
)


def distances(colors: np.ndarray) -> np.ndarray:
    lab = to_oklab(colors)
    return np.linalg.norm(lab[:, None] - lab[None], axis=-1)[np.triu_indices(len(lab), 1)]


def as_seen(colors: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    share = colors / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4) @ matrix.T
    linear = np.clip(linear, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def test_oklab_of_known_colors() -> None:
    # White and red as Ottosson (2020) gives them.
    np.testing.assert_allclose(to_oklab(np.array([[255.0, 255, 255]])), [[1, 0, 0]], atol=1e-3)
    np.testing.assert_allclose(
        to_oklab(np.array([[255.0, 0, 0]])), [[0.628, 0.225, 0.126]], atol=1e-3
    )


def test_twenty_labels_are_told_apart_from_each_other_and_from_greys() -> None:
    colors = np.array(label_colors(20), dtype=float)
    # 0.02 is what people just notice.
    assert distances(colors).min() > 0.11
    lab = to_oklab(colors)
    assert np.hypot(lab[:, 1], lab[:, 2]).min() > 0.06


@pytest.mark.parametrize("matrix", [DEUTERANOPIA, PROTANOPIA], ids=["deuteranopia", "protanopia"])
def test_few_labels_and_errors_are_told_apart_with_any_color_vision(matrix: np.ndarray) -> None:
    few = np.array(label_colors(7), dtype=float)
    errors = np.array([one.color for one in ERRORS.values()], dtype=float)
    assert distances(as_seen(few, matrix)).min() > 0.06
    assert distances(as_seen(errors, matrix)).min() > 0.15


def test_later_labels_are_told_apart_from_errors() -> None:
    errors = np.array([one.color for one in ERRORS.values()], dtype=float)
    later = np.array(label_colors(20)[7:], dtype=float)
    gaps = np.linalg.norm(to_oklab(later)[:, None] - to_oklab(errors)[None], axis=-1)
    assert gaps.min() > 0.1


def test_a_label_keeps_its_color_whatever_follows() -> None:
    assert label_colors(40)[:20] == label_colors(20)
    assert label_colors(20)[:3] == label_colors(3)
    assert len(set(label_colors(40))) == 40


def test_hex() -> None:
    assert to_hex((0, 158, 115)) == "#009e73"

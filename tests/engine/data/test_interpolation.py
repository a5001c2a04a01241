from __future__ import annotations

import numpy as np
import torch

from lunet_cli.engine.data.interpolation import Interpolation, between_grids


def test_finer_and_coarser_grids_by_hand() -> None:
    # Centres at 1, 3, 5 mm from the corner; then at 0.5, 1.5, ..., 5.5.
    finer = Interpolation.between(3, 2.0, 6, 1.0)
    values = torch.tensor([[10.0, 20.0, 40.0]])
    found = finer.apply(values, 1, slice(None), 0)[0]
    assert found.tolist() == [10.0, 12.5, 17.5, 25.0, 35.0, 40.0]
    # A part of the output, of the part of the input that it needs.
    assert finer.apply(values[:, 1:], 1, slice(3, 6), 1)[0].tolist() == [25.0, 35.0, 40.0]
    coarser = Interpolation.between(6, 1.0, 2, 3.0)
    assert (coarser.lower.tolist(), coarser.share.tolist()) == ([1, 4], [0.0, 0.0])


def test_axes_keep_their_order() -> None:
    depth, height, width = between_grids((4, 5, 6), (1, 1, 1), (8, 5, 3), (0.5, 1, 2))
    assert [len(axis.lower) for axis in (depth, height, width)] == [8, 5, 3]
    assert np.array_equal(height.lower, np.arange(5))

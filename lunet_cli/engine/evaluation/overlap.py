"""Measures of how much two masks overlap."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def dice(prediction: npt.NDArray[np.bool_], reference: npt.NDArray[np.bool_]) -> float:
    """Dice coefficient 2 |P and R| / (|P| + |R|).

    Args:
        prediction: Mask of any shape, bool.
        reference: Mask of the same shape, bool.

    Returns:
        0 to 1; 1 where both masks are empty, 0 where exactly one is.
    """
    total = np.count_nonzero(prediction) + np.count_nonzero(reference)
    if total == 0:
        return 1.0
    return float(2 * np.count_nonzero(prediction & reference) / total)

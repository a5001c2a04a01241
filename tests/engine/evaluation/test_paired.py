"""Tests of paired differences, against hand arithmetic."""

from __future__ import annotations

import numpy as np
import pytest

from lunet_cli.engine.evaluation.paired import holm, wilcoxon


def test_wilcoxon_of_few_cases_is_exact() -> None:
    # Of the 2^4 ways to give four ranks their signs, one has all above zero, and one all below.
    assert wilcoxon(np.array([0.1, 0.2, 0.3, 0.4])) == pytest.approx(2 / 16)
    # The smallest rank below zero: sums of ranks of 0 and of 1, on either side.
    assert wilcoxon(np.array([-0.1, 0.2, 0.3, 0.4])) == pytest.approx(4 / 16)


def test_cases_without_a_difference_do_not_count() -> None:
    assert wilcoxon(np.array([0.1, 0.2, 0.3, 0.4, 1e-12])) == pytest.approx(2 / 16)
    assert wilcoxon(np.array([0.0, 1e-12])) == 1.0


def test_holm_multiplies_the_smallest_most_and_keeps_the_order() -> None:
    # 0.01 * 3, 0.04 * 2, and 0.05 * 1, which may not fall below the one before.
    assert holm([0.04, 0.01, 0.05]) == pytest.approx([0.08, 0.03, 0.08])
    assert holm([]) == []

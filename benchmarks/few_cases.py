"""How often a network that is worse by exactly the margin passes as non-inferior, by cases.

The interval is the one of `lunet prune`, `shrink` and `compare`: 95 %, bootstrap percentiles. 2.5 %
should pass. `python benchmarks/few_cases.py` takes some minutes.
"""

from __future__ import annotations

import numpy as np

from lunet_cli.engine.evaluation.summary import bootstrap_interval

_TRIALS = 1500


def main() -> None:
    """Print a line for each number of cases."""
    rng = np.random.default_rng(1)
    for num_cases in (3, 5, 10, 20, 40):
        passed = 0
        for _ in range(_TRIALS):
            # Differences of Dice plus the margin: their true mean is zero.
            low, _ = bootstrap_interval(rng.normal(0, 1, num_cases))
            passed += low >= 0
        print(f"{num_cases:>3} cases: {passed / _TRIALS:.1%} pass, 2.5% should")


if __name__ == "__main__":
    main()

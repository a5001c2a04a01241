"""What the attacks share: how many there are, and what every answer must be like."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Protocol

import pytest

TRACEBACK = "Traceback (most recent call last)"
SLOWEST_SECONDS = 10.0
NumAttacks = Callable[[int, int], int]


class RequireCalm(Protocol):
    def __call__(
        self, answer: subprocess.CompletedProcess[str], *, seconds: float, attack: object
    ) -> None: ...


@pytest.fixture(scope="session")
def num_attacks(request: pytest.FixtureRequest) -> NumAttacks:
    """Choose the number of attacks: the first in the usual tests, the second with `--fuzz-full`."""
    is_full = bool(request.config.getoption("--fuzz-full"))

    def choose(few: int, many: int) -> int:
        return many if is_full else few

    return choose


@pytest.fixture(scope="session")
def require_calm() -> RequireCalm:
    """Check an answer of `lunet`: no traceback, an exit code of ours, one line, soon.

    A process that a signal has ended has a negative exit code, which is none of ours.
    """

    def check(answer: subprocess.CompletedProcess[str], *, seconds: float, attack: object) -> None:
        told = f"{attack}\nexit {answer.returncode} after {seconds:.1f} s\n{answer.stderr[-2000:]}"
        assert TRACEBACK not in answer.stderr, told
        assert answer.returncode in (0, 1, 2), told
        assert answer.returncode == 0 or "error: " in answer.stderr, told
        assert seconds < SLOWEST_SECONDS, told

    return check

"""Many cases looked at side by side."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lunet_cli.engine.data.cases import Case
from lunet_cli.engine.data.survey import survey
from lunet_cli.errors import DataError

CASES = [Case(str(number)) for number in range(8)]


def test_answers_come_in_the_order_of_the_cases_and_errors_stand_for_theirs() -> None:
    def look(case: Case) -> int:
        number = int(case.case_id)
        time.sleep(0.01 * (8 - number))
        if number == 2:
            raise DataError("no volume")
        if number == 5:
            raise RuntimeError("no ITK")
        return number

    found = list(survey(CASES, look, num_threads=4))
    assert [found[index] for index in (0, 1, 3, 4, 6, 7)] == [0, 1, 3, 4, 6, 7]
    assert str(found[2]) == "no volume"
    assert str(found[5]) == "case 5 (): RuntimeError('no ITK')"


def test_large_cases_wait_for_room(tmp_path: Path, write_volume: Any) -> None:
    path = tmp_path / "a.nrrd"
    write_volume(path, np.zeros((10, 10, 10), np.int16))
    needed = 16 * 1000  # bytes of a look at one
    at_once, most, lock = 0, 0, threading.Lock()

    def look(case: Case) -> None:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.02)
        with lock:
            at_once -= 1

    cases = [Case(case.case_id, (path,)) for case in CASES]
    for room, expected in ((2.5 * needed, 2), (0.5 * needed, 1)):
        most = 0
        list(survey(cases, look, num_threads=4, room_bytes=room))
        assert most == expected


def test_a_mistake_of_ours_ends_it_and_no_case_begins_after_it() -> None:
    seen: list[str] = []

    def look(case: Case) -> None:
        seen.append(case.case_id)
        if case.case_id == "0":
            raise KeyError("ours")
        time.sleep(0.05)

    with pytest.raises(KeyError, match="ours"):
        list(survey(CASES, look, num_threads=2))
    assert len(seen) < len(CASES)

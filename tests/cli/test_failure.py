from __future__ import annotations

import pytest

from lunet_cli.cli.failure import print_error, try_each
from lunet_cli.errors import ConfigError, DataError


def test_each_mistake_has_a_line_and_the_hint_follows(capsys: pytest.CaptureFixture[str]) -> None:
    print_error(ConfigError(["a: is wrong", "b\nc: is wrong"], hint="Mend `training.epochs=2`."))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "error: a: is wrong",
        r"error: b\nc: is wrong",
        "hint:  Mend --set training.epochs=2.",
    ]


def test_what_is_wrong_with_one_does_not_stop_the_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    done: list[int] = []

    def act(item: int) -> None:
        if item == 2:
            raise DataError("2: is missing")
        done.append(item)

    assert try_each([1, 2, 3], act) is False
    assert done == [1, 3]
    assert capsys.readouterr().err == "error: 2: is missing\n"
    assert try_each([1, 3], act) is True
    with pytest.raises(DataError):
        try_each([2], act)

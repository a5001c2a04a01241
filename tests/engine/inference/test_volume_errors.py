from __future__ import annotations

import numpy as np
import pytest
import torch

from lunet_cli.engine.inference.volume_errors import errors_of
from lunet_cli.errors import DataError


def test_errors_name_their_volume() -> None:
    with pytest.raises(DataError, match=r"^a\.nii: is empty$") as caught, errors_of("a.nii"):
        raise DataError("is empty", hint="Fill it.")
    assert caught.value.hint == "Fill it."


@pytest.mark.parametrize(
    "allocate", [lambda: torch.empty(2**50), lambda: np.ones(2**50), lambda: [0] * 2**60]
)
def test_lack_of_memory_is_an_error_of_the_volume(allocate: object) -> None:
    with pytest.raises(DataError, match=r"^a\.nii: ") as caught, errors_of("a.nii"):
        allocate()  # type: ignore[operator]
    assert "`batch_size`" in caught.value.hint


def test_bugs_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="must match"), errors_of("a.nii"):
        torch.ones(2) + torch.ones(3)

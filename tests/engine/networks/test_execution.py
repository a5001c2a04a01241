from __future__ import annotations

import pytest
import torch

from lunet_cli.engine.networks import execution
from lunet_cli.engine.networks.execution import ExecutionPlan, half_precisions, has_precision


def test_plan_in_words() -> None:
    assert str(ExecutionPlan("cpu", "fp32", False, False)) == "fp32 on cpu"
    assert str(ExecutionPlan("cuda", "bf16", True, True)) == "bf16 channels-last compiled on cuda"


@pytest.mark.parametrize(("is_native", "half"), [(True, ("bf16",)), (False, ())])
def test_processor_has_bf16_with_its_instructions_only(
    monkeypatch: pytest.MonkeyPatch, is_native: bool, half: tuple[str, ...]
) -> None:
    monkeypatch.setattr(execution, "has_native_bf16", lambda: is_native)
    assert half_precisions("cpu") == half
    assert has_precision("cpu", "bf16") is is_native
    assert has_precision("cpu", "fp32")
    assert not has_precision("cpu", "fp16")


@pytest.mark.parametrize(("is_native", "half"), [(True, ("bf16", "fp16")), (False, ("fp16",))])
def test_gpu_has_fp16_and_bf16_where_it_is_not_emulated(
    monkeypatch: pytest.MonkeyPatch, is_native: bool, half: tuple[str, ...]
) -> None:
    monkeypatch.setattr(
        torch.cuda,
        "is_bf16_supported",
        lambda including_emulation=True: is_native or including_emulation,
    )
    assert half_precisions("cuda") == half
    assert half_precisions("mps") == ("fp16",)


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_autocast_is_that_of_the_precision(precision, dtype: torch.dtype) -> None:
    with ExecutionPlan("cpu", precision, False, False).autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype

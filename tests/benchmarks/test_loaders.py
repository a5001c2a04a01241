from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import torch

Load = Callable[[str], ModuleType]


def _round(way: str, patches_per_second: float, **more: Any) -> dict[str, Any]:
    usual = {"level": "none", "workers": 2, "first_patch_seconds": 1.0}
    memory = {"resident_mib": 1000.0, "own_mib": 400.0}
    return {"way": way, "patches_per_second": patches_per_second, **usual, **memory, **more}


def test_table_has_medians_ranges_and_ratios(load: Load) -> None:
    prepared = [
        {"way": "lunet", "seconds": 9.4, "mib_on_disk": 1234.0, "peak": {"resident_mib": 282.0}}
    ]
    rounds = [_round("lunet", 10), _round("lunet", 40), _round("lunet", 20, resident_mib=2000.0)]
    rounds += [_round("nnU-Net", 5), _round("nnU-Net", 5, level="standard")]

    lines = load("loaders").table(prepared, rounds).splitlines()

    assert "| lunet | 9 s | 1,234 MiB | 282 MiB |" in lines
    ours = "| none | 2 | lunet | 20.0 (10.0 to 40.0) | 1.00 | 1.0 s | 2,000 MiB | 400 MiB |"
    assert ours in lines
    assert any(
        line.startswith("| none | 2 | nnU-Net | 5.0 (5.0 to 5.0) | 0.25 |") for line in lines
    )
    # Nothing to compare with.
    assert lines[-1].startswith("| standard | 2 | nnU-Net | 5.0 (5.0 to 5.0) | - |")


def test_pace_counts_patches_after_the_warm_ones(load: Load) -> None:
    side = load("nnunet_side")
    drawn = 0

    def batches() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        nonlocal drawn
        while True:
            drawn += 1
            label = torch.zeros(2, 1, 4, 4, 4)
            label[0] = drawn % 2  # One of four patches of two batches.
            yield torch.zeros(2, 1, 4, 4, 4), label

    found = side.pace(batches(), begin=0.0, seconds=0.01, warm=4)

    assert found["patches"] == 2 * (drawn - 5)
    assert found["labelled_share"] == 0.25
    assert found["shape"] == [2, 1, 4, 4, 4]


def test_a_record_of_other_options_is_not_kept(load: Load, tmp_path: Any) -> None:
    loaders = load("loaders")
    path = tmp_path / "record.json"
    assert loaders.read_kept(path, {"edge": 96}) is None
    path.write_text('{"asked": {"edge": 96}, "seconds": 1}')
    assert loaders.read_kept(path, {"edge": 96})["seconds"] == 1
    assert loaders.read_kept(path, {"edge": 64}) is None

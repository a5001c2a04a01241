from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

HOUSE = Path(__file__).parents[2] / "benchmarks" / "house.py"
CALM = "def double(x: int) -> int:\n    # Twice, since once is not enough.\n    return 2 * x\n"


@pytest.fixture(scope="module")
def house() -> ModuleType:
    spec = importlib.util.spec_from_file_location("house", HOUSE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["house"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("return 1", 1),
        ("return 1 if x else 2", 2),
        ("return x and y or z", 3),
        ("return [a for a in x if a if y]", 4),
        ("for a in x:\n    if a:\n        return 1", 3),
        ("try:\n    pass\nexcept ValueError:\n    pass", 2),
        ("match x:\n    case 1:\n        pass\n    case _:\n        pass", 3),
    ],
)
def test_complexity(house: ModuleType, body: str, expected: int) -> None:
    indented = body.replace("\n", "\n    ")
    tree = ast.parse(f"def f(x, y, z):\n    {indented}\n")
    assert house.complexity(tree.body[0]) == expected


def test_counts_of_a_file(house: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text(
        "# one\n\n# two\nx = 1  # no line of its own\ny = 1 if x else 2\nz = {i: i for i in []}\n",
        encoding="utf-8",
    )
    room = house.measure(path, tmp_path)
    assert (room.lines, room.comments, room.ternaries, room.comprehensions) == (5, 2, 1, 1)
    assert room.comment_percent == pytest.approx(40.0)


def test_check_is_silent_where_all_floors_hold(tmp_path: Path) -> None:
    (tmp_path / "calm.py").write_text(CALM + "x = 1\n" * 20, encoding="utf-8")
    done = _check(tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_check_has_a_line_for_each_broken_floor(tmp_path: Path) -> None:
    arguments = ", ".join(f"a{i}" for i in range(9))
    (tmp_path / "crowded.py").write_text(
        f"def f({arguments}): return 1 if a0 else 2\n", encoding="utf-8"
    )
    done = _check(tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "ternaries per 1,000 lines: 1000, at most 12",
        "functions with more than 8 arguments: 1, at most 0",
        "comment lines in percent: 0.00, at least 2",
    ]


def _check(package: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, HOUSE, package, "--check"],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )

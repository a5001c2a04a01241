from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_it_is_a_page_to_start_from() -> None:
    assert len(README.encode()) <= 10_000


def test_the_test_command_is_where_ci_looks_for_it() -> None:
    marked = README.partition("<!-- test command -->")[2]
    assert re.match(r"\n```bash\n[^\n]*\.venv/bin/nox\n```\n", marked)


def test_the_first_command_is_one_line() -> None:
    first = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)[0]
    assert first.count("\n") == 1
    assert first.endswith("lunet train configs/quickstart.yaml\n")

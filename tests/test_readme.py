from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_tables_are_up_to_date() -> None:
    subprocess.run([sys.executable, "docs/tables.py", "--check"], cwd=ROOT, check=True)


def test_every_file_that_is_linked_exists() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    local = [link for link in links if "://" not in link]
    assert local
    assert [link for link in local if not (ROOT / link).exists()] == []


def test_every_shipped_configuration_is_named() -> None:
    assert [
        path.name for path in (ROOT / "configs").glob("*.yaml") if path.name not in README
    ] == []


def test_python_examples_run(tmp_path: Path) -> None:
    arrays, first, second = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    small = first.replace('"training.epochs=2"', '"training.epochs=1", "data.phantom.num_cases=4"')
    small = small.replace('"configs/', f'"{ROOT.as_posix()}/configs/')
    done = subprocess.run(
        [sys.executable, "-c", small],
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert "from_python" in done.stdout.splitlines()[-1]
    use = arrays.replace("runs/quickstart", "runs/from_python")
    done = subprocess.run(
        [sys.executable, "-c", use], cwd=tmp_path, capture_output=True, encoding="utf-8", check=True
    )
    assert "'hausdorff95': " in done.stdout
    use = second.replace("runs/quickstart", "runs/from_python")
    done = subprocess.run(
        [sys.executable, "-c", use], cwd=tmp_path, capture_output=True, encoding="utf-8", check=True
    )
    assert "('anterior', 'posterior', 'ventricle')" in done.stdout

"""What `import lunet_cli as lunet` gives, and the examples in its docstrings."""

from __future__ import annotations

import ast
import doctest
import inspect
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

import lunet_cli as lunet
from lunet_cli.engine.pruning import shrink
from lunet_cli.errors import LunetError

WITH_EXAMPLE = (
    "load_config",
    "load_model",
    "train",
    "predict",
    "evaluate",
    "score",
    "compare",
    "benchmark",
    "export",
    "prune",
    "shrink",
    "study",
)
HEAVY = ("torch", "numpy", "pydantic", "SimpleITK", "yaml", "scipy")


@pytest.fixture
def workplace(tmp_path: Path, trained_run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two evaluated runs, a volume and a label map, in which examples run."""
    for name in ("phantom", "other"):
        shutil.copytree(trained_run, tmp_path / "runs" / name)
    rng = np.random.default_rng(0)
    for folder, array in (
        ("images", rng.normal(size=(32, 32, 32)).astype(np.float32)),
        ("labels", rng.integers(0, 3, (8, 8, 8)).astype(np.uint8)),
    ):
        (tmp_path / folder).mkdir()
        image = sitk.GetImageFromArray(array)
        image.SetSpacing((1.0, 2.0, 3.0))
        sitk.WriteImage(image, str(tmp_path / folder / "patient_1.nii.gz"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_importing_it_loads_nothing_heavy() -> None:
    script = (
        "import sys, lunet_cli as lunet\n"
        "assert {'train', 'predict', 'load_model', 'LunetError'} <= set(dir(lunet))\n"
        "print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, encoding="utf-8", check=True
    )
    loaded = set(done.stdout.split())
    assert "lunet_cli" in loaded
    assert loaded.isdisjoint(HEAVY)


def test_every_public_name_is_there() -> None:
    for name in lunet.__all__:
        assert getattr(lunet, name) is not None
    assert set(lunet.__all__) == set(dir(lunet))
    with pytest.raises(AttributeError, match="has no attribute 'rain'"):
        lunet.rain  # noqa: B018


def test_type_checkers_see_the_same_names() -> None:
    stub = ast.parse(Path(lunet.__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    told = {"__version__": ""}
    for node in stub.body:
        if isinstance(node, ast.ImportFrom):
            told |= {alias.name: str(node.module) for alias in node.names}
    assert set(told) == set(lunet.__all__)
    for name, home in told.items():
        if home:
            assert getattr(sys.modules[home], name) is getattr(lunet, name)


def _no_times(*_: object, **__: object) -> None:
    raise LunetError("no times here")


@pytest.mark.parametrize("name", [*WITH_EXAMPLE, "Predictor"])
def test_examples_of_docstrings_run(
    name: str, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Every runtime is built for it, and `tests/cli/test_shrink.py` has it measured once.
    monkeypatch.setattr(shrink, "benchmark", _no_times)
    found = getattr(lunet, name)
    names = {public: getattr(lunet, public) for public in lunet.__all__} | {"lunet": lunet}
    finder = doctest.DocTestFinder(recurse=inspect.isclass(found))
    examples = [test for test in finder.find(found, name, globs=names) if test.examples]
    assert examples, "the docstring has no example"
    for example in examples:
        assert doctest.DocTestRunner().run(example).failed == 0

"""Attacks on configurations: what is wrong is told in a line, and what passes the check starts.

They go through `lunet config check` and `lunet train --dry-run` in this process. Two kinds: values
of every field by its own JSON schema, with nasty ones among them, and mutations of the text of the
shipped files. Both come from fixed seeds, so that runs repeat.
"""

from __future__ import annotations

import io
import json
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from lunet_cli.config.load import dump_yaml, load_config
from lunet_cli.config.run import RunConfig

SHIPPED = [
    path.read_text(encoding="utf-8")
    for path in sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
]
SCHEMA = RunConfig.model_json_schema()
# A dry run of these takes a second; what an attack sets comes on top.
SMALL = {
    "data.phantom.num_cases": 4,
    "data.phantom.size": 16,
    "training.epochs": 2,
    "training.batch_size": 2,
    "training.patch_size": [32, 16, 16],
    "training.precision": "fp32",
    "model.architecture": "lunet_small_1f",
    "data.num_workers": 0,
}
SECONDS_OF_A_CHECK = 1.0
MOST_GROWTH_MIB = 600.0

NASTY: list[Any] = [
    None, True, False, 0, -1, 1, 2, 3, 2**31, 2**63, 2**70, -(2**63), 10**400, 0.5, -0.0, 1e-320,
    1e308, float("inf"), float("-inf"), float("nan"), "", " ", "=", "<<", "~", "null", "yes",
    "1e309", "1e-3", "0x10", "1:30", "2024-01-01", "\0", "\x1b[31m", "\n", "a\nb", "\u202e",
    "ä" * 300, "x" * 5000, "/dev/zero", "/dev/null", "/", ".", "..", "~", "-", "C:\\data\\new",
    "%s%n", "{}", "[]", "../../x", "(a+)+$", "((((((((((a", "^(.*)*$", "(?i)([ -\uffff])" * 5, [],
    [[]], [None], [1], [1, 2, 3], [4096] * 3, [16, 16, 16], ["a"] * 3, [[1]] * 3, {}, {"a": 1},
    {"": {}}, {1: 2}, {"name": "auto"}, {"a": {"b": {"c": {}}}},
]  # fmt: skip
PIECES = [
    "!!int abc", "!!timestamp x", "!!binary x", "!!python/object/apply:os.system [ls]",
    "!!set {a, b}", "!!float z", "!!omap [a: 1]", "!", "&a [*a]", "*a", "&a", "<<: *a",
    "<<: {epochs: 3}", "[" * 600, "{a: " * 600, "- " * 300, "\t", "\0", "\ufeff", "\r\n", "\r",
    "\x85", "\u2028", "\x1b[2J", "=", "? a", "? [a]\n: b", "---", "...", "%YAML 9.9", "9" * 4000,
    "0x" + "f" * 5000, "1:" * 900 + "1", "1e309", ".inf", ".nan", "'", '"', "|", ">", "#", ": ",
    ",", "}", "]", "epochs: 3", "training: {}", "null: 1", "1: 2", "yes: no", "x" * 70_000,
    "a: 1\n" * 9000,
]  # fmt: skip


class Answer:
    """Exit code, words and seconds of a call."""

    def __init__(self, process: subprocess.CompletedProcess[str], seconds: float) -> None:
        self.process = process
        self.seconds = seconds


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Answer]:
    """Run `lunet` in this process, in an empty folder.

    The seconds are those of the processor: what else the machine does must not decide about an
        attack.
    """
    import lunet_cli.engine.training.dry_run  # noqa: F401  # Loading PyTorch is no part of an answer.
    from lunet_cli.cli.app import main

    monkeypatch.chdir(tmp_path)

    def call(*arguments: str | Path) -> Answer:
        out, err = io.StringIO(), io.StringIO()
        monkeypatch.setattr(sys, "argv", ["lunet", *map(str, arguments)])
        start = time.process_time()
        code = 0
        with redirect_stdout(out), redirect_stderr(err):
            try:
                main()
            except SystemExit as ended:
                code = int(ended.code or 0)
        seconds = time.process_time() - start
        return Answer(
            subprocess.CompletedProcess(sys.argv, code, out.getvalue(), err.getvalue()), seconds
        )

    return call


def fields(name: str | None = None, prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every key of the schema with its description."""
    section = SCHEMA if name is None else SCHEMA["$defs"][name]
    for key, described in section["properties"].items():
        below = described.get("$ref", "").rpartition("/")[2]
        if below:
            yield from fields(below, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", described


KEYS = dict(fields())


def values_of(described: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that a key accepts, or nearly so, as its schema says."""
    if "anyOf" in described:
        return st.one_of(*(values_of(one) for one in described["anyOf"]))
    if "enum" in described:
        return st.sampled_from(described["enum"])
    low = described.get("minimum", described.get("exclusiveMinimum", -10))
    high = described.get("maximum", described.get("exclusiveMaximum", 2**40))
    kind = described.get("type")
    if kind == "integer":
        near = st.integers(min(low, low + 40), min(high, low + 40))
        return st.one_of(near, near, near, st.sampled_from([low - 1, low, high, high + 1]))
    if kind == "number":
        return st.one_of(
            st.floats(low, min(high, low + 10)), st.sampled_from([low, high, low - 1e-9])
        )
    if kind == "boolean":
        return st.booleans()
    if kind == "array":
        each = values_of(described.get("prefixItems", [described.get("items", {})])[0] or {})
        return st.lists(
            each, min_size=described.get("minItems", 0), max_size=described.get("maxItems", 4)
        )
    if kind == "null":
        return st.none()
    return st.sampled_from(
        ["runs", "a", "A.b-c", "lunet_small_1f", "unetpp_small_1f", "LPS", "RAI", "^(phantom_.)"]
    )


def values() -> st.SearchStrategy[dict[str, Any]]:
    """A few keys with values, most of them of the right kind."""
    one = st.sampled_from(sorted(KEYS)).flatmap(
        lambda key: st.tuples(
            st.just(key),
            st.one_of(values_of(KEYS[key]), values_of(KEYS[key]), st.sampled_from(NASTY)),
        )
    )
    return st.lists(one, min_size=1, max_size=4).map(dict)


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    """Sections of keys with dots."""
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        *above, last = key.split(".")
        section = tree
        for part in above:
            section = section.setdefault(part, {})
        section[last] = value
    return tree


def attacks(num: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Settings of a property: always the same attacks, one after the other."""
    return settings(
        max_examples=num,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


def is_small(flat: dict[str, Any]) -> bool:
    """Whether a dry run of these settings ends soon on any machine."""
    workers = flat.get("data.num_workers", 0)
    size = flat.get("data.phantom.size", 16)
    cases = flat.get("data.phantom.num_cases", 4)
    spacing = flat.get("preprocessing.spacing_mm") or [1, 1, 1]
    edges = flat.get("training.patch_size") or [32, 16, 16]
    voxels = 1.0
    for edge in edges:
        voxels *= edge
    return (
        workers <= 2
        # Built-in volumes only: the check does not look into a folder, or says that one is still to
        # be named.
        and not {"data.root", "data.train_dir", "data.source", "data.split.file"} & flat.keys()
        and size <= 24
        and cases <= 8
        and min(spacing) >= 0.5
        and voxels * flat.get("training.batch_size", 2) <= 2**16
        and flat.get("training.compile", False) is False
        and flat.get("training.learning_rate", 1) <= 1  # Beyond, the second step may diverge.
        and flat.get("training.num_threads") in (None, 1, 2)
        and flat.get("model.architecture", "lunet_small_1f").startswith(
            ("lunet_small_1f", "unetpp_small_1f")
        )
    )


def memory_mib() -> float:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def test_values_of_every_field_are_refused_in_a_line_or_start(
    ask, require_calm, num_attacks, tmp_path: Path
) -> None:
    """The property of the issue: what passes the check starts, for all that the check can know."""
    path, written, before = tmp_path / "run.yaml", tmp_path / "written.yaml", memory_mib()
    most_starts = num_attacks(4, 60)
    starts = 0

    @attacks(num_attacks(60, 450))
    @given(values(), st.sampled_from(["file", "set"]))
    def attack(changed: dict[str, Any], way: str) -> None:
        nonlocal starts
        flat = SMALL | changed
        try:
            text = yaml.safe_dump(nested(flat if way == "file" else SMALL), allow_unicode=True)
        except ValueError:  # 10**400 has no decimal form in Python.
            return
        path.write_text(text, encoding="utf-8", errors="surrogateescape")
        overrides = (
            [f"--set={key}={_as_yaml(value)}" for key, value in changed.items()]
            if way == "set"
            else []
        )
        checked = ask("config", "check", path, *overrides)
        require_calm(checked.process, seconds=checked.seconds, attack=(changed, way))
        assert checked.seconds < SECONDS_OF_A_CHECK, (changed, way)
        if checked.process.returncode != 0:
            return
        config = load_config(path, [override.removeprefix("--set=") for override in overrides])
        written.write_text(dump_yaml(config), encoding="utf-8")
        assert load_config(written) == config, (changed, way)
        if starts < most_starts and is_small(flat):
            starts += 1
            started = ask("train", path, *overrides, "--dry-run")
            require_calm(started.process, seconds=started.seconds, attack=(changed, way))
            assert started.process.returncode == 0, (changed, way, started.process.stderr)

    attack()
    assert starts == most_starts
    # What a dry run of a small network takes; what the attacks ask for is far more.
    assert memory_mib() - before < MOST_GROWTH_MIB


def _as_yaml(value: Any) -> str:
    return json.dumps(value) if not isinstance(value, str) else value.replace("\0", "")


def test_mutated_texts_of_the_shipped_files_are_refused_in_a_line(
    ask, require_calm, num_attacks, tmp_path: Path
) -> None:
    path, before = tmp_path / "run.yaml", memory_mib()

    for seed in range(num_attacks(60, 450)):
        content = _mutated(random.Random(seed))
        path.write_bytes(content)
        checked = ask("config", "check", path)
        attack = f"seed {seed}: {content[:300]!r}"
        require_calm(checked.process, seconds=checked.seconds, attack=attack)
        assert checked.seconds < SECONDS_OF_A_CHECK, attack
        assert len(checked.process.stderr) < 20_000, attack
    assert memory_mib() - before < MOST_GROWTH_MIB


def _mutated(rng: random.Random) -> bytes:
    """A shipped file after one to three changes, also in another encoding or with broken bytes."""
    text = rng.choice(SHIPPED)
    for _ in range(rng.randint(1, 3)):
        start = rng.randrange(len(text))
        change = rng.randrange(6)
        if change == 0:
            text = text[:start] + rng.choice(PIECES) + text[start:]
        elif change == 1:
            text = text[:start] + text[start + rng.randint(1, 30) :]
        elif change == 2:
            lines = text.splitlines()
            lines.insert(rng.randrange(len(lines)), rng.choice(lines))
            text = "\n".join(lines) + "\n"
        elif change == 3:
            lines = text.splitlines()
            rng.shuffle(lines)
            text = "\n".join(lines)
        elif change == 4:
            lines = [
                line for line in text.splitlines() if ": " in line and not line.startswith("#")
            ]
            line = rng.choice(lines or ["a: 1"])
            text = text.replace(line, f"{line.partition(':')[0]}: {rng.choice(PIECES)}")
        else:
            text = text[: start + 1]
        text = text or "#"
    content = text.encode("utf-8", "surrogatepass")
    if rng.random() < 0.1:
        content = text.encode(rng.choice(["utf-16", "latin-1", "utf-8-sig", "utf-32"]), "replace")
    if rng.random() < 0.1:
        place = rng.randrange(len(content))
        content = content[:place] + rng.randbytes(3) + content[place:]
    return content


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.epochs=" + "9" * 4000, "training.epochs"),
        ("training.num_threads=1000000", "training.num_threads"),
        (
            "training.num_threads=1000",
            "training.num_threads: 1000 is more than this machine can run",
        ),
        ("data.num_workers=100000", "data.num_workers"),
        ("training.patch_size=[4096, 4096, 4096]", "need more than"),
        ("training.batch_size=60000", "training.batch_size"),
        ("data.phantom.num_cases=9999", None),
        ("model.architecture=unet_large_9999f", "parameters; they need more than"),
        ("model.architecture=lunet_small_" + "9" * 3000 + "f", "is not a preset"),
        (
            "benchmark={enabled: true, input_size: [4096, 1, 4096, 4096, 4096]}",
            "benchmark.input_size",
        ),
        ("data.split.file=/dev/zero", "/dev/zero: is not a file"),
        ("data.split.file=fifo", "fifo: is not a file"),
        ("data.split.file=deep.json", "nested too deep"),
        ("data.split.file=large.json", "is larger than 16 MiB"),
        ("data.split.group_pattern='(p(h*)*)*!'", "data.split.group_pattern"),
        ("preprocessing.spacing_mm=[0.001, 0.001, 0.001]", "data.phantom"),
        ("labels={a: 1}", "labels: label values 2, 3 not configured"),
        ("model.in_channels=2", "model.in_channels: 2, but the images have 1"),
        ("data.split={fold: 0, num_folds: 50}", "data.split.num_folds: 50 folds of 4 cases"),
        ("model={activation: softmax, out_channels: 2}", "model.out_channels"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_start_is_refused_by_the_check(
    ask, require_calm, tmp_path: Path, override, words
) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "deep.json").write_text("[" * 200_000, encoding="utf-8")
    with (tmp_path / "large.json").open("wb") as file:
        file.truncate(2 * 2**30)
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(nested(SMALL)), encoding="utf-8")
    answer = ask("config", "check", path, "--set", override)
    require_calm(answer.process, seconds=answer.seconds, attack=override)
    if words is not None:
        assert answer.process.returncode in (1, 2)
        (line, *_) = answer.process.stderr.splitlines()
        assert words in line


@pytest.mark.parametrize(
    "kind", ["folder", "fifo", "device", "empty", "five MB", "binary", "loop", "nul", "name"]
)
def test_a_configuration_that_is_not_a_file_is_refused(
    ask, require_calm, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "run.yaml"
    makers: dict[str, Callable[[], object]] = {
        "folder": path.mkdir,
        "fifo": lambda: os.mkfifo(path),
        "device": lambda: path.symlink_to("/dev/zero"),
        "empty": path.touch,
        "five MB": lambda: path.write_text("a: " + "x" * 5_000_000),
        "binary": lambda: path.write_bytes(random.Random(0).randbytes(4000)),
        "loop": lambda: path.symlink_to(path),
        "nul": lambda: path.write_bytes(b"\0" * 100),
        "name": lambda: None,
    }
    makers[kind]()
    answer = ask("config", "check", "x" * 300 if kind == "name" else path)
    require_calm(answer.process, seconds=answer.seconds, attack=kind)
    assert answer.process.returncode == (0 if kind == "empty" else 2)
    assert answer.seconds < SECONDS_OF_A_CHECK

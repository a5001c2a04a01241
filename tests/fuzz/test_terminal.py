"""Names that would take over a screen, a page or a log: they are shown, and have no power."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

from lunet_cli.engine.run_folder import RunFolder
from lunet_cli.errors import ConfigError
from lunet_cli.render.console import PlainConsole
from lunet_cli.render.epochs import EpochTable
from lunet_cli.results.events import Notice
from lunet_cli.results.training import EpochDone, EpochRecord
from lunet_cli.results.words import visible, visible_lines

CallLunet = Callable[..., "subprocess.CompletedProcess[str]"]
NumAttacks = Callable[[int, int], int]
FORGED = "FORGED"
FRAGMENTS = [
    "\x1b[31m", "\x1b]0;title\x07", "\x1b[2J\x1b[H", "\x9b31m", "\r", f"\n{FORGED}",
    f"\r\n{FORGED}", "\t", "\x0b", "\x0c", "\x08\x08", "\x7f", "\x85", "\u202e", "\u2066", "\u200f",
    "\u2028", "\u2029", "\ufeff", "[red]", "[/]", "[/bold]", "[link=x]", "{0}", "{name}", "%s",
    ":smile:", "$x^2$", "</script><b>", "'\"`", "a b", "ü", "漢", "-",
]  # fmt: skip
NOT_UTF_8 = os.fsdecode(b"caf\xe9")
BIDI = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
SGR = re.compile(r"\x1b\[[0-9;]*m")
# A name at X, in every place where a command takes one.
COMMANDS = [
    "X", "X --help", "--X", "train X", "train --set X", "train default --set seed=X",
    "train default --resume X", "predict X X -o out", "predict X volume.nii.gz -o X --format X",
    "predict model.pt X -o out", "predict model.pt X -o X --shard X",
    "predict model.pt volume.nii.gz -o out --order X",
    "predict model.pt volume.nii.gz -o out --postprocess X", "eval X", "eval model.pt --data X",
    "eval X X", "score X X", "score X X --label X", "eval X --metric X", "compare X X",
    "export X --format onnx", "export X --format X", "bench X", "bench --arch X", "bench --size X",
    "bench --runs X", "report X", "report X -o X", "presets show X", "presets list --family X",
    "config check X", "config show X", "config show --set X", "config show --set experiment.name=X",
    "viz curves X", "viz slices X", "viz volume X", "viz volume volume.nii.gz -o X",
    "viz network X", "viz pareto X X", "viz channels X",
]  # fmt: skip


def names(number: int) -> list[str]:
    """Some of the fragments each: alone at first, then mixed."""
    rng = np.random.default_rng(11)
    found = [f"a{fragment}b" for fragment in FRAGMENTS]
    while len(found) < number:
        found.append("".join(rng.choice(FRAGMENTS, 3)))
    return (
        found[:number]
        if number >= len(FRAGMENTS)
        else [found[i] for i in rng.permutation(len(found))[:number]]
    )


def require_harmless(text: str, attack: object, *, colors: bool = False) -> None:
    """No character with power over what shows the text, no line that a name has begun."""
    rest = SGR.sub("", text) if colors else text
    for character in set(rest) - {"\n"}:
        is_harmful = unicodedata.category(character) in ("Cc", "Zl", "Zp", "Cs")
        is_harmful = (
            is_harmful
            or unicodedata.bidirectional(character) in BIDI
            or character in "\u200e\u200f\ufeff"
        )
        assert not is_harmful, f"{attack!r}: {character!r} in {text!r}"
    assert not [line for line in rest.split("\n") if line.strip(" │").startswith(FORGED)], (
        f"{attack!r}: {text!r}"
    )


def require_harmless_answer(done: subprocess.CompletedProcess[str], attack: object) -> None:
    require_harmless(done.stdout, attack)
    require_harmless(done.stderr, attack)


@pytest.fixture
def folder(tmp_path: Path, make_threshold_model) -> Path:
    make_threshold_model(tmp_path / "model.pt")
    write(tmp_path / "volume.nii.gz", np.zeros((6, 7, 8), np.int16))
    return tmp_path


def write(path: Path, array: np.ndarray[Any, Any]) -> Path:
    """A volume at a path that may have any name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = path.parent / f"plain{''.join(path.suffixes[-2:])}"
    sitk.WriteImage(sitk.GetImageFromArray(array), str(plain))
    return plain.rename(path)


def as_file_name(name: str) -> str:
    return name.replace("/", "_")


def test_names_on_the_command_line(
    folder: Path, call_lunet: CallLunet, num_attacks: NumAttacks, require_calm: Callable[..., None]
) -> None:
    hostile = [*names(num_attacks(1, len(FRAGMENTS) + 20)), NOT_UTF_8]
    for command in COMMANDS:
        for name in hostile:
            arguments = [word.replace("X", name) for word in command.split()]
            start = time.process_time()
            done = call_lunet(*arguments, cwd=folder)
            attack = command, name
            require_harmless_answer(done, attack)
            require_calm(done, seconds=time.process_time() - start, attack=attack)
            shutil.rmtree(folder / "out", ignore_errors=True)


def test_names_of_volumes(folder: Path, call_lunet: CallLunet, num_attacks: NumAttacks) -> None:
    image = np.random.default_rng(0).integers(0, 200, (6, 7, 8)).astype(np.int16)
    hostile = names(num_attacks(4, len(FRAGMENTS) + 20))
    for number, name in enumerate(hostile):
        write(folder / f"in/{number}{as_file_name(name)}.nii.gz", image)
        write(folder / f"labels/{number}{as_file_name(name)}.nii.gz", (image > 90).astype(np.uint8))
    (folder / f"in/broken{as_file_name(names(1)[0])}.nii.gz").write_text("no image")
    predicted = call_lunet(
        "predict", "model.pt", "in", "-o", "out", "--precision", "fp32", cwd=folder
    )
    require_harmless_answer(predicted, "predict")
    assert f"{len(hostile)} segmented, 1 failed" in predicted.stdout
    for path in (folder / "out").iterdir():
        require_harmless(path.name, "a file of ours")
    evaluated = call_lunet("score", "out", "labels", "--metric", "dice", cwd=folder)
    require_harmless_answer(evaluated, "score")
    assert f": {len(hostile)} cases" in evaluated.stdout
    with (folder / "out/metrics.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == len(hostile)
    for name in os.listdir(folder / "in")[:3]:
        for arguments in (["--no-color"], ["-o", "picture.svg"]):
            require_harmless_answer(
                call_lunet("viz", "volume", f"in/{name}", *arguments, cwd=folder), name
            )


def make_run(path: Path, label: str, case: str) -> Path:
    """The tables of a run, with a label and a case of any name."""
    path.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    header = ["epoch", "train_loss", "val_loss", "val_dice", f"val_dice_{label}", "val_dice_b"]
    rows = [
        [*header, "learning_rate", "epoch_seconds"],
        [1, 1, 1, 0.5, 0.5, 0.5, 0.1, 1],
        [2, 1, 1, 0.6, 0.5, 0.7, 0.1, 1],
    ]
    csv.writer(text).writerows(rows)
    (path / "history.csv").write_text(text.getvalue(), encoding="utf-8", newline="")
    text = io.StringIO()
    csv.writer(text).writerows([["step", label, "b"], [0, 4, 4], [1, 3, 4]])
    (path / "channels.csv").write_text(text.getvalue(), encoding="utf-8", newline="")
    text = io.StringIO()
    scores = [[name, label, 0.5, 1, 1] for name in (case, "c")]
    csv.writer(text).writerows(
        [["case", "label", "dice", "prediction_ml", "reference_ml"], *scores]
    )
    (path / "eval/val").mkdir(parents=True)
    (path / "eval/val/metrics.csv").write_text(text.getvalue(), encoding="utf-8", newline="")
    facts = {"model": {"architecture": case, "parameters": 5, "conv_flops_at_64": 9}}
    (path / "eval/val/summary.json").write_text(json.dumps(facts), encoding="utf-8")
    (path / "manifest.json").write_text(
        json.dumps({"architecture": label, "versions": {case: label}})
    )
    (path / "config.yaml").write_text(json.dumps({"experiment": {"name": case}}))
    return path


def test_names_in_the_files_of_runs(
    tmp_path: Path, call_lunet: CallLunet, num_attacks: NumAttacks
) -> None:
    for number, name in enumerate(names(num_attacks(2, len(FRAGMENTS) + 20))):
        run = make_run(tmp_path / f"{number}" / as_file_name(name), name, name)
        other = make_run(tmp_path / f"{number}" / "other", name, name)
        for command in (
            ["viz", "curves", run, other],
            ["viz", "curves", run, "-o", "curves.svg"],
            ["viz", "channels", run],
            ["viz", "channels", run, "-o", "channels.pdf"],
            ["compare", run, other],
            ["viz", "pareto", run, other],
            ["viz", "pareto", run, other, "-o", "pareto.png"],
            ["report", run, "-o", "report.html"],
        ):
            done = call_lunet(*command, cwd=tmp_path)
            require_harmless_answer(done, (command, name))
            assert done.returncode == 0 or "error: " in done.stderr, (command, done.stderr)
        require_harmless_page((tmp_path / "report.html").read_text(encoding="utf-8"), name)


def require_harmless_page(page: str, attack: object) -> None:
    require_harmless(page, attack)
    assert page.count("</script>") == 2, f"{attack!r}: a name has ended a script"
    (data,) = re.findall(
        r'<script id="data" type="application/json">(.*?)</script>', page, re.DOTALL
    )
    for text in texts_of(json.loads(data)):
        require_harmless(text, attack)


def texts_of(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in texts_of(item)]
    if isinstance(value, list):
        return [text for item in value for text in texts_of(item)]
    return [value] if isinstance(value, str) else []


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.text(max_size=30))
@example("".join(FRAGMENTS) + NOT_UTF_8)
def test_visible_text_is_harmless_and_stays_so(text: str) -> None:
    shown = visible(text)
    require_harmless(shown, text)
    assert "\n" not in shown
    assert visible(shown) == shown
    assert visible_lines(text) == "\n".join(visible(line) for line in text.split("\n"))
    shown.encode()


@settings(derandomize=True, deadline=None, max_examples=30)
@given(
    st.lists(st.one_of(st.text(max_size=12), st.sampled_from(FRAGMENTS)), min_size=2, max_size=2)
)
def test_consoles_obey_no_name(cells: list[str]) -> None:
    for color in (None, "truecolor"):
        file = io.StringIO()
        console = PlainConsole(
            file=file, width=60, force_terminal=color is not None, color_system=color, _environ={}
        )
        table = Table(box=None)
        table.add_column(cells[0], style="bold red")
        table.add_row(cells[1])
        console.print(table, cells[0], Text(visible(cells[1])), style="green")
        require_harmless(file.getvalue(), cells, colors=color is not None)


def test_texts_of_ours_keep_their_lines_and_names_do_not_begin_one() -> None:
    file = io.StringIO()
    PlainConsole(file=file, width=60).print(Text("one\ntwo"), "three\nfour [bold]")
    assert file.getvalue() == "one\ntwo three\\nfour [bold]\n"


@pytest.mark.parametrize(
    "labels", [(), ("a\x1b[31m\nb", "[red]"), tuple(f"organ {i}\x07" for i in range(66))]
)
def test_rows_of_epochs_fit_the_terminal(labels: tuple[str, ...]) -> None:
    record = EpochRecord(9999, 1.5, 1.25, 0.5, dict.fromkeys(labels, 0.25), 0.01, 12.0)
    event = EpochDone(record, 10000, is_best=True, seconds_left=40000.0)
    table = EpochTable(event)
    row = table.row(event).plain
    for line in (*table.heading, row):
        require_harmless(line, labels)
        assert len(line) <= 80


def test_logs_have_one_line_per_event(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for name in [*names(len(FRAGMENTS)), NOT_UTF_8]:
        folder.log(Notice(f"resumed from {name}"))
    text = (tmp_path / "train.log").read_text(encoding="utf-8")
    require_harmless(text, "train.log")
    assert text.count("\n") == len(FRAGMENTS) + 1


def test_labels_with_control_characters_are_refused() -> None:
    from lunet_cli.engine.data.labels import LabelScheme

    with pytest.raises(ConfigError, match="has a control character"):
        LabelScheme((("liver\x1b[31m", (1,)),), "sigmoid")


LUNET = Path(sys.executable).with_name("lunet")
QUICK_COMMANDS = [
    "presets list",
    "--version",
    "--help",
    "config show",
    "config schema",
    "presets list --json",
    "viz network unet_small_4f",
]
REDIRECTIONS = [
    (">&-", 1, "error: standard output: is closed"),
    (">/dev/full", 1, "error: standard output: cannot be written"),
    (">&- <&-", 1, "error: standard output: is closed"),
    (">&- 2>&-", 1, ""),
    ("2>&-", 0, ""),
    ("2>/dev/full", 0, ""),
    ("<&-", 0, ""),
    ("| true", 0, ""),
    ("2>&1 | true", 0, ""),
]


@pytest.mark.parametrize(("redirection", "code", "message"), REDIRECTIONS)
def test_streams_that_are_closed_full_or_left(
    redirection: str, code: int, message: str, num_attacks: NumAttacks
) -> None:
    commands = [
        "presets list",
        "--version",
        "--help",
        "config show",
        "presets list --json",
        "viz network unet_small_4f",
    ]
    for command in commands[: num_attacks(1, len(commands))]:
        line = f"{LUNET} {command} {redirection}"
        done = subprocess.run(
            ["bash", "-c", line], capture_output=True, encoding="utf-8", timeout=120
        )
        assert done.returncode == code, (line, done.stderr)
        assert "Traceback" not in done.stderr
        assert "Exception ignored" not in done.stderr
        assert message in done.stderr
        assert len(done.stderr.splitlines()) <= 2


def test_a_reader_that_has_left_ends_the_command_as_a_signal_does() -> None:
    line = f"(sleep 1; {LUNET} presets list; echo $? >&2) | true; wait"
    done = subprocess.run(["bash", "-c", line], capture_output=True, encoding="utf-8", timeout=120)
    assert done.stderr.strip() == "141"


def test_results_stay_where_they_cannot_be_told(folder: Path) -> None:
    line = f"{LUNET} predict model.pt volume.nii.gz -o out --precision fp32 --threads 1 >/dev/full"
    done = subprocess.run(
        ["bash", "-c", line], capture_output=True, encoding="utf-8", timeout=120, cwd=folder
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: standard output: cannot be written")
    assert (folder / "out/volume.nii.gz").is_file()

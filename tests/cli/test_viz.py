"""`lunet viz` and `lunet report` as a person meets them."""

from __future__ import annotations

import codecs
import contextlib
import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from lunet_cli.errors import OutputError

CallLunet = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """A volume of thick slices, with a label map beside it."""
    image = sitk.GetImageFromArray(
        np.random.default_rng(0).integers(0, 99, (8, 30, 20)).astype(np.int16)
    )
    image.SetSpacing((1, 1, 5))
    sitk.WriteImage(image, str(tmp_path / "image.nii.gz"))
    label = sitk.Cast(image > 90, sitk.sitkUInt8)
    sitk.WriteImage(label, str(tmp_path / "label.nii.gz"))
    return tmp_path / "image.nii.gz"


def every_view(run: Path, volume: Path) -> dict[str, list[str]]:
    (run / "channels.csv").write_text("step,first,second\n0,4,8\n1,4,7\n", encoding="utf-8")
    return {
        "curves": [str(run), "--smooth", "0.5"],
        "slices": [str(run), "--axis", "coronal"],
        "volume": [
            str(volume),
            "--label",
            str(volume.parent / "label.nii.gz"),
            "--level",
            "50",
            "--width",
            "100",
        ],
        "network": ["unet_small_4f", "--against", str(run)],
        "channels": [str(run)],
    }


@pytest.mark.parametrize("view", ["curves", "slices", "volume", "network", "channels"])
def test_every_view_in_a_pipe_and_as_files(
    view: str, trained_run: Path, volume: Path, tmp_path: Path, call_lunet: CallLunet
) -> None:
    run = shutil.copytree(trained_run, tmp_path / "run")
    arguments = every_view(run, volume)[view]
    done = call_lunet("viz", view, *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    assert len(done.stdout.splitlines()) > 3
    for suffix, start in ((".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")):
        written = call_lunet("viz", view, *arguments, "-o", f"picture{suffix}", cwd=tmp_path)
        assert written.returncode == 0, written.stderr
        assert written.stdout == f"picture{suffix}\n"
        assert (tmp_path / f"picture{suffix}").read_bytes().startswith(start)
    assert matplotlib.image.imread(tmp_path / "picture.png").std() > 0.01
    assert not list(tmp_path.glob(".picture*")), "nothing is left half-written"


def test_pareto_of_evaluated_runs(trained_run: Path, tmp_path: Path, call_lunet: CallLunet) -> None:
    for name in ("one", "two"):
        shutil.copytree(trained_run, tmp_path / name)
    done = call_lunet("viz", "pareto", "one", "two", "--cost", "flops", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "FLOPs" in done.stdout
    assert call_lunet("viz", "pareto", "one", "two", "-o", "p.svg", cwd=tmp_path).returncode == 0


def test_several_cases_and_a_montage(
    trained_run: Path, tmp_path: Path, call_lunet: CallLunet
) -> None:
    first = call_lunet(
        "viz", "slices", trained_run, "--slice", "montage", "--no-color", cwd=tmp_path
    )
    assert first.returncode == 0, first.stderr
    (name,) = set(re.findall(r"phantom_\d+", first.stdout))
    other = "phantom_0000" if name != "phantom_0000" else "phantom_0001"
    options = ["--split", "all", "--case", name, "--case", other, "--slice", "3", "--axis", "2"]
    both = call_lunet("viz", "slices", trained_run, *options, cwd=tmp_path)
    assert f"{name}, sagittal slice 3" in both.stdout
    assert f"{other}, sagittal slice 3" in both.stdout


def test_report(trained_run: Path, tmp_path: Path, call_lunet: CallLunet) -> None:
    done = call_lunet("report", trained_run, "-o", "report.html", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"report\.html \(\d\.\d MB\)\n", done.stdout)
    assert (tmp_path / "report.html").stat().st_size < 10e6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("viz curves absent", "absent: there is no such folder"),
        ("viz curves .", ".: has no history.csv"),
        ("viz curves RUN --show beauty", "--show beauty: is none of its values"),
        ("viz curves RUN --watch -o a.png", "--watch and -o: choose one"),
        ("viz curves RUN --watch", "--watch: needs a terminal"),
        ("viz curves RUN --interval 3", "--interval: goes with --watch"),
        ("viz curves RUN --show dice --log", "--log: is for losses and learning rates"),
        ("viz curves RUN --show lr --smooth 0.5", "--smooth: is for losses and Dice"),
        ("viz curves RUN --no-color -o a.png", "--no-color and -o: choose one"),
        ("viz curves note.txt", "note.txt: is not a run folder"),
        ("viz slices .", ".: holds no checkpoint"),
        (
            "viz slices RUN --case phantom",
            "--case phantom: is none of the val cases of phantom. Did you mean phantom_",
        ),
        ("viz slices RUN --slice 32", "has the axial slices 0 to 31"),
        ("viz slices RUN --slice -1", "--slice -1: is not a slice"),
        ("viz slices RUN --slice top", "--slice top: is not a slice"),
        ("viz slices RUN --level 40", "--level and --width: belong together"),
        (
            "viz slices RUN --level 40 --width 0",
            "--level 40 --width 0: need a number, and a width above 0",
        ),
        ("viz slices RUN --level nan --width 5", "--level nan --width 5: need a number"),
        ("viz slices RUN --level 1 --width inf", "--level 1 --width inf: need a number"),
        ("viz slices RUN --interactive", "--interactive: needs a terminal"),
        ("viz slices RUN -i -o a.png", "--interactive and -o: choose one"),
        ("viz slices RUN --data empty", "empty: there is no such folder"),
        ("viz slices RUN --case 9999", "--case 9999: is none of the val cases of phantom"),
        ("viz slices RUN --case TRAINED", "--case TRAINED: is none of the val cases of phantom"),
        ("viz volume note.txt", "note.txt: cannot be read: it is not an image"),
        ("viz volume absent.nii", "absent.nii: there is no such file"),
        ("viz volume flat.nii", "flat.nii: expected a volume of three dimensions"),
        ("viz volume image.nii.gz --label a --label b", "--label: 2 for 1 volume"),
        ("viz volume image.nii.gz image.nii.gz -o a.png", "-o a.png: takes one volume"),
        ("viz volume image.nii.gz --axis 1", "--axis: goes with --interactive"),
        ("viz volume .", ".: holds no DICOM series"),
        (
            "viz volume image.nii.gz --channel 1",
            "--channel 1: image.nii.gz has the channels 0 to 0",
        ),
        ("viz volume image.nii.gz -o a.bmp", "-o a.bmp: is not a picture that can be written"),
        ("viz volume image.nii.gz -o absent/a.png", "absent/a.png: there is no folder absent"),
        (
            "viz network lunet_smal_4f",
            "'lunet_smal_4f' is not a preset. Did you mean lunet_small_4f",
        ),
        ("viz network absent/best_model.pt", "absent/best_model.pt: there is no such file"),
        ("viz pareto RUN", "alone makes no front"),
        ("viz pareto RUN RUN --metric q", "--metric q: unknown metric."),
        ("viz pareto absent", "absent: there is no such folder"),
        ("viz pareto RUN RUN --metric beauty", "--metric beauty: unknown metric"),
        ("viz channels RUN", "was not pruned"),
        ("viz channels note.txt", "note.txt: is not a run folder"),
        ("report .", ".: has no history.csv"),
        ("report RUN --data absent", "absent: there is no such folder"),
        ("report RUN -o report.pdf", "-o report.pdf: is not a page"),
        ("report RUN -o absent/report.html", "absent/report.html: there is no folder absent"),
    ],
)
def test_wrong_use_gets_one_line(
    arguments: str,
    message: str,
    trained_run: Path,
    volume: Path,
    tmp_path: Path,
    call_lunet: CallLunet,
) -> None:
    (tmp_path / "note.txt").write_text("no image", encoding="utf-8")
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((3, 4), np.uint8)), str(tmp_path / "flat.nii"))
    before = sorted(tmp_path.iterdir())
    split = json.loads((trained_run / "manifest.json").read_text(encoding="utf-8"))["split"]
    names = {"RUN": str(trained_run), "TRAINED": split["train"][0]}
    message = message.replace("TRAINED", names["TRAINED"])
    done = call_lunet(*(names.get(word, word) for word in arguments.split()), cwd=tmp_path)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode in (1, 2)
    assert len(errors) == 1, done.stderr
    assert message in errors[0]
    assert "Traceback" not in done.stderr
    assert sorted(tmp_path.iterdir()) == before


def test_a_training_case_is_told_where_it_is(
    trained_run: Path, tmp_path: Path, call_lunet: CallLunet
) -> None:
    split = json.loads((trained_run / "manifest.json").read_text(encoding="utf-8"))["split"]
    done = call_lunet("viz", "slices", trained_run, "--case", split["train"][0], cwd=tmp_path)
    assert "hint:  It is there with --split train" in done.stderr


def test_broken_ones_do_not_hide_the_others(
    volume: Path, tmp_path: Path, call_lunet: CallLunet
) -> None:
    (tmp_path / "broken.nii").write_bytes(b"no image")
    done = call_lunet("viz", "volume", "broken.nii", volume, "absent.nii", cwd=tmp_path)
    assert done.returncode == 1
    assert "20 x 30 x 8 voxels" in done.stdout
    assert [
        line.split(":")[1] for line in done.stderr.splitlines() if line.startswith("error")
    ] == [
        " broken.nii",
        " absent.nii",
    ]


def test_a_report_with_a_broken_case_is_written_and_tells_by_its_exit_code(
    make_threshold_model: Callable[..., Path], tmp_path: Path, call_lunet: CallLunet
) -> None:
    image = sitk.GetImageFromArray(
        np.random.default_rng(0).integers(0, 200, (9, 8, 8)).astype(np.int16)
    )
    for folder in ("images", "labels"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    for name in ("a", "b"):
        sitk.WriteImage(image, str(tmp_path / "data" / "images" / f"{name}.nii.gz"))
        sitk.WriteImage(
            sitk.Cast(image > 100, sitk.sitkUInt8),
            str(tmp_path / "data" / "labels" / f"{name}.nii.gz"),
        )
    (tmp_path / "data" / "images" / "b.nii.gz").write_bytes(b"broken")
    run = tmp_path / "run"
    make_threshold_model(run / "best_model.pt")
    line = "1,1,1,1,1,0.1,1"
    header = "epoch,train_loss,val_loss,val_dice,val_dice_label1,learning_rate,epoch_seconds"
    (run / "history.csv").write_text(f"{header}\n{line}\n", encoding="utf-8")
    done = call_lunet("report", run, "--data", tmp_path / "data", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "1 failed" in page
    assert "Dice label1 1.0000" in page


def test_terminals_without_unicode_get_question_marks(trained_run: Path) -> None:
    program = str(Path(sys.executable).parent / "lunet")
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "NO_COLOR": "1"}
    done = subprocess.run(
        [program, "viz", "curves", trained_run], env=environment, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    assert b"best epoch" in done.stdout


class Terminal:
    """A command in a terminal of a size; what it writes is read until some words appear."""

    def __init__(
        self,
        arguments: Sequence[str | Path],
        *,
        columns: int = 100,
        rows: int = 40,
        kind: str = "xterm-256color",
    ) -> None:
        self.written = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._pid, self._end = pty.fork()
        if self._pid == 0:  # pragma: no cover
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            kept = {
                key: value
                for key, value in os.environ.items()
                if key not in ("NO_COLOR", "COLUMNS", "LINES")
            }
            program = str(Path(sys.executable).parent / "lunet")
            environment = kept | {"TERM": kind, "COLORTERM": "truecolor"}
            os.execve(program, [program, *map(str, arguments)], environment)

    def read_until(self, words: str, seconds: float = 90) -> str:
        """What is written from now on, until `words` appear in it, without control codes."""
        start, before = time.monotonic(), len(self.written)
        while words not in plain(self.written[before:]):
            assert time.monotonic() - start < seconds, (
                f"{words!r} did not appear in {self.written[before:]!r}"
            )
            if select.select([self._end], [], [], 0.2)[0]:
                self._take()
        return plain(self.written[before:])

    def press(self, keys: str) -> None:
        os.write(self._end, keys.encode())

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._end, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def stop(self) -> None:
        os.kill(self._pid, signal.SIGTERM)

    def wait(self, seconds: float = 90) -> tuple[int, str]:
        """Exit code, and everything still written."""
        start, before = time.monotonic(), len(self.written)
        with contextlib.suppress(OSError):  # Linux says so when the other end is closed.
            while not select.select([self._end], [], [], 0.2)[0] or self._take():
                assert time.monotonic() - start < seconds, f"it goes on: {self.written[before:]!r}"
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1]), plain(self.written[before:])

    def _take(self) -> str:
        taken = self._decoder.decode(os.read(self._end, 1 << 16))
        self.written += taken
        return taken


def plain(text: str) -> str:
    """Text without control codes."""
    return re.sub(r"\x1b(\[[0-9;?]*[a-zA-Z]|[()][A-Z0-9]|[=>])", "", text)


def test_leafing_with_keys(trained_run: Path, hippocampus: Path) -> None:
    images = [
        hippocampus / "imagesTr" / f"hippocampus_{number}.nii.gz" for number in ("001", "003")
    ]
    labels = [hippocampus / "labelsTr" / path.name for path in images]
    beside = [word for path in labels for word in ("--label", path)]
    terminal = Terminal(["viz", "volume", "--interactive", *images, *beside])
    assert "hippocampus_001, axial slice 13 (0" in terminal.read_until("Posterior")
    for keys, words in (
        ("\x1b[C", "axial slice 14 (0"),
        ("a", "coronal slice "),
        ("O", "opacity 60%"),
        ("W", "width 125"),
        ("n", "case 2 of 2"),
        ("r", "opacity 45%"),
    ):
        terminal.press(keys)
        terminal.read_until(words)
    terminal.press("q")
    code, _ = terminal.wait()
    assert code == 0
    assert "\x1b[?1049l" in terminal.written, "the screen is given back"


def test_ctrl_c_ends_the_leafing(volume: Path) -> None:
    terminal = Terminal(["viz", "volume", "-i", volume])
    terminal.read_until("q quit")
    terminal.press("\x03")
    code, rest = terminal.wait()
    assert code == 0
    assert "Traceback" not in rest


def test_a_window_that_was_made_too_small_waits_to_be_enlarged(volume: Path) -> None:
    terminal = Terminal(["viz", "volume", "-i", volume])
    terminal.read_until("q quit")
    terminal.resize(30, 8)
    terminal.read_until("too few for a")
    terminal.resize(90, 30)
    terminal.read_until("q quit")
    terminal.press("q")
    assert terminal.wait()[0] == 0


def test_the_screen_is_given_back_when_the_process_is_stopped(volume: Path) -> None:
    terminal = Terminal(["viz", "volume", "-i", volume])
    terminal.read_until("q quit")
    terminal.stop()
    code, _ = terminal.wait()
    assert code == 128 + signal.SIGTERM
    assert "\x1b[?1049l" in terminal.written
    assert "\x1b[?25h" in terminal.written, "the cursor is shown again"


def test_many_keys_at_once_do_not_end_the_leafing(volume: Path) -> None:
    terminal = Terminal(["viz", "volume", "-i", volume])
    terminal.read_until("q quit")
    terminal.press("\x1b[D" * 400)
    terminal.read_until("axial slice 0 ")
    terminal.press("q")
    assert terminal.wait()[0] == 0


def test_watching_begins_before_the_training_and_ends_with_a_key(tmp_path: Path) -> None:
    terminal = Terminal(["viz", "curves", tmp_path / "later", "--watch"], columns=80, rows=24)
    terminal.read_until("there is no such folder")
    terminal.press("q")
    code, rest = terminal.wait()
    assert code == 0
    assert "error" not in rest


def test_dumb_terminals_are_refused(volume: Path) -> None:
    terminal = Terminal(["viz", "volume", "-i", volume], kind="dumb")
    code, rest = terminal.wait()
    assert code == 2
    assert "--interactive: needs a terminal" in rest


def test_watching_a_training_until_it_ends(trained_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "live"
    run.mkdir()
    lines = (trained_run / "history.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    terminal = Terminal(["viz", "curves", run, "--watch", "--interval", "0.2"], columns=80, rows=24)
    terminal.read_until("waiting: ")
    (run / "history.csv").write_text("".join(lines[:3]), encoding="utf-8")
    followed = terminal.read_until("Ctrl-C ends")
    while "best epoch" not in followed:  # It may still have been waiting.
        followed = terminal.read_until("Ctrl-C ends")
    assert "Validation Dice" in followed
    assert "best epoch 2 of 2" in followed
    (run / "history.csv").write_text("".join(lines), encoding="utf-8")
    shutil.copy(trained_run / "training.json", run / "training.json")
    code, rest = terminal.wait()
    assert code == 0
    assert "best epoch" in rest
    assert "of 6, validation Dice" in rest


def test_small_terminals_are_told(volume: Path) -> None:
    terminal = Terminal(["viz", "volume", volume], columns=30, rows=10)
    code, rest = terminal.wait()
    assert code == 2
    assert "the terminal has 30 x 10 characters, too few for a picture" in rest


def test_pictures_at_the_end_of_a_training(tmp_path: Path, call_lunet: CallLunet) -> None:
    config = Path(__file__).parents[2] / "configs" / "quickstart.yaml"
    settings = [
        "training.epochs=2",
        "data.phantom.num_cases=4",
        "data.phantom.size=32",
        "visualization.slice_axis=sagittal",
    ]
    done = call_lunet("train", config, *(f"--set={setting}" for setting in settings), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for name in ("training_curves.png", "slices.png"):
        assert f"runs/quickstart/{name}" in done.stdout
        assert matplotlib.image.imread(tmp_path / "runs/quickstart" / name).std() > 0.01


def test_a_picture_that_cannot_be_written_does_not_hide_the_result(
    tmp_path: Path, call_lunet: CallLunet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(figure: object, file: object, path: Path) -> None:
        raise OutputError(f"{path}: cannot be written")

    monkeypatch.setattr("lunet_cli.render.figures.style.write_figure", fail)
    config = Path(__file__).parents[2] / "configs" / "quickstart.yaml"
    settings = ["training.epochs=2", "data.phantom.num_cases=4", "data.phantom.size=32"]
    done = call_lunet("train", config, *(f"--set={setting}" for setting in settings), cwd=tmp_path)
    assert done.returncode == 0
    assert "training_curves.png: cannot be written" in done.stderr
    assert "validation Dice" in done.stdout

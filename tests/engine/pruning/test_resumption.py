"""Going on with a pruning: bit-equal to one that was never interrupted, or refused."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lunet_cli.config.load import dump_yaml
from lunet_cli.engine.checkpoints.checkpoint import load_checkpoint
from lunet_cli.engine.pruning.prune import prune
from lunet_cli.engine.training.train import train
from lunet_cli.engine.viewing.prunings import view_pruning
from lunet_cli.errors import CheckpointError, ConfigError, OutputError
from lunet_cli.results.events import Event, Notice
from lunet_cli.results.pruning import ChannelsRemoved, PruneResult
from lunet_cli.results.training import StepDone

# With everything that has a state of its own: dropout, an average, heads, a teacher, patches.
SETTINGS = (
    "model.architecture=unet_small_1f",
    "model.drop_prob=0.1",
    "training.ema_decay=0.9",
    "training.deep_supervision=true",
    "training.scheduler=cosine",
    "augmentation.enabled=true",
    "pruning.steps=3",
    "pruning.warmup_epochs=1",
    "pruning.recovery_epochs=2",
    "pruning.distillation=0.3",
    "pruning.save_every=2",
    "pruning.margin=0.2",
    "pruning.protect=[]",
)

_RECORDER = "lunet_cli.engine.pruning.recorder:PruningRecorder"
# Where a session ends, each from where the last one has ended: what is called, how often, and
# whether it still does its work.
MOMENTS = [
    ("lunet_cli.engine.training.recorder:RunRecorder.write_origin", 1, "after"),
    (f"{_RECORDER}.save", 1, "after"),
    ("lunet_cli.engine.training.loop:train_step", 2, "before"),
    # Step 0 is done: its model is there, and then its state, but no table yet.
    (f"{_RECORDER}._save_model", 1, "after"),
    (f"{_RECORDER}.save", 1, "after"),
    ("lunet_cli.engine.pruning.scoring:_Scoring.add_batch", 2, "before"),
    # Channels are cut, and the network is validated before it recovers.
    ("lunet_cli.engine.training.loop:dice", 2, "before"),
    ("lunet_cli.engine.training.loop:train_step", 2, "before"),
    ("lunet_cli.engine.training.loop:train_step", 3, "after"),
    ("lunet_cli.engine.pruning.pruner:Pruner._validate", 2, "after"),
    ("lunet_cli.engine.run_folder:RunFolder.write_pruning", 2, "before"),
    ("lunet_cli.engine.pruning.pruner:Pruner._recover", 1, "before"),
    (f"{_RECORDER}.save", 1, "before"),
    ("lunet_cli.engine.run_folder:RunFolder.write_summary", 1, "before"),
]

SCRIPT = """
import importlib, json, os, sys
import torch._dynamo  # the optimiser loads it, in seconds
from pathlib import Path
from lunet_cli.config.load import load_config
from lunet_cli.engine.pruning.prune import prune
from lunet_cli.errors import LunetError

def ambush(moment, count, when):
    module, _, path = moment.partition(":")
    owner = importlib.import_module(module)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    real, calls = getattr(owner, name), iter(range(1, 1000))
    def call(*arguments, **named):
        now = next(calls) == count
        if now and when == "before":
            os.kill(os.getpid(), number)
        result = real(*arguments, **named)
        if now and when == "after":
            os.kill(os.getpid(), number)
        return result
    setattr(owner, name, call)

number, config = int(sys.argv[1]), load_config(Path(sys.argv[2]))
ends = []
for moment in json.loads(sys.argv[3]):
    # A child of a process that has loaded everything.
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            ambush(*moment)
            result = prune(config, resume="auto")
            code = {"interrupted": 0}.get(result.outcome, 71)
        except SystemExit as left:
            code = left.code
        except LunetError as error:
            print(error.message, file=sys.stderr)
        finally:
            sys.stderr.flush()
            os._exit(code)
    ends.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
print(json.dumps(ends))
"""


@pytest.fixture(scope="module")
def whole(runs: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pruning without disturbance."""
    return prune(runs.tiny(tmp_path_factory.mktemp("whole"), "run", *SETTINGS)).run_dir


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    """The folder of a pruning that is done, to be changed."""
    return shutil.copytree(whole, tmp_path / "run")


def go_on(runs: Any, folder: Path, *more: str, **arguments: Any) -> PruneResult:
    config = runs.tiny(folder.parent, folder.name, *SETTINGS, *more)
    return prune(config, resume="auto", **arguments)


def change(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Change a state, that of the pruning as its values."""
    values = torch.load(path, weights_only=True)
    state = json.loads(values["training"]["pruning"])
    values["training"]["pruning"] = state
    edit(values["training"])
    if values["training"].get("pruning") is state:
        values["training"]["pruning"] = json.dumps(state)
    torch.save(values, path)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_pruning_that_is_ended_again_and_again_is_bit_identical(
    runs: Any, whole: Path, nursery: Any, tmp_path: Path, number: signal.Signals
) -> None:
    config = runs.tiny(tmp_path, "run", *SETTINGS)
    file = tmp_path / "config.yaml"
    file.write_text(dump_yaml(config))
    moments = MOMENTS
    if number == signal.SIGTERM:
        # It gets further in each session, since it ends between two steps of a training.
        moments = [*MOMENTS[:9], MOMENTS[-1]]
    process = nursery.start(str(int(number)), file, json.dumps(moments), code=SCRIPT)
    stdout, stderr = process.communicate()
    ends = json.loads(stdout)
    if number == signal.SIGKILL:
        assert ends == [-signal.SIGKILL] * len(MOMENTS), stderr
    else:
        # Before the first step and after the last, nothing is left to be saved.
        left = 128 + signal.SIGTERM
        assert ends == [left, left, *[0] * 7, left], stderr
    result = prune(config, resume="auto")
    assert result.outcome == "finished"
    runs.assert_same_run(tmp_path / "run", whole)
    for name in ("manifest.json", "training.json"):
        ours, theirs = (json.loads((run / name).read_text()) for run in (tmp_path / "run", whole))
        for summary in (ours, theirs):
            summary.pop("started", None)
            (summary.get("best") or {}).pop("epoch_seconds", None)
            summary.get("data", {})["cache"] = None
        assert ours == theirs
    assert [path.name for path in (tmp_path / "run").iterdir() if path.name[0] == "."] == []


def test_steps_are_added_to_a_pruning_that_is_done(runs: Any, copy: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    result = go_on(runs, copy, "pruning.steps=4", on_event=events.append)
    assert [step.step for step in result.steps] == [0, 1, 2, 3, 4]
    told = [str(event) for event in events if isinstance(event, Notice)]
    resumed = next(text for text in told if text.startswith("resumed from"))
    assert resumed.startswith(f"resumed from {copy / 'last.pt'} after step 3, with ")
    assert resumed.endswith("pruning.steps 4 (was 3)")
    straight = prune(runs.tiny(tmp_path / "straight", "run", *SETTINGS, "pruning.steps=4"))
    runs.assert_same_run(copy, straight.run_dir)


def test_a_pruning_that_goes_on_has_not_ended(runs: Any, copy: Path) -> None:
    assert view_pruning(copy).is_finished
    seen: list[bool] = []

    def look(event: Event) -> None:
        if isinstance(event, StepDone | ChannelsRemoved):
            seen.append(view_pruning(copy).is_finished)

    go_on(runs, copy, "pruning.steps=4", on_event=look)
    assert seen
    assert not any(seen)
    assert view_pruning(copy).is_finished


def test_without_its_state_a_pruning_cannot_go_on(runs: Any, copy: Path) -> None:
    (copy / "last.pt").unlink()
    with pytest.raises(CheckpointError, match=r"last\.pt: there is no such state") as caught:
        go_on(runs, copy)
    assert "epoch" not in caught.value.hint


def test_nothing_is_left_to_do(runs: Any, copy: Path) -> None:
    with pytest.raises(ConfigError, match=r"pruning\.steps: 3, and .* has done 3 already"):
        go_on(runs, copy)
    with pytest.raises(OutputError, match="a run is here already"):
        prune(runs.tiny(copy.parent, "run", *SETTINGS))


def test_an_end_that_is_missing_is_made_up_for(runs: Any, whole: Path, copy: Path) -> None:
    for name in ("training.json", "pruning.csv", "channels.csv", "history.csv"):
        (copy / name).unlink()
    go_on(runs, copy)
    runs.assert_same_run(copy, whole)


def test_a_pruning_goes_on_without_the_run_that_it_began_with(
    runs: Any, trained: Path, tmp_path: Path
) -> None:
    start = shutil.copytree(trained, tmp_path / "trained")
    config = runs.tiny(tmp_path, "run", "pruning.steps=1")
    prune(config, start=start)
    shutil.rmtree(start)
    longer = runs.tiny(tmp_path, "run", "pruning.steps=2")
    result = prune(longer, start=start, resume="auto")
    straight = prune(runs.tiny(tmp_path / "straight", "run"), start=trained)
    assert result.steps[2].removed == straight.steps[2].removed
    assert result.num_parameters == straight.num_parameters


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("pruning.strategy=none", "pruning.strategy: none, and .* was begun with stamp"),
        ("pruning.recovery_epochs=1", "pruning.recovery_epochs: 1, and .* was begun with 2"),
        ("pruning.margin=0.1", "pruning.margin: 0.1, and .* was begun with 0.2"),
        ("pruning.protect=[head.0]", r"pruning.protect: \('head.0',\), and .* with \(\)"),
        ("model.drop_prob=0", "model.drop_prob: 0.0, and .* was begun with 0.1"),
        (f"model.widths={[2] * 22}", r"model.widths: \(2, .* was begun with None"),
    ],
)
def test_what_the_steps_follow_from_does_not_change(
    runs: Any, copy: Path, setting: str, words: str
) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        go_on(runs, copy, "pruning.steps=4", setting)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("model.architecture=unet_small_2f", "its network's channels is not that of"),
        ("model.architecture=lunet_small_1f", "its network's family is not that of"),
        ("preprocessing.normalization.name=minmax", "its preprocessing is not that of"),
        ("labels={anterior: 1, rest: [2, 3]}", "is not that of the configuration"),
        ("experiment.seed=7", "was trained on .* that would validate it now"),
        ("data.split.val_fraction=0.17 training.batch_size=5", "was validated on other cases than"),
    ],
)
def test_another_network_or_other_data_is_refused(
    runs: Any, copy: Path, setting: str, words: str
) -> None:
    settings = [setting]
    if setting.startswith("data"):
        settings = setting.split()
    with pytest.raises(CheckpointError, match=words) as caught:
        go_on(runs, copy, "pruning.steps=4", *settings)
    assert "\n" not in caught.value.message


def test_a_model_that_is_gone_is_said_at_once(runs: Any, copy: Path) -> None:
    (copy / "best_model.pt").unlink()
    with pytest.raises(CheckpointError, match=r"best_model\.pt: the network that is chosen so far"):
        go_on(runs, copy, "pruning.steps=4")


def test_a_model_of_another_step_is_not_the_chosen_one(runs: Any, copy: Path) -> None:
    chosen = load_checkpoint(copy / "best_model.pt").epoch
    other = {1: "last.pt"}.get(chosen, "checkpoint_step000.pt")
    shutil.copy(copy / other, copy / "best_model.pt")
    (copy / "training.json").unlink()
    with pytest.raises(CheckpointError, match=r"is not the network of step \d, which is chosen"):
        go_on(runs, copy)


def test_a_teacher_that_is_gone_is_said(runs: Any, copy: Path) -> None:
    (copy / "checkpoint_step000.pt").unlink()
    with pytest.raises(CheckpointError, match=r"checkpoint_step000\.pt"):
        go_on(runs, copy, "pruning.steps=4")


def test_states_are_of_one_kind_of_run(
    runs: Any, trained: Path, copy: Path, tmp_path: Path
) -> None:
    theirs = shutil.copytree(trained, tmp_path / "trained")
    with pytest.raises(CheckpointError, match="is the state of a training, which no pruning can"):
        prune(runs.tiny(tmp_path, "trained"), resume="auto")
    with pytest.raises(CheckpointError, match="a pruning goes on in its own folder"):
        prune(runs.tiny(tmp_path, "x"), resume=str(theirs))
    config = runs.tiny(tmp_path, "run", *SETTINGS, "training.epochs=20")
    with pytest.raises(CheckpointError, match="is the state of a pruning, which no training can"):
        train(config, resume="auto")


def test_two_prunings_do_not_share_a_folder(runs: Any, tmp_path: Path) -> None:
    config = runs.tiny(tmp_path, "run", "pruning.steps=1", "pruning.recovery_epochs=0")
    refused: list[str] = []

    def again(event: Event) -> None:
        if not refused and (tmp_path / "run/.lock").exists():
            with pytest.raises(OutputError, match="is being trained already") as caught:
                prune(config, resume="auto")
            refused.append(caught.value.message)

    prune(config, on_event=again)
    assert refused


DAMAGES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no text": (lambda t: t.update(pruning=[1]), "pruning is a list, not the state of a pruning"),
    "tensor": (lambda t: t.update(pruning=torch.zeros(3)), "pruning is a Tensor, not the state"),
    "no JSON": (lambda t: t.update(pruning="{"), "pruning: is not valid JSON"),
    "no steps": (lambda t: t["pruning"].pop("steps"), "pruning: is not .*: steps is missing"),
    "words": (lambda t: t["pruning"].update(steps="abc"), "pruning: is not .*: steps"),
    "fewer": (lambda t: t["pruning"]["steps"].pop(), "pruning stands at step 3, which"),
    "none": (lambda t: t["pruning"]["steps"].clear(), "pruning stands at step 0, which"),
    "twice": (
        lambda t: t["pruning"]["steps"].append(t["pruning"]["steps"][1]),
        "steps hold step 1 in the place of step 4",
    ),
    "current": (
        lambda t: t["pruning"].update(current=t["pruning"]["steps"][1]),
        "current is step 1 after 4 steps",
    ),
    "cases": (
        lambda t: t["pruning"]["steps"][1]["dice_per_case"].clear(),
        "step 1 does not have the cases of step 0",
    ),
    "widths": (
        lambda t: t["pruning"]["steps"][3]["widths"].update({"head.0": 7}),
        "pruning stands at step 4, which",
    ),
    "huge": (
        lambda t: t["pruning"]["steps"][3]["widths"].update({"head.0": 10**30}),
        "pruning",
    ),
    "history": (lambda t: t["history"]["labels"].pop(), "training.history has the shape"),
    "rng": (lambda t: t.update(rng=torch.zeros(5)), "training.rng is not the state"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_state_that_is_damaged_is_refused_in_one_line(runs: Any, copy: Path, damage: str) -> None:
    edit, words = DAMAGES[damage]
    change(copy / "last.pt", edit)
    before = {path.name: path.stat().st_mtime_ns for path in copy.iterdir()}
    with pytest.raises(CheckpointError, match=words) as caught:
        go_on(runs, copy, "pruning.steps=4")
    assert "\n" not in caught.value.message
    assert str(copy / "last.pt") in caught.value.message
    assert len(caught.value.message) < 500
    assert {path.name: path.stat().st_mtime_ns for path in copy.iterdir()} == before

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from lunet_cli.engine.checkpoints.checkpoint import load_checkpoint
from lunet_cli.engine.checkpoints.keeping import add_model, without_places
from lunet_cli.engine.checkpoints.models import load_model
from lunet_cli.engine.evaluation.evaluate import evaluate
from lunet_cli.errors import CheckpointError, ConfigError, LunetError, OutputError
from lunet_cli.records import model_folder
from lunet_cli.records.network_card import KeptConfig
from lunet_cli.records.training_summary import TrainingSummary


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a user's own models, which is not there yet; the current folder is empty."""
    folder = tmp_path / "home" / "models"
    for module in ("records.model_folder", "engine.checkpoints.keeping"):
        monkeypatch.setattr(f"lunet_cli.{module}.own_folder", lambda: folder)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return folder


def test_a_run_becomes_a_model(own: Path, trained_run: Path) -> None:
    found = add_model(trained_run, "phantoms")
    model, run = load_model(Path("phantoms")), load_model(trained_run)
    assert model.page == found.page
    assert model.card == run.card
    for name, tensor in run.network.state_dict().items():
        assert torch.equal(model.network.state_dict()[name], tensor)
    assert load_checkpoint(own / "phantoms.pt").training is None
    assert str(trained_run.parent) not in (own / "phantoms.json").read_text(encoding="utf-8")
    assert (found.page.seed, found.page.dice) == (42, None)
    assert sorted(path.name for path in own.iterdir()) == ["phantoms.json", "phantoms.pt"]


def test_the_dice_at_the_end_of_a_training_stands_on_the_page(
    own: Path, trained_run: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(trained_run, tmp_path / "measured")
    scores = evaluate(trained_run, write=False)
    summary = TrainingSummary.read(run / "training.json")
    summary.model_copy(update={"metrics": scores.summaries}).write(run / "training.json")
    dice = add_model(run, "measured").page.dice
    assert dice is not None
    assert (dice.num_cases, dice.overall.label) == (2, "mean of labels")
    (expected,) = [
        row for row in scores.summaries if (row.metric, row.label) == ("dice", dice.overall.label)
    ]
    assert (dice.overall.mean, dice.overall.low) == (expected.mean, expected.interval[0])


def test_a_checkpoint_alone_becomes_one_without_dice(
    own: Path, trained_run: Path, tmp_path: Path
) -> None:
    shutil.copy(trained_run / "best_model.pt", tmp_path / "alone.pt")
    page = add_model(tmp_path / "alone.pt", "alone").page
    assert (page.dice, page.seed, page.git_commit) == (None, None, None)


def test_names_and_what_cannot_be_kept_are_refused_before_anything_is_written(
    own: Path, trained_run: Path, tmp_path: Path
) -> None:
    with pytest.raises(OutputError, match="is a model of lunet"):
        add_model(trained_run, "hippocampus-mri")
    with pytest.raises(OutputError, match="is not a name"):
        add_model(trained_run, "../escape")
    with pytest.raises(CheckpointError, match="there is no such checkpoint"):
        add_model(tmp_path / "none" / "best_model.pt", "none")
    torch.save({"model_state_dict": {}}, tmp_path / "foreign.pt")
    with pytest.raises(LunetError):
        add_model(tmp_path / "foreign.pt", "foreign")
    assert not own.exists() or list(own.iterdir()) == []


def test_a_home_that_cannot_be_written_is_told(
    own: Path, trained_run: Path, tmp_path: Path
) -> None:
    (tmp_path / "home").write_text("a file", encoding="utf-8")
    with pytest.raises(OutputError, match="cannot be made"):
        add_model(trained_run, "mine")


def test_a_path_wins_over_a_name_and_is_told(own: Path, trained_run: Path) -> None:
    shutil.copytree(trained_run, "hippocampus-mri")
    model = load_model(Path("hippocampus-mri"))
    assert model.page is None
    assert model.warnings() == [
        "hippocampus-mri: is a path here and a model of that name; the path was taken"
    ]
    assert load_model(trained_run).warnings() == []


def test_a_folder_without_a_checkpoint_hides_a_name_and_says_so(own: Path) -> None:
    Path("hippocampus-mri").mkdir()
    with pytest.raises(CheckpointError, match="holds no checkpoint") as told:
        load_model(Path("hippocampus-mri"))
    assert "There is a model of that name, too" in told.value.hint


def test_a_damaged_model_does_not_disturb_a_path_of_its_name(own: Path, trained_run: Path) -> None:
    own.mkdir(parents=True)
    (own / "mine.json").write_text("{", encoding="utf-8")
    shutil.copytree(trained_run, "mine")
    assert load_model(Path("mine")).warnings() == []


def test_an_unknown_word_gets_near_names(own: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"no such checkpoint, run folder or model\. Did you mean hippocampus"
    ):
        load_model(Path("hippocampus-mr"))
    with pytest.raises(CheckpointError, match=r"none\.pt: there is no such checkpoint$"):
        load_model(Path("none.pt"))


def test_a_model_by_name_says_what_it_is_for_and_refuses_an_architecture(own: Path) -> None:
    (notice,) = load_model(Path("hippocampus-mri-1f")).notices()
    assert "for research, not a medical device" in notice
    assert "cropped around one hippocampus" in notice
    with pytest.raises((CheckpointError, ConfigError), match="knows its own network"):
        load_model(Path("hippocampus-mri-1f"), architecture="lunet_small_1f")


def test_changed_weights_are_refused(own: Path, trained_run: Path) -> None:
    add_model(trained_run, "mine")
    shutil.copy(model_folder.SHIPPED / "hippocampus-mri-1f.pt", own / "mine.pt")
    with pytest.raises(CheckpointError, match="is not the file that the page of mine speaks of"):
        load_model(Path("mine"))


def test_places_are_left_out_and_missing_data_asked_for() -> None:
    config = KeptConfig(
        {
            "experiment": {"name": "mine", "output_dir": "/home/me/runs"},
            "data": {
                "root": "/home/me/data",
                "cache_dir": "/scratch",
                "split": {"file": "/home/me/split.json", "fold": 1},
            },
            "mlflow": {"tracking_uri": "http://inside"},
            "training": {"epochs": 3},
        }
    )
    assert without_places(config).root == {
        "experiment": {"name": "mine"},
        "data": {
            "split": {"file": "split.json", "fold": 1},
            "source": "A model does not keep where the data of its training lie.",
        },
        "training": {"epochs": 3},
    }
    phantoms = KeptConfig({"data": {"root": None, "phantom": {"size": 32}}})
    assert without_places(phantoms).root == {"data": {"phantom": {"size": 32}}}

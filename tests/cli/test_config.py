from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from lunet_cli.config.load import load_config
from lunet_cli.config.run import RunConfig

CONFIGS = Path(__file__).parents[2] / "configs"
BAD = """\
training:
  epochs: 0
  lerning_rate: 0.1
  optimizer: adamm
"""


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    path = tmp_path / "bad.yaml"
    path.write_text(BAD, encoding="utf-8")
    return path


def test_check_of_a_correct_file(run_lunet) -> None:
    path = CONFIGS / "quickstart.yaml"
    done = run_lunet("config", "check", path, "--set", "training.epochs=3")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{path}: correct (lunet_small_4f, 3 epochs)"]
    assert done.stderr == ""


def test_check_of_a_bad_file_lists_every_mistake_and_exits_with_2(run_lunet, bad: Path) -> None:
    done = run_lunet("config", "check", bad)
    *errors, hint = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (2, "")
    assert sorted(error.split(": ")[1:3] for error in errors) == [
        [f"{bad}:2", "training.epochs"],
        [f"{bad}:3", "training.lerning_rate"],
        [f"{bad}:4", "training.optimizer"],
    ]
    assert all(error.startswith("error: ") for error in errors)
    assert hint.startswith("hint:  ")


def test_file_is_named_as_it_was_typed(run_lunet, bad: Path) -> None:
    done = run_lunet("config", "check", "bad.yaml", cwd=bad.parent)
    assert done.stderr.startswith("error: bad.yaml:2: training.epochs: ")


def test_check_of_a_missing_file_offers_the_nearest(run_lunet, bad: Path) -> None:
    done = run_lunet("config", "check", "bda.yaml", cwd=bad.parent)
    assert done.stderr.splitlines() == [
        "error: bda.yaml: there is no such file",
        "hint:  Did you mean bad.yaml?",
    ]
    assert done.returncode == 2


def test_bad_override_exits_with_2(run_lunet) -> None:
    done = run_lunet("config", "show", "--set", "training.epochs")
    assert done.returncode == 2
    assert done.stderr.startswith(
        "error: --set training.epochs: expected section.key=value\nhint:  "
    )


def test_show_prints_yaml_that_loads_as_the_same_configuration(run_lunet, tmp_path: Path) -> None:
    source, again = CONFIGS / "hippocampus.yaml", tmp_path / "again.yaml"
    again.write_text(
        run_lunet("config", "show", source, "--set", "training.epochs=7").stdout, encoding="utf-8"
    )
    shown = load_config(again)
    assert shown.training.epochs == 7
    assert shown.labels == {"anterior": [1], "posterior": [2]}
    assert shown == load_config(source, ["training.epochs=7"])


def test_show_without_a_file_prints_all_defaults(run_lunet, tmp_path: Path) -> None:
    path = tmp_path / "defaults.yaml"
    path.write_text(run_lunet("config", "show").stdout, encoding="utf-8")
    assert "learning_rate: 0.01" in path.read_text(encoding="utf-8")
    assert load_config(path) == RunConfig()


def test_schema_prints_the_shipped_schema(run_lunet) -> None:
    shipped = (CONFIGS / "lunet.schema.json").read_text(encoding="utf-8")
    assert run_lunet("config", "schema").stdout == shipped


# --- shipped configurations


def test_list_names_the_shipped_files_and_what_they_are_for(call_lunet, tmp_path: Path) -> None:
    listed = call_lunet("config", "list", cwd=tmp_path)
    assert listed.returncode == 0
    assert [line.split()[0] for line in listed.stdout.splitlines()] == sorted(
        p.stem for p in CONFIGS.glob("*.yaml")
    )
    rows = json.loads(call_lunet("config", "list", "--json", cwd=tmp_path).stdout)
    quickstart = next(row for row in rows if row["name"] == "quickstart")
    assert (quickstart["architecture"], quickstart["epochs"]) == ("lunet_small_4f", 40)
    assert "less than two minutes" in quickstart["purpose"]


@pytest.mark.parametrize(
    ("arguments", "target"),
    [
        (["quickstart"], "quickstart.yaml"),
        (["quickstart.yaml", "mine.yaml"], "mine.yaml"),
        (["configs/quickstart.yaml", "folder"], "folder/quickstart.yaml"),
    ],
)
def test_copy_never_overwrites(
    call_lunet, tmp_path: Path, arguments: list[str], target: str
) -> None:
    (tmp_path / "folder").mkdir()
    assert call_lunet("config", "copy", *arguments, cwd=tmp_path).returncode == 0
    shipped = (CONFIGS / "quickstart.yaml").read_bytes()
    assert (tmp_path / target).read_bytes() == shipped
    again = call_lunet("config", "copy", *arguments, cwd=tmp_path)
    assert again.returncode == 1
    assert again.stderr.startswith(f"error: {target}: is there already, and is not overwritten")
    assert (tmp_path / target).read_bytes() == shipped


def test_copy_of_an_unknown_name_and_into_a_missing_folder(call_lunet, tmp_path: Path) -> None:
    unknown = call_lunet("config", "copy", "quik", cwd=tmp_path)
    assert unknown.returncode == 2
    assert "'quik' is not a shipped configuration" in unknown.stderr
    missing = call_lunet("config", "copy", "quickstart", "none/mine.yaml", cwd=tmp_path)
    assert missing.returncode == 1
    assert "none/mine.yaml: cannot be written" in missing.stderr


@pytest.mark.parametrize("name", ["lunet_small", "configs/lunet_small.yaml"])
def test_a_shipped_file_is_taken_by_name_and_told(call_lunet, tmp_path: Path, name: str) -> None:
    done = call_lunet("config", "check", name, cwd=tmp_path)
    assert done.stdout == f"{name}: correct (lunet_small_4f, 10,000 epochs)\n"
    assert done.stderr == f"configuration: the shipped {CONFIGS / 'lunet_small.yaml'}\n"
    shown = call_lunet("config", "show", name, cwd=tmp_path)
    assert yaml.safe_load(shown.stdout)["experiment"]["name"] == "lunet_small"


def test_own_file_of_that_path_wins(call_lunet, tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "lunet_small.yaml").write_text(
        "training: {epochs: 7}\n", encoding="utf-8"
    )
    done = call_lunet("config", "check", "configs/lunet_small.yaml", cwd=tmp_path)
    assert (done.stderr, "7 epochs" in done.stdout) == ("", True)


def test_check_is_the_door_of_a_training(call_lunet, tmp_path: Path) -> None:
    refused = call_lunet(
        "config", "check", "quickstart", "--set", "data.root=nowhere", cwd=tmp_path
    )
    assert refused.returncode == 1
    assert "error: nowhere: there is no such folder" in refused.stderr
    (tmp_path / "runs").touch()
    in_the_way = call_lunet("config", "check", "quickstart", cwd=tmp_path)
    assert in_the_way.returncode == 1
    assert "runs is a file" in in_the_way.stderr


def test_check_knows_teachers_by_name(call_lunet, tmp_path: Path) -> None:
    shipped, misspelt = (
        call_lunet(
            "config",
            "check",
            "quickstart",
            "--set",
            f"distillation.teacher=[{name}]",
            cwd=tmp_path,
        )
        for name in ("hippocampus-mri-4f", "hipocampus-mri-4f")
    )
    assert shipped.returncode == 0, shipped.stderr
    assert misspelt.returncode == 1
    assert "Did you mean hippocampus-mri-4f" in misspelt.stderr


# --- options that are keys


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (["quickstart", "--epochs", "3"], "there is no option --epochs", "--set training.epochs=3"),
        (["--epochs", "3", "quickstart"], "there is no option --epochs", "--set training.epochs=3"),
        (["quickstart", "--lr=0.1"], "there is no option --lr", "--set training.learning_rate=0.1"),
        (
            ["quickstart", "--batch-size", "4", "--data-root", "a b"],
            "there is no option --batch-size, --data-root",
            "--set training.batch_size=4 --set 'data.root=a b'",
        ),
        (
            ["quickstart", "training.epochs=3"],
            "there is one argument too many: training.epochs=3",
            "--set training.epochs=3",
        ),
        (["quickstart", "--epochs"], "there is no option --epochs", "--set training.epochs=VALUE"),
        (["quickstart", "--dryrun"], "there is no option --dryrun", "Did you mean --dry-run?"),
        (
            ["quickstart", "--frobnicate"],
            "there is no option --frobnicate",
            "--set training.epochs=20",
        ),
        (
            ["quickstart", "more"],
            "there is one argument too many: more",
            "--set training.epochs=20",
        ),
    ],
)
def test_options_that_are_keys_are_told_how_to_be_written(
    call_lunet, tmp_path: Path, arguments: list[str], error: str, hint: str
) -> None:
    done = call_lunet("train", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    first, second = done.stderr.splitlines()
    assert first == f"error: {error}"
    assert hint in second
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["check", "show"])
def test_other_commands_on_configurations_know_them_too(
    call_lunet, tmp_path: Path, command: str
) -> None:
    done = call_lunet("config", command, "quickstart", "--seed=1", cwd=tmp_path)
    assert done.returncode == 2
    assert "--set experiment.seed=1" in done.stderr

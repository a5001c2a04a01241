from __future__ import annotations

from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
import yaml

from lunet_cli.config.load import dump_yaml, load_config
from lunet_cli.config.run import RunConfig
from lunet_cli.config.training import TrainingConfig
from lunet_cli.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture
def write(tmp_path: Path):
    def write_config(text: str, name: str = "run.yaml") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write_config


def failure(path: Path | None, *overrides: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    return caught.value


# --- one file with many mistakes

MANY_MISTAKES = """\
experiment:
  name: my run
  sead: 3
model:
  architecture: lunet_smal_4f
  learning_rate: 0.1
training:
  epochs: ten
  batch_size: 0
  optimizer: adamm
  optimiser: adam
  compile: maybe
  patch_size: [32, 1, 32]
  loss:
    name: focal
    weight: 3
  checkpoint: best
evaluation:
  metrics: [dice, accuracy]
labels:
  liver: [1, 1]
datta: {}
"""
REPORTS = {
    "2: experiment.name: ": ["my run"],
    "3: experiment.sead: unknown key": ["Did you mean 'seed'?"],
    "5: model.architecture: ": ["'lunet_smal_4f' is not a preset", "Did you mean lunet_small_4f"],
    "6: model.learning_rate: unknown key": ["Did you mean 'training.learning_rate'?"],
    "8: training.epochs: ": ["expected a whole number, found 'ten'"],
    "9: training.batch_size: ": ["expected at least 1, found 0"],
    "10: training.optimizer: ": ["one of adam, adamw, sgd, soap", "found 'adamm'"],
    "11: training.optimiser: unknown key": ["Did you mean 'optimizer'?"],
    "12: training.compile: ": ["one of true, false, auto", "found 'maybe'"],
    "13: training.patch_size.1: ": ["found 1", "2"],
    "15: training.loss.name: ": ["one of auto, dice, bce, dice_bce, ce, dice_ce", "found 'focal'"],
    "16: training.loss.weight: unknown key": [],
    "17: training.checkpoint: ": ["found 'best'"],
    "19: evaluation.metrics.1: ": ["one of dice, iou", "hausdorff95", "found 'accuracy'"],
    "21: labels.liver: ": ["[1, 1]", "twice"],
    "22: datta: unknown key": ["Did you mean 'data'?"],
}


@pytest.fixture
def many(write) -> tuple[Path, list[str]]:
    path = write(MANY_MISTAKES)
    return path, failure(path).message.splitlines()


@pytest.mark.parametrize("place", REPORTS)
def test_each_mistake_is_reported_with_its_place_and_the_way_out(
    many: tuple[Path, list[str]], place: str
) -> None:
    path, reported = many
    report = [line for line in reported if line.startswith(f"{path}:{place}")]
    assert len(report) == 1, reported
    assert [part for part in REPORTS[place] if part not in report[0]] == []


def test_all_mistakes_are_reported_at_once_and_nothing_else(many: tuple[Path, list[str]]) -> None:
    assert len(many[1]) == len(REPORTS) == 16


def test_more_mistakes_than_a_screen_shows_are_counted(write) -> None:
    path = write("".join(f"key{index}: 1\n" for index in range(3000)))
    *told, counted = failure(path).message.splitlines()
    assert len(told) == 40
    assert counted == f"{path}: and 2960 more mistakes"


def test_mistakes_in_a_configuration_mean_exit_code_2_and_point_at_the_schema(write) -> None:
    error = failure(write("training: {epochs: 0}"))
    assert error.exit_code == 2
    assert "lunet config schema" in error.hint


# --- unknown keys


@pytest.mark.parametrize(
    ("key", "advice"),
    [
        ("training.lerning_rate", "Did you mean 'learning_rate'?"),
        ("training.seed", "Did you mean 'experiment.seed'?"),
        ("training.architecture", "Did you mean 'model.architecture'?"),
        ("experiment.epochs", "Did you mean 'training.epochs'?"),
        ("epochs", "Did you mean 'training.epochs'?"),
        ("trainin", "Did you mean 'training'?"),
        ("data.split.folds", "Did you mean 'fold'?"),
        ("training.checkpoint.xyz", "Known here: save_every, keep_best."),
        ("experiment.xyz", "Known here: name, seed, output_dir."),
    ],
)
def test_unknown_key_leads_to_the_nearest_known_one(key: str, advice: str) -> None:
    assert failure(None, f"{key}=3").message == f"--set {key}=3: {key}: unknown key. {advice}"


def test_number_as_key_is_refused(write) -> None:
    assert ": training.1: keys should be strings" in failure(write("training:\n  1: 2\n")).message


# --- the file itself


def test_no_file_and_an_empty_file_mean_the_defaults(write) -> None:
    assert load_config(None) == load_config(write("# nothing yet\n")) == RunConfig()


def test_missing_file_offers_the_nearest_name(write) -> None:
    there = write("training: {epochs: 3}", "quickstart.yaml")
    missing = there.with_name("quikstart.yml")
    error = failure(missing)
    assert error.message == f"{missing}: there is no such file"
    assert error.hint == f"Did you mean {there}?"


def test_missing_file_beside_nothing_similar_gets_no_hint(tmp_path: Path) -> None:
    assert failure(tmp_path / "nowhere" / "run.yaml").hint == ""


def test_folder_in_place_of_a_file(tmp_path: Path) -> None:
    assert failure(tmp_path).message.startswith(f"{tmp_path}: cannot be read as text")


def test_text_in_another_encoding_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes("experiment:\n  name: é\n".encode("latin-1"))
    message = failure(path).message
    assert message.startswith(f"{path}:2: cannot be read as text in utf-8")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "found"),
    [("- a\n- b\n", "a list"), ("lunet_small_4f\n", "plain text"), ("3\n", "a number")],
)
def test_only_a_mapping_is_a_configuration(write, text: str, found: str) -> None:
    error = failure(write(text))
    assert error.message.endswith(f"run.yaml: expected a mapping of sections, found {found}")
    assert "lunet config show" in error.hint


@pytest.mark.parametrize(
    ("text", "line"),
    [("training:\n\tepochs: 3\n", 2), ("training:\n  epochs: [1\n", 3), ("a: 1\n---\nb: 2\n", 2)],
    ids=["tab", "open bracket", "two documents"],
)
def test_broken_yaml_is_reported_with_its_line(write, text: str, line: int) -> None:
    assert f"run.yaml:{line}: is not valid YAML: " in failure(write(text)).message


@pytest.mark.parametrize(
    ("text", "report"),
    [
        (
            "training:\n  epochs: 3\n  batch_size: 2\n  epochs: 4\n",
            "4: training.epochs: stands twice, first in line 2",
        ),
        (
            "training:\n  epochs: 3\ntraining:\n  batch_size: 4\n",
            "3: training: stands twice, first in line 1",
        ),
        ("labels:\n  a: 1\n  a: 2\n", "3: labels.a: stands twice, first in line 2"),
    ],
)
def test_a_key_may_stand_only_once(write, text: str, report: str) -> None:
    assert failure(write(text)).message.endswith(f"run.yaml:{report}")


def test_same_key_in_two_sections_is_no_duplicate(write) -> None:
    config = load_config(write("experiment: {name: a}\ntraining: {loss: {name: bce}}\n"))
    assert (config.experiment.name, config.training.loss.name) == ("a", "bce")


# --- values


@pytest.mark.parametrize(
    ("text", "rate"), [("1e-2", 0.01), ("1E-3", 0.001), ("5.e-4", 0.0005), ("0.1", 0.1)]
)
def test_numbers_that_yaml_takes_for_text_are_numbers(write, text: str, rate: float) -> None:
    assert load_config(write(f"training: {{learning_rate: {text}}}")).training.learning_rate == rate


@pytest.mark.parametrize("value", [".inf", ".nan", "0", "-0.1"])
def test_learning_rate_is_positive_and_finite(value: str) -> None:
    assert "training.learning_rate: " in failure(None, f"training.learning_rate={value}").message


@pytest.mark.parametrize(
    "override",
    [
        "experiment.name=../elsewhere",
        "experiment.name=''",
        "experiment.seed=-1",
        "model.drop_prob=1",
        "model.in_channels=0",
        "training.epochs=2.5",
        "training.patch_size=32",
        "training.patch_size=[32, 32]",
        "training.foreground_fraction=1.1",
        "training.ema_decay=1",
        "preprocessing.orientation=LRS",
        "preprocessing.orientation=lps",
        "preprocessing.spacing_mm=[1, 1, 0]",
        "preprocessing.normalization.window_level=.nan",
        "benchmark.input_size=[1, 1, 64, 64]",
        "visualization.slice_axis=3",
        "evaluation.metrics=[]",
        "data.split.group_pattern='('",
        "data.split.group_pattern='sub'",
        "data.phantom.num_cases=1",
    ],
)
def test_value_out_of_range_is_refused_under_its_key(override: str) -> None:
    assert failure(None, override).message.startswith(
        f"--set {override}: {override.partition('=')[0]}"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{liver: 1}", {"liver": [1]}),
        ("{anterior: 1, posterior: 2}", {"anterior": [1], "posterior": [2]}),
        ("{whole: [1, 2], core: [2]}", {"whole": [1, 2], "core": [2]}),
        ("{left lung: 65535}", {"left lung": [65535]}),
    ],
)
def test_labels_name_values_or_groups_of_values(
    write, text: str, expected: dict[str, list[int]]
) -> None:
    assert load_config(write(f"labels: {text}")).labels == expected


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("{}", "labels"),
        ("[liver, spleen]", "labels"),
        ("{liver: []}", "labels.liver"),
        ("{liver: yes}", "labels.liver"),
        ("{liver: 0}", "labels.liver"),
        ("{liver: 65536}", "labels.liver"),
        ("{liver: [1, 1]}", "labels.liver"),
        ("{liver: 1.5}", "labels.liver"),
        ("{a/b: 1}", "labels.a/b"),
        ("{1: liver}", "labels: the name comes first: write liver: 1"),
    ],
)
def test_labels_that_make_no_sense(write, text: str, place: str) -> None:
    assert f"run.yaml:1: {place}" in failure(write(f"labels: {text}")).message


@pytest.mark.parametrize("value", [0, 3])
def test_background_is_no_label(write, value: int) -> None:
    message = failure(write(f"labels:\n  background: {value}\n  liver: 1\n")).message
    assert message.endswith("run.yaml:1: labels: the background (0) is not named; leave it out")


# --- sections that must fit each other


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (
            "model: {activation: sigmoid}\ntraining: {loss: {name: ce}}",
            ["training.loss.name: ce", "softmax"],
        ),
        (
            "model: {activation: sigmoid}\ntraining: {loss: {name: dice_ce}}",
            ["training.loss.name: dice_ce", "softmax"],
        ),
        (
            "model: {activation: softmax}\ntraining: {loss: {name: bce}}",
            ["training.loss.name: bce", "sigmoid"],
        ),
        (
            "model: {activation: softmax}\ntraining: {loss: {name: dice_bce}}",
            ["training.loss.name: dice_bce", "sigmoid"],
        ),
        ("training: {epochs: 5, warmup_epochs: 5}", ["training: ", "warmup_epochs 5", "epochs 5"]),
        ("augmentation: {flip_axes: [x, x], flip_probability: 1}", ["flip_axes x, x", "twice"]),
        ("augmentation: {enabled: false, noise_probability: 1}", ["augmentation", "no patch"]),
        ("augmentation: {rotation_deg: 30}", ["augmentation", "level: standard"]),
        ("preprocessing: {normalization: {window_width: 80}}", ["window_width", "ct_window"]),
        (
            "preprocessing: {normalization: {name: minmax, window_level: 0}}",
            ["window_level", "ct_window"],
        ),
        ("data: {root: a, split: {fold: 5}}", ["data.split: ", "fold 5", "0 to 4"]),
        ("data: {root: a, split: {fold: 3, num_folds: 3}}", ["data.split: ", "fold 3", "0 to 2"]),
        (
            "data: {root: a, split: {fold: 0, val_fraction: 0.2}}",
            ["data.split: ", "val_fraction", "fold"],
        ),
        (
            "data: {root: a, split: {file: s.json, val_fraction: 0.2}}",
            ["data.split: ", "val_fraction", "file"],
        ),
        ("data: {train_dir: a}", ["data: ", "train_dir is given without val_dir"]),
        ("data: {val_dir: a}", ["data: ", "val_dir is given without train_dir"]),
        ("data: {root: c, train_dir: a, val_dir: b}", ["data: ", "root and train_dir/val_dir"]),
        (
            "data: {train_dir: a, val_dir: b, split: {val_fraction: 0.5}}",
            ["data: ", "remove the section split"],
        ),
        ("data: {dataset: phantom, root: a}", ["data: ", "phantom", "root"]),
        ("data: {dataset: phantom, train_dir: a, val_dir: b}", ["data: ", "phantom", "train_dir"]),
        ("data: {dataset: harp}", ["data: ", "harp", "data.root"]),
        ("data: {dataset: msd}", ["data: ", "msd", "data.root"]),
    ],
)
def test_combination_that_cannot_work_is_refused(write, text: str, parts: list[str]) -> None:
    path = write(text)
    message = failure(path).message
    assert message.startswith(f"{path}:")
    assert [part for part in parts if part not in message] == []


@pytest.mark.parametrize(
    "text",
    [
        "model: {activation: softmax}\ntraining: {loss: {name: dice_ce}}",
        "model: {activation: sigmoid}\ntraining: {loss: {name: dice_bce}}",
        "training: {epochs: 5, warmup_epochs: 4.5}",
        "augmentation: {enabled: true, rotation_deg: 30}",
        "augmentation: {enabled: false, rotation_deg: 15}",
        "augmentation: {level: strong, rotation_deg: 10}",
        "augmentation: {noise_probability: 0.2}",
        "preprocessing: {normalization: {name: ct_window, window_width: 80}}",
        "preprocessing: {orientation: RAS, spacing_mm: [1, 0.5, 0.5]}",
        "preprocessing: {orientation: null}",
        "data: {root: a, split: {fold: 4}}",
        "data: {root: a, split: {file: s.json, fold: 7}}",
        "data: {dataset: harp, train_dir: a, val_dir: b}",
        "data: {dataset: phantom, split: {fold: 0}}",
    ],
)
def test_combination_that_can_work_loads_and_survives_writing(write, text: str) -> None:
    config = load_config(write(text))
    given: dict[str, Any] = yaml.safe_load(text)
    assert all(
        getattr(config, section).model_fields_set == set(keys) for section, keys in given.items()
    )
    assert load_config(write(dump_yaml(config), "again.yaml")) == config


# --- overrides


@pytest.mark.parametrize(
    ("override", "key", "expected"),
    [
        ("training.epochs=3", "training.epochs", 3),
        ("training.learning_rate=1e-3", "training.learning_rate", 0.001),
        ("training.compile=true", "training.compile", True),
        ("training.compile=auto", "training.compile", "auto"),
        ("training.gradient_clip=null", "training.gradient_clip", None),
        ("training.patch_size=[32, 48, 64]", "training.patch_size", (32, 48, 64)),
        ("training.loss.name=bce", "training.loss.name", "bce"),
        ("training.loss={name: dice_bce, bce_weight: 0.5}", "training.loss.bce_weight", 0.5),
        ("labels={whole: [1, 2]}", "labels", {"whole": [1, 2]}),
        ("labels.left lung=7", "labels", {"left lung": [7]}),
        ("data.root=/data/a b=c", "data.root", Path("/data/a b=c")),
        (" training.epochs = 3", "training.epochs", 3),
        ("wandb.project='3'", "wandb.project", "3"),
        ("visualization.slice_axis=sagittal", "visualization.axis_index", 2),
    ],
)
def test_override_takes_the_type_of_its_key(override: str, key: str, expected: object) -> None:
    value = attrgetter(key)(load_config(None, [override]))
    assert value == expected
    assert type(value) is type(expected) or isinstance(value, Path)


def test_override_wins_over_the_file_and_leaves_its_neighbours(write) -> None:
    training = load_config(
        write("training:\n  epochs: 5\n  batch_size: 7\n"), ["training.epochs=9"]
    ).training
    assert (training.epochs, training.batch_size) == (9, 7)


def test_override_with_a_mapping_replaces_the_whole_section(write) -> None:
    training = load_config(
        write("training:\n  epochs: 5\n  batch_size: 7\n"), ["training={epochs: 9}"]
    ).training
    assert (training.epochs, training.batch_size) == (9, RunConfig().training.batch_size)


def test_later_override_wins() -> None:
    assert load_config(None, ["training.epochs=3", "training.epochs=8"]).training.epochs == 8


def test_override_fills_a_section_that_the_file_leaves_empty(write) -> None:
    assert load_config(write("training:\n"), ["training.epochs=3"]).training.epochs == 3


@pytest.mark.parametrize(
    "override", ["training.epochs", "=3", ".epochs=3", "training.=3", "training..epochs=3", ""]
)
def test_override_without_a_key_or_value_is_refused(override: str) -> None:
    error = failure(None, override)
    assert error.message == f"--set {override}: expected section.key=value"
    assert "--set training.epochs=20" in error.hint


def test_override_that_is_no_yaml_is_refused() -> None:
    assert failure(None, "training.patch_size=[3").message.startswith(
        "--set training.patch_size=[3: the value is not valid YAML"
    )


@pytest.mark.parametrize(
    ("text", "overrides", "origin"),
    [
        ("training:\n  epochs: 0\n", ["training.batch_size=2"], "{path}:2: training.epochs"),
        (
            "training:\n  epochs: 5\n",
            ["training.epochs=0"],
            "--set training.epochs=0: training.epochs",
        ),
        (
            "training:\n  epochs: 5\n",
            ["training={epochs: 0}"],
            "--set training={{epochs: 0}}: training.epochs",
        ),
        (
            "# empty\n",
            ["training.epochs=-1", "training.epochs=0"],
            "--set training.epochs=0: training.epochs",
        ),
        (
            "# empty\n",
            ["training.epochs=-1", "training={epochs: 0}"],
            "--set training={{epochs: 0}}: training.epochs",
        ),
        (
            "# empty\n",
            ["training.epochs=-1", "training={epochs: 5}", "training.epochs=0"],
            "--set training.epochs=0: training.epochs",
        ),
        (
            "training:\n  epochs: 5\n",
            ["training.warmup_epochs=9"],
            "{path}:1 and --set training.warmup_epochs=9: training",
        ),
        (
            "model: {{activation: sigmoid}}\ntraining: {{loss: {{name: ce}}}}\n",
            ["experiment.name=a"],
            "{path} and --set experiment.name=a: training.loss.name",
        ),
    ],
)
def test_mistake_is_blamed_on_the_file_or_on_the_override(
    write, text: str, overrides: list[str], origin: str
) -> None:
    path = write(text.format())
    assert failure(path, *overrides).message.startswith(origin.format(path=path) + ": ")


# --- the authors' files

AUTHORS = """\
experiment:
  name: "harp_lunet"
  seed: 7
  output_dir: "results"
model:
  architecture: "lunet_small_2f"
  in_channels: 1
  out_channels: 2
  drop_prob: 0.05
data:
  dataset: "harp"
  train_dir: "/data/harp/train"
  val_dir: "/data/harp/val"
  num_workers: 4
  pin_memory: true
  persistent_workers: true
training:
  epochs: 10000
  batch_size: 16
  optimizer: "adamw"
  learning_rate: 1e-3
  weight_decay: 1e-5
  scheduler: "step"
  scheduler_step_size: 30
  scheduler_gamma: 0.1
  log_interval: 3
  loss:
    name: "dice_bce"
    dice_weight: 0.7
    bce_weight: 0.3
  checkpoint:
    save_every: 50
    keep_best: false
evaluation:
  metrics: ["dice", "hausdorff95"]
benchmark:
  enabled: true
  warmup_runs: 5
  timed_runs: 20
  input_size: [2, 1, 32, 48, 64]
visualization:
  plot_training_curves: true
  plot_slices: true
  slice_axis: 2
  num_samples: 4
wandb:
  enabled: true
  project: "harp"
  mode: "offline"
"""
ARRIVES = {
    "experiment.name": "harp_lunet",
    "experiment.seed": 7,
    "experiment.output_dir": Path("results"),
    "model.architecture": "lunet_small_2f",
    "model.in_channels": 1,
    "model.out_channels": 2,
    "model.drop_prob": 0.05,
    "data.dataset": "harp",
    "data.train_dir": Path("/data/harp/train"),
    "data.val_dir": Path("/data/harp/val"),
    "data.num_workers": 4,
    "data.pin_memory": True,
    "data.persistent_workers": True,
    "training.epochs": 10_000,
    "training.batch_size": 16,
    "training.optimizer": "adamw",
    "training.learning_rate": 0.001,
    "training.weight_decay": 0.00001,
    "training.scheduler": "step",
    "training.scheduler_step_size": 30,
    "training.scheduler_gamma": 0.1,
    "training.log_interval": 3,
    "training.loss.name": "dice_bce",
    "training.loss.dice_weight": 0.7,
    "training.loss.bce_weight": 0.3,
    "training.checkpoint.save_every": 50,
    "training.checkpoint.keep_best": False,
    "evaluation.metrics": ["dice", "hausdorff95"],
    "benchmark.enabled": True,
    "benchmark.warmup_runs": 5,
    "benchmark.timed_runs": 20,
    "benchmark.input_size": (2, 1, 32, 48, 64),
    "visualization.plot_training_curves": True,
    "visualization.plot_slices": True,
    "visualization.slice_axis": 2,
    "visualization.num_samples": 4,
    "wandb.enabled": True,
    "wandb.project": "harp",
    "wandb.mode": "offline",
}


@pytest.mark.parametrize("key", ARRIVES)
def test_each_key_of_the_authors_arrives_in_its_field(write, key: str) -> None:
    assert attrgetter(key)(load_config(write(AUTHORS))) == ARRIVES[key]
    assert attrgetter(key)(RunConfig()) != ARRIVES[key], (
        "a value equal to the default proves nothing"
    )


@pytest.mark.parametrize(
    "override",
    [
        *(f"training.optimizer={name}" for name in ("adam", "adamw")),
        *(f"training.scheduler={name}" for name in ("none", "cosine", "step")),
        *(f"training.loss.name={name}" for name in ("dice", "bce", "dice_bce")),
        *(f"wandb.mode={name}" for name in ("online", "offline", "disabled")),
    ],
)
def test_each_word_of_the_authors_is_accepted(write, override: str) -> None:
    key, _, word = override.partition("=")
    assert attrgetter(key)(load_config(write(AUTHORS), [override])) == word


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.patch_size=64", "expected a list in brackets, such as [64, 64, 64], found 64"),
        ("evaluation.metrics=dice", "expected a list in brackets, such as [1, 2], found 'dice'"),
        ("experiment.name=a b", "expected a name of letters, digits and . _ + -"),
        ("model.architecture=unet", "Did you mean unet_small_4f"),
    ],
)
def test_common_mistakes_are_told_in_words_of_the_field(override: str, words: str) -> None:
    message = failure(None, override).message
    assert message.startswith(f"--set {override}: {override.partition('=')[0]}: ")
    assert words in message


def test_the_name_of_a_label_is_told_as_it_is() -> None:
    assert failure(None, "labels.a/b=1").message.startswith(
        "--set labels.a/b=1: labels.a/b: expected a name of letters"
    )


# --- writing


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_configuration_survives_writing(write, path: Path) -> None:
    config = load_config(path)
    assert load_config(write(dump_yaml(config))) == config


def test_the_authors_configuration_survives_writing(write) -> None:
    config = load_config(write(AUTHORS))
    assert load_config(write(dump_yaml(config), "again.yaml")) == config


@pytest.mark.parametrize(
    "override",
    [
        "training.learning_rate=1e-07",
        "training.compile=auto",
        "training.gradient_clip=12",
        "labels={b: 2, a: [1, 3]}",
        "wandb.project='Zürich: off'",
        "wandb.project='1e-3'",
        "data.split.group_pattern='^(sub-\\d+)'",
    ],
)
def test_awkward_value_survives_writing(write, override: str) -> None:
    config = load_config(None, [override])
    assert config != RunConfig()
    assert load_config(write(dump_yaml(config))) == config


def test_written_configuration_is_complete_and_ordered_like_the_schema() -> None:
    written = yaml.safe_load(dump_yaml(RunConfig()))
    assert list(written) == list(RunConfig.model_fields)
    assert list(written["training"]) == list(TrainingConfig.model_fields)
    assert written["training"]["loss"] == {
        "name": "dice",
        "dice_weight": 1.0,
        "bce_weight": 1.0,
        "ce_weight": 1.0,
        "batch_dice": True,
        "label_weights": None,
        "label_smoothing": 0.0,
        "focal_gamma": 0.0,
    }


def test_loaded_configuration_cannot_be_changed() -> None:
    config = load_config(None)
    with pytest.raises(ValueError, match="frozen"):
        config.training.epochs = 3  # type: ignore[misc]

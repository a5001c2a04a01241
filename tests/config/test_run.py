from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from lunet_cli.config.load import load_config
from lunet_cli.config.mlflow import MlflowConfig
from lunet_cli.config.run import RunConfig

CONFIGS = Path(__file__).parents[2] / "configs"
SHIPPED = sorted(CONFIGS.glob("*.yaml"))


def sections(model: type[BaseModel] = RunConfig) -> Iterator[type[BaseModel]]:
    yield model
    for field in model.model_fields.values():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from sections(field.annotation)


FIELDS = [(section, name) for section in sections() for name in section.model_fields]


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return RunConfig.model_json_schema()


def test_all_sections_are_found() -> None:
    names = {section.__name__ for section in sections()}
    assert {
        "RunConfig",
        "TrainingConfig",
        "LossConfig",
        "SplitConfig",
        "NormalizationConfig",
        "WandbConfig",
    } <= names


@pytest.mark.parametrize(("section", "name"), FIELDS, ids=[f"{s.__name__}.{n}" for s, n in FIELDS])
def test_every_field_is_described_in_a_sentence(section: type[BaseModel], name: str) -> None:
    description = section.model_fields[name].description
    assert description
    assert description.rstrip().endswith(".")


def test_every_section_of_the_schema_refuses_unknown_keys(schema: dict[str, Any]) -> None:
    for section in [schema, *schema["$defs"].values()]:
        assert section["additionalProperties"] is False, section["title"]


def test_every_property_of_the_schema_has_a_description_and_a_default(
    schema: dict[str, Any],
) -> None:
    for section in [schema, *schema["$defs"].values()]:
        for name, described in section["properties"].items():
            # pydantic leaves out a description that the section referred to has word for word
            referred = schema["$defs"].get(described.get("$ref", "").rpartition("/")[2], {})
            expected = {"description", "default"}
            if name in section.get("required", ()):
                assert section["title"] == "LabelCode", "of what is named, a code is all there is"
                expected = {"description"}
            assert expected <= (referred | described).keys(), f"{section['title']}.{name}"


def test_schema_names_allowed_words_and_ranges(schema: dict[str, Any]) -> None:
    training = schema["$defs"]["TrainingConfig"]["properties"]
    assert training["optimizer"]["enum"] == ["adam", "adamw", "sgd", "soap"]
    assert training["learning_rate"]["exclusiveMinimum"] == 0
    assert training["epochs"]["minimum"] == 1


def test_a_label_cannot_be_ignored() -> None:
    with pytest.raises(ValidationError, match="3 is the value of the label tail, too"):
        RunConfig.model_validate({"labels": {"tail": [2, 3]}, "data": {"ignored_value": 3}})


def test_shipped_schema_is_the_current_one(schema: dict[str, Any]) -> None:
    shipped = json.loads((CONFIGS / "lunet.schema.json").read_text(encoding="utf-8"))
    assert shipped == schema, "renew it: lunet config schema > configs/lunet.schema.json"


def test_the_quickstart_is_shipped() -> None:
    assert "quickstart.yaml" in [path.name for path in SHIPPED]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_configuration_loads_under_its_own_name_and_points_at_the_schema(
    path: Path,
) -> None:
    first_line = path.read_text(encoding="utf-8").splitlines()[0]
    assert first_line == "# yaml-language-server: $schema=lunet.schema.json"
    assert load_config(path).experiment.name == path.stem


@pytest.mark.parametrize(
    ("file", "architecture", "batch_size", "learning_rate"),
    [
        ("default", "lunet_small_4f", 16, 1e-2),
        ("lunet_small", "lunet_small_4f", 16, 1e-2),
        ("unet_small", "unet_small_4f", 16, 1e-2),
        ("lunet_large", "lunet_large_24f", 1, 1e-3),
        ("unet_large", "unet_large_24f", 1, 1e-3),
    ],
)
def test_recipes_of_the_paper(
    file: str, architecture: str, batch_size: int, learning_rate: float
) -> None:
    config = load_config(CONFIGS / f"{file}.yaml")
    training = config.training
    assert (config.model.architecture, training.batch_size, training.learning_rate) == (
        architecture,
        batch_size,
        learning_rate,
    )
    assert (training.epochs, training.optimizer, training.scheduler, training.loss.name) == (
        10_000,
        "adam",
        "none",
        "dice",
    )
    assert (training.weight_decay, config.model.drop_prob, config.experiment.seed) == (0, 0.005, 42)
    assert config.augmentation.changes.any is False


@pytest.mark.parametrize("uri", ["https://me:secret@host", "postgresql://me@host/db"])
def test_a_password_is_not_put_into_checkpoints(uri: str) -> None:
    with pytest.raises(ValidationError, match="MLFLOW_TRACKING_URI"):
        MlflowConfig(tracking_uri=uri)
    assert MlflowConfig(tracking_uri="sqlite:////tmp/a@b.db").tracking_uri
